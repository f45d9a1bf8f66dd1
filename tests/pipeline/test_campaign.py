"""The commands of a campaign on a real workspace: settings, gold, gate, proposals, ends, extra answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from kloc.cli import app
from kloc.config import template
from kloc.errors import CrowdError, UsageError
from kloc.files import write_text
from kloc.localizers.predictions import PredictionWriter
from kloc.pipeline import campaign, crowd, exporting, publication, selecting, serving, state, tasks
from kloc.pipeline.common import SIMULATED
from kloc.pipeline.telling import Silent
from kloc.records import Detection, Instance, Level, Prediction
from kloc.store import artefacts, meta, revisions, rounds
from kloc.store import crowd as queries
from kloc.store.tables import GuidelineRow
from kloc.workspace import Workspace
from tests.pipeline.campaign_world import N, World


def test_the_dry_run_says_the_price_what_may_come_on_top_and_what_changed(world: Callable[..., World]) -> None:
    w = world(**{"task.reward": "0.10", "crowd.fee_percent": 20.0})
    w.publish(max_spend="5")
    write_text(
        w.workspace.root / "kloc.toml",
        template(**{"general.name": "x", "task.reward": "0.20", "crowd.fee_percent": 20.0, "task.assignments": 2}),
    )
    for row in w.hits():
        for worker in (0, 1):
            w.answer(worker, row, (2, 7))
    w.ingest()
    changed = Workspace.open(w.workspace.root)
    selecting.select(changed, batch=2, reporter=Silent())
    told = crowd.publish(changed, url=w.url, dry_run=True, reporter=Silent()).facts
    assert told["round 1"].startswith("would publish 2 HITs for $0.96; campaign: $0.48 spent")
    assert told["one answer"] == "$0.24, of which $0.04 fee; published before at $0.12 (stays so)"
    assert told["on top"].startswith("at most $0.48, for 1 more answer to each video in doubt")
    # The cap that was given once holds until another is given.
    assert told["cap"] == "$5.00"
    with pytest.raises(CrowdError, match=r"over the cap of \$1\.00"):
        crowd.publish(changed, url=w.url, max_spend="1", reporter=Silent())


def test_gold_is_hidden_among_the_tasks_and_never_changes(world: Callable[..., World]) -> None:
    w = world(**{"task.gold_per_round": 1})
    with pytest.raises(UsageError, match="v5: gold needs a known answer"):
        campaign.gold(w.workspace, ["v5"])
    told = campaign.gold(w.workspace, ["v0", "v1"])
    assert told.facts["gold videos"] == 2
    assert campaign.gold(w.workspace, ["v1"], remove=True).facts["gold videos"] == 1
    assert "1 of them gold" in w.publish().facts["round 0"]
    assert sorted(row.purpose for row in w.hits()) == ["gold", "task", "task"]
    for row in w.hits():
        for worker in (0, 1):
            w.answer(worker, row, (20, 25))
    assert w.ingest().facts["round 0"] == "complete, consolidated"
    with w.workspace.store.transaction() as session:
        known = revisions.current(session)
        assert known["v0"].instances == (Instance(3.0, 8.0, "jump"),)
        meta.put(session, SIMULATED, "yes")
    statistics, told = publication.stats(w.workspace)
    assert statistics is not None
    assert statistics.simulated
    assert told.facts["agreement"].endswith("(simulated workers)")
    workers = [line for name, line in told.facts.items() if name.startswith("worker ")]
    assert len(workers) == 2
    assert all(line == "3 answers, agreement 1.00, gold 0.00 (1), 120 s a video minute" for line in workers)
    figures = state.status(w.workspace).data["crowd"]
    assert figures["origin"] == "simulated workers"
    with w.workspace.store.transaction() as session:
        real = {answer.worker_id for answer in queries.answers(session)}
    assert not any(worker in json.dumps(figures) for worker in real)
    exporting.export(w.workspace, out=None, origin="stream")
    exported = json.loads((w.workspace.dataset / "annotations.json").read_text())
    assert exported["origin"] == "simulated workers"
    assert all("simulated workers" in line for line in _csv(w.workspace)[1:])


def _csv(workspace: Workspace) -> list[str]:
    return (workspace.dataset / "instances-training.csv").read_text().splitlines()


def test_workers_pass_the_gate_and_see_rules_and_clips(world: Callable[..., World]) -> None:
    rules = {"task.start_rules": {"jump": "Both feet leave the ground."}, "task.examples": {"jump": ["v2@4-7.5"]}}
    w = world(**{"task.gate": 1, **rules})
    selecting.select(w.workspace, batch=2, reporter=Silent())
    with pytest.raises(UsageError, match="0 gold videos are there; mark some"):
        crowd.publish(w.workspace, url=w.url, reporter=Silent())
    campaign.gold(w.workspace, ["v0"])
    crowd.publish(w.workspace, url=w.url, reporter=Silent())
    client = serving.client(w.workspace, w.url)
    hit = client.list_hits()["HITs"][0]
    (asked,) = hit["QualificationRequirements"]
    assert (asked["Comparator"], asked["IntegerValues"], asked["ActionsGuarded"]) == (
        "GreaterThanOrEqualTo",
        [80],
        "Accept",
    )
    key = client.get_qualification_type(QualificationTypeId=asked["QualificationTypeId"])["QualificationType"][
        "AnswerKey"
    ]
    assert '"start": 2.0, "end": 7.0' in key  # of the copy, which starts at 0
    with w.workspace.store.transaction() as session:
        told = session.get_one(GuidelineRow, w.hits()[0].guideline).content["classes"][0]
    assert told["start_rule"] == "Both feet leave the ground."
    assert told["examples"] == [{"media_key": "v2", "start": 3.0, "end": 6.5, "caption": "jump"}]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task.start_rules": {"run": "x"}}, "task.start_rules in kloc.toml: there is no class 'run'; known: jump"),
        ({"task.examples": {"jump": ["v2"]}}, "'v2' is no clip; write VIDEO@START-END"),
        ({"task.examples": {"jump": ["v2@7-4"]}}, "is no clip"),
        ({"task.examples": {"jump": ["v2@20-40"]}}, "lies outside the video's 1 to 31 s"),
        ({"task.examples": {"jump": ["nobody@2-4"]}}, "there is no usable video 'nobody'"),
        ({"crowd.grace_hours": 100.0, "crowd.auto_approve_days": 2.0}, "is longer than crowd.auto_approve_days = 2"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_published(
    world: Callable[..., World], settings: dict[str, Any], words: str
) -> None:
    w = world(**settings)
    with pytest.raises(UsageError, match=words.replace("(", r"\(")):
        w.publish()
    assert w.hits() == []


def test_detections_become_proposals_for_the_share_that_is_drawn(world: Callable[..., World]) -> None:
    w = world(**{"task.prefill_share": 0.5})
    with pytest.raises(UsageError, match="there are no predictions yet"):
        w.publish(batch=5, prefill=0.3)
    write_predictions(w)
    items = tasks.round_items(w.workspace, last_round(w), [], Silent(), prefill=0.3)
    expected = ({"label": "jump", "start": 0.0, "end": 3.0}, {"label": "jump", "start": 19.0, "end": 30.0})
    assert all(entry.prefill in ((), expected) for entry in items)
    assert {bool(entry.prefill) for entry in items} == {False, True}
    # Drawn once for all: a run that was killed goes on with the same proposals.
    assert tasks.round_items(w.workspace, last_round(w), [], Silent(), prefill=0.3) == items
    told = crowd.publish(w.workspace, url=w.url, prefill=0.3, reporter=Silent())
    count = sum(bool(entry.prefill) for entry in items)
    assert told.facts["proposals"] == f"in {count} of 5 tasks"
    kept = {row.video_id: row.prefill for row in w.hits()}
    assert kept == {entry.item.video_id: [*entry.prefill] or None for entry in items}
    for row in w.hits():
        for worker in (0, 1):
            w.answer(worker, row, (2, 7), prefilled=bool(row.prefill), discarded=1)
    w.ingest()
    _, told = publication.stats(w.workspace)
    assert f"with: {2 * count} answers" in told.facts["proposals"]
    assert f"without: {2 * (5 - count)} answers" in told.facts["proposals"]
    assert f"{2 * count} discarded" in told.facts["proposals"]


def write_predictions(w: World) -> None:
    found = (Detection(0.5, 4.0, "jump", 0.9), Detection(20.0, 40.0, "jump", 0.5), Detection(9.0, 12.0, "jump", 0.1))
    with PredictionWriter(w.workspace.predictions / "p", ("jump",), "sigmoid") as writer:
        for i in range(N):
            level = Level("top", np.ones((1, 1), np.float32), None)
            heads = (np.zeros((1, 2)), np.ones(1, np.float32), (level,))
            writer.write(Prediction(f"v{i}", *heads, "sigmoid", ("jump",), found))
    with w.workspace.store.transaction() as session:
        artefacts.put(session, "predict", "current", "m", "predictions/p", {"model": "m"})


def last_round(w: World) -> Any:
    with w.workspace.store.transaction() as session:
        return rounds.all_rounds(session)[-1]


def test_a_round_is_paused_resumed_ended_short_and_one_video_extended(world: Callable[..., World]) -> None:
    w = world()
    with pytest.raises(UsageError, match="no round is open"):
        campaign.expire(w.workspace, url=w.url, reporter=Silent())
    w.publish()
    first, second = w.hits()
    assert campaign.pause(w.workspace, url=w.url).facts["paused"] == "2 tasks"
    assert w.offered(0) == 0
    assert state.status(w.workspace).facts["paused"] == "2 tasks; kloc crowd resume"
    assert campaign.resume(w.workspace, video=first.video_id, url=w.url).facts["resumed"] == "1 tasks"
    assert campaign.resume(w.workspace, url=w.url).facts["resumed"] == "1 tasks"
    assert w.offered(0) == 2
    w.answer(0, first, (2, 7))
    with pytest.raises(UsageError, match="round 7 is not open; open: 0"):
        campaign.expire(w.workspace, round_=7, url=w.url, reporter=Silent())
    ended = campaign.expire(w.workspace, url=w.url, reporter=Silent())
    assert ended.facts["ended"] == "2 tasks of round 0"
    assert ended.data["closed_rounds"] == [0]
    with w.workspace.store.transaction() as session:
        known = revisions.current(session)
    assert known[first.video_id].instances == (
        Instance(3.0, 8.0, "jump", known[first.video_id].instances[0].confidence),
    )
    assert second.video_id not in known
    assert second.video_id in {item.video_id for item in selecting.pool_items(w.workspace)}

    with pytest.raises(UsageError, match="no task is open that could be extended"):
        campaign.extend(w.workspace, answers=3, url=w.url)
    told = campaign.extend(w.workspace, answers=3, video=first.video_id, url=w.url, dry_run=True)
    assert told.facts["would be extended"] == "1 of 1 tasks, for $0.20 more"
    assert last_round(w).state == "done"
    campaign.extend(w.workspace, answers=3, video=first.video_id, url=w.url)
    assert last_round(w).state == "published"
    for worker in (1, 2):
        w.answer(worker, first, (20, 25))
    assert w.ingest().data["closed_rounds"] == [0]
    with w.workspace.store.transaction() as session:
        assert [i.start for i in revisions.current(session)[first.video_id].instances] == [21.0]


def test_a_round_stays_open_until_nothing_is_in_doubt_or_nobody_may_be_asked(world: Callable[..., World]) -> None:
    w = world(**{"crowd.extra_answers": 2, "crowd.max_spend": "1.00"})
    w.publish()
    for row in w.hits():
        for worker, segment in ((0, (2, 7)), (1, (20, 25))):
            w.answer(worker, row, segment)
    # Everybody who is known has answered: the round does not wait for somebody who may never come.
    assert w.ingest().data == {"closed_rounds": [0], "asked": 0}
    w.publish()
    rows = [row for row in w.hits() if row.round == 1]
    for row in rows:
        for worker, segment in ((2, (2, 7)), (3, (20, 25))):
            w.answer(worker, row, segment)
    told = w.ingest()
    assert told.data == {"closed_rounds": [], "asked": 2}
    assert told.facts["tasks"] == "4 complete; 2 more answers asked for"
    assert last_round(w).state == "published"
    assert w.ingest().data == {"closed_rounds": [], "asked": 0}
    for row in rows:
        w.answer(0, row, (2, 7))
    # The cap is reached: whatever is still in doubt, nobody else is asked.
    told = w.ingest()
    assert told.data == {"closed_rounds": [1], "asked": 0}
    assert told.facts["money"] == "$1.00 spent, $0.00 reserved"
    with w.workspace.store.transaction() as session:
        assert all(i.start == 3.0 for v in {r.video_id for r in rows} for i in revisions.current(session)[v].instances)


def test_everything_is_said_in_eighty_columns_and_helps(world: Callable[..., World]) -> None:
    w = world()
    runner = CliRunner(env={"COLUMNS": "80"})
    for command in ("pause", "resume", "expire", "extend", "gold"):
        told = runner.invoke(app, ["crowd", command, "--help"])
        assert told.exit_code == 0
        assert len(told.output.splitlines()) <= 48
    told = runner.invoke(app, ["crowd", "gold", "v0", "v1", "-w", str(w.workspace.root)])
    assert told.exit_code == 0, told.output
    assert "gold is not used yet: set task.gate or task.gold_per_round" in " ".join(told.output.split())
    assert max(map(len, told.output.splitlines())) <= 80


def test_a_cap_that_was_refused_is_not_remembered(world: Callable[..., World]) -> None:
    w = world()
    with pytest.raises(CrowdError, match=r"over the cap of \$0\.10"):
        w.publish(max_spend="0.10")
    assert tasks.spend_cap(w.workspace) is None
    crowd.publish(w.workspace, url=w.url, max_spend="0.40", reporter=Silent())
    assert tasks.spend_cap(w.workspace) == 400
    write_text(w.workspace.root / "kloc.toml", template(**{"general.name": "x", "crowd.max_spend": "7"}))
    assert tasks.spend_cap(Workspace.open(w.workspace.root)) == 7000
