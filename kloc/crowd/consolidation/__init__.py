"""The steps of :func:`kloc.crowd.consolidate.consolidate`, each over all questions of a campaign at once.

``marks`` lays the answers out flat; ``repair`` undoes splits and merges; ``cluster`` groups what means the same;
``candidates`` tabulates who marked what; ``presence`` judges which candidates are real; ``boundaries`` where they lie.
"""
