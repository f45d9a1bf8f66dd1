"""Arms: what is chosen from what, and the same bytes on any number of workers and after any kill."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from experiment_helpers import CLASSES, LOUD, SETTINGS, small_dataset, small_set

from kloc.errors import KlocError, UsageError
from kloc.experiments.arm import Bench, Journal, Pace, read_lines, run_arm
from kloc.experiments.curves import Arm
from kloc.experiments.lab import Lab
from kloc.experiments.lal_bootstrap import LalSettings
from kloc.experiments.predictions import ArrayPredictions
from kloc.experiments.protocol import make_split
from kloc.experiments.runner import Experiment, arm_file, collect, full_file, gain_folder, run
from kloc.experiments.simulated_features import SimulatedFeatures
from kloc.experiments.source import SimulatedSet
from kloc.localizers.predictions import PredictionReader, PredictionWriter
from kloc.localizers.stagewise.table import EncodedTable
from kloc.records import Item, Prediction
from kloc.selection.base import Context, make_strategy
from kloc.threads import one_thread

LAL = LalSettings(n_splits=4, shares=(0.1, 0.3), candidates=4)
STRATEGIES = ("lal", "mcle", "random", "us")
EXPERIMENT = Experiment(
    tuple(Arm(seed, name, "top", 12, noise) for name in STRATEGIES for seed, noise in ((0, 0.0), (0, 0.3), (1, 0.0))),
    lal=LAL,
)


def told(outcome) -> list[str]:
    """What went wrong, without remarks on a set as small as this."""
    return [p for p in outcome.problems if "fewer than 4 rounds" not in p and "close to random" not in p]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def played(source, tmp_path_factory):
    """Every strategy with two seeds and with noise, in this process."""
    out = tmp_path_factory.mktemp("simulation")
    lab = Lab.prepare(out, source, SETTINGS)
    return out, lab, run(EXPERIMENT, source, lab, out)


# -- predictions from arrays ------------------------------------------------------------------------------------


def without_proposals(table: EncodedTable, index: int) -> EncodedTable:
    """The first twelve videos, one of them robbed of its proposals."""
    parts = [table.part(i) for i in range(12)]
    one, names = parts[index], ("segments", "encoded", "best", "matched", "inside", "usable")
    parts[index] = replace(one, offsets=np.array([0, 0]), **{name: getattr(one, name)[:0] for name in names})
    return EncodedTable.join(parts)


@pytest.fixture(scope="module")
def both(lab, tmp_path_factory):
    """The same predictions (and a prior) as arrays and on disk; video 5 has no proposals."""
    table = without_proposals(lab.table, 5)
    rng = np.random.default_rng(0)
    made = []
    for name in ("now", "before"):
        actionness = rng.random(len(table.segments)).astype(np.float32)
        folder = tmp_path_factory.mktemp("predictions") / name
        with PredictionWriter(folder, CLASSES, "softmax") as writer:
            for i in rng.permutation(12):  # a shard keeps the order of writing
                rows = table.rows(np.array([i]))
                scores = actionness[rows]
                writer.write(Prediction(table.video_ids[i], table.segments[rows], scores, (), "softmax", CLASSES))
        made.append((ArrayPredictions(table, actionness), PredictionReader(folder)))
    return table, made[0], made[1]


def by_position(source, wanted, heads, block_rows):
    found = {}
    for block in source.blocks(wanted, heads, block_rows):
        for at, position in enumerate(block.positions.tolist()):
            for head in heads:
                low, high = block.offsets[head][at : at + 2]
                found[position, head] = block.arrays[head][low:high]
    return found


@pytest.mark.parametrize("block_rows", [1, 7, 45, 100_000])
@pytest.mark.parametrize("heads", [["actionness"], ["segments"], ["actionness", "segments"]])
def test_blocks_equal_those_of_a_reader(both, heads, block_rows) -> None:
    table, (arrays, reader), _ = both
    wanted = [*table.video_ids[::-1], "nobody", table.video_ids[3], table.video_ids[3]]
    found, expected = (by_position(s, wanted, heads, block_rows) for s in (arrays, reader))
    assert found.keys() == expected.keys()
    assert len(found) == 14 * len(heads)
    for key, values in expected.items():
        assert found[key].dtype == values.dtype
        assert np.array_equal(found[key], values)
    sizes = [len(b.arrays[heads[0]]) for b in arrays.blocks(wanted, heads, block_rows)]
    assert max(sizes) <= max(block_rows, 20)


def test_all_videos_without_asking_for_any(both) -> None:
    table, (arrays, _), _ = both
    found = by_position(arrays, None, ["actionness"], 45)
    assert [len(found[i, "actionness"]) for i in range(12)] == np.diff(table.offsets).tolist()
    assert len(arrays) == 12
    assert "v003" in arrays
    assert "nobody" not in arrays
    assert list(arrays.blocks([], ["actionness"])) == []


@pytest.mark.parametrize(("name", "params"), [("us", {}), ("us", {"mode": "binary"}), ("mcle", {})])
def test_strategies_score_both_alike(both, lab, name, params) -> None:
    table, now, before = both
    items = [Item(video_id, 0.0, 60.0) for video_id in (*table.video_ids, "nobody")]
    known = {lab.videos[i].id: lab.annotations[i] for i in range(4)}
    scores = []
    for source, prior in zip(now, before, strict=True):
        strategy = make_strategy(name, **params)
        scores.append(
            strategy.score(items, Context(predictions=source, prior=prior, annotations=known, classes=CLASSES))
        )
    assert np.array_equal(scores[0].value, scores[1].value)
    assert np.isneginf(scores[0].value).tolist() == [i in (5, 12) for i in range(13)]
    if scores[0].group is not None:
        assert np.array_equal(scores[0].group, scores[1].group)


def test_heads_a_simulation_lacks_are_told(both) -> None:
    _, (arrays, _), _ = both
    with pytest.raises(UsageError, match="predicts no levels"):
        list(arrays.blocks(None, ["actionness", "levels"]))


# -- what arms do -----------------------------------------------------------------------------------------------


def test_nothing_goes_wrong_and_every_arm_is_there(played) -> None:
    _, _, outcome = played
    assert told(outcome) == []
    assert [c.arm for c in outcome.curves] == sorted(EXPERIMENT.arms)
    assert set(outcome.gains) == {0, 1}


@pytest.mark.parametrize("arm", EXPERIMENT.arms, ids=lambda a: a.name)
def test_videos_are_chosen_once_from_the_pool_until_none_is_left(played, arm) -> None:
    out, lab, outcome = played
    split = make_split(lab, arm.seed)
    ids = [lab.videos[i].id for i in range(96)]
    pool, labelled = {ids[i] for i in split.pool}, {ids[i] for i in split.initial}
    lines = read_lines(arm_file(out, arm))
    minutes = 0.0
    for step, line in enumerate(lines):
        assert line["step"] == step
        assert line["labelled"] == len(labelled)
        assert line["ratio"] == len(labelled) / len(pool)
        assert line["minutes"] > minutes
        minutes = line["minutes"]
        picked = line["picked"]
        assert len(picked) == len(set(picked)) == min(12, len(pool) - len(labelled))
        assert set(picked) <= pool - labelled
        labelled |= set(picked)
    assert labelled == pool
    assert lines[-1]["picked"] == []
    curve = next(c for c in outcome.curves if c.arm == arm)
    assert curve.x.tolist() == [line["ratio"] for line in lines]
    assert curve.x[-1] == 1
    if arm.noise == 0:  # from a warm start instead of from nothing
        assert curve.y[-1] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("seed", "noise"), [(0, 0.0), (0, 0.3), (1, 0.0)])
def test_all_strategies_begin_at_one_point_and_then_part(played, seed, noise) -> None:
    out, _, outcome = played
    curves = [c for c in outcome.curves if (c.arm.seed, c.arm.noise) == (seed, noise)]
    assert len(curves) == 4
    assert len({c.points[0] for c in curves}) == 1
    assert len({tuple(read_lines(arm_file(out, c.arm))[0]["picked"]) for c in curves}) == 4


def test_noise_changes_labels_and_never_the_truth_they_are_judged_by(played) -> None:
    _, lab, outcome = played
    first = {c.arm.noise: c.points[0].value for c in outcome.curves if c.arm.seed == 0}
    assert first[0.0] != first[0.3]
    assert len({c.full for c in outcome.curves if c.arm.seed == 0}) == 1
    table, annotations = lab.annotated_by(0.3, 0)
    split = make_split(lab, 0)
    noisy, clean = Bench(lab, split, table, annotations), Bench(lab, split, lab.table, lab.annotations)
    assert np.array_equal(noisy.judge.truth.start, clean.judge.truth.start)
    assert np.array_equal(noisy.minutes, clean.minutes)
    start = {c.arm.noise: c.points[0].minutes for c in outcome.curves if c.arm.seed == 0}
    assert start[0.0] == start[0.3]


def test_a_video_without_instances_is_chosen_and_labelled_like_any(played) -> None:
    out, lab, _ = played
    empty = {v.id for v, a in zip(lab.videos, lab.annotations, strict=True) if not a.instances}
    split = make_split(lab, 0)
    rest = {lab.videos[i].id for i in np.setdiff1d(split.pool, split.initial)}
    assert empty & rest
    for arm in EXPERIMENT.arms:
        if arm.seed == 0:
            assert empty & rest <= {v for line in read_lines(arm_file(out, arm)) for v in line["picked"]}


# -- the same bytes ---------------------------------------------------------------------------------------------


def test_two_workers_give_the_bytes_of_one(played, source, tmp_path) -> None:
    out, _, outcome = played
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    arms = tuple(arm for arm in EXPERIMENT.arms if arm.seed == 0)
    again = run(replace(EXPERIMENT, arms=arms), source, lab, tmp_path, workers=2)
    found = tree(tmp_path)
    assert {name for name in tree(out) if "s1-" not in name and "seed-1" not in name} == set(found)
    assert found.items() <= tree(out).items()
    assert again.curves == [c for c in outcome.curves if c.arm.seed == 0]


def test_a_finished_run_does_nothing_and_says_the_same(played, source) -> None:
    out, lab, outcome = played
    stamps = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    begun = []

    def stage(what: str, total: int):
        begun.append((what, total))
        return lambda: None

    again = run(EXPERIMENT, source, lab, out, stage=stage)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == stamps
    assert [total for _, total in begun] == [0] * len(begun)
    assert again.curves == outcome.curves
    assert again.problems == outcome.problems


def test_arms_may_be_added_later(played, source, tmp_path) -> None:
    out, _, outcome = played
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    for n in (1, 3, len(EXPERIMENT.arms)):
        found = run(replace(EXPERIMENT, arms=EXPERIMENT.arms[:n]), source, lab, tmp_path)
        assert len(found.curves) == n
    assert tree(tmp_path) == tree(out)
    assert found.curves == outcome.curves


@pytest.fixture(scope="module")
def bench(lab):
    return Bench(lab, make_split(lab, 0), lab.table, lab.annotations)


@pytest.fixture(scope="module", params=[1, 2], ids=["every step judged", "every second step judged"])
def recorded(bench, tmp_path_factory, request):
    """The journal and state of an arm after each of its steps."""
    pace, arm = Pace(eval_every=request.param), Arm(0, "us", "top", 9, 0.0)
    path = tmp_path_factory.mktemp("arm") / "a.jsonl"
    after, append = [], Journal.append

    def keep(self, line, model) -> None:
        append(self, line, model)
        after.append((path.read_bytes(), state_of(path).read_bytes()))

    with one_thread(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "append", keep)
        run_arm(bench, arm, pace, path)
    assert len(after) == 6
    return pace, arm, after


def state_of(path: Path) -> Path:
    return path.with_suffix(".state.npz")


def continued(bench, recorded, path: Path, journal: bytes | None, state: bytes | None) -> tuple[bytes, bytes]:
    """What an arm ends with that was left like this."""
    pace, arm, _ = recorded
    path.parent.mkdir(exist_ok=True)
    if journal is not None:
        path.write_bytes(journal)
    if state is not None:
        state_of(path).write_bytes(state)
    with one_thread():
        run_arm(bench, arm, pace, path)
    return path.read_bytes(), state_of(path).read_bytes()


def test_an_arm_killed_anywhere_ends_with_the_same_bytes(bench, recorded, tmp_path) -> None:
    after = recorded[2]
    whole = after[-1]
    states = [None, *(state for _, state in after)]
    for step, (journal, _) in enumerate(after):
        before = after[step - 1][0] if step else b""
        torn = journal[: len(before) + (len(journal) - len(before)) // 2]
        left = {
            "after the step": (journal, states[step + 1]),
            "between line and state": (journal, states[step]),
            "in the middle of the line": (torn, states[step]),
            "but for the end of the line": (journal[:-1], states[step]),
            "the line lost by a power cut": (before, states[step + 1]),
        }
        if step == 2:
            left["the state lost"] = journal, None
            left["the state damaged"] = journal, (states[step + 1] or b"")[:-200]
            left["the state empty"] = journal, b""
        for name, (lines, state) in left.items():
            path = tmp_path / f"{step} {name}" / "a.jsonl"
            assert continued(bench, recorded, path, lines, state) == whole, (step, name)


def test_what_is_done_is_not_done_again(bench, recorded, tmp_path, monkeypatch) -> None:
    after = recorded[2]
    trained = []
    train = Bench.train
    monkeypatch.setattr(
        Bench,
        "train",
        lambda self, labelled, *a, **k: (trained.append(len(labelled)), train(self, labelled, *a, **k))[1],
    )
    for step, (journal, state) in enumerate(after):
        trained.clear()
        continued(bench, recorded, tmp_path / str(step) / "a.jsonl", journal, state)
        assert trained == [json.loads(line)["labelled"] for line in after[-1][0].splitlines()[step + 1 :]]


@pytest.mark.parametrize(
    "lines",
    [
        b"not json\n",
        b'{"step": 1, "picked": []}\n',
        b'{"step": 0, "picked": []}\n{"step": 2, "picked": []}\n',
        b"[0]\n",
        b"\x00\x00\x00\n",
        b'{"step": 0, "picked": ["v0\n{"step": 1, "picked": []}\n',
    ],
)
def test_damaged_journals_are_told(tmp_path, lines) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines)
    with pytest.raises(KlocError, match=r"a\.jsonl: .*delete it"):
        read_lines(tmp_path / "a.jsonl")


def test_a_torn_last_line_is_no_damage(tmp_path) -> None:
    assert read_lines(tmp_path / "none.jsonl") == []
    (tmp_path / "a.jsonl").write_bytes(b'{"step": 0, "picked": []}\n{"step": 1, "pi')
    assert read_lines(tmp_path / "a.jsonl") == [{"step": 0, "picked": []}]


# -- pace -------------------------------------------------------------------------------------------------------


def test_how_often_an_arm_is_judged_changes_nothing_it_chooses(bench, tmp_path) -> None:
    arm = Arm(0, "us", "top", 9, 0.0)
    found = {}
    for every in (1, 2, 4):
        run_arm(bench, arm, Pace(eval_every=every), tmp_path / f"{every}.jsonl")
        found[every] = read_lines(tmp_path / f"{every}.jsonl")
    for every in (2, 4):
        for one, other in zip(found[1], found[every], strict=True):
            assert one["picked"] == other["picked"]
            is_last = one is found[1][-1]
            assert (other["value"] is None) == (other["step"] % every != 0 and not is_last)


@pytest.mark.parametrize(
    ("until", "labelled"), [(0.01, [5]), (0.25, [5, 14]), (0.5, [5, 14, 23, 32]), (1.0, [5, 14, 23, 32, 41, 48])]
)
def test_an_arm_goes_until_its_share(bench, tmp_path, until, labelled) -> None:
    assert len(bench.split.pool) == 48
    run_arm(bench, Arm(0, "random", "top", 9, 0.0), Pace(until=until), tmp_path / "a.jsonl")
    lines = read_lines(tmp_path / "a.jsonl")
    assert [line["labelled"] for line in lines] == labelled
    assert lines[-1]["value"] is not None
    assert lines[-1]["picked"] == []


def test_impossible_paces_are_refused() -> None:
    for wrong in ({"until": 0.0}, {"until": 1.1}, {"until": float("nan")}, {"eval_every": 0}):
        with pytest.raises(UsageError, match="an arm goes on"):
            Pace(**wrong)


def test_a_batch_larger_than_the_pool_takes_it_all_and_is_told(source, tmp_path) -> None:
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    outcome = run(Experiment((Arm(0, "us", "top", 1000, 0.0),)), source, lab, tmp_path)
    assert "batch 1000: only 43 videos are left" in outcome.problems[0]
    assert "takes them all" in outcome.problems[0]
    assert outcome.curves[0].x.tolist() == [5 / 48, 1.0]
    with pytest.raises(UsageError, match="at least 1"):
        run(Experiment((Arm(0, "us", "top", 0, 0.0),)), source, lab, tmp_path)


# -- what goes wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (replace(EXPERIMENT, pace=Pace(until=0.5)), "pace"),
        (replace(EXPERIMENT, lal=LalSettings()), "lal"),
        (replace(EXPERIMENT, knowledge_share=0.5), "knowledge_share"),
        (replace(EXPERIMENT, initial_share=0.2), "initial_share"),
    ],
)
def test_another_experiment_in_the_same_folder_is_refused(played, source, other, what) -> None:
    out, lab, _ = played
    before = tree(out)
    with pytest.raises(UsageError, match=f"another {what};"):
        run(other, source, lab, out)
    assert tree(out) == before


def test_another_set_in_the_same_folder_is_refused(played, tmp_path) -> None:
    out, _, _ = played
    other = small_set(80)
    with pytest.raises(UsageError, match="another lab;"):
        run(EXPERIMENT, other, Lab.prepare(tmp_path, other, SETTINGS), out)


def test_an_arm_that_fails_costs_itself_only_and_is_told(source, tmp_path) -> None:
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    good = Arm(0, "us", "top", 20, 0.0)
    arms = (Arm(0, "mcle,top=0", "top", 20, 0.0), Arm(0, "us", "nope", 20, 0.0), good, Arm(0, "random", "top", 20, 0.0))
    outcome = run(Experiment(arms), source, lab, tmp_path)
    # Judged once before it had to choose, so its one point is shown.
    assert [c.arm for c in outcome.curves if len(c.points) > 1] == [Arm(0, "random", "top", 20, 0.0), good]
    assert len(told(outcome)) == 2
    assert "top must be at least 1" in told(outcome)[0]
    assert told(outcome)[1].startswith(f"{arms[1].name}: ")
    assert "nope" in told(outcome)[1]


def test_a_damaged_journal_costs_its_arm_only_and_is_told_once(source, tmp_path) -> None:
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    bad, good = Arm(0, "random", "top", 20, 0.0), Arm(0, "us", "top", 20, 0.0)
    experiment = Experiment((bad, good))
    whole = run(experiment, source, lab, tmp_path)
    arm_file(tmp_path, bad).write_bytes(b"rubbish\n")
    arm_file(tmp_path, good).unlink()
    outcome = run(experiment, source, lab, tmp_path)
    assert [c for c in outcome.curves if c.arm == good] == [c for c in whole.curves if c.arm == good]
    assert len(outcome.curves) == 1
    assert len(told(outcome)) == 1
    assert "delete it" in told(outcome)[0]
    arm_file(tmp_path, bad).unlink()
    assert run(experiment, source, lab, tmp_path) == whole


def test_a_source_too_small_for_lal_costs_lal_only(tmp_path) -> None:
    # Two classes of 8 are the Knowledge-Source: six videos, enough for a split, too few to teach.
    source = small_set(30, empty=False)
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    experiment = Experiment((Arm(0, "lal", "top", 5, 0.0), Arm(0, "us", "top", 5, 0.0)), lal=LAL)
    assert len(experiment.split(lab, 0).knowledge) < 8
    outcome = run(experiment, source, lab, tmp_path)
    assert len(next(c for c in outcome.curves if c.arm.strategy == "us").points) > 2
    assert "seed 0: LAL could not be taught" in told(outcome)[0]
    assert "lal bootstrap" in told(outcome)[1]
    assert len(told(outcome)) == 2


def test_a_pool_without_any_action_is_told_in_plain_words(tmp_path) -> None:
    known = small_dataset(96)
    bare = {
        v: replace(a, instances=()) if known.videos[v].subset == "training" else a for v, a in known.annotations.items()
    }
    source = SimulatedSet(replace(known, annotations=bare), SimulatedFeatures(CLASSES, appearance=LOUD), 20)
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    outcome = run(Experiment((Arm(0, "us", "top", 20, 0.0), Arm(0, "random", "top", 20, 0.0))), source, lab, tmp_path)
    assert outcome.curves == []
    assert len(told(outcome)) == 3
    assert all("none of" in problem and "holds an instance" in problem for problem in told(outcome))


def test_the_same_arm_twice_is_one(source, tmp_path) -> None:
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    arm = Arm(0, "random", "top", 20, 0.0)
    outcome = run(Experiment((arm, arm)), source, lab, tmp_path)
    assert [c.arm for c in outcome.curves] == [arm]
    assert [line["step"] for line in read_lines(arm_file(tmp_path, arm))] == [0, 1, 2, 3]


def test_what_a_killed_run_left_half_written_is_swept(played, source, tmp_path) -> None:
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    experiment = Experiment((Arm(0, "random", "top", 20, 0.0),))
    run(experiment, source, lab, tmp_path)
    left = tmp_path / "arms" / ".a.state.npz.999999999.abc.part"
    left.write_bytes(b"half")
    run(experiment, source, lab, tmp_path)
    assert not left.exists()


def test_collecting_half_a_run_shows_what_there_is(played, source, tmp_path) -> None:
    out, _, outcome = played
    arm = EXPERIMENT.arms[0]
    experiment = Experiment((arm,), lal=LAL)
    assert collect(experiment, tmp_path).curves == []
    arm_file(tmp_path, arm).parent.mkdir()
    lines = arm_file(out, arm).read_bytes().splitlines(keepends=True)
    arm_file(tmp_path, arm).write_bytes(b"".join(lines[:2]) + lines[2][:10])
    assert collect(experiment, tmp_path).curves == []  # nobody knows yet what all labels give
    full_file(tmp_path, arm.seed).parent.mkdir()
    full_file(tmp_path, arm.seed).write_bytes(full_file(out, arm.seed).read_bytes())
    (half,) = collect(experiment, tmp_path).curves
    whole = next(c for c in outcome.curves if c.arm == arm)
    assert half.points == whole.points[:2]
    assert not gain_folder(tmp_path, arm.seed).exists()
