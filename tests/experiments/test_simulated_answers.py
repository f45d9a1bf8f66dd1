"""The second generator of answers: frozen, pure, and as ill-behaved as it says."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from kloc.experiments import simulated_answers
from kloc.experiments.simulated_answers import CLASSES, Person, crowd, simulated_answer, truth
from kloc.records import Instance

#: Of the generator's source, committed before any consolidation was run on its answers. It may never change again: a
#: new generator is a new file.
FROZEN = "bdf1e2d34058159a49aaeceb8cd7acaa82c8b30d7b90b956c1fb36b2288dcec7"
#: Sees everything, agrees with the truth but for what is shared by all.
STEADY = Person("steady", 50.0, 0.0, 0.0, False, False, -50.0, 0.0, 0.0, 0.0, 1.0)
KEYS = {"version", "segments", "none", "seconds_spent", "watched", "guideline", "prefilled"}
#: Far apart, so that boundaries can be told from each other.
SPREAD_OUT = [Instance(20.0, 40.0, "jump"), Instance(100.0, 130.0, "jump"), Instance(180.0, 190.0, "jump")]


def spans(answer: dict) -> np.ndarray:
    return np.array([(s["start"], s["end"]) for s in answer["segments"]])


def asked(person: Person, key: str = "v", instances: list[Instance] = SPREAD_OUT, seed: int = 3) -> dict:
    return simulated_answer(person, seed, key, 240.0, instances, CLASSES)


def test_the_generator_is_frozen() -> None:
    source = Path(simulated_answers.__file__).read_bytes()
    assert hashlib.sha256(source).hexdigest() == FROZEN


def test_an_answer_depends_on_seed_item_and_worker_alone() -> None:
    person, other = crowd(3, 2)
    first = asked(person)
    asked(other)
    assert asked(crowd(3, 9)[0]) == first
    assert len({repr(a) for a in (first, asked(other), asked(person, seed=4), asked(person, key="w"))}) == 4


@pytest.mark.parametrize("seed", range(3))
def test_videos_are_as_said(seed: int) -> None:
    videos = truth(seed, 400)
    assert truth(seed, 3) == videos[:3]
    counts = np.array([len(a.instances) for a in videos])
    assert 0.08 < (counts == 0).mean() < 0.17
    assert counts.max() == 6
    close = 0
    for annotation in videos:
        assert 20 <= annotation.item.duration <= 240
        for one, following in zip(annotation.instances, annotation.instances[1:], strict=False):
            assert following.start > one.end
            close += following.start - one.end < 4
        assert all(i.start >= 0 and i.start + 0.5 < i.end <= annotation.item.duration for i in annotation.instances)
    assert close > 100


def test_answers_are_legal() -> None:
    for annotation in truth(5, 40):
        duration = annotation.item.duration
        for person in crowd(5, 20):
            answer = simulated_answer(person, 5, annotation.item.video_id, duration, annotation.instances, CLASSES)
            assert set(answer) == KEYS
            assert answer["none"] == (not answer["segments"])
            assert all(0 <= s["start"] < s["end"] <= duration and s["label"] in CLASSES for s in answer["segments"])


def test_boundaries_are_off_in_the_same_direction_for_all() -> None:
    shared = spans(asked(STEADY)) - [(i.start, i.end) for i in SPREAD_OUT]
    assert np.abs(shared).min() > 0
    assert spans(asked(dataclasses.replace(STEADY, name="another"))) - [
        (i.start, i.end) for i in SPREAD_OUT
    ] == pytest.approx(shared, abs=0.002)


def test_a_reading_of_the_guideline_moves_one_side_only() -> None:
    plain, early = spans(asked(STEADY)), spans(asked(dataclasses.replace(STEADY, early=True)))
    late = spans(asked(dataclasses.replace(STEADY, late=True)))
    assert (early[:, 0] < plain[:, 0]).all()
    assert early[:, 1] == pytest.approx(plain[:, 1])
    assert (late[:, 1] > plain[:, 1]).all()
    assert late[:, 0] == pytest.approx(plain[:, 0])


def test_those_who_lump_take_a_series_for_one() -> None:
    series = [Instance(20.0 + 6 * i, 25.0 + 6 * i, "jump") for i in range(4)]
    assert len(asked(dataclasses.replace(STEADY, lumping=50.0), instances=series)["segments"]) == 1
    assert len(asked(STEADY, instances=series)["segments"]) >= 4


def test_what_one_misses_many_miss() -> None:
    """Misses of two workers in the same video go together far more often than by chance."""
    people = [p for p in crowd(7, 60) if not p.spam][:20]
    missed = np.array(
        [[not asked(p, f"v{i}", [Instance(50.0, 52.0, "jump")], 7)["segments"] for p in people] for i in range(120)]
    )
    share = missed.mean(axis=1)
    alone = missed.mean(axis=0)
    assert share.var() > 3 * (alone * (1 - alone)).sum() / len(people) ** 2


def test_errors_have_heavy_tails() -> None:
    hand = dataclasses.replace(STEADY, hand=1.0)
    drawn = [spans(asked(dataclasses.replace(hand, name=f"p{i}"))) for i in range(200)]
    off = np.concatenate([(d - spans(asked(STEADY))).ravel() for d in drawn if len(d) == 3])
    assert np.percentile(np.abs(off), 99.5) > 8 * np.median(np.abs(off))


def test_look_alikes_fool_the_gullible_at_the_same_place() -> None:
    found = []
    for key in range(60):
        pair = [asked(dataclasses.replace(STEADY, gullible=2.0, name=n), f"v{key}", []) for n in ("a", "b")]
        found += [
            np.abs(spans(one)[0] - spans(two)[0]).max() for one, two in [pair] if spans(one).size and spans(two).size
        ]
    assert len(found) > 8
    assert np.median(found) < 0.01


@pytest.mark.parametrize("spam", ["whole", "nothing", "anything", "first"])
def test_spammers_do_not_watch(spam: str) -> None:
    answer = asked(dataclasses.replace(STEADY, spam=spam))
    assert answer["watched"][0][1] < 0.2 * 240
    assert len(answer["segments"]) == (spam != "nothing")
    if spam == "whole":
        assert spans(answer).tolist() == [[0.0, 240.0]]
