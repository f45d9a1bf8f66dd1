"""Review policies. HITs with one are refused when they are made, so there is never anything to report."""

from __future__ import annotations

from typing import Any

from kloc.crowd.endpoint.faults import RequestError, invalid
from kloc.crowd.endpoint.operations.registry import Call, operation
from kloc.crowd.endpoint.tables import Hit

_LEVELS = {"Assignment": "AssignmentReviewReport", "HIT": "HITReviewReport"}


@operation("ListReviewPolicyResultsForHIT", writes=False)
def list_review_policy_results(call: Call) -> dict[str, Any]:
    """The empty reports of the levels asked for, both unless some are."""
    parameters = call.parameters
    hit_id = parameters.entity("HITId")
    parameters.integer("MaxResults", 1, 100, default=10)
    levels = parameters.items("PolicyLevels") or list(_LEVELS)
    if not all(isinstance(level, str) and level in _LEVELS for level in levels):
        raise invalid(f"PolicyLevels holds something that is none of {', '.join(_LEVELS)}")
    if parameters.has("NextToken"):
        raise invalid("the NextToken is not one this endpoint gave out")
    if call.session.get(Hit, hit_id) is None:
        raise RequestError("HITDoesNotExist", f"Hit {hit_id} does not exist.")
    parts = [
        name
        for name, flag in (("ReviewResults", "RetrieveResults"), ("ReviewActions", "RetrieveActions"))
        if not parameters.has(flag) or parameters.flag(flag)
    ]
    return {"HITId": hit_id, **{_LEVELS[level]: {part: [] for part in parts} for level in levels}}
