"""Qualification types: what a requester may ask of workers, with or without a test that earns it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update

from kloc.crowd.endpoint import grading, questions
from kloc.crowd.endpoint.faults import RequestError, invalid
from kloc.crowd.endpoint.ids import new_id
from kloc.crowd.endpoint.operations.hit_types import YEAR
from kloc.crowd.endpoint.operations.paging import chosen
from kloc.crowd.endpoint.operations.registry import Call, operation
from kloc.crowd.endpoint.qualifications import HIGHEST, SYSTEM, SystemType
from kloc.crowd.endpoint.qualifying import PENDING, REJECTED, TAKING
from kloc.crowd.endpoint.tables import QualificationRequest, QualificationType

_STATUSES = ("Active", "Inactive")
_MOST_BYTES = 65_535


@operation("CreateQualificationType", writes=True)
def create_qualification_type(call: Call) -> dict[str, Any]:
    """A new type. Its name is its token: boto3 repeats a call whose answer was lost, and no second one is made."""
    parameters = call.parameters
    name = parameters.text("Name", 200)
    kind = QualificationType(
        id=new_id(),
        created=call.now,
        name=name,
        description=parameters.text("Description", 2000),
        keywords=parameters.optional_text("Keywords", 1000),
        active=_is_active(call),
        retry_delay=_seconds(call, "RetryDelayInSeconds", 0),
        disposed=False,
        auto_granted=parameters.flag("AutoGranted"),
        auto_granted_value=_value(call),
    )
    _set_test(call, kind)
    same = select(QualificationType.id).where(QualificationType.name == name, QualificationType.disposed.is_(False))
    if call.session.scalar(same) is not None:
        raise RequestError(
            "QualificationTypeAlreadyExists",
            f"You have already created a QualificationType with the name {name!r}; names must be unique.",
        )
    call.session.add(kind)
    return {"QualificationType": described(kind)}


@operation("GetQualificationType", writes=False)
def get_qualification_type(call: Call) -> dict[str, Any]:
    """One of the requester's own, or one of the system's."""
    type_id = call.parameters.entity("QualificationTypeId")
    return {"QualificationType": _described_system(SYSTEM[type_id]) if type_id in SYSTEM else described(own(call))}


@operation("UpdateQualificationType", writes=True)
def update_qualification_type(call: Call) -> dict[str, Any]:
    """Change what is named. A test replaces the test and its key; a key alone replaces the key."""
    parameters, kind = call.parameters, own(call, locked=True)
    if parameters.has("Description"):
        kind.description = parameters.text("Description", 2000)
    if parameters.has("QualificationTypeStatus"):
        kind.active = _is_active(call)
    if parameters.has("RetryDelayInSeconds"):
        kind.retry_delay = _seconds(call, "RetryDelayInSeconds", 0)
    if parameters.has("AutoGranted"):
        kind.auto_granted = parameters.flag("AutoGranted")
    if parameters.has("AutoGrantedValue"):
        kind.auto_granted_value = _value(call)
    if parameters.has("Test") or kind.test is None or kind.auto_granted:
        _set_test(call, kind)
    elif parameters.has("AnswerKey"):
        kind.answer_key = _answer_key(call, questions.parse(kind.test))
    if parameters.has("TestDurationInSeconds") and kind.test is not None:
        kind.test_duration = _seconds(call, "TestDurationInSeconds", 1)
    return {"QualificationType": described(kind)}


@operation("ListQualificationTypes", writes=False)
def list_qualification_types(call: Call) -> dict[str, Any]:
    """Oldest first, the system's before one's own. Every word of Query is in the name, description or keywords."""
    parameters = call.parameters
    if not parameters.has("MustBeRequestable"):
        raise invalid("the parameter MustBeRequestable is required")
    requestable, owned = parameters.flag("MustBeRequestable"), parameters.flag("MustBeOwnedByCaller")
    words = (parameters.optional_text("Query", 1000) or "").lower().split()
    query = select(
        QualificationType.created,
        QualificationType.id,
        QualificationType.name,
        QualificationType.description,
        QualificationType.keywords,
    ).where(QualificationType.disposed.is_(False))
    if requestable:
        query = query.where(QualificationType.active)
    everybodys = (
        [] if requestable or owned else [(0.0, each.id, each.name, each.description) for each in SYSTEM.values()]
    )
    rows = [*everybodys, *call.session.execute(query)]
    found = [(row[0], row[1]) for row in rows if all(word in " ".join(filter(None, row[2:])).lower() for word in words)]
    keys, answer = chosen(sorted(found), parameters, f"qualification types {words} {requestable} {owned}")
    ids = [type_id for _, type_id in keys]
    own_ones = {
        kind.id: described(kind)
        for kind in call.session.scalars(select(QualificationType).where(QualificationType.id.in_(ids)))
    }
    shown = own_ones | {each.id: _described_system(each) for each in SYSTEM.values()}
    return {**answer, "QualificationTypes": [shown[type_id] for type_id in ids]}


@operation("DeleteQualificationType", writes=True)
def delete_qualification_type(call: Call) -> dict[str, Any]:
    """No further HIT can ask for it, nobody can ask to have it. HITs that do go on, and so do the values they read."""
    kind = own(call, locked=True)
    kind.disposed = True
    waiting = QualificationRequest.status.in_((TAKING, PENDING))
    call.session.execute(
        update(QualificationRequest)
        .where(QualificationRequest.type_id == kind.id, waiting)
        .values(status=REJECTED, reason="The qualification was withdrawn.")
    )
    return {}


def own(call: Call, *, locked: bool = False) -> QualificationType:
    """The requester's type that the call names."""
    type_id = call.parameters.entity("QualificationTypeId")
    if type_id in SYSTEM:
        raise RequestError(
            "QualificationTypeDoesNotExist", f"Qualification type {type_id} is the system's: it can only be asked for."
        )
    kind = call.session.get(QualificationType, type_id, with_for_update=locked or None)
    if kind is None:
        raise RequestError("QualificationTypeDoesNotExist", f"Qualification type {type_id} does not exist.")
    if kind.disposed:
        raise RequestError(
            "InvalidQualificationTypeState",
            f"This operation can be called with a status of: Active, Inactive. Type {type_id} is deleted.",
        )
    return kind


