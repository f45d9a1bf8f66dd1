"""LAL's lessons: the same every time, honest about what they can foretell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from experiment_helpers import CLASSES, LOUD, SETTINGS, small_dataset

from kloc.errors import KlocError, UsageError
from kloc.experiments import lal_bootstrap
from kloc.experiments.judging import AgnosticJudge
from kloc.experiments.lab import Lab
from kloc.experiments.lal_bootstrap import (
    BINS,
    Knowledge,
    LalSettings,
    StateTask,
    StateWorker,
    basis_of,
    bootstrap,
    labelled_size,
    split_knowledge,
)
from kloc.experiments.simulated_features import SimulatedFeatures
from kloc.experiments.source import SimulatedSet
from kloc.localizers.stagewise.attention import train_attention
from kloc.seeds import generator
from kloc.selection.lal_model import GainModel

QUICK = LalSettings(n_splits=4, shares=(0.1, 0.3, 0.5), candidates=5, target="ranking")
KNOWN = Knowledge(tuple(range(0, 96, 2)), CLASSES[::2], 3)
SIZES = range(len(QUICK.shares))


@pytest.fixture
def rows_of(monkeypatch):
    """All that the workers found, by split and size."""
    found, process = {}, StateWorker.process

    def keep(self, task):
        found[task.split, task.size] = process(self, task)
        return found[task.split, task.size]

    monkeypatch.setattr(StateWorker, "process", keep)
    return found


def worker_of(lab: Lab, lal: LalSettings = QUICK, known: Knowledge = KNOWN) -> StateWorker:
    return StateWorker(lab.folder, lal, {known.seed: basis_of(lab.table, known, lal)})


# -- splits and labelled sets -----------------------------------------------------------------------------------


def test_halves_share_no_video_and_differ_by_split_and_seed() -> None:
    halves = [split_knowledge(KNOWN, split) for split in range(6)]
    for pool, held_out in halves:
        assert sorted([*pool, *held_out]) == list(KNOWN.videos)
        assert len(pool) == 24
        assert pool.tolist() == sorted(pool.tolist())
        assert held_out.tolist() == sorted(held_out.tolist())
    assert len({tuple(pool.tolist()) for pool, _ in halves}) == 6
    assert split_knowledge(replace(KNOWN, seed=4), 0)[0].tolist() != halves[0][0].tolist()


@pytest.mark.parametrize(
    ("n", "share", "expected"),
    [(100, 0.05, 5), (10, 0.05, 2), (4, 0.6, 2), (4, 0.99, 3), (100, 0.999, 99), (3, 0.5, 2)],
)
def test_two_are_labelled_at_least_and_one_stays_to_be_added(n, share, expected) -> None:
    assert labelled_size(np.arange(n), share) == expected


@pytest.mark.parametrize("mode", ["independent", "iterative"])
def test_labelled_sets_have_their_sizes_and_leave_the_candidates(lab, rows_of, mode) -> None:
    bootstrap(lab, [KNOWN], replace(QUICK, mode=mode))
    assert set(rows_of) == {(split, size) for split in range(4) for size in SIZES}
    worker = worker_of(lab)
    for (split, size), rows in rows_of.items():
        pool, _ = split_knowledge(KNOWN, split)
        assert set(rows.labelled) <= set(pool.tolist())
        assert len(rows.labelled) == labelled_size(pool, QUICK.shares[size])
        candidates = worker.candidates_of(StateTask(KNOWN, split, size), pool, rows.labelled)
        assert len(candidates) == len(rows.gains) == len(rows.histograms) == 5
        assert not set(candidates.tolist()) & set(rows.labelled)
        assert np.allclose(rows.histograms.sum(axis=1), 1)
    nested = [set(rows_of[s, i].labelled) < set(rows_of[s, i + 1].labelled) for s in range(4) for i in SIZES[:-1]]
    assert all(nested) if mode == "iterative" else not any(nested)


def test_sets_grow_by_what_was_learned(lab, rows_of, monkeypatch) -> None:
    # A regressor that likes videos with many scores in the lowest bin must get just these.
    monkeypatch.setattr(GainModel, "predict", lambda self, state, histograms: histograms[:, 0])
    bootstrap(lab, [KNOWN], replace(QUICK, mode="iterative"))
    for split in range(4):
        pool, _ = split_knowledge(KNOWN, split)
        before, after = rows_of[split, 0], rows_of[split, 1]
        known = np.array(before.labelled)
        attention = train_attention(lab.table, replace(SETTINGS, tolerance=1e-5), KNOWN.seed, videos=known)
        rest = np.setdiff1d(pool, known)
        lowest = np.array([
            (attention.actionness(lab.table.encoded[lab.table.rows(np.array([v]))]).astype(np.float16) < 0.1).mean()
            for v in rest
        ])  # fmt: skip
        new = np.isin(rest, after.labelled)
        assert lowest[new].min() >= lowest[~new].max() - 1e-9


# -- gains ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["detection", "ranking"])
@pytest.mark.parametrize("size", SIZES)
def test_gains_equal_training_again_with_each_video(lab, target, size) -> None:
    # One at a time and from scratch, with a solver as exact as can be.
    worker = worker_of(lab, replace(QUICK, target=target))
    worker._settings = replace(worker._settings, tolerance=1e-9)
    task = StateTask(KNOWN, 1, size)
    rows = worker.process(task)
    pool, held_out = split_knowledge(KNOWN, 1)
    judge = AgnosticJudge.of(lab, held_out)
    measure = judge.average_precision if target == "detection" else judge.ranking_precision

    def quality(videos) -> float:
        attention = train_attention(lab.table, worker._settings, KNOWN.seed, videos=np.sort(videos), calibrate=False)
        return measure(attention.margin(lab.table.encoded[lab.table.rows(held_out)]))

    known = np.array(rows.labelled)
    candidates = worker.candidates_of(task, pool, rows.labelled)
    expected = [quality(np.append(known, v)) - quality(known) for v in candidates]
    # Two segments whose margins agree to rounding may change places: that moves an average by little.
    assert rows.gains == pytest.approx(expected, abs=2e-3)
    assert np.abs(expected).max() > 4e-3


def test_what_an_experiment_finds_depends_on_its_task_alone(lab) -> None:
    tasks = [StateTask(KNOWN, split, size) for split in range(3) for size in SIZES]
    forward, backward = worker_of(lab), worker_of(lab)
    found = [forward.process(task) for task in tasks]
    again = [backward.process(task) for task in reversed(tasks)][::-1]
    for one, other in zip(found, again, strict=True):
        assert one.labelled == other.labelled
        for a, b in zip(one[:3], other[:3], strict=True):
            assert np.array_equal(a, b)


def test_the_state_tells_sizes(lab) -> None:
    rows = worker_of(lab).process(StateTask(KNOWN, 0, 1))
    assert rows.state[-2:] == pytest.approx([np.log10(len(rows.labelled)), len(rows.labelled) / 24])
    full = replace(QUICK, state="full")
    assert len(worker_of(lab, full).process(StateTask(KNOWN, 0, 1)).state) == lab.table.encoded.shape[1] + 4


# -- models -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["independent", "iterative"])
@pytest.mark.parametrize("target", ["detection", "ranking"])
def test_equal_inputs_give_equal_models(lab, mode, target) -> None:
    settings = replace(QUICK, mode=mode, target=target)
    other = replace(KNOWN, seed=9)
    one, two = bootstrap(lab, [KNOWN, other], settings)
    assert one.fingerprint == bootstrap(lab, [KNOWN], settings)[0].fingerprint  # whatever else is learned beside it
    assert two.fingerprint == bootstrap(lab, [other], settings)[0].fingerprint
    assert one.fingerprint != two.fingerprint
    facts = one.facts
    assert (facts["mode"], facts["target"], facts["videos"]) == (mode, target, 48)
    assert facts["states"] == 12
    assert facts["rows"] == 60
    assert set(facts["rank_correlation_by_share"]) == {"0.1", "0.3", "0.5"}
    assert -1 <= facts["rank_correlation"] <= 1
    low, high = facts["rank_correlation_interval"]
    assert low <= facts["rank_correlation"] <= high
    assert one.classes == CLASSES[::2]
    assert one.features == lab.facts["features"]
    assert one.bins == BINS
    assert one.basis.n_features == lab.table.encoded.shape[1]


def test_results_may_come_in_any_order(lab, monkeypatch) -> None:
    expected = bootstrap(lab, [KNOWN], QUICK)[0].fingerprint
    straight = lal_bootstrap.map_videos
    monkeypatch.setattr(
        lal_bootstrap, "map_videos", lambda worker, tasks, **more: straight(worker, tasks[::-1], **more)
    )
    assert bootstrap(lab, [KNOWN], QUICK)[0].fingerprint == expected


def told_by(monkeypatch, gain) -> None:
    """Let experiments find other gains, made of the histograms and a random stream."""
    process = StateWorker.process

    def changed(self, task):
        rows = process(self, task)
        return rows._replace(gains=gain(rows.histograms, generator(0, "gains", task.split, task.size)))

    monkeypatch.setattr(StateWorker, "process", changed)


def test_gains_that_can_be_foretold_are(lab, monkeypatch) -> None:
    told_by(monkeypatch, lambda histograms, rng: histograms @ np.arange(BINS))
    gain = bootstrap(lab, [KNOWN], replace(QUICK, n_splits=8, shares=(0.1, 0.5), candidates=10))[0]
    assert gain.rank_correlation > 0.6
    assert min(gain.facts["rank_correlation_by_share"].values()) > 0.4
    assert not gain.close_to_random


def test_gains_that_are_chance_are_not_foretold(lab, monkeypatch) -> None:
    told_by(monkeypatch, lambda histograms, rng: rng.normal(size=len(histograms)))
    gain = bootstrap(lab, [KNOWN], replace(QUICK, n_splits=8, shares=(0.1, 0.5), candidates=10))[0]
    # Judged on its own training rows it would be far above.
    assert abs(gain.rank_correlation) < 0.25


def test_rank_correlation_is_that_of_shares_from_a_tenth_on(lab, monkeypatch) -> None:
    told_by(monkeypatch, lambda histograms, rng: histograms @ np.arange(BINS))
    gain = bootstrap(lab, [KNOWN], replace(QUICK, shares=(0.05, 0.3)))[0]
    by_share = gain.facts["rank_correlation_by_share"]
    assert gain.rank_correlation == pytest.approx(by_share["0.3"], abs=1e-4)
    assert by_share["0.05"] != by_share["0.3"]


def test_progress_is_told(lab) -> None:
    heard = []
    bootstrap(lab, [KNOWN], QUICK, progress=lambda finished, total: heard.append((finished, total)))
    assert heard == [(i + 1, 12) for i in range(12)]


# -- what goes wrong --------------------------------------------------------------------------------------------


def test_sources_too_small_are_refused(lab) -> None:
    with pytest.raises(UsageError, match="Knowledge-Source of 7 videos is too small"):
        bootstrap(lab, [KNOWN, Knowledge(tuple(range(7)), CLASSES, 0)], QUICK)


def nearly_empty(tmp_path, keep: int) -> tuple[Lab, Knowledge]:
    """Twelve videos of which ``keep`` hold an instance."""
    known = small_dataset(12, empty=False)
    bare = {v: a if i < keep else replace(a, instances=()) for i, (v, a) in enumerate(known.annotations.items())}
    source = SimulatedSet(replace(known, annotations=bare), SimulatedFeatures(CLASSES, appearance=LOUD), 20)
    return Lab.prepare(tmp_path, source, SETTINGS), Knowledge(tuple(range(12)), CLASSES, 0)


def test_splits_without_instances_on_one_side_teach_nothing_and_stop_nothing(tmp_path, rows_of) -> None:
    lab, known = nearly_empty(tmp_path, 2)
    gain = bootstrap(lab, [known], replace(QUICK, n_splits=8, shares=(0.1, 0.5)))[0]
    lacking = 0
    for (split, _), rows in rows_of.items():
        sides = [any(lab.annotations[i].instances for i in half) for half in split_knowledge(known, split)]
        assert (rows is not None) == all(sides)
        lacking += rows is None
    assert 0 < lacking < len(rows_of)
    assert gain.facts["states"] == len(rows_of) - lacking


def test_a_source_without_any_instance_is_told(tmp_path) -> None:
    lab, known = nearly_empty(tmp_path, 0)
    for mode in ("independent", "iterative"):
        with pytest.raises(UsageError, match="holds an instance"):
            bootstrap(lab, [known], replace(QUICK, mode=mode))


def test_experiments_that_fail_are_told(lab, monkeypatch) -> None:
    def fail(self, task):
        raise KlocError("out of chalk")

    monkeypatch.setattr(StateWorker, "process", fail)
    with pytest.raises(KlocError, match="12 of 12 experiments for LAL failed; the first: out of chalk"):
        bootstrap(lab, [KNOWN], QUICK)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_splits": 3},
        {"candidates": 1},
        {"shares": ()},
        {"shares": (0.3, 0.1)},
        {"shares": (0.1, 0.1)},
        {"shares": (0.0, 0.1)},
        {"shares": (0.1, 1.0)},
    ],
)
def test_settings_that_teach_nothing_are_refused(wrong) -> None:
    with pytest.raises(UsageError, match="LAL"):
        LalSettings(**wrong)
