"""Qualification requirements: those the endpoint can judge from its own records; any other is refused up front."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from kloc.crowd.endpoint.faults import RequestError, invalid
from kloc.crowd.endpoint.tables import APPROVED, REJECTED, Assignment

PERCENT_APPROVED = "000000000000000000L0"
NUMBER_APPROVED = "00000000000000000040"
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "LessThan": operator.lt,
    "LessThanOrEqualTo": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanOrEqualTo": operator.ge,
    "EqualTo": operator.eq,
    "NotEqualTo": operator.ne,
}
_LISTS = ("In", "NotIn")
_ACTIONS = ("Accept", "PreviewAndAccept", "DiscoverPreviewAndAccept")


def validated(requirements: Sequence[Any]) -> list[dict[str, Any]]:
    """The requirements as stored. A requirement that could not be judged would let everybody in: it is refused."""
    if len(requirements) > 10:
        raise invalid(f"{len(requirements)} qualification requirements, at most 10 are allowed")
    kept = []
    for requirement in requirements:
        if not isinstance(requirement, dict):
            raise invalid("a qualification requirement must be a structure")
        kind, comparator = requirement.get("QualificationTypeId"), requirement.get("Comparator")
        if kind not in (PERCENT_APPROVED, NUMBER_APPROVED):
            raise RequestError(
                "QualificationTypeDoesNotExist",
                f"qualification type {kind!r} is not supported by this endpoint; it judges {PERCENT_APPROVED} "
                f"(percent of assignments approved) and {NUMBER_APPROVED} (number of assignments approved)",
            )
        values = requirement.get("IntegerValues")
        if (
            not isinstance(values, list)
            or not 1 <= len(values) <= 15
            or not all(type(value) is int and 0 <= value <= 1_000_000_000 for value in values)
        ):
            raise invalid(f"qualification type {kind} needs 1 to 15 IntegerValues")
        if comparator not in _LISTS and (comparator not in _COMPARE or len(values) != 1):
            raise invalid(f"comparator {comparator!r} does not go with IntegerValues {values}")
        action = requirement.get("ActionsGuarded", "Accept")
        if action not in _ACTIONS:
            raise invalid(f"ActionsGuarded {action!r} is none of {', '.join(_ACTIONS)}")
        kept.append(
            {
                "QualificationTypeId": kind,
                "Comparator": comparator,
                "IntegerValues": values,
                "RequiredToPreview": bool(requirement.get("RequiredToPreview", action != "Accept")),
                "ActionsGuarded": action,
            }
        )
    return kept


def qualifies(session: Session, worker_id: str, requirements: Sequence[dict[str, Any]]) -> bool:
    """Whether the worker's record meets every requirement; a worker nobody has judged yet counts as 100 percent."""
    if not requirements:
        return True
    record = scores(session, worker_id)
    return all(_meets(record[requirement["QualificationTypeId"]], requirement) for requirement in requirements)


def scores(session: Session, worker_id: str) -> dict[str, int]:
    """The worker's system qualifications."""
    rows = session.execute(
        select(Assignment.status, func.count())
        .where(Assignment.worker_id == worker_id, Assignment.status.in_((APPROVED, REJECTED)))
        .group_by(Assignment.status)
    )
    by: dict[str, int] = {row[0]: row[1] for row in rows}
    approved, rejected = by.get(APPROVED, 0), by.get(REJECTED, 0)
    percent = 100 * approved // (approved + rejected) if approved + rejected else 100
    return {PERCENT_APPROVED: percent, NUMBER_APPROVED: approved}


def _meets(score: int, requirement: dict[str, Any]) -> bool:
    comparator: str = requirement["Comparator"]
    values: list[int] = requirement["IntegerValues"]
    if comparator in _LISTS:
        return (score in values) == (comparator == "In")
    return _COMPARE[comparator](score, values[0])
