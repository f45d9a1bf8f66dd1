"""Creating, reading, extending, expiring, reviewing and deleting HITs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from kloc.crowd.endpoint import hits, questions
from kloc.crowd.endpoint.faults import RequestError, invalid
from kloc.crowd.endpoint.ids import new_id
from kloc.crowd.endpoint.money import to_dollars
from kloc.crowd.endpoint.operations.account import require_funds
from kloc.crowd.endpoint.operations.hit_types import YEAR, existing_type, hit_type
from kloc.crowd.endpoint.operations.paging import page
from kloc.crowd.endpoint.operations.registry import Call, operation
from kloc.crowd.endpoint.tables import SUBMITTED, Assignment, Hit, HitType

_MOST_ASSIGNMENTS = 1_000_000_000


@operation("CreateHIT", writes=True)
def create_hit(call: Call) -> dict[str, Any]:
    _refuse_repeated(call)
    return _create(call, hit_type(call))


@operation("CreateHITWithHITType", writes=True)
def create_hit_with_hit_type(call: Call) -> dict[str, Any]:
    type_id = call.parameters.entity("HITTypeId")
    _refuse_repeated(call)
    return _create(call, existing_type(call, type_id))


@operation("GetHIT", writes=False)
def get_hit(call: Call) -> dict[str, Any]:
    """Any HIT, a deleted one too: it shows as Disposed."""
    hit_id = call.parameters.entity("HITId")
    hit = call.session.get(Hit, hit_id)
    if hit is None:
        raise _unknown(hit_id)
    return {"HIT": described(call, [hit])[0]}


@operation("ListHITs", writes=False)
def list_hits(call: Call) -> dict[str, Any]:
    """Newest first, deleted ones left out."""
    query = select(Hit).where(Hit.disposed.is_(False))
    found, answer = page(call.session, query, (Hit.created, Hit.id), call.parameters, "hits", newest_first=True)
    return {**answer, "HITs": described(call, found)}


@operation("ListReviewableHITs", writes=False)
def list_reviewable_hits(call: Call) -> dict[str, Any]:
    """Oldest first."""
    wanted = call.parameters.choice("Status", ("Reviewable", "Reviewing"), "Reviewable")
    query = select(Hit).where(hits.is_reviewable(call.now), Hit.reviewing.is_(wanted == "Reviewing"))
    listing = f"reviewable {wanted}"
    if call.parameters.has("HITTypeId"):
        type_id = call.parameters.entity("HITTypeId")
        query = query.where(Hit.hit_type_id == type_id)
        listing += f" {type_id}"
    found, answer = page(call.session, query, (Hit.created, Hit.id), call.parameters, listing)
    return {**answer, "HITs": described(call, found)}


@operation("UpdateHITReviewStatus", writes=True)
def update_hit_review_status(call: Call) -> dict[str, Any]:
    hit, state = _existing(call)
    revert = call.parameters.flag("Revert")
    needed = "Reviewing" if revert else "Reviewable"
    if state != needed:
        raise _wrong_state(hit, state, needed)
    hit.reviewing = not revert
    return {}


@operation("DeleteHIT", writes=True)
def delete_hit(call: Call) -> dict[str, Any]:
    """Take a finished HIT out of the lists. Its answers stay: what was paid for is never thrown away."""
    hit, state = _existing(call)
    if state not in ("Reviewable", "Reviewing"):
        raise _wrong_state(hit, state, "Reviewable")
    waiting = select(Assignment.id).where(Assignment.hit_id == hit.id, Assignment.status == SUBMITTED).limit(1)
    if call.session.scalar(waiting) is not None:
        raise RequestError(
            "InvalidHITState", f"Hit {hit.id} has assignments that are neither approved nor rejected yet."
        )
    hit.disposed = True
    return {}


@operation("UpdateExpirationForHIT", writes=True)
def update_expiration_for_hit(call: Call) -> dict[str, Any]:
    """Move the end of a HIT; a moment in the past ends it now. Leases that run may still be finished."""
    hit, state = _existing(call)
    if state == "Disposed":
        raise _wrong_state(hit, state, "Assignable, Unassignable, Reviewable, Reviewing")
    moment = call.parameters.moment("ExpireAt")
    if moment > call.now + YEAR:
        raise invalid("ExpireAt is more than 365 days ahead")
    if moment > call.now:
        hit.expiration, hit.reviewing = moment, False
        require_funds(call, _price(call, hit))
    else:
        hit.expiration = min(hit.expiration, call.now)
    return {}


@operation("CreateAdditionalAssignmentsForHIT", writes=True)
def create_additional_assignments(call: Call) -> dict[str, Any]:
    number = call.parameters.integer("NumberOfAdditionalAssignments", 1, _MOST_ASSIGNMENTS)
    done = call.token_result("CreateAdditionalAssignmentsForHIT")
    if done is not None:
        raise RequestError(
            "DuplicateRequest", f"The request ID {done} has already been processed with this UniqueRequestToken."
        )
    hit, state = _existing(call)
    if state == "Disposed":
        raise _wrong_state(hit, state, "Assignable, Unassignable, Reviewable, Reviewing")
    total = hit.max_assignments + number
    if hit.max_assignments < 10 <= total:
        raise RequestError(
            "InvalidMaximumAssignmentsIncrease",
            f"Hit {hit.id} was made for fewer than 10 assignments and cannot have {total}; create another HIT.",
        )
    if total > _MOST_ASSIGNMENTS:
        raise invalid(f"a HIT has at most {_MOST_ASSIGNMENTS} assignments")
    hit.max_assignments = total
    if hit.expiration > call.now:
        hit.reviewing = False
    call.remember_token("CreateAdditionalAssignmentsForHIT", hit.id)
    require_funds(call, _price(call, hit))
    return {}


def described(call: Call, found: Sequence[Hit]) -> list[dict[str, Any]]:
    """HITs as the wire shows them."""
    numbers = hits.counts(call.session, [hit.id for hit in found], call.now)
    kinds = {
        kind.id: kind
        for kind in call.session.scalars(select(HitType).where(HitType.id.in_({hit.hit_type_id for hit in found})))
    }
    return [_described(hit, kinds[hit.hit_type_id], numbers[hit.id], call.now) for hit in found]


def _described(hit: Hit, kind: HitType, count: hits.Counts, now: float) -> dict[str, Any]:
    state = hits.status(hit, count, now)
    answer = {
        "HITId": hit.id,
        "HITTypeId": hit.hit_type_id,
        "HITGroupId": kind.group_id,
        "CreationTime": hit.created,
        "Title": kind.title,
        "Description": kind.description,
        "Question": hit.question,
        "Keywords": kind.keywords,
        "HITStatus": state,
        "MaxAssignments": hit.max_assignments,
        "Reward": to_dollars(kind.reward),
        "AutoApprovalDelayInSeconds": kind.auto_approval_delay,
        "Expiration": hit.expiration,
        "AssignmentDurationInSeconds": kind.assignment_duration,
        "QualificationRequirements": kind.qualification_requirements,
        "HITReviewStatus": "NotReviewed",
        "NumberOfAssignmentsPending": count.pending,
        "NumberOfAssignmentsAvailable": max(hit.max_assignments - count.taken, 0) if state == "Assignable" else 0,
        "NumberOfAssignmentsCompleted": count.completed,
    }
    if hit.requester_annotation is not None:
        answer["RequesterAnnotation"] = hit.requester_annotation
    return answer


def _refuse_repeated(call: Call) -> None:
    done = call.token_result("CreateHIT")
    if done is not None:
        raise RequestError(
            "HITAlreadyExists", f'The HIT with ID "{done}" already exists: it was made with this UniqueRequestToken.'
        )


def _create(call: Call, kind: HitType) -> dict[str, Any]:
    parameters = call.parameters
    parameters.refuse("AssignmentReviewPolicy", "HITReviewPolicy", "HITLayoutId", "HITLayoutParameters")
    xml = parameters.text("Question", questions.MAXIMUM)
    facts = questions.facts(questions.parse(xml))
    hit = Hit(
        id=new_id(),
        hit_type_id=kind.id,
        created=call.now,
        expiration=call.now + parameters.integer("LifetimeInSeconds", 30, YEAR),
        max_assignments=parameters.integer("MaxAssignments", 1, _MOST_ASSIGNMENTS, default=1),
        question=xml,
        media_key=facts["media"][0] if facts and facts["media"] else None,
        facts=facts,
        requester_annotation=parameters.optional_text("RequesterAnnotation", 255),
        reviewing=False,
        disposed=False,
    )
    call.session.add(hit)
    call.remember_token("CreateHIT", hit.id)
    require_funds(call, hit.max_assignments * kind.reward)
    return {"HIT": described(call, [hit])[0]}


def _price(call: Call, hit: Hit) -> int:
    """What all places of a HIT cost, cents."""
    return hit.max_assignments * call.session.get_one(HitType, hit.hit_type_id).reward


def _existing(call: Call) -> tuple[Hit, str]:
    hit_id = call.parameters.entity("HITId")
    hit = hits.lock(call.session, hit_id)
    if hit is None:
        raise _unknown(hit_id)
    return hit, hits.status(hit, hits.counts(call.session, [hit_id], call.now)[hit_id], call.now)


def _unknown(hit_id: str) -> RequestError:
    return RequestError("HITDoesNotExist", f"Hit {hit_id} does not exist.")


def _wrong_state(hit: Hit, state: str, needed: str) -> RequestError:
    return RequestError(
        "InvalidHITState",
        f"This operation can be called with a status of: {needed}. Hit {hit.id} is {state}.",
    )
