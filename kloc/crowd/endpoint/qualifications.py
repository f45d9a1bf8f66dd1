"""Qualification requirements: what a HIT type asks of workers, and whether a worker has it.

Own types are judged by the value a worker holds, two of the system's by the endpoint's own records; what cannot be
judged here (where somebody lives, how old they are, who is a Master) is refused before it could let everybody in.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from kloc.crowd.endpoint.faults import RequestError, invalid
from kloc.crowd.endpoint.tables import APPROVED, REJECTED, Assignment, Qualification, QualificationType

PERCENT_APPROVED = "000000000000000000L0"
NUMBER_APPROVED = "00000000000000000040"
#: The largest value a qualification can have.
HIGHEST = 2**31 - 1
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "LessThan": operator.lt,
    "LessThanOrEqualTo": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanOrEqualTo": operator.ge,
    "EqualTo": operator.eq,
    "NotEqualTo": operator.ne,
}
_LISTS, _HELD = ("In", "NotIn"), ("Exists", "DoesNotExist")
#: What a requirement guards -> the actions it stands in the way of.
_GUARDS = {
    "Accept": ("Accept",),
    "PreviewAndAccept": ("Accept", "Preview"),
    "DiscoverPreviewAndAccept": ("Accept", "Preview", "Discover"),
}
Action = Literal["Accept", "Preview", "Discover"]


@dataclass(frozen=True)
class SystemType:
    """A qualification type that every requester finds."""

    id: str
    name: str
    description: str


#: What the endpoint can tell from its records.
SYSTEM = {
    kind.id: kind
    for kind in (
        SystemType(
            NUMBER_APPROVED,
            "Number of HITs approved",
            "How many of the worker's assignments have been approved. A number from 0.",
        ),
        SystemType(
            PERCENT_APPROVED,
            "HIT approval rate (%)",
            "The share of the worker's judged assignments that was approved, in percent; 100 where none is judged.",
        ),
    )
}
_INSTEAD = "make a qualification type of your own and give it to the workers it holds for"
_NOT_JUDGED = {
    "00000000000000000071": f"where workers are (Locale) is not known to this endpoint; {_INSTEAD}",
    "00000000000000000060": f"this endpoint asks nobody for consent to adult content; {_INSTEAD}",
    "2F1QJWKUDD8XADTFD2Q0G6UTO95ALH": f"this endpoint knows no Masters; {_INSTEAD}",
    "2ARFPLSP75KLA8M8DH1HTEQVJT3SY6": f"this endpoint knows no Masters; {_INSTEAD}",
}


def validated(session: Session, requirements: Sequence[Any]) -> list[dict[str, Any]]:
    """The requirements as stored. A requirement that could not be judged would let everybody in: it is refused."""
    if len(requirements) > 10:
        raise invalid(f"{len(requirements)} qualification requirements, at most 10 are allowed")
    kept = [_validated(requirement) for requirement in requirements]
    require_usable(session, kept)
    return kept


def require_usable(session: Session, requirements: Sequence[dict[str, Any]]) -> None:
    """Raise :class:`RequestError` unless new HITs may ask for all of this: known, not deleted, active."""
    ids = {requirement["QualificationTypeId"] for requirement in requirements} - SYSTEM.keys()
    if not ids:
        return
    query = select(QualificationType.id, QualificationType.active)
    rows = session.execute(query.where(QualificationType.id.in_(ids), QualificationType.disposed.is_(False)))
    active: dict[str, bool] = {row[0]: row[1] for row in rows}
    for type_id in sorted(ids):
        if type_id not in active:
            raise RequestError("QualificationTypeDoesNotExist", f"Qualification type {type_id} does not exist.")
        if not active[type_id]:
            raise RequestError(
                "InvalidQualificationTypeState",
                f"This operation can be called with a status of: Active. Qualification type {type_id} is Inactive.",
            )


def _validated(requirement: Any) -> dict[str, Any]:
    if not isinstance(requirement, dict):
        raise invalid("a qualification requirement must be a structure")
    kind, comparator = requirement.get("QualificationTypeId"), str(requirement.get("Comparator"))
    if not isinstance(kind, str) or not 0 < len(kind) <= 64:
        raise invalid("a qualification requirement needs a QualificationTypeId")
    if kind in _NOT_JUDGED:
        raise RequestError("UnsupportedParameter", f"Qualification type {kind} is not supported: {_NOT_JUDGED[kind]}.")
    if requirement.get("LocaleValues"):
        raise invalid("LocaleValues go with the qualification type Locale only; give IntegerValues")
    values = requirement.get("IntegerValues") or []
    if not isinstance(values, list) or not all(type(value) is int and 0 <= value <= HIGHEST for value in values):
        raise invalid(f"IntegerValues of qualification type {kind} must be integers from 0 to {HIGHEST}")
    most = {**dict.fromkeys(_LISTS, 15), **dict.fromkeys(_HELD, 0)}.get(comparator, 1)
    if comparator not in (*_COMPARE, *_LISTS, *_HELD) or not min(most, 1) <= len(values) <= most:
        raise invalid(f"comparator {comparator[:40]!r} does not go with {len(values)} IntegerValues")
    to_preview = requirement.get("RequiredToPreview")
    action = requirement.get("ActionsGuarded") or ("PreviewAndAccept" if to_preview else "Accept")
    if action not in _GUARDS or (to_preview is not None and bool(to_preview) != (action != "Accept")):
        raise invalid(
            f"ActionsGuarded {str(action)[:40]!r} is none of {', '.join(_GUARDS)}, or RequiredToPreview says otherwise"
        )
    return {
        "QualificationTypeId": kind,
        "Comparator": comparator,
        **({"IntegerValues": values} if values else {}),
        "RequiredToPreview": action != "Accept",
        "ActionsGuarded": action,
    }


def qualifies(
    session: Session, worker_id: str, requirements: Sequence[dict[str, Any]], action: Action = "Accept"
) -> bool:
    """Whether the worker may accept (preview, discover) what asks for these requirements."""
    guarding = [requirement for requirement in requirements if action in _GUARDS[requirement["ActionsGuarded"]]]
    if not guarding:
        return True
    held = values(session, worker_id, {requirement["QualificationTypeId"] for requirement in guarding})
    return all(meets(held.get(requirement["QualificationTypeId"]), requirement) for requirement in guarding)


def values(session: Session, worker_id: str, type_ids: Collection[str]) -> dict[str, int]:
    """What the worker holds of these types: own ones that were granted, the system's from the records."""
    own = [type_id for type_id in type_ids if type_id not in SYSTEM]
    found: dict[str, int] = {}
    if own:
        query = select(Qualification.type_id, Qualification.value).where(
            Qualification.worker_id == worker_id, Qualification.type_id.in_(own), Qualification.revoked.is_(False)
        )
        found = {row[0]: row[1] for row in session.execute(query)}
    return found if len(own) == len(type_ids) else found | _record(session, worker_id)


def meets(value: int | None, requirement: dict[str, Any]) -> bool:
    """Whether a value meets a requirement; whoever has none meets ``DoesNotExist`` only."""
    comparator: str = requirement["Comparator"]
    if comparator in _HELD or value is None:
        return (value is None) == (comparator == "DoesNotExist")
    wanted: list[int] = requirement["IntegerValues"]
    if comparator in _LISTS:
        return (value in wanted) == (comparator == "In")
    return _COMPARE[comparator](value, wanted[0])


def _record(session: Session, worker_id: str) -> dict[str, int]:
    """The worker's system qualifications; a worker nobody has judged yet counts as 100 percent."""
    rows = session.execute(
        select(Assignment.status, func.count())
        .where(Assignment.worker_id == worker_id, Assignment.status.in_((APPROVED, REJECTED)))
        .group_by(Assignment.status)
    )
    by: dict[str, int] = {row[0]: row[1] for row in rows}
    approved, rejected = by.get(APPROVED, 0), by.get(REJECTED, 0)
    percent = 100 * approved // (approved + rejected) if approved + rejected else 100
    return {PERCENT_APPROVED: percent, NUMBER_APPROVED: approved}
