"""Arms: what is chosen from what, and the same bytes on any number of workers and after any kill."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from experiment_helpers import EXPERIMENT, SETTINGS, told, tree

from kloc.errors import KlocError, UsageError
from kloc.experiments import arm as arm_module
from kloc.experiments.arm import Bench, Journal, Pace, read_lines, run_arm
from kloc.experiments.curves import Arm
from kloc.experiments.lab import Lab
from kloc.experiments.protocol import make_split
from kloc.experiments.runner import arm_file, run
from kloc.selection.cost import CostModel
from kloc.threads import one_thread

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
    del found["experiment.json"]  # it tells of all arms that were ever asked for
    assert found.items() <= tree(out).items()
    assert again.curves == [c for c in outcome.curves if c.arm.seed == 0]


def stamps_of(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in tree(folder)}


def test_a_finished_run_does_nothing_and_says_the_same(played, source) -> None:
    out, lab, outcome = played
    stamps = stamps_of(out)
    begun = []

    def stage(what: str, total: int):
        begun.append((what, total))
        return lambda: None

    again = run(EXPERIMENT, source, lab, out, stage=stage)
    assert stamps_of(out) == stamps
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


def lines_of(bench: Bench, arm: Arm, pace: Pace, path: Path) -> list[dict]:
    with one_thread():
        run_arm(bench, arm, pace, path)
    return read_lines(path)


@pytest.mark.parametrize("policy", ["diverse,method=badge", "class-quota"])
def test_what_reads_classes_can_be_simulated_also_where_a_step_is_not_judged(bench, tmp_path, monkeypatch, policy):
    bare = replace(bench, lab=replace(bench.lab, videos=tuple(replace(v, labels=()) for v in bench.lab.videos)))
    arm = Arm(0, "us", policy, 9, 0.0)
    trained: list[int] = []
    classify = Bench.classify
    monkeypatch.setattr(
        Bench, "classify", lambda self, model, known: (trained.append(len(known)), classify(self, model, known))[1]
    )
    found = {every: lines_of(bare, arm, Pace(eval_every=every), tmp_path / f"{every}.jsonl") for every in (1, 3)}
    sizes = [line["labelled"] for line in found[1]]
    assert trained == sizes * 2  # once a step, judged or not
    assert [line["picked"] for line in found[1]] == [line["picked"] for line in found[3]]
    assert [line["value"] for line in found[3]] == [
        line["value"] if i % 3 == 0 or i == len(sizes) - 1 else None for i, line in enumerate(found[1])
    ]
    top = lines_of(bare, replace(arm, policy="top"), Pace(), tmp_path / "top.jsonl")
    assert [line["picked"] for line in top] != [line["picked"] for line in found[1]]


def test_only_what_reads_classes_trains_a_classifier_between_judged_steps(bench, tmp_path, monkeypatch) -> None:
    trained: list[int] = []
    classify = Bench.classify
    monkeypatch.setattr(
        Bench, "classify", lambda self, model, known: (trained.append(len(known)), classify(self, model, known))[1]
    )
    # Videos have labels here: class-quota need not ask the model.
    lines = lines_of(bench, Arm(0, "us", "class-quota", 9, 0.0), Pace(eval_every=3), tmp_path / "a.jsonl")
    assert trained == [line["labelled"] for line in lines if line["value"] is not None]


def test_an_arm_that_reads_classes_ends_with_the_same_bytes_after_a_kill(bench, tmp_path) -> None:
    arm, pace, whole = Arm(0, "us", "diverse,method=badge", 9, 0.0), Pace(eval_every=3), tmp_path / "whole.jsonl"
    lines_of(bench, arm, pace, whole)
    after, append = {}, Journal.append

    def stop(self, line, model) -> None:
        append(self, line, model)
        after[line["step"]] = model
        if line["step"] == 1:
            raise RuntimeError("killed")

    path = tmp_path / "again.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "append", stop)
        with pytest.raises(RuntimeError, match="killed"), one_thread():
            run_arm(bench, arm, pace, path)
    assert after[1].classified
    lines_of(bench, arm, pace, path)
    assert path.read_bytes() == whole.read_bytes()
    assert state_of(path).read_bytes() == state_of(whole).read_bytes()


def test_a_line_is_on_the_disk_before_its_state_is_written(bench, tmp_path, monkeypatch) -> None:
    path, done = tmp_path / "a.jsonl", []
    sync, keep = os.fsync, arm_module.atomic_write

    def synced(number: int) -> None:
        if os.fstat(number).st_ino == path.stat().st_ino:
            done.append(("line", path.read_bytes().count(b"\n")))
        sync(number)

    def kept(target, *args, **more):
        if target == state_of(path):
            done.append(("state", path.read_bytes().count(b"\n")))
        return keep(target, *args, **more)

    monkeypatch.setattr(arm_module.os, "fsync", synced)
    monkeypatch.setattr(arm_module, "atomic_write", kept)
    run_arm(bench, Arm(0, "random", "top", 30, 0.0), Pace(), path)
    assert done == [(what, n) for n in (1, 2, 3) for what in ("line", "state")]


def test_minutes_are_those_of_the_cost_model(bench, tmp_path) -> None:
    told = replace(bench, cost=CostModel(3.0, 0.0, 0.0))
    lines = lines_of(told, Arm(0, "us", "cost-aware", 9, 0.0), Pace(until=0.5), tmp_path / "a.jsonl")
    assert [line["minutes"] for line in lines] == [3.0 * line["labelled"] for line in lines]
    # What costs the same everywhere leaves the order to the score; kloc's default prefers short videos.
    usual = lines_of(bench, Arm(0, "us", "cost-aware", 9, 0.0), Pace(until=0.5), tmp_path / "b.jsonl")
    top = lines_of(bench, Arm(0, "us", "top", 9, 0.0), Pace(until=0.5), tmp_path / "c.jsonl")
    assert [line["picked"] for line in lines] == [line["picked"] for line in top]
    assert [line["picked"] for line in usual] != [line["picked"] for line in top]


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
