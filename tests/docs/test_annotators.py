"""The annotator's guide names the keys of the page as it is."""

from __future__ import annotations

import re

from docs_helpers import ROOT

GUIDE = (ROOT / "docs" / "annotators.md").read_text(encoding="utf-8")


def test_the_guide_names_every_key_of_the_page() -> None:
    script = (ROOT / "hits" / "js" / "task.js").read_text(encoding="utf-8")
    listed = re.search(r"const help = \[(.*?)\n\];", script, re.DOTALL)
    assert listed is not None
    labels = re.findall(r'\["([^"]+)", "', listed[1])
    assert len(labels) > 15
    keys = {key for label in labels for key in re.sub(r"( or |(?<=\w)\+|(?<=\w),| \+ )", " ", label).split()}
    told = set(re.findall(r"`([^`]+)`", GUIDE))
    assert keys - told == set()
    assert told - keys - {"1", "9", "?"} == set(), "the page has no such key"


def test_the_guide_uses_the_words_of_the_page() -> None:
    home = (ROOT / "kloc" / "crowd" / "endpoint" / "templates" / "home.html").read_text(encoding="utf-8")
    page = (ROOT / "hits" / "page.html").read_text(encoding="utf-8")
    words = re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", GUIDE)
    assert {"Preview", "Start the next task", "Return", "Training", "Report a problem", "Submit"} <= set(words)
    assert [word for word in words if word not in home and word not in page] == []
