"""The noisy oracle: exactly as wrong as it says, whatever was asked before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloc.errors import UsageError
from kloc.experiments.oracle import LOWEST_TIOU, NoisyOracle
from kloc.records import Annotation, Instance, Item
from kloc.seeds import generator
from kloc.segments import as_segments, pairwise_tiou

CLASSES = ("dive", "jump", "run")


def truth(name: str, *spans: tuple[float, float], label: str = "dive", end: float = 100.0) -> Annotation:
    return Annotation(Item(name, 0.0, end), tuple(Instance(s, e, label) for s, e in spans), frozenset({"dive", "run"}))


def tiou(one: Instance, other: Instance) -> float:
    return float(pairwise_tiou(as_segments([(one.start, one.end)]), as_segments([(other.start, other.end)]))[0, 0])


@given(st.integers(0, 10**6), st.floats(0.01, 1.0), st.floats(0, 95), st.floats(0.1, 100), st.integers(0, 3))
def test_the_tiou_is_the_one_that_was_drawn(seed, noise, start, length, origin) -> None:
    low, high = 50.0 * origin, 50.0 * origin + 100.0
    start, end = low + start, min(low + start + length, high)
    asked = Annotation(Item("v", low, high), (Instance(start, end, "dive"),))
    (said,) = NoisyOracle(noise, seed).annotate(asked, low, high, CLASSES).instances
    drawn = generator(seed, "oracle", "v").normal(1 - noise, noise / 2)
    assert tiou(said, asked.instances[0]) == pytest.approx(np.clip(drawn, LOWEST_TIOU, 1), abs=1e-6)
    assert low <= said.start < said.end <= high
    assert said.label == "dive"


@pytest.mark.parametrize(("noise", "sigma"), [(0.2, None), (0.3, 0.05), (0.1, 0.0)])
def test_means_and_spreads_over_many_videos(noise, sigma) -> None:
    oracle = NoisyOracle(noise, 7, sigma)
    found = []
    for number in range(2000):
        asked = truth(f"v{number}", (40, 60))
        found.append(tiou(oracle.annotate(asked, 0, 100, CLASSES).instances[0], asked.instances[0]))
    spread = noise / 2 if sigma is None else sigma
    draws = np.clip(np.random.default_rng(0).normal(1 - noise, spread, 100_000), LOWEST_TIOU, 1)
    assert np.mean(found) == pytest.approx(draws.mean(), abs=0.01)
    assert np.std(found) == pytest.approx(draws.std(), abs=0.01)


def test_all_ways_of_being_wrong_happen() -> None:
    ways = set()
    for number in range(60):
        said = NoisyOracle(0.3, 1, 0.0).annotate(truth(f"v{number}", (40, 60)), 0, 100, CLASSES).instances[0]
        ways.add((said.start < 40, said.end > 60))
    assert ways == {(True, True), (False, False), (True, False), (False, True)}


def test_without_noise_the_truth_comes_back() -> None:
    asked = truth("v", (10, 20), (30, 90))
    assert NoisyOracle(0.0, 3).annotate(asked, 0, 100, CLASSES) == asked


def test_what_it_says_depends_on_video_and_seed_alone() -> None:
    asked = [truth(f"v{i}", (10, 20), (40, 80)) for i in range(4)]
    oracle = NoisyOracle(0.3, 5, drop=0.2, spurious=0.2, wrong=0.2)
    forward = [oracle.annotate(a, 0, 100, CLASSES) for a in asked]
    fresh = NoisyOracle(0.3, 5, drop=0.2, spurious=0.2, wrong=0.2)
    backward = [fresh.annotate(a, 0, 100, CLASSES) for a in reversed(asked)]
    assert forward == backward[::-1]
    assert forward != [
        NoisyOracle(0.3, 6, drop=0.2, spurious=0.2, wrong=0.2).annotate(a, 0, 100, CLASSES) for a in asked
    ]
    assert len({said.instances[0].start for said in forward if said.instances}) > 1  # videos err apart


def test_the_stretch_and_the_question_stay() -> None:
    asked = truth("v", (10, 20))
    said = NoisyOracle(0.4, 2).annotate(asked, 0, 100, CLASSES)
    assert (said.item, said.exhaustive_for) == (asked.item, asked.exhaustive_for)
    nothing = truth("w")
    assert NoisyOracle(0.4, 2, spurious=1.0).annotate(nothing, 0, 100, CLASSES) == nothing


@pytest.mark.parametrize("knob", ["drop", "spurious", "wrong"])
def test_knobs_turn_what_they_say_and_as_often(knob) -> None:
    n, chance = 400, 0.25
    asked = truth("v", *((float(i), i + 0.5) for i in range(n)), end=float(n))
    said = NoisyOracle(0.0, 4, **{knob: chance}).annotate(asked, 0, n, CLASSES)
    kept = set(asked.instances)
    if knob == "drop":
        assert set(said.instances) < kept
        changed = n - len(said.instances)
    elif knob == "spurious":
        extra = [i for i in said.instances if i not in kept]
        assert kept <= set(said.instances)
        assert all(0 <= i.start < i.end <= n and i.label == "dive" for i in extra)
        changed = len(extra)
    else:
        spans = [(i.start, i.end) for i in asked.instances]
        assert [(i.start, i.end) for i in said.instances] == spans
        labels = [i.label for i in said.instances if i.label != "dive"]
        assert set(labels) == {"jump", "run"}
        changed = len(labels)
    assert changed == pytest.approx(chance * n, abs=5 * (n * chance * (1 - chance)) ** 0.5)


def test_certain_knobs() -> None:
    asked = truth("v", (10, 20), (40, 80))
    assert NoisyOracle(0.2, 0, drop=1.0).annotate(asked, 0, 100, CLASSES).instances == ()
    assert len(NoisyOracle(0.2, 0, spurious=1.0).annotate(asked, 0, 100, CLASSES).instances) == 4
    only = NoisyOracle(0.0, 0, wrong=1.0).annotate(asked, 0, 100, ("dive",))
    assert only.instances == asked.instances  # there is no other class to take it for


def test_instances_that_stick_out_of_the_video_are_cut_and_those_outside_left_out() -> None:
    asked = truth("v", (90, 120), (150, 160), (-5, 0), (100, 101), (170, 170))
    (said,) = NoisyOracle(0.3, 0).annotate(asked, 0, 100, CLASSES).instances
    drawn = np.clip(generator(0, "oracle", "v").normal(0.7, 0.15), LOWEST_TIOU, 1)
    assert tiou(said, Instance(90, 100, "dive")) == pytest.approx(drawn, abs=1e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"noise": -0.1}, "noise must lie between 0 and 1, not -0.1"),
        ({"noise": 1.1}, "noise"),
        ({"noise": float("nan")}, "noise"),
        ({"noise": 0.1, "drop": 2}, "drop"),
        ({"noise": 0.1, "spurious": -1}, "spurious"),
        ({"noise": 0.1, "wrong": 1.5}, "wrong"),
        ({"noise": 0.1, "sigma": -0.1}, "sigma must not be below 0"),
        ({"noise": 0.1, "sigma": float("nan")}, "sigma"),
    ],
)
def test_wrong_settings_are_told(wrong, message) -> None:
    with pytest.raises(UsageError, match=message):
        NoisyOracle(seed=0, **wrong)
