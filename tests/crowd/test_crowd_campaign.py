"""Running a published campaign: pauses, ends, extensions, reports, extra answers, bonuses, verdicts, the gate."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from kloc.crowd import bonus, gate, money, redundancy, verdicts
from kloc.crowd.client import RefusedError
from kloc.crowd.consolidate import consolidate, from_stored
from kloc.crowd.extend import extend, pause, resume, settle, stop
from kloc.crowd.ingest import IngestSettings, ingest
from kloc.crowd.policy import GoldRecord, Policy, gold_records
from kloc.crowd.publish import publish
from kloc.crowd.reports import fetch_reports, handled, held, reported
from kloc.crowd.simulate import SimulatedWorker, work
from kloc.errors import CrowdError, UsageError
from kloc.store import crowd as queries
from kloc.store import revisions, videos
from kloc.store.tables import AssignmentRow, HitRow, LedgerRow, ReportRow

Make = Callable[..., Any]
JSON = {"Accept": "application/json"}
#: Marks everything exactly.
EXACT = {"miss": 0.0, "false_alarms": 0.0, "spread": 0.0, "merge": 0.0, "split": 0.0, "confusion": 0.0, "laziness": 0.0}


def rows(campaign: Any) -> list[HitRow]:
    with campaign.store.transaction() as session:
        return list(session.scalars(select(HitRow).order_by(HitRow.video_id)))


def answers(campaign: Any) -> list[AssignmentRow]:
    with campaign.store.transaction() as session:
        return list(session.scalars(select(AssignmentRow).order_by(AssignmentRow.assignment_id)))


def ledger(campaign: Any) -> money.Balance:
    with campaign.store.transaction() as session:
        return money.balance(session)


def at_endpoint(campaign: Any, row: HitRow) -> dict[str, Any]:
    found: dict[str, Any] = campaign.client.get_hit(HITId=row.hit_id)["HIT"]
    return found


def offered(campaign: Any, token: str) -> set[str]:
    home = httpx.get(f"{campaign.url}/w/{token}", headers=JSON).json()
    return {hit["hit_id"] for hit in home["open"]}


def published(make_campaign: Make, count: int, crew: int = 2, **changes: Any) -> tuple[Any, list[Any]]:
    campaign = make_campaign(count)
    hired = campaign.hire(tuple(SimulatedWorker(f"w{i}", **EXACT) for i in range(crew)))
    publish(campaign.store, campaign.client, campaign.items, campaign.settings(**changes), max_spend_mills=None)
    return campaign, hired


def lease(campaign: Any, token: str, hit_id: str) -> dict[str, Any]:
    answer = httpx.post(f"{campaign.url}/w/{token}/accept/{hit_id}", headers=JSON)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def hand_in(campaign: Any, assignment_id: str, answer: dict[str, Any] | str) -> None:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    form = {"assignmentId": assignment_id, "answer": text}
    httpx.post(f"{campaign.url}/mturk/externalSubmit", data=form, headers=JSON).raise_for_status()


def marks(*segments: tuple[float, float], **more: Any) -> dict[str, Any]:
    found = [{"label": "jump", "start": start, "end": end} for start, end in segments]
    facts = {"version": 1, "segments": found, "none": not found, "seconds_spent": 90.0, "watched": [[0, 40]]}
    return facts | more


class Cut:
    """A client that dies at one operation, before it or after the endpoint has acted."""

    def __init__(self, client: Any, operation: str, *, after: bool = False) -> None:
        self._client, self._operation, self._after = client, operation, after

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        if name != self._operation:
            return real

        def dies(**arguments: Any) -> Any:
            if self._after:
                real(**arguments)
            raise KeyboardInterrupt

        return dies


# -- pause, resume, stop, extend --------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True])
def test_a_pause_that_was_killed_is_finished_by_ingest_and_resume_gives_the_time_back(
    make_campaign: Make, after: bool
) -> None:
    campaign, crew = published(make_campaign, 1, lifetime_s=86_400)
    row = rows(campaign)[0]
    ends = at_endpoint(campaign, row)["Expiration"].timestamp()
    running = lease(campaign, crew[0][1], row.hit_id)
    dying: Any = Cut(campaign.client, "update_expiration_for_hit", after=after)
    with pytest.raises(KeyboardInterrupt):
        pause(campaign.store, dying, [row.token], "campaign-1", fees=money.NO_FEES)
    assert (offered(campaign, crew[1][1]) == set()) is after
    report = ingest(campaign.store, campaign.client)
    assert offered(campaign, crew[1][1]) == set()
    assert report.waiting == (row.token,)
    # Who was at work may hand in, and the task is not closed for lack of a lease.
    hand_in(campaign, running["assignment_id"], marks((1, 3)))
    report = ingest(campaign.store, campaign.client)
    assert (report.new, report.approved, report.waiting) == (1, 1, (row.token,))
    assert pause(campaign.store, campaign.client, [row.token], "campaign-1", fees=money.NO_FEES) == ()

    resumed: Any = Cut(campaign.client, "update_expiration_for_hit", after=after)
    with pytest.raises(KeyboardInterrupt):
        resume(campaign.store, resumed, [row.token])
    ingest(campaign.store, campaign.client)
    assert offered(campaign, crew[1][1]) == {row.hit_id}
    # It ends later by as long as it was paused: what it had left when it was paused, it has now.
    assert at_endpoint(campaign, row)["Expiration"].timestamp() == pytest.approx(ends, abs=120)
    assert at_endpoint(campaign, row)["Expiration"].timestamp() > ends
    assert resume(campaign.store, campaign.client, [row.token]) == ()


@pytest.mark.parametrize("after", [False, True])
def test_an_end_that_was_killed_is_finished_and_what_is_in_counts(make_campaign: Make, after: bool) -> None:
    campaign, crew = published(make_campaign, 2)
    first, second = rows(campaign)
    done = lease(campaign, crew[0][1], first.hit_id)
    hand_in(campaign, done["assignment_id"], marks((1, 3)))
    dying: Any = Cut(campaign.client, "update_expiration_for_hit", after=after)
    with pytest.raises(KeyboardInterrupt):
        stop(campaign.store, dying, [first.token, second.token], "campaign-1", fees=money.NO_FEES)
    stop(campaign.store, campaign.client, [first.token, second.token], "campaign-1", fees=money.NO_FEES)
    report = ingest(campaign.store, campaign.client)
    assert set(report.complete) == {first.token, second.token}
    assert [row.state for row in rows(campaign)] == ["closed", "closed"]
    assert ledger(campaign) == money.Balance(reserved=600, committed=100, released=500)
    assert offered(campaign, crew[1][1]) == set()


@pytest.mark.parametrize("operation", ["update_expiration_for_hit", "create_additional_assignments_for_hit"])
@pytest.mark.parametrize("after", [False, True])
def test_an_extension_killed_anywhere_happens_once(make_campaign: Make, operation: str, after: bool) -> None:
    campaign, _ = published(make_campaign, 2)
    wanted = {row.token: 4 for row in rows(campaign)}
    until = max(at_endpoint(campaign, row)["Expiration"].timestamp() for row in rows(campaign)) + 5 * 86_400
    dying: Any = Cut(campaign.client, operation, after=after)
    with pytest.raises(KeyboardInterrupt):
        extend(campaign.store, dying, wanted, max_spend_mills=800, until=until)
    changed, cost = extend(campaign.store, campaign.client, wanted, max_spend_mills=800, until=until)
    assert (len(changed), cost) == (2, 0)
    for row in rows(campaign):
        hit = at_endpoint(campaign, row)
        assert (hit["MaxAssignments"], row.wanted, row.expires_at) == (4, 4, None)
        assert hit["Expiration"].timestamp() == pytest.approx(until, abs=1)
    assert ledger(campaign) == money.Balance(reserved=800)


def test_a_dry_run_of_an_extension_writes_nothing_and_minds_the_cap(make_campaign: Make) -> None:
    campaign, _ = published(make_campaign, 2)
    wanted = {row.token: 5 for row in rows(campaign)}
    assert extend(campaign.store, campaign.client, wanted, max_spend_mills=1000, dry_run=True) == (tuple(wanted), 400)
    with pytest.raises(CrowdError, match=r"over the cap of \$0\.99"):
        extend(campaign.store, campaign.client, wanted, max_spend_mills=990, dry_run=True)
    with pytest.raises(CrowdError, match="fewer than 10 answers cannot grow to 10; 9 is the most"):
        extend(campaign.store, campaign.client, dict.fromkeys(wanted, 10), max_spend_mills=None)
    assert ledger(campaign) == money.Balance(reserved=600)
    assert {row.wanted for row in rows(campaign)} == {3}


def test_what_was_closed_is_extended_at_the_price_it_had(make_campaign: Make) -> None:
    fees = money.FeeTable(rate_permille=200)
    campaign = make_campaign(1)
    crew = campaign.hire(tuple(SimulatedWorker(f"w{i}", **EXACT) for i in range(3)))
    publish(
        campaign.store,
        campaign.client,
        campaign.items,
        campaign.settings(fees=fees, assignments=1),
        max_spend_mills=None,
    )
    work(campaign.url, crew, campaign.truth, 0, media_start=campaign.media_start)
    assert ingest(campaign.store, campaign.client).balance == money.Balance(reserved=120, committed=120)
    row = rows(campaign)[0]
    assert (row.state, row.cost_mills) == ("closed", 120)
    extend(campaign.store, campaign.client, {row.token: 3}, max_spend_mills=360)
    work(campaign.url, crew, campaign.truth, 0, media_start=campaign.media_start)
    assert ingest(campaign.store, campaign.client).balance == money.Balance(reserved=360, committed=360)


# -- reports ----------------------------------------------------------------------------------------------------------


def report_problem(campaign: Any, token: str, hit_id: str, kind: str) -> None:
    held_ = lease(campaign, token, hit_id)
    path = f"{campaign.url}/report/{held_['assignment_id']}"
    httpx.post(path, json={"kind": kind, "text": "grey only \x00\x1b[31m"}).raise_for_status()


def fetch(campaign: Any) -> int:
    return fetch_reports(campaign.store, campaign.client, "campaign-1", fees=money.NO_FEES)


def test_a_task_that_two_workers_report_is_paused_until_it_was_seen_to(make_campaign: Make) -> None:
    campaign, crew = published(make_campaign, 2, crew=4)
    first, second = rows(campaign)
    assert fetch(campaign) == 0
    report_problem(campaign, crew[0][1], first.hit_id, "does-not-play")
    assert (fetch(campaign), fetch(campaign)) == (1, 0)
    assert offered(campaign, crew[1][1]) == {first.hit_id, second.hit_id}
    with campaign.store.transaction() as session:
        assert [str(one) for one in reported(session)] == ["video-000: 1 worker reported a problem: does-not-play (1)"]
    # The second report comes as an answer, from a page that knows no other way.
    running = lease(campaign, crew[1][1], first.hit_id)
    hand_in(campaign, running["assignment_id"], {"problem": {"kind": "disturbing", "text": "blood"}})
    ingest(campaign.store, campaign.client)
    fetch(campaign)
    assert offered(campaign, crew[2][1]) == {second.hit_id}
    with campaign.store.transaction() as session:
        text = str(reported(session)[0])
        assert held(session) == {first.token}
    assert "video-000: 2 workers reported a problem: does-not-play (1), in an answer (1)" in text
    assert "kloc crowd resume --video video-000" in text
    assert [row.verdict["decision"] for row in answers(campaign)] == ["hold"]
    with campaign.store.transaction() as session:
        handled(session, [first.token])
    resume(campaign.store, campaign.client, [first.token])
    fetch(campaign)
    ingest(campaign.store, campaign.client)
    assert offered(campaign, crew[2][1]) == {first.hit_id, second.hit_id}
    report_problem(campaign, crew[2][1], first.hit_id, "other")
    assert fetch(campaign) == 1
    assert offered(campaign, crew[3][1]) == {first.hit_id, second.hit_id}


# -- extra answers ----------------------------------------------------------------------------------------------------


def ask(campaign: Any, **changes: Any) -> redundancy.Asked:
    values: dict[str, Any] = {"most": 1, "cap_mills": 10_000, "now": 1.0} | changes
    with campaign.store.transaction() as session:
        found = consolidate(from_stored(queries.answers(session)), ["jump"])
        return redundancy.ask_for_more(session, queries.hits(session), found, **values)


def test_only_what_is_in_doubt_gets_one_more_answer_within_the_cap(make_campaign: Make) -> None:
    campaign, crew = published(make_campaign, 3, crew=3, assignments=2)
    for row, second in zip(rows(campaign), [(1.0, 5.0), (20.0, 25.0), (30.0, 39.0)], strict=True):
        for (_, token), segment in zip(crew, [(1.0, 5.0), second], strict=False):
            hand_in(campaign, lease(campaign, token, row.hit_id)["assignment_id"], marks(segment))
    report = ingest(campaign.store, campaign.client)
    assert len(report.complete) == 3
    # Everybody known has answered: whom should kloc ask?
    assert ask(campaign) == redundancy.Asked()
    publish(  # a third worker becomes known elsewhere
        campaign.store,
        campaign.client,
        [replace(campaign.items[0], round=1)],
        campaign.settings(assignments=1),
        max_spend_mills=None,
    )
    other = next(row for row in rows(campaign) if row.round == 1)
    hand_in(campaign, lease(campaign, crew[2][1], other.hit_id)["assignment_id"], marks((1.0, 5.0)))
    ingest(campaign.store, campaign.client)
    assert ask(campaign, cap_mills=None) == redundancy.Asked()  # it would cost something
    assert ask(campaign, most=0) == redundancy.Asked()
    spent = ledger(campaign).exposure
    asked = ask(campaign, cap_mills=spent + 100)
    assert len(asked.tokens) == 1
    assert len(asked.refused) == 1
    assert "over the cap" in asked.refused[0]
    chosen = next(row for row in rows(campaign) if row.token in asked.tokens)
    assert chosen.video_id in ("video-001", "video-002")
    assert (chosen.wanted, chosen.extra, chosen.max_assignments) == (3, 1, 3)
    assert ledger(campaign).exposure == spent + 100
    # Killed before the endpoint heard of it: the next ingest tells it, once.
    assert at_endpoint(campaign, chosen)["MaxAssignments"] == 2
    assert ingest(campaign.store, campaign.client).waiting == (chosen.token,)
    assert at_endpoint(campaign, chosen)["MaxAssignments"] == 3
    settle(campaign.store, campaign.client, chosen.token)
    assert at_endpoint(campaign, chosen)["MaxAssignments"] == 3
    assert len(ask(campaign).tokens) == 1  # the other one; this one has had its extra answer


def test_a_crew_of_three_does_not_wait_for_a_fourth(make_campaign: Make) -> None:
    campaign, crew = published(make_campaign, 1, crew=4)
    row = rows(campaign)[0]
    for (_, token), answer in zip(crew, ["rubbish", marks((1, 3)), marks((1, 3))], strict=False):
        hand_in(campaign, lease(campaign, token, row.hit_id)["assignment_id"], answer)
    told = ingest(campaign.store, campaign.client, settings=IngestSettings(cap_mills=1000))
    assert (told.replaced, told.complete) == ((), (row.token,))
    why = "1 of 3 answers cannot be used, and nobody else is known to ask; `kloc crowd extend --video video-000` asks"
    assert told.short == (("video-000", f"{why} others"),)
    # Another worker becomes known, but has reported the task: it is not offered to them again.
    campaign.introduce(crew[3:])
    given = {one.worker_id for one in answers(campaign) if one.token == row.token}
    with campaign.store.transaction() as session:
        (other,) = queries.known_workers(session) - given
        session.add(ReportRow(id=1, token=row.token, worker_id=other, kind="other", text="", at=1.0))
    assert ingest(campaign.store, campaign.client, settings=IngestSettings(cap_mills=1000)).replaced == ()
    with campaign.store.transaction() as session:
        session.delete(session.get_one(ReportRow, (1, row.token)))
    assert ingest(campaign.store, campaign.client, settings=IngestSettings(cap_mills=1000)).replaced == (
        ("video-000", 1),
    )


# -- verdicts and bonuses ---------------------------------------------------------------------------------------------


def one_answer(make_campaign: Make, answer: Any = None) -> tuple[Any, str]:
    campaign, crew = published(make_campaign, 1, assignments=1)
    row = rows(campaign)[0]
    running = lease(campaign, crew[0][1], row.hit_id)
    hand_in(campaign, running["assignment_id"], marks((1, 3)) if answer is None else answer)
    ingest(campaign.store, campaign.client, settings=IngestSettings(Policy("manual")))
    return campaign, running["assignment_id"]


def test_a_persons_word_is_kept_carried_out_and_stands_above_the_policy(make_campaign: Make) -> None:
    campaign, assignment = one_answer(make_campaign)
    decide = verdicts.decide
    with pytest.raises(UsageError, match="needs a reason"):
        decide(campaign.store, campaign.client, assignment, "reject", " ", "person", 1.0)
    with pytest.raises(CrowdError, match="not known in this workspace"):
        decide(campaign.store, campaign.client, "NOBODY", "approve", "", "person", 1.0)
    assert decide(campaign.store, campaign.client, assignment, "hold", "later", "person", 1.0) == "Submitted"
    assert ingest(campaign.store, campaign.client).undecided == 1  # the policy would have approved
    # Killed after the verdict was written: the next ingest tells the endpoint.
    dying: Any = Cut(campaign.client, "reject_assignment")
    with pytest.raises(KeyboardInterrupt):
        decide(campaign.store, dying, assignment, "reject", "Please mark every jump.", "person", 2.0)
    assert campaign.client.get_assignment(AssignmentId=assignment)["Assignment"]["AssignmentStatus"] == "Submitted"
    report = ingest(campaign.store, campaign.client)
    assert (report.rejected, report.approved) == (1, 0)
    found = campaign.client.get_assignment(AssignmentId=assignment)["Assignment"]
    assert (found["AssignmentStatus"], found["RequesterFeedback"]) == ("Rejected", "Please mark every jump.")
    verdict = answers(campaign)[0].verdict
    assert verdict == {"decision": "reject", "reason": "Please mark every jump.", "by": "person", "at": 2.0}
    # Overruled: approved and paid after all, once, within the cap.
    stop(campaign.store, campaign.client, [rows(campaign)[0].token], "campaign-1", fees=money.NO_FEES)
    assert ingest(campaign.store, campaign.client).balance.exposure == 0
    with pytest.raises(CrowdError, match="over the cap"):
        decide(campaign.store, campaign.client, assignment, "approve", "", "person", 3.0, max_spend_mills=50)
    for _ in range(2):
        assert decide(campaign.store, campaign.client, assignment, "approve", "", "person", 3.0) == "Approved"
    assert ledger(campaign).committed == 100
    with pytest.raises(CrowdError, match="cannot be taken back"):
        decide(campaign.store, campaign.client, assignment, "reject", "no", "person", 4.0)


def test_a_verdict_that_the_endpoint_refuses_is_not_pretended(make_campaign: Make) -> None:
    campaign, assignment = one_answer(make_campaign)
    before = answers(campaign)[0].verdict

    class Refusing(Cut):
        def approve_assignment(self, **arguments: Any) -> Any:
            return self._client.approve_assignment(AssignmentId="NOSUCHASSIGNMENT")

    refusing: Any = Refusing(campaign.client, "")
    with pytest.raises(RefusedError, match="does not know this assignment"):
        verdicts.decide(campaign.store, refusing, assignment, "approve", "", "person", 1.0)
    assert answers(campaign)[0].verdict == before
    assert ledger(campaign).committed == 0


def test_what_the_endpoint_approves_by_itself_is_booked_as_its_word(make_campaign: Make) -> None:
    campaign, assignment = one_answer(make_campaign)
    campaign.client.approve_assignment(AssignmentId=assignment)  # as its automatic approval does
    report = ingest(campaign.store, campaign.client, settings=IngestSettings(Policy("manual")))
    assert report.balance == money.Balance(reserved=100, committed=100)
    said = answers(campaign)[0].verdict
    assert (said["decision"], said["by"]) == ("approve", "endpoint")


SPAM = {"segments": [], "signs": ["hasty", "whole-video", "unwatched"], "seconds_spent": 2.0}


@pytest.mark.parametrize(
    ("policy", "answer", "record", "age", "decision"),
    [
        (Policy("readable"), SPAM, GoldRecord(9, 0.0), 0, "approve"),
        (Policy("quality"), SPAM, None, 0, "reject"),
        (Policy("quality", grace_s=3600), SPAM, None, 3599, "hold"),
        (Policy("quality", grace_s=3600), SPAM, None, 3601, "reject"),
        (Policy("quality"), SPAM, GoldRecord(3, 0.9), 0, "approve"),
        (Policy("quality"), SPAM, GoldRecord(2, 0.9), 0, "reject"),
        (Policy("quality"), SPAM | {"signs": ["hasty", "whole-video"]}, None, 0, "approve"),
        (Policy("quality"), {"signs": []}, GoldRecord(3, 0.19), 0, "reject"),
        (Policy("quality"), {"signs": []}, GoldRecord(2, 0.0), 0, "approve"),
        (Policy("quality"), {"signs": []}, GoldRecord(3, 0.2), 0, "approve"),
        (Policy("quality"), None, GoldRecord(9, 0.0), 0, "hold"),
        (Policy("manual"), SPAM, None, 10**9, "hold"),
    ],
)
def test_the_policy_turns_down_what_is_proven_and_nothing_in_doubt(
    policy: Policy, answer: Any, record: GoldRecord | None, age: float, decision: str
) -> None:
    row = AssignmentRow(assignment_id="a", worker_id="w", submitted_at=1000.0, answer=answer)
    row.problem = None if answer is not None else "not JSON"
    said, reason = policy.judge(row, 60.0, {} if record is None else {"w": record}, 1000.0 + age)
    assert said == decision
    assert reason
    assert len(reason) <= verdicts.MAX_REASON
    if said == "reject":
        assert reason.endswith("write to the requester.")


def test_who_fails_on_gold_is_found_out_and_gold_stays_what_it_is(make_campaign: Make) -> None:
    campaign = make_campaign(4)
    gold = [replace(entry, purpose="gold") for entry in campaign.items[:3]]
    truth = [campaign.truth[entry.item.video_id] for entry in gold]
    with campaign.store.transaction() as session:
        videos.add_classes(session, ["jump"])
        for annotation in truth:
            revisions.append(session, annotation, "import")
    crew = campaign.hire((SimulatedWorker("good", **EXACT), SimulatedWorker("bad", **EXACT)))
    items = [*gold, campaign.items[3]]
    publish(campaign.store, campaign.client, items, campaign.settings(assignments=2), max_spend_mills=None)
    for row in rows(campaign):
        known = campaign.truth[row.video_id]
        right = [(i.start - row.media_start, i.end - row.media_start) for i in known.instances]
        wrong = [(39.0, 39.5)]
        for (worker, token), segments in zip(crew, [right, wrong], strict=True):
            assert worker.name in ("good", "bad")
            hand_in(campaign, lease(campaign, token, row.hit_id)["assignment_id"], marks(*segments))
    report = ingest(campaign.store, campaign.client, settings=IngestSettings(Policy("quality")))
    assert (report.approved, report.rejected) == (4, 4)
    with campaign.store.transaction() as session:
        records = gold_records(session)
        assert [revisions.to_annotation(row) for row in revisions.current_rows(session)] == sorted(
            truth, key=lambda a: a.item
        )
    # Also what was turned down counts for the record: a worker does not come back with a clean one.
    record = {row.status: records[row.worker_id] for row in answers(campaign)}
    assert record == {"Approved": GoldRecord(3, 1.0), "Rejected": GoldRecord(3, 0.0)}
    told = [row.verdict["reason"] for row in answers(campaign) if row.status == "Rejected"]
    assert all("On 3 videos whose right answer is known your marks agree with it by 0 %" in text for text in told)


@pytest.mark.parametrize("after", [False, True])
def test_a_bonus_is_paid_once_whatever_gets_killed(make_campaign: Make, after: bool) -> None:
    campaign, _ = one_answer(make_campaign)
    ingest(campaign.store, campaign.client)
    fees = money.FeeTable(rate_permille=200)
    with campaign.store.transaction() as session:
        assert bonus.grant(session, answers(campaign), 50, fees, cap_mills=150, now=1.0) == 1
    with campaign.store.transaction() as session:
        mine = list(session.scalars(select(AssignmentRow)))
        assert bonus.grant(session, mine, 50, fees, cap_mills=160, now=1.0) == 0
        assert bonus.grant(session, mine, 50, fees, cap_mills=160, now=1.0) == 0
    dying: Any = Cut(campaign.client, "send_bonus", after=after)
    with pytest.raises(KeyboardInterrupt):
        bonus.pay(campaign.store, dying, "good work", 2.0)
    assert ledger(campaign) == money.Balance(reserved=160, committed=100)
    assert bonus.pay(campaign.store, campaign.client, "good work", 2.0) == 1
    assert bonus.pay(campaign.store, campaign.client, "good work", 2.0) == 0
    assert ledger(campaign) == money.Balance(reserved=160, committed=160)
    paid = campaign.client.list_bonus_payments(AssignmentId=mine[0].assignment_id)["BonusPayments"]
    assert [payment["BonusAmount"] for payment in paid] == ["0.05"]


def test_a_bonus_for_what_was_turned_down_since_is_taken_back(make_campaign: Make) -> None:
    campaign, assignment = one_answer(make_campaign)
    with campaign.store.transaction() as session:
        bonus.grant(session, session.scalars(select(AssignmentRow)), 50, money.NO_FEES, cap_mills=None, now=1.0)
    assert bonus.pay(campaign.store, campaign.client, "good work", 2.0) == 0  # nobody has approved it yet
    verdicts.decide(campaign.store, campaign.client, assignment, "reject", "no", "person", 3.0)
    assert bonus.pay(campaign.store, campaign.client, "good work", 4.0) == 0
    with campaign.store.transaction() as session:
        token = bonus.bonus_token(assignment)
        entries = session.scalars(select(LedgerRow.kind).where(LedgerRow.token == token)).all()
    assert sorted(entries) == ["released", "reserved"]


# -- the gate ---------------------------------------------------------------------------------------------------------


def test_the_gate_is_made_once_and_made_anew_for_another_guideline(make_campaign: Make) -> None:
    campaign = make_campaign(2)
    practice = [gate.GoldTask(campaign.items[0], ({"label": "jump", "start": 1.0, "end": 3.5},))]
    settings = campaign.settings()
    assert gate.requirements(campaign.client, [], settings, 80) == ()
    dying: Any = Cut(campaign.client, "create_qualification_type", after=True)
    with pytest.raises(KeyboardInterrupt):
        gate.requirements(dying, practice, settings, 80)
    made = gate.requirements(campaign.client, practice, settings, 80)
    assert gate.requirements(campaign.client, practice, settings, 80) == made
    listed = {"MustBeRequestable": False, "MustBeOwnedByCaller": True}
    (kind,) = campaign.client.list_qualification_types(**listed)["QualificationTypes"]
    assert [r["QualificationTypeId"] for r in made] == [kind["QualificationTypeId"]]
    assert {"segments": [{"label": "jump", "start": 1.0, "end": 3.5}]}.items() <= json.loads(
        kind["AnswerKey"].partition("<JSON>")[2].partition("</JSON>")[0]
    ).items()
    other = gate.requirements(campaign.client, practice, campaign.settings(instructions="Mark every hop."), 80)
    assert other != made
    # Whoever has not passed can look at a task but is not given it.
    (_, token), *_ = campaign.hire((SimulatedWorker("new"),))
    gated = replace(settings, qualifications=made)
    publish(campaign.store, campaign.client, campaign.items, gated, max_spend_mills=None)
    hit_id = rows(campaign)[0].hit_id
    assert httpx.post(f"{campaign.url}/w/{token}/accept/{hit_id}", headers=JSON).is_error
    assert httpx.get(f"{campaign.url}/w/{token}/preview/{hit_id}", headers=JSON).is_success
