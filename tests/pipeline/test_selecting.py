"""kloc select on a real workspace: budgets, policies, what is stored of a choice, what --explain tells of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from kloc.cli import app
from kloc.config import template
from kloc.errors import FormatError, UsageError
from kloc.files import write_text
from kloc.localizers.predictions import PredictionWriter
from kloc.pipeline import costing, explaining, pool, selecting
from kloc.pipeline.common import SIMULATED
from kloc.pipeline.imports import import_features
from kloc.pipeline.telling import Silent, Summary
from kloc.records import Annotation, Instance, Item, Level, Prediction
from kloc.selection import CostModel, TypiClust
from kloc.selection.cost import DEFAULT, Recording
from kloc.store import artefacts, meta, revisions, rounds, videos
from kloc.store.crowd import StoredWork
from kloc.store.tables import AssignmentRow, HitRow, RoundRow, VideoRow
from kloc.workspace import Workspace

N = 12


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Twelve videos of one to twelve minutes, ten of them in the pool: one is quarantined, one annotated."""
    root = tmp_path / "w"
    pool.init(root)
    write_text(root / "kloc.toml", template(**{"general.name": "x", "task.reward": "0.50", "crowd.fee_percent": 20.0}))
    found = Workspace.open(root)
    with found.store.transaction() as session:
        videos.add_classes(session, ["jump", "run"])
        for i in range(N):
            labels = ["jump"] if i % 2 else ["run"]
            session.add(VideoRow(id=f"v{i:02d}", state="ok", start=0.0, end=60.0 * (i + 1), labels=labels))
        session.flush()
        session.get_one(VideoRow, "v10").subset = "testing"
        videos.quarantine(session, "v11", "its index is broken")
        known = Annotation(Item("v00", 0.0, 60.0), (Instance(1.0, 2.0, "run"),), None)
        revisions.append(session, known, "import")
    return found


def learn(workspace: Workspace) -> None:
    """Give every video features and predictions, written as the stages write them."""
    rng = np.random.default_rng(0)
    folder = workspace.root / "npy"
    folder.mkdir()
    for i in range(N):
        np.save(folder / f"v{i:02d}.npy", rng.normal(size=(6, 4)).astype(np.float32))
    import_features(workspace, folder, name="f", fps=1.0, stride=1.0, offset=0.0, reporter=Silent())
    with PredictionWriter(workspace.predictions / "p", ("jump", "run"), "softmax") as writer:
        for i in range(N):
            x = rng.random(5).astype(np.float32)
            level = Level("top", rng.dirichlet([1.0] * 3, 2).astype(np.float32), 0)
            writer.write(Prediction(f"v{i:02d}", np.zeros((5, 2)), x, (level,), "softmax", ("jump", "run")))
    with workspace.store.transaction() as session:
        artefacts.put(session, "predict", "current", "x", "predictions/p")


def select(workspace: Workspace, **wanted: Any) -> Summary:
    return selecting.select(workspace, **{"batch": None, "reporter": Silent(), **wanted})


def chosen(summary: Summary) -> list[str]:
    return [one["video"] for one in summary.data["selected"]]


# -- what is chosen ----------------------------------------------------------------------------------------------------


def test_money_pays_reward_and_fee_of_every_answer(workspace: Workspace) -> None:
    # 3 answers x $0.50 x 1.2 = $1.80 per video.
    summary = select(workspace, money="9.10")
    assert len(chosen(summary)) == 5
    assert "used $9.00 of $9.10; $0.10 stay" in summary.problems
    assert chosen(select(workspace, money="9.10")) == chosen(summary)
    with pytest.raises(UsageError, match=r"round 0 \(.*money 9.10\) is selected and not published"):
        select(workspace, money="9.00")
    selecting.undo(workspace)
    with pytest.raises(UsageError, match=r"\$1\.79 is too small for any video: the cheapest, 'v\d+', takes \$1\.80"):
        select(workspace, money="1.79")
    for money, said in (("0", "above 0"), ("lots", "not an amount")):
        with pytest.raises(UsageError, match=said):
            select(workspace, money=money)


