"""Plans: every step is counted, whatever the machine; no test looks at a real time."""

from __future__ import annotations

import pytest
from experiment_helpers import SETTINGS, small_set
from hypothesis import given
from hypothesis import strategies as st

from kloc.errors import KlocError, UsageError
from kloc.experiments import plan as planning
from kloc.experiments.arm import Bench, Pace, read_lines, run_arm
from kloc.experiments.curves import Arm
from kloc.experiments.lab import Lab
from kloc.experiments.lal_bootstrap import LalSettings
from kloc.experiments.plan import Probe, _arm_seconds, _spread, plan
from kloc.experiments.protocol import make_split
from kloc.experiments.runner import Experiment
from kloc.threads import one_thread

LAL = LalSettings(n_splits=4, shares=(0.1, 0.3), candidates=3)
STRATEGIES = ("lal", "mcle", "random", "us")
STEP, JUDGE, SELECT = 1.0, 10.0, 100.0


def constant(sizes) -> dict[Probe, float]:
    taken = {Probe("step", size): STEP for size in sizes} | {Probe("judge", size): JUDGE for size in sizes}
    return taken | {Probe("select", size, "us"): SELECT for size in sizes[:2]}


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
    found = _arm_seconds(arm, Experiment((arm,), pace), constant(sizes), sizes, initial, stop)
    lines = read_lines(tmp_path / "a.jsonl")
    assert done == {
        "train": len(lines),
        "value": sum(line["value"] is not None for line in lines),
        "select": len(lines) - 1,
    }
    assert found == pytest.approx(done["train"] * STEP + done["value"] * JUDGE + done["select"] * SELECT)


def test_times_that_grow_with_the_labels_are_added_up_where_they_arise() -> None:
    sizes = [10, 55, 100]
    taken = {Probe("step", size): 2.0 * size for size in sizes} | {Probe("judge", size): 0.0 for size in sizes}
    taken |= {Probe("select", 10, "us"): 100.0, Probe("select", 55, "us"): 55.0}
    arm = Arm(0, "us", "top", 30, 0.0)
    found = _arm_seconds(arm, Experiment((arm,)), taken, sizes, 10, 100)
    steps = sum(2.0 * n for n in (10, 40, 70, 100))
    chosen = 100.0 + (100.0 - 30.0) + 55.0  # falls by 1 per label up to 55, and is not known to fall further
    assert found == pytest.approx(steps + chosen)


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


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_parts_in_their_order_and_their_sum(lab, clockless, n_seeds) -> None:
    made = plan(experiment(n_seeds), lab)
    assert [part.name for part in made.parts] == ["all labels", "MCLE's prior", "teaching LAL", "arms"]
    steps = 6  # 5, 14, 23, 32, 41 and 48 labelled
    # Judging is what a judged step takes longer than another: nothing, where each takes a second.
    arm = steps * 1.0 + (steps - 1) * 1.0
    assert [part.seconds for part in made.parts] == pytest.approx([n_seeds, n_seeds, 8 * n_seeds, 4 * n_seeds * arm])
    assert made.seconds == pytest.approx(sum(part.seconds for part in made.parts))
    assert made.workers == 1


def test_only_what_is_needed_is_planned(lab, clockless) -> None:
    made = plan(Experiment((Arm(0, "random", "top", 20, 0.0),)), lab)
    assert [part.name for part in made.parts] == ["all labels", "arms"]
    # MCLE with the first seed, LAL with the second.
    some = (Arm(0, "mcle", "top", 20, 0.0), Arm(1, "lal", "top", 20, 0.0))
    parts = {part.name: part.seconds for part in plan(Experiment(some, lal=LAL), lab).parts}
    assert parts["MCLE's prior"] == 1
    assert parts["teaching LAL"] == 8


def test_an_arm_that_stops_early_is_planned_so(lab, clockless) -> None:
    whole, half = (plan(experiment(pace=Pace(until)), lab).parts[-1].seconds for until in (1.0, 0.5))
    assert (whole, half) == (44, 28)
    # All labels are trained on however early arms stop: scaled from what was timed.
    first = plan(experiment(pace=Pace(0.5)), lab).parts[0]
    assert first.seconds == pytest.approx(48 / 24)


@pytest.mark.parametrize("share", [0.9, 0.98])
def test_arms_of_hardly_any_step_can_be_planned(lab, clockless, share) -> None:
    made = plan(experiment(initial_share=share), lab)
    assert made.parts[-1].seconds > 0


def test_a_plan_leaves_nothing_behind(lab) -> None:
    before = {p: p.stat().st_mtime_ns for p in lab.folder.parent.rglob("*")}
    made = plan(experiment(), lab)
    assert {p: p.stat().st_mtime_ns for p in lab.folder.parent.rglob("*")} == before
    assert all(part.seconds > 0 for part in made.parts)


def test_what_cannot_be_run_cannot_be_planned(lab, tmp_path) -> None:
    with pytest.raises(KlocError, match=r"plan could not be made: select mcle,top=0: .*at least 1"):
        plan(Experiment((Arm(0, "mcle,top=0", "top", 9, 0.0),)), lab)
    small = Lab.prepare(tmp_path, small_set(12), SETTINGS)
    with pytest.raises(UsageError, match="too few videos"):
        plan(experiment(), small)