def described(kind: QualificationType) -> dict[str, Any]:
    """A type as the wire shows it."""
    answer = {
        "QualificationTypeId": kind.id,
        "CreationTime": kind.created,
        "Name": kind.name,
        "Description": kind.description,
        "Keywords": kind.keywords,
        "QualificationTypeStatus": "Active" if kind.active else "Inactive",
        "Test": kind.test,
        "TestDurationInSeconds": kind.test_duration,
        "AnswerKey": kind.answer_key,
        "RetryDelayInSeconds": kind.retry_delay,
        "IsRequestable": kind.active,
        "AutoGranted": kind.auto_granted,
        "AutoGrantedValue": kind.auto_granted_value if kind.auto_granted else None,
    }
    return {name: value for name, value in answer.items() if value is not None}


def _described_system(kind: SystemType) -> dict[str, Any]:
    return {
        "QualificationTypeId": kind.id,
        "CreationTime": 0.0,
        "Name": kind.name,
        "Description": kind.description,
        "QualificationTypeStatus": "Active",
        "IsRequestable": False,
        "AutoGranted": False,
    }


def _set_test(call: Call, kind: QualificationType) -> None:
    """The call's test with its key and duration, or none."""
    parameters = call.parameters
    if not parameters.has("Test"):
        for name in ("AnswerKey", "TestDurationInSeconds"):
            if parameters.has(name):
                raise invalid(f"{name} goes with a Test only; give the Test as well")
        if kind.auto_granted and kind.test is not None:
            raise invalid("a qualification with a Test cannot be AutoGranted")
        return
    if kind.auto_granted:
        raise invalid("a qualification with a Test cannot be AutoGranted")
    xml = parameters.text("Test", _MOST_BYTES)
    test = questions.parse(xml)
    kind.test, kind.facts = xml, questions.facts(test)
    kind.answer_key = _answer_key(call, test) if parameters.has("AnswerKey") else None
    kind.test_duration = parameters.integer("TestDurationInSeconds", 1, YEAR)


def _answer_key(call: Call, test: questions.Question) -> str:
    xml = call.parameters.text("AnswerKey", _MOST_BYTES)
    key = grading.read_key(xml)
    if isinstance(key, grading.GoldKey) and test.kind == "form":
        raise invalid("a GoldAnswerKey grades kloc's annotation page (an HTMLQuestion), not a QuestionForm")
    return xml


def _is_active(call: Call) -> bool:
    if not call.parameters.has("QualificationTypeStatus"):
        raise invalid("the parameter QualificationTypeStatus is required")
    return call.parameters.choice("QualificationTypeStatus", _STATUSES, "Active") == "Active"


def _seconds(call: Call, name: str, least: int) -> int | None:
    return call.parameters.integer(name, least, YEAR) if call.parameters.has(name) else None


def _value(call: Call) -> int | None:
    if not call.parameters.has("AutoGrantedValue"):
        return None
    return call.parameters.integer("AutoGrantedValue", 0, HIGHEST)