def test_minutes_are_those_of_all_workers(workspace: Workspace) -> None:
    summary = select(workspace, minutes=60.0)
    used = sum(one["minutes"] * one["answers"] for one in summary.data["selected"])
    assert 30 < used <= 60
    assert any("minutes by kloc's default" in line for line in summary.problems)
    # v01 lasts 2 minutes: 0.5 + 2 x 1.0 + 0.5 x the expected instances of a class nobody annotated yet.
    by_video = {one["video"]: one["minutes"] for one in summary.data["selected"]}
    assert all(minutes == pytest.approx(0.5 + int(v[1:]) + 1 + 0.5, abs=0.01) for v, minutes in by_video.items())
    selecting.undo(workspace)
    with pytest.raises(UsageError, match=r"too small for any video: the cheapest, 'v01'"):
        select(workspace, minutes=1.0)
    with pytest.raises(UsageError, match="above 0"):
        select(workspace, minutes=-1.0)
    with pytest.raises(UsageError, match="in minutes or in money, not both"):
        select(workspace, minutes=9.0, money="1.00")


@pytest.mark.parametrize(
    "policy", ["top", "diverse", "diverse,method=k-means++", "diverse,method=badge", "class-quota", "cost-aware"]
)
@pytest.mark.parametrize("strategy", ["random", "us", "us,mode=binary,k=3", "us-binary", "typiclust"])
def test_every_strategy_with_every_policy(workspace: Workspace, strategy: str, policy: str) -> None:
    learn(workspace)
    summary = select(workspace, batch=4, strategy=strategy, policy=policy, epsilon=0.25)
    assert len(set(chosen(summary))) == 4
    assert set(chosen(summary)) <= {f"v{i:02d}" for i in range(1, 10)}
    for one in summary.data["selected"]:
        assert set(one["ranks"]) == {"random", "us", "us-binary", "typiclust", strategy}
        assert all(1 <= rank <= 9 for rank in one["ranks"].values())
        assert one["ranks"][strategy] == one["rank"]
    assert "drawn at random from the rest of the pool (epsilon 0.25)" in summary.data["selected"][-1]["reason"]


def test_before_predictions_the_draw_is_random_and_its_ranks_are(workspace: Workspace) -> None:
    summary = select(workspace, batch=20, strategy="us")
    assert [set(one["ranks"]) for one in summary.data["selected"]] == [{"random"}] * 9
    assert "the pool holds only 9 items, fewer than the 20 asked for: all are chosen" in summary.problems
    with pytest.raises(UsageError, match="not published"):
        select(workspace, batch=20, strategy="random")


