"""Plans: every step is counted, whatever the machine; no test looks at a real time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from experiment_helpers import SETTINGS, changed, small_set
from hypothesis import given
from hypothesis import strategies as st

from kloc.errors import KlocError, UsageError
from kloc.experiments import plan as planning
from kloc.experiments.arm import Bench, Pace, read_lines, run_arm
from kloc.experiments.curves import Arm
from kloc.experiments.lab import Lab
from kloc.experiments.lal_bootstrap import LalSettings
from kloc.experiments.plan import Probe, _arm_seconds, _batches, _spread, plan
from kloc.experiments.protocol import make_split
from kloc.experiments.runner import Experiment
from kloc.threads import one_thread

LAL = LalSettings(n_splits=4, shares=(0.1, 0.3), candidates=3)
STRATEGIES = ("lal", "mcle", "random", "us")
STEP, JUDGE, SELECT = 1.0, 10.0, 100.0


def times(sizes, step, judge, select, batches=(9,)) -> dict[Probe, float]:
    """What the parts of an arm of "us" take, each a function of size and batch."""
    taken = {}
    for batch in batches:
        taken |= {Probe("step", size, batch): step(size, batch) for size in sizes}
        taken |= {Probe("judge", size, batch): judge(size, batch) for size in sizes}
        taken |= {Probe("select", size, batch, "us", "top"): select(size, batch) for size in sizes[:2]}
    return taken


@pytest.fixture(scope="module")
def bench(lab) -> Bench:
    return Bench(lab, make_split(lab, 0), lab.table, lab.annotations)


def counting(done: dict[str, int], name: str, real):
    def counted(self, *args, **more):
        done[name] += 1
        return real(self, *args, **more)

    return counted


@pytest.mark.parametrize(
    ("until", "batch", "every"),
    [(0.05, 7, 1), (0.3, 9, 2), (0.5, 9, 2), (0.5, 19, 3), (1.0, 43, 1), (1.0, 42, 2), (1.0, 100, 3), (1.0, 9, 3)],
)
def test_an_arm_is_as_many_parts_as_it_really_has(bench, tmp_path, monkeypatch, until, batch, every) -> None:
    pace, arm = Pace(until, every), Arm(0, "us", "top", batch, 0.0)
    done = {"train": 0, "value": 0, "select": 0}
    for name in done:
        monkeypatch.setattr(Bench, name, counting(done, name, getattr(Bench, name)))
    with one_thread():
        run_arm(bench, arm, pace, tmp_path / "a.jsonl")
    initial, pool = len(bench.split.initial), len(bench.split.pool)
    stop = pace.stop(initial, pool)
    sizes = sorted({initial, (initial + stop) // 2, stop})
    taken = times(sizes, lambda *_: STEP, lambda *_: JUDGE, lambda *_: SELECT)
    found = _arm_seconds(arm, Experiment((arm,), pace), taken, sizes, (9,))
    lines = read_lines(tmp_path / "a.jsonl")
    assert done == {
        "train": len(lines),
        "value": sum(line["value"] is not None for line in lines),
        "select": len(lines) - 1,
    }
    assert found == pytest.approx(done["train"] * STEP + done["value"] * JUDGE + done["select"] * SELECT)


def test_times_that_grow_with_the_labels_are_added_up_where_they_arise() -> None:
    sizes = [10, 55, 100]
    taken = times(sizes, lambda n, _: 2.0 * n, lambda *_: 0.0, lambda n, _: 100.0 if n == 10 else 55.0)
    arm = Arm(0, "us", "top", 30, 0.0)
    found = _arm_seconds(arm, Experiment((arm,)), taken, sizes, (9,))
    steps = sum(2.0 * n for n in (10, 40, 70, 100))
    chosen = 100.0 + (100.0 - 30.0) + 55.0  # falls by 1 per label up to 55, and is not known to fall further
    assert found == pytest.approx(steps + chosen)


@pytest.mark.parametrize(("batch", "share"), [(1, 0.0), (2, 0.25), (4, 0.5), (16, 1.0), (64, 1.0)])
def test_a_batch_between_two_lies_between_them_by_its_logarithm(batch, share) -> None:
    sizes = [10, 74, 138]
    taken = times(sizes, lambda _, b: float(b), lambda _, b: 10.0 * b, lambda _, b: 100.0 * b, batches=(1, 16))
    arm = Arm(0, "us", "top", batch, 0.0)
    n_steps = 128 // batch + 1
    unit = (1 - share) * 1 + share * 16
    found = _arm_seconds(arm, Experiment((arm,)), taken, sizes, (1, 16))
    assert found == pytest.approx(unit * (11 * n_steps + 100 * (n_steps - 1)))


@pytest.mark.parametrize(
    ("asked", "rest", "expected"),
    [((9,), 50, (9,)), ((9, 12), 50, (9,)), ((6, 12), 50, (6, 12)), ((1, 4, 64), 50, (1, 50)), ((64, 99), 50, (50,)),
     ((5,), 0, (1,))],
)  # fmt: skip
def test_parts_are_timed_at_the_smallest_and_the_largest_batch(asked, rest, expected) -> None:
    experiment = Experiment(tuple(Arm(0, "us", "top", batch, 0.0) for batch in asked))
    assert _batches(experiment, rest) == expected


def slow_spread(seconds, workers: int) -> float:
    """Tick by tick: whoever is free takes the next task; starting takes a while where there are several."""
    waiting, busy = list(seconds), [round(planning._START_S)] * min(workers, max(1, len(seconds)))
    if workers == 1:
        busy = [0]
    now = 0
    while True:
        for i in range(len(busy)):
            while busy[i] <= now and waiting:
                busy[i] = now + waiting.pop(0)
        if not waiting:
            return max(busy)
        now += 1


@given(st.lists(st.integers(0, 12), max_size=12), st.integers(1, 5))
def test_spreading_tasks_equals_a_slow_clock(seconds, workers) -> None:
    assert _spread([float(s) for s in seconds], workers) == slow_spread(seconds, workers)


def test_one_worker_takes_the_sum_and_many_the_longest() -> None:
    assert _spread([1.0, 2.0, 3.0], 1) == 6.0
    assert _spread([1.0, 2.0, 3.0], 3) == planning._START_S + 3.0
    assert _spread([], 1) == 0.0


@pytest.fixture
def clockless(monkeypatch):
    """Every part is run, and said to take a second."""

    def second(work) -> float:
        work()
        return 1.0

    monkeypatch.setattr(planning, "_seconds", second)


def experiment(n_seeds: int = 1, **more) -> Experiment:
    arms = tuple(Arm(s, name, "top", 9, 0.0) for s in range(n_seeds) for name in STRATEGIES)
    return Experiment(arms, lal=LAL, **more)


#: Fits of LAL's regressor: one to all lessons, four to three quarters of them, by the square of their number.
FITS = 1 + 4 * 0.75**2


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_parts_in_their_order_and_their_sum(source, lab, clockless, n_seeds) -> None:
    made = plan(experiment(n_seeds), source, lab)
    assert [part.name for part in made.parts] == ["all labels", "MCLE's prior", "teaching LAL", "arms"]
    steps = 6  # 5, 14, 23, 32, 41 and 48 labelled
    arm = 2 * steps + (steps - 1)
    expected = [n_seeds, n_seeds, n_seeds * (8 + FITS), 4 * n_seeds * arm]
    assert [part.seconds for part in made.parts] == pytest.approx(expected)
    assert made.seconds == pytest.approx(sum(part.seconds for part in made.parts))
    assert made.workers == 1


def test_only_what_is_needed_is_planned(source, lab, clockless) -> None:
    made = plan(Experiment((Arm(0, "random", "top", 20, 0.0),)), source, lab)
    assert [part.name for part in made.parts] == ["all labels", "arms"]
    # MCLE with the first seed, LAL with the second.
    some = (Arm(0, "mcle", "top", 20, 0.0), Arm(1, "lal", "top", 20, 0.0))
    parts = {part.name: part.seconds for part in plan(Experiment(some, lal=LAL), source, lab).parts}
    assert parts["MCLE's prior"] == 1
    assert parts["teaching LAL"] == 8 + FITS


def test_an_arm_that_stops_early_is_planned_so(source, lab, clockless) -> None:
    whole, half = (plan(experiment(pace=Pace(until)), source, lab).parts[-1].seconds for until in (1.0, 0.5))
    assert (whole, half) == (4 * (6 + 6 + 5), 4 * (4 + 4 + 3))
    # All labels are trained on however early arms stop: scaled from what was timed.
    first = plan(experiment(pace=Pace(0.5)), source, lab).parts[0]
    assert first.seconds == pytest.approx(48 / 24)


@pytest.mark.parametrize("share", [0.9, 0.98])
def test_arms_of_hardly_any_step_can_be_planned(source, lab, clockless, share) -> None:
    made = plan(experiment(initial_share=share), source, lab)
    assert made.parts[-1].seconds > 0


def test_a_plan_leaves_nothing_behind(source, lab) -> None:
    before = {p: p.stat().st_mtime_ns for p in lab.folder.parent.rglob("*")}
    made = plan(experiment(), source, lab)
    assert {p: p.stat().st_mtime_ns for p in lab.folder.parent.rglob("*")} == before
    assert all(part.seconds > 0 for part in made.parts)


def test_what_cannot_be_run_cannot_be_planned(source, lab, tmp_path) -> None:
    with pytest.raises(KlocError, match=r"plan could not be made: select mcle,top=0: .*at least 1"):
        plan(Experiment((Arm(0, "mcle,top=0", "top", 9, 0.0),)), source, lab)
    small = Lab.prepare(tmp_path, small_set(12), SETTINGS)
    with pytest.raises(UsageError, match="too few videos"):
        plan(experiment(), small_set(12), small)


def test_every_noise_and_seed_is_relabelled_alone_and_from_a_share_of_the_videos(source, lab, clockless) -> None:
    arms = tuple(Arm(s, "random", "top", 20, noise) for s, noise in ((0, 0.0), (0, 0.2), (0, 0.3), (1, 0.3)))
    arms += (Arm(1, "us", "top", 20, 0.3),)
    for workers in (1, 2):
        (part, *_) = plan(Experiment(arms), source, lab, workers=workers).parts
        assert part.name == "noisy labels"
        assert part.seconds == pytest.approx(3 * 96 / 40)  # a second for 40 videos; 3 oracles, whoever asks them
    assert not list(lab.folder.glob("oracle-*"))


def test_lessons_that_grow_wait_for_what_one_process_does_alone(source, lab, clockless) -> None:
    lal = LalSettings(n_splits=4, shares=(0.1, 0.2, 0.3), candidates=3, mode="iterative")
    parts = {p.name: p.seconds for p in plan(Experiment((Arm(0, "lal", "top", 20, 0.0),), lal=lal), source, lab).parts}
    lessons, grown, fits = 4 * 3, 4 * 2, FITS + (1 / 3) ** 2 + (2 / 3) ** 2
    assert parts["teaching LAL"] == pytest.approx(lessons + grown + fits)


def test_choosing_is_timed_by_the_policy_of_the_arm(source, lab, clockless, monkeypatch) -> None:
    seen = []
    select = Bench.select
    monkeypatch.setattr(
        Bench, "select", lambda self, arm, *more: (seen.append((arm.strategy, arm.policy, arm.batch)),
                                                   select(self, arm, *more))[1],
    )  # fmt: skip
    arms = (Arm(0, "us", "diverse", 5, 0.0), Arm(0, "us", "top", 5, 0.0), Arm(0, "random", "top", 20, 0.0))
    plan(Experiment(arms), source, lab)
    names = [("random", "top"), ("us", "diverse"), ("us", "top")]
    assert sorted(seen) == sorted((*name, batch) for name in names for batch in (5, 20) for _ in range(2))


def test_lals_regressor_is_learned_once_and_never_while_choosing_is_timed(source, lab, monkeypatch) -> None:
    timing, fitted = [], []
    real, fit = planning._seconds, planning.GainModel.fit

    def timed(work) -> float:
        timing.append(True)
        taken = real(work)
        timing.pop()
        return taken

    def counted(*args, **more):
        fitted.append(bool(timing))
        return fit(*args, **more)

    monkeypatch.setattr(planning, "_seconds", timed)
    monkeypatch.setattr(planning.GainModel, "fit", counted)
    plan(Experiment((Arm(0, "lal", "top", 9, 0.0),), lal=LAL), source, lab)
    assert sorted(fitted) == [False, True]  # for choosing, and to see how long learning takes


def test_a_classifier_that_is_read_between_judged_steps_is_timed_with_choosing(source, lab, clockless, monkeypatch):
    unjudged = []
    select = Bench.select
    monkeypatch.setattr(
        Bench, "select", lambda self, arm, model, *more: (unjudged.append(not model.classified),
                                                          select(self, arm, model, *more))[1],
    )  # fmt: skip
    for every in (1, 2):
        plan(Experiment((Arm(0, "us", "diverse,method=badge", 9, 0.0),), Pace(eval_every=every)), source, lab)
    assert unjudged == [False, False, True, True]


def test_what_a_batch_before_could_not_learn_from_is_begun_from_nothing(source, lab, tmp_path, monkeypatch) -> None:
    # Of what is labelled first only the last video in the plan's order holds an instance.
    worker = planning.ProbeWorker(lab.folder, Experiment((Arm(0, "us", "top", 100, 0.0),)))
    last = int(worker._order[: len(worker._split.initial)][-1])
    known = dict(source.dataset.annotations)
    for index in worker._split.initial.tolist():
        if index != last:
            video_id = lab.videos[index].id
            known[video_id] = replace(known[video_id], instances=())
    poor = changed(source, known)
    made = Lab.prepare(tmp_path, poor, SETTINGS)
    started = []
    train = Bench.train
    monkeypatch.setattr(
        Bench, "train", lambda self, labelled, before, **more: (started.append((len(labelled), before is None)),
                                                                train(self, labelled, before, **more))[1],
    )  # fmt: skip
    plan(Experiment((Arm(0, "us", "top", 100, 0.0),)), poor, made)
    initial = len(worker._split.initial)
    assert (initial // 2, True) in started  # tried, and found to hold nothing
    assert (initial, True) in started
    assert (initial, False) not in started
    assert any(not cold for _, cold in started)
