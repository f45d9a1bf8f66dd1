"""Publishing items as HITs: exactly once, within the cap, whatever gets killed when.

The order is the point. One transaction writes every intent (a :class:`~kloc.store.tables.HitRow` in state
``intended``) and reserves its money; only then is the endpoint called, with a token derived from campaign, round and
item. A killed run leaves intents; the next one sends them again with the same tokens, and a HIT that already exists
is found by the annotation it carries.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from kloc.crowd import money, page
from kloc.crowd.client import RefusedError, call, pages
from kloc.crowd.plan import Plan, PublishItem, PublishSettings, annotation_text, make_plan
from kloc.errors import CrowdError, UsageError
from kloc.store.crowd import hits_by_token, keep_guideline, lock_ledger
from kloc.store.database import Store
from kloc.store.tables import HitRow

if TYPE_CHECKING:
    from mypy_boto3_mturk import MTurkClient

__all__ = [
    "HitScan",
    "PublishItem",
    "PublishReport",
    "PublishSettings",
    "check_account",
    "mark_created",
    "mark_failed",
    "place",
    "publish",
]

#: The protocol remembers a token for 24 h; an hour is kept for clocks that disagree.
TOKEN_LIFE_S = 23 * 3600.0

#: Refusals that every further HIT would meet as well.
_STOPPING = frozenset({"insufficientfunds", "accessdenied", "accessdeniedexception", "signaturedoesnotmatch"})


@dataclass(frozen=True, slots=True)
class PublishReport:
    """What a call to :func:`publish` did (or, for a dry run, would do). Ids are tokens; money in mills."""

    created: tuple[str, ...]
    adopted: tuple[str, ...]
    already: tuple[str, ...]
    #: (video id, why the endpoint refused it)
    failed: tuple[tuple[str, str], ...]
    cost_mills: int
    balance: money.Balance
    dry_run: bool = False

    def __str__(self) -> str:
        verb = "would publish" if self.dry_run else "published"
        parts = [f"{verb} {len(self.created)} HITs for {money.dollars(self.cost_mills)}"]
        parts += [f"{len(self.adopted)} found at the endpoint"] if self.adopted else []
        parts += [f"{len(self.already)} published before"] if self.already else []
        parts += [f"{len(self.failed)} refused"] if self.failed else []
        return f"{', '.join(parts)}; campaign: {self.balance}"


def publish(
    store: Store,
    client: MTurkClient,
    items: Sequence[PublishItem],
    settings: PublishSettings,
    *,
    max_spend_mills: int | None,
    dry_run: bool = False,
    now: Callable[[], float] = time.time,
    render: Callable[[Mapping[str, Any]], str] = page.render,
) -> PublishReport:
    """Publish each item as one HIT with ``settings.assignments`` assignments, exactly once.

    Everything is checked before anything is written or called: the pages, the cap (``max_spend_mills`` bounds the
    whole campaign's ledger; ``None`` is no cap) and the account's balance. A HIT that the endpoint refuses is
    marked ``failed``, its money released, and the others go on; the next call tries it again. A dry run makes no
    call and writes nothing.

    Raises :class:`UsageError` for items that cannot be shown, :class:`CrowdError` where the cap or the balance is
    too low or the endpoint cannot be reached; calling again continues where this call stopped.
    """
    plans = [make_plan(entry, settings, render) for entry in items]
    tokens = [plan.token for plan in plans]
    if len(set(tokens)) != len(tokens):
        raise UsageError("an item is to be published twice in one round; give each once")
    cost = settings.fees.hit_cost(settings.reward_mills, settings.assignments)
    with store.transaction() as session:
        known = hits_by_token(session, tokens)
        ledger = money.balance(session)
    todo = [plan for plan in plans if _is_open(known.get(plan.token))]
    already = tuple(plan.token for plan in plans if not _is_open(known.get(plan.token)))
    if dry_run:
        _check_cap(ledger, _missing(store, todo, cost), len(todo), max_spend_mills)
        planned = tuple(plan.token for plan in todo)
        return PublishReport(planned, (), already, (), len(todo) * cost, ledger, dry_run=True)
    if not todo:
        return PublishReport((), (), already, (), 0, ledger)
    endpoint = client.meta.endpoint_url
    for plan in todo:
        _check_endpoint(known.get(plan.token), endpoint)
    scan = HitScan(client, settings.campaign)
    found = {p.token: hit for p in todo if _needs_search(known.get(p.token), p, now()) and (hit := scan.find(p.token))}
    missing = _missing(store, [plan for plan in todo if plan.token not in found], cost)
    _check_cap(ledger, missing, len(todo), max_spend_mills)
    check_account(client, missing)
    hit_type = _hit_type(client, settings)
    todo = _write_intents(store, todo, settings, endpoint, max_spend_mills, now(), found)
    created: list[str] = []
    adopted: list[str] = []
    failed: list[tuple[str, str]] = []
    for plan in todo:
        try:
            hit = found.get(plan.token)
            new = hit is None
            if hit is None:
                hit, new = _create(client, plan, hit_type, settings, scan)
        except RefusedError as error:
            if error.code.lower() in _STOPPING:
                raise
            mark_failed(store, plan.token, now())
            failed.append((plan.entry.item.video_id, str(error)))
            continue
        mark_created(store, plan.token, hit, settings.fees, max_spend_mills, now())
        (created if new else adopted).append(plan.token)
    with store.transaction() as session:
        spent = money.balance(session, [*created, *adopted]).exposure
        return PublishReport(tuple(created), tuple(adopted), already, tuple(failed), spent, money.balance(session))


class HitScan:
    """Finds the campaign's HITs at the endpoint by their annotation; lists them once, and again only on demand."""

    def __init__(self, client: MTurkClient, campaign: str) -> None:
        self._client = client
        self._campaign = campaign
        self._hits: dict[str, Mapping[str, Any]] | None = None

    def find(self, token: str, *, again: bool = False) -> Mapping[str, Any] | None:
        """The HIT that carries ``token``; of several the oldest."""
        if self._hits is None or (again and token not in self._hits):
            self._hits = self._list()
        return self._hits.get(token)

    def _list(self) -> dict[str, Mapping[str, Any]]:
        hits: dict[str, Mapping[str, Any]] = {}
        for hit in pages("looking for published HITs", self._client, "list_hits", "HITs"):
            token = _token_in(hit.get("RequesterAnnotation", ""), self._campaign)
            if token is None or hit.get("HITStatus") == "Disposed":
                continue
            if token not in hits or _age(hit) < _age(hits[token]):
                hits[token] = hit
        return hits


def _age(hit: Mapping[str, Any]) -> tuple[float, str]:
    return hit["CreationTime"].timestamp(), hit["HITId"]


def _token_in(annotation: str, campaign: str) -> str | None:
    try:
        data = json.loads(annotation)
    except ValueError:
        return None  # somebody else's HIT on the same account
    if not isinstance(data, dict) or data.get("kloc") != 1 or data.get("campaign") != campaign:
        return None
    token = data.get("token")
    return token if isinstance(token, str) else None


def _is_open(row: HitRow | None) -> bool:
    return row is None or row.state in ("intended", "failed")


def _missing(store: Store, plans: Sequence[Plan], cost: int) -> int:
    """What is still to be reserved for ``plans``, mills; an earlier run may have reserved some."""
    with store.transaction() as session:
        return len(plans) * cost - money.balance(session, [plan.token for plan in plans]).exposure


def _check_cap(ledger: money.Balance, missing: int, count: int, cap: int | None) -> None:
    total = ledger.exposure + missing
    if cap is not None and missing > 0 and total > cap:
        raise CrowdError(
            f"publishing {count} HITs costs {money.dollars(missing)} and brings the campaign to "
            f"{money.dollars(total)}, over the cap of {money.dollars(cap)}; raise --max-spend or publish fewer"
        )


def check_account(client: MTurkClient, missing: int) -> None:
    """Raise :class:`CrowdError` unless the account holds ``missing`` mills."""
    if missing <= 0:
        return
    answer = call("asking for the account's balance", client.get_account_balance)
    available = money.parse_dollars(answer.get("AvailableBalance", "0"), "the endpoint's balance")
    if available < missing:
        raise CrowdError(
            f"publishing costs {money.dollars(missing)} but the account holds {money.dollars(available)}; "
            "add money or publish fewer"
        )


def _check_endpoint(row: HitRow | None, endpoint: str) -> None:
    if row is not None and row.state == "intended" and place(row.endpoint) != place(endpoint):
        raise CrowdError(
            f"video {row.video_id!r}: publishing began at {row.endpoint} and may have succeeded there; finish it "
            f"there before you publish at {endpoint}"
        )


def place(endpoint: str) -> str:
    """What tells endpoints apart."""
    parts = urlsplit(endpoint)
    # One's own endpoint may come back on another port; elsewhere another address is another place.
    return "loopback" if parts.hostname in ("127.0.0.1", "localhost", "::1") else endpoint.rstrip("/").lower()


def _needs_search(row: HitRow | None, plan: Plan, now: float) -> bool:
    """Whether the token alone cannot tell if the HIT exists: it is too old, or it was sent with another content."""
    if row is None or row.state != "intended":
        return False
    return now - row.intended_at > TOKEN_LIFE_S or now < row.intended_at or row.payload_hash != plan.payload_hash


def _hit_type(client: MTurkClient, settings: PublishSettings) -> str:
    requirements: Any = [dict(requirement) for requirement in settings.qualifications]
    answer = call(
        "registering the HIT type",
        client.create_hit_type,
        Title=settings.title,
        Description=settings.description,
        Keywords=settings.keywords,
        Reward=money.wire_amount(settings.reward_mills),
        AssignmentDurationInSeconds=settings.time_limit_s,
        AutoApprovalDelayInSeconds=settings.auto_approval_s,
        **({"QualificationRequirements": requirements} if requirements else {}),
    )
    return answer["HITTypeId"]


def _write_intents(
    store: Store,
    plans: Sequence[Plan],
    settings: PublishSettings,
    endpoint: str,
    cap: int | None,
    now: float,
    found: Collection[str],
) -> list[Plan]:
    """Intents and reservations of all plans in one transaction; those that another process has just published
    are left out of the result. What was ``found`` at the endpoint keeps the intent it was published with."""
    cost = settings.fees.hit_cost(settings.reward_mills, settings.assignments)
    with store.transaction() as session:
        lock_ledger(session)
        known = hits_by_token(session, [plan.token for plan in plans])
        todo = [plan for plan in plans if _is_open(known.get(plan.token))]
        fresh = [plan for plan in todo if plan.token not in found]
        for plan in fresh:
            keep_guideline(session, plan.guideline, plan.content)
            _write_intent(session, known.get(plan.token), plan, settings, endpoint, now)
        session.flush()
        money.reserve_many(session, {plan.token: cost for plan in fresh}, cap_mills=cap, at=now)
    return todo


def _write_intent(
    session: Session, row: HitRow | None, plan: Plan, settings: PublishSettings, endpoint: str, now: float
) -> None:
    if row is None:
        row = HitRow(token=plan.token, round=plan.entry.round, video_id=plan.entry.item.video_id)
        row.start, row.end = plan.entry.item.start, plan.entry.item.end
        session.add(row)
    row.classes = list(plan.entry.classes)
    row.payload_hash = plan.payload_hash
    row.state = "intended"
    row.intended_at = now
    row.endpoint = endpoint
    row.guideline = plan.guideline
    row.reward_mills = settings.reward_mills
    row.cost_mills = settings.fees.assignment_cost(settings.reward_mills, settings.assignments)
    row.max_assignments = row.wanted = settings.assignments
    row.media_start = plan.entry.media_start
    row.purpose = plan.entry.purpose
    row.prefill = [dict(segment) for segment in plan.entry.prefill] or None


def _create(
    client: MTurkClient, plan: Plan, hit_type: str, settings: PublishSettings, scan: HitScan
) -> tuple[Mapping[str, Any], bool]:
    """The HIT and whether this call made it."""
    about = f"video {plan.entry.item.video_id!r}"
    try:
        answer = call(
            about,
            client.create_hit_with_hit_type,
            HITTypeId=hit_type,
            MaxAssignments=settings.assignments,
            LifetimeInSeconds=settings.lifetime_s,
            Question=plan.question,
            RequesterAnnotation=annotation_text(settings.campaign, plan.entry.round, plan.token),
            UniqueRequestToken=plan.token,
        )
    except RefusedError as error:
        if error.code.lower() != "hitalreadyexists":
            raise
        hit = scan.find(plan.token, again=True)
        if hit is None:
            raise CrowdError(
                f"{about}: the endpoint says that its HIT exists but does not list it; run again"
            ) from None
        return hit, False
    return answer["HIT"], True


def mark_created(
    store: Store, token: str, hit: Mapping[str, Any], fees: money.FeeTable, cap: int | None, now: float
) -> None:
    """Write down that HIT ``token`` exists; what it costs follows from what the endpoint says it is."""
    with store.transaction() as session:
        lock_ledger(session)
        row = session.get_one(HitRow, token)
        row.state = "created"
        row.hit_id = hit["HITId"]
        row.hit_type_id = hit.get("HITTypeId")
        places = hit.get("MaxAssignments", row.max_assignments)
        reward = row.reward_mills
        if hit.get("Reward") is not None:
            reward = money.parse_dollars(hit["Reward"], f"reward of HIT {row.hit_id}")
        if (reward, places) != (row.reward_mills, row.max_assignments):  # it was made with other settings
            row.reward_mills, row.cost_mills = reward, fees.assignment_cost(reward, places)
            row.max_assignments = row.wanted = places
        money.reserve_many(session, {token: row.cost_mills * row.max_assignments}, cap_mills=cap, at=now)


def mark_failed(store: Store, token: str, now: float) -> None:
    """Write down that HIT ``token`` does not exist, and release its money."""
    with store.transaction() as session:
        session.get_one(HitRow, token).state = "failed"
        money.release_rest(session, token, at=now)
