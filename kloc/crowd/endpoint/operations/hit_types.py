"""HIT types: what HITs have in common. Equal values are one type."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import select

from kloc.crowd.endpoint import hits
from kloc.crowd.endpoint.faults import RequestError
from kloc.crowd.endpoint.ids import new_id
from kloc.crowd.endpoint.operations.account import require_funds
from kloc.crowd.endpoint.operations.registry import Call, operation
from kloc.crowd.endpoint.qualifications import require_usable, validated
from kloc.crowd.endpoint.tables import HitType

YEAR = 31_536_000
#: MTurk's default: 30 days.
AUTO_APPROVAL = 2_592_000


@operation("CreateHITType", writes=True)
def create_hit_type(call: Call) -> dict[str, Any]:
    return {"HITTypeId": hit_type(call).id}


def hit_type(call: Call) -> HitType:
    """The type with the call's values, made if there is none yet."""
    parameters = call.parameters
    values: dict[str, Any] = {
        "title": parameters.text("Title", 128),
        "description": parameters.text("Description", 2000),
        "keywords": parameters.optional_text("Keywords", 1000) or "",
        "reward": parameters.cents("Reward"),
        "assignment_duration": parameters.integer("AssignmentDurationInSeconds", 30, YEAR),
        "auto_approval_delay": parameters.integer("AutoApprovalDelayInSeconds", 0, AUTO_APPROVAL, AUTO_APPROVAL),
        "qualification_requirements": validated(call.session, parameters.items("QualificationRequirements")),
    }
    fingerprint = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    found = call.session.scalar(select(HitType).where(HitType.fingerprint == fingerprint))
    if found is None:
        found = HitType(id=new_id(), group_id=new_id(), fingerprint=fingerprint, created=call.now, **values)
        call.session.add(found)
        call.session.flush()
    return found


@operation("UpdateHITTypeOfHIT", writes=True)
def update_hit_type_of_hit(call: Call) -> dict[str, Any]:
    """Give a HIT other properties. Leases that run keep the reward and the deadline they were given."""
    hit_id, type_id = call.parameters.entity("HITId"), call.parameters.entity("HITTypeId")
    hit = hits.lock(call.session, hit_id)
    if hit is None or hit.disposed:
        raise RequestError("HITDoesNotExist", f"Hit {hit_id} does not exist.")
    kind = existing_type(call, type_id)
    hit.hit_type_id = kind.id
    # Beside what the places cost before: work that was begun is paid as it was promised.
    require_funds(call, hit.max_assignments * kind.reward)
    return {}


def existing_type(call: Call, type_id: str) -> HitType:
    """The type, for HITs to be made of it. What it asks for must still be there."""
    found = call.session.get(HitType, type_id)
    if found is None:
        raise RequestError("HITTypeDoesNotExist", f"Hit type {type_id} does not exist.")
    require_usable(call.session, found.qualification_requirements)
    return found