@pytest.mark.parametrize(
    ("strategy", "policy", "said"),
    [
        ("us,bin=3", "", "its parameters: bins"),
        ("us,bins=5000", "", "bins must be from 2 to 1,000"),
        ("", "diverse", "needs features of the videos, and there are none"),
        ("typiclust", "", "run `kloc extract` first"),
    ],
)
def test_a_wrong_choice_opens_no_round(workspace: Workspace, strategy: str, policy: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        select(workspace, batch=2, strategy=strategy, policy=policy)
    with workspace.store.transaction() as session:
        assert rounds.latest(session) is None


def test_an_empty_choice_opens_no_round(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="nothing was chosen, so no round is opened; give a batch of at least 1"):
        select(workspace, batch=0)
    with workspace.store.transaction() as session:
        assert rounds.latest(session) is None


def test_a_random_share_never_empties_a_round(workspace: Workspace) -> None:
    learn(workspace)
    summary = select(workspace, batch=4, strategy="us", money="1.80", epsilon=0.1)
    assert [one["rank"] for one in summary.data["selected"]] == [1]


# -- what it takes -----------------------------------------------------------------------------------------------------


def answered(workspace: Workspace, count: int, seconds_per_minute: float, **more: Any) -> None:
    """Recorded answers on v00..v09: so many seconds of work per minute of video, marking nothing."""
    with workspace.store.transaction() as session:
        for i in range(count):
            video = f"v{i % 10:02d}"
            length = i % 10 + 1
            facts = {"max_assignments": 1, "wanted": 1, "reward_mills": 1, "cost_mills": 1, "intended_at": 0.0}
            hit = HitRow(token=f"t{i}", video_id=video, start=0.0, end=60.0 * length, classes=[], state="created")
            for key, value in {**facts, "endpoint": "e", "guideline": "g", "payload_hash": ""}.items():
                setattr(hit, key, value)
            session.add(hit)
            session.flush()
            answer = {"segments": [], "signs": [], "seconds_spent": seconds_per_minute * length, **more}
            row = AssignmentRow(assignment_id=f"a{i}", token=f"t{i}", worker_id="w", status="Submitted", raw="")
            row.answer, row.accepted_at, row.submitted_at = answer, 0.0, 1e4
            session.add(row)


def test_costs_are_learned_from_working_times_kept_and_lent(workspace: Workspace, tmp_path: Path) -> None:
    assert costing.cost_model(workspace).model == DEFAULT
    answered(workspace, 40, 90.0)
    found = costing.cost_model(workspace)
    assert (found.model.a, found.model.b) == (pytest.approx(0, abs=1e-3), pytest.approx(1.5, rel=1e-3))
    assert found.source == "minutes learned from 40 recorded working times"
    select(workspace, batch=2)
    kept = CostModel.load(workspace.root / "cost.json")
    assert kept == found.model
    with workspace.store.transaction() as session:
        assert session.get_one(RoundRow, 0).settings["cost"]["recordings"] == 40

    pool.init(tmp_path / "other")
    write_text(
        tmp_path / "other" / "kloc.toml", template(**{"selection.cost_model": str(workspace.root / "cost.json")})
    )
    other = Workspace.open(tmp_path / "other")
    assert costing.cost_model(other).model == kept
    (workspace.root / "cost.json").write_text("{}")
    with pytest.raises(FormatError, match="no cost model"):
        costing.cost_model(other)


@pytest.mark.parametrize(
    ("answer", "clock", "simulated", "minutes"),
    [
        ({"seconds_spent": 90.0}, (0.0, 600.0), False, 1.5),  # pauses do not count
        ({"seconds_spent": 900.0}, (0.0, 600.0), False, 10.0),  # nobody works longer than they hold a task
        ({"seconds_spent": 90.0}, (0.0, 1.0), True, 1.5),  # simulated workers submit at once
        ({"seconds_spent": None}, (0.0, 600.0), False, 10.0),
        ({"seconds_spent": 0.0}, (None, None), False, None),
        ({}, (None, 600.0), False, None),
        ({"seconds_spent": 90.0, "signs": ["hasty"]}, (0.0, 600.0), False, None),
    ],
)
def test_which_working_times_count(answer: dict[str, Any], clock: Any, simulated: bool, minutes: float | None) -> None:
    work = StoredWork(Item("v", 0.0, 120.0), {"segments": [{}, {}], **answer}, *clock)
    expected = [] if minutes is None else [Recording(minutes, 2.0, 2)]
    assert costing.recordings([work], simulated=simulated) == expected


def test_a_simulated_campaign_counts_the_pages_time(workspace: Workspace) -> None:
    answered(workspace, 20, 60.0)
    with workspace.store.transaction() as session:
        for row in session.query(AssignmentRow):
            row.submitted_at = 0.5
    assert costing.cost_model(workspace).model.b < 0.1
    with workspace.store.transaction() as session:
        meta.put(session, SIMULATED, "yes")
    assert costing.cost_model(workspace).model.b == pytest.approx(1.0, rel=1e-3)


# -- explain -----------------------------------------------------------------------------------------------------------


def test_explain_tells_where_a_video_stands(workspace: Workspace) -> None:
    learn(workspace)
    ranks = explaining.explain(workspace, "v03").facts
    assert ranks["state"] == "in the pool, not chosen yet"
    assert {"rank, random", "rank, us", "rank, us-binary"} <= set(ranks)
    summary = select(workspace, batch=9, policy="diverse")
    told = explaining.explain(workspace, "v03.mp4").facts
    entry = next(one for one in summary.data["selected"] if one["video"] == "v03")
    assert told["state"] == "chosen in round 0, not annotated yet"
    assert told["by"] == "us, policy diverse"
    assert told["why"] == entry["reason"]
    # What was computed for the pool before is what was stored with the choice.
    assert told["rank, us"] == ranks["rank, us"] == f"{entry['rank']} of 9"
    assert told["rank, us-binary"] == ranks["rank, us-binary"]
    assert told["minutes then"] == ranks["minutes"]

    assert explaining.explain(workspace, "v00").facts["state"].startswith("annotated, 1 instances")
    assert explaining.explain(workspace, "v10").facts["state"] == "in the subset testing, never selected"
    assert explaining.explain(workspace, "v11").facts["state"] == "quarantined, never selected: its index is broken"
    with pytest.raises(UsageError, match=r"no video 'v003' in this workspace; did you mean 'v03'\?"):
        explaining.explain(workspace, "v003")
    with workspace.store.transaction() as session:
        session.get_one(RoundRow, 0).state = "done"
    back = explaining.explain(workspace, "v03").facts
    assert back["state"] == "in the pool again: chosen in round 0, which brought no annotation"
    assert "minutes" in back


def test_explain_tells_of_typiclust_what_select_would(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    learn(workspace)
    write_text(workspace.root / "kloc.toml", template(**{"selection.batch": 4, "selection.strategy": "typiclust"}))
    opened = Workspace.open(workspace.root)
    scored = []
    score = TypiClust.score

    def counted(self: TypiClust, items: Any, context: Any) -> Any:
        scored.append(context.batch)
        return score(self, items, context)

    monkeypatch.setattr(TypiClust, "score", counted)
    before = {f"v{i:02d}": explaining.explain(opened, f"v{i:02d}").facts for i in range(1, 10)}
    assert scored == [4] * 9  # once each
    for one in select(opened).data["selected"]:
        told = before[one["video"]]
        assert (told["score"], told["why"]) == (one["score"], one["reason"])
        assert told["rank, typiclust"] == f"{one['rank']} of 9"


def test_explain_a_choice_of_an_older_kloc(workspace: Workspace) -> None:
    video = chosen(select(workspace, batch=1))[0]
    with workspace.store.transaction() as session:
        rounds.selections(session)[0].details = None
    told = explaining.explain(workspace, video).facts
    assert told["rank, random"] == "1 of 9"
    assert "minutes then" not in told


def test_a_failing_strategy_does_not_end_the_selection(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    learn(workspace)
    monkeypatch.setattr("kloc.selection.us.histogram_entropy", lambda counts: 1 / 0)
    summary = select(workspace, batch=2, strategy="random")
    assert len(chosen(summary)) == 2
    assert "no ranks under 'us': division by zero" in summary.problems
    assert set(summary.data["selected"][0]["ranks"]) == {"random", "us-binary", "typiclust"}


def test_one_damaged_feature_file_costs_its_video_only(workspace: Workspace) -> None:
    learn(workspace)
    with workspace.store.transaction() as session:
        path = workspace.root / str(artefacts.of_stage(session, "features:f")["v03"].path)
    path.write_bytes(path.read_bytes()[:90])
    summary = select(workspace, batch=9, policy="diverse")
    assert len(chosen(summary)) == 9
    assert sum("v03" in line and "counts as one without features" in line for line in summary.problems) == 1


def test_without_any_usable_features_a_random_batch_is_still_drawn(workspace: Workspace) -> None:
    np.save(workspace.root / "v01.npy", np.ones((6, 4), np.float32))
    import_features(workspace, workspace.root / "v01.npy", name="f", fps=1.0, stride=1.0, offset=0.0, reporter=Silent())
    with workspace.store.transaction() as session:
        videos.quarantine(session, "v01", "its index is broken")
    assert len(chosen(select(workspace, batch=3, strategy="random"))) == 3
    selecting.undo(workspace)
    with pytest.raises(UsageError, match="needs features of the videos, and there are none"):
        select(workspace, batch=3, strategy="random", policy="diverse")


def test_the_command_line(workspace: Workspace) -> None:
    learn(workspace)
    run = CliRunner(env={"COLUMNS": "80"})
    at = ["-w", str(workspace.root)]
    done = run.invoke(app, ["select", "--minutes", "60", "--strategy", "us,mode=binary", "--json", *at])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    video = told["selected"][0]["video"]
    done = run.invoke(app, ["select", "--explain", video, *at])
    assert done.exit_code == 0, done.output
    assert "us,mode=binary, policy top" in done.stdout
    assert "undecided about its 10 best proposals" in " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= 80
    done = run.invoke(app, ["select", "--explain", "v11", *at])
    assert "its index is broken" in done.stdout
    done = run.invoke(app, ["select", "--undo", "--explain", "v11", *at])
    assert isinstance(done.exception, UsageError)
