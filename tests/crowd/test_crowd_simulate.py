"""What simulated workers answer: habits show in answers, proposals leave their mark, the population is fixed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from kloc.crowd.simulate import SPAM, SimulatedWorker, crowd, simulated_answer
from kloc.errors import UsageError
from kloc.records import Instance

#: Of what two workers of two crowds answer, committed before any consolidation was tuned on them.
FIXED = "ce77263065eb0d66d0132fb3275f912627b32399d70431871640b390554f6fe8"
EXACT: dict[str, Any] = dict.fromkeys(
    ("miss", "false_alarms", "bias", "spread", "merge", "split", "confusion", "laziness", "trust"), 0
)
TRUTH = [Instance(10.0, 20.0, "a"), Instance(40.0, 50.0, "b")]


def answer(worker: SimulatedWorker, prefill: list[Instance] | None = None, truth: list[Instance] = TRUTH) -> dict:
    return simulated_answer(worker, 0, "item", 60.0, truth, ["a", "b"], prefill or [])


def marks(given: dict) -> list[tuple[float, float, str, str]]:
    return [(s["start"], s["end"], s["label"], s["origin"]) for s in given["segments"]]


def test_the_population_is_fixed() -> None:
    given = [
        simulated_answer(worker, seed, f"item {i}", 60.0, TRUTH, ["a", "b"])
        for seed in (1, 101)
        for worker in crowd(seed, 60)
        for i in range(3)
    ]
    assert hashlib.sha256(json.dumps(given).encode()).hexdigest() == FIXED


def test_the_population_has_spammers_of_every_kind_and_people_of_different_skill() -> None:
    people = [worker for seed in range(5) for worker in crowd(seed, 60)]
    spammers = [worker for worker in people if worker.spammer]
    assert 0.05 < len(spammers) / len(people) < 0.15
    assert {worker.spam for worker in spammers} == set(SPAM)
    misses = sorted(worker.miss for worker in people)
    assert misses[30] < 0.05
    assert misses[-30] > 0.25
    assert crowd(3, 60)[:7] == crowd(3, 7)


def test_a_right_proposal_is_kept_a_near_one_corrected_a_wrong_one_deleted() -> None:
    worker = SimulatedWorker("exact", **EXACT)
    proposals = [Instance(10.4, 20.2, "a"), Instance(43.0, 50.0, "b"), Instance(25.0, 30.0, "a")]
    given = answer(worker, proposals)
    assert marks(given) == [(10.4, 20.2, "a", "kept"), (40.0, 50.0, "b", "corrected")]
    assert (given["prefilled"], given["discarded"]) == (True, 1)
    assert marks(answer(worker)) == [(10.0, 20.0, "a", "own"), (40.0, 50.0, "b", "own")]


def test_those_who_trust_keep_wrong_proposals_and_part_of_an_error() -> None:
    worker = SimulatedWorker("trusting", **(EXACT | {"trust": 1.0}))
    proposals = [Instance(10.0, 16.0, "a"), Instance(25.0, 30.0, "a")]
    given = answer(worker, proposals)
    assert [m for m in marks(given) if m[2] == "a"] == [(10.0, 16.0, "a", "corrected"), (25.0, 30.0, "a", "kept")]
    half = SimulatedWorker("half", **(EXACT | {"trust": 0.5}))
    assert (10.0, 18.0, "a", "corrected") in marks(answer(half, proposals[:1]))


def test_a_proposal_shows_what_would_be_overlooked() -> None:
    blind = SimulatedWorker("blind", **(EXACT | {"miss": 0.9}))
    shown = [
        bool(simulated_answer(blind, seed, "item", 60.0, TRUTH[:1], ["a"], TRUTH[:1])["segments"])
        for seed in range(200)
    ]
    assert 0.12 < sum(shown) / len(shown) < 0.27  # 1 - 0.9 ** 2


@pytest.mark.parametrize("habit", [{"laziness": 1.0}, {"spammer": True, "spam": "whole"}])
def test_the_lazy_accept_proposals_unseen_and_the_answer_says_so(habit: dict[str, Any]) -> None:
    proposals = [Instance(1.0, 2.0, "a"), Instance(55.123, 59.0, "b")]
    given = answer(SimulatedWorker("lazy", **(EXACT | habit)), proposals)
    assert marks(given) == [(1.0, 2.0, "a", "kept"), (55.123, 59.0, "b", "kept")]
    assert given["discarded"] == 0
    assert given["watched"][0][1] <= 30.0
    diligent = answer(SimulatedWorker("diligent", **EXACT), proposals)
    assert given["seconds_spent"] < diligent["seconds_spent"]


@pytest.mark.parametrize("spam", SPAM)
def test_spammers_send_what_they_always_send(spam: Any) -> None:
    worker = SimulatedWorker("spammer", spammer=True, spam=spam)
    given = [simulated_answer(worker, seed, "item", 60.0, TRUTH, ["a", "b"]) for seed in range(30)]
    spans = {(s["start"], s["end"]) for one in given for s in one["segments"]}
    counts = {len(one["segments"]) for one in given}
    assert all(one["none"] == (not one["segments"]) and one["watched"] == [[0.0, 6.0]] for one in given)
    if spam == "nothing":
        assert counts == {0}
    elif spam in ("whole", "middle"):
        assert spans == {(0.0, 60.0) if spam == "whole" else (15.0, 45.0)}
    else:
        assert counts == ({1} if spam == "mixed" else {1, 2, 3})
        assert len(spans) > 10


@pytest.mark.parametrize(
    ("habit", "words"),
    [
        ({"miss": 1.5}, "'w': miss 1.5 is not a probability"),
        ({"pace": -1}, "not below 0"),
        ({"spam": "ads"}, "none of"),
    ],
)
def test_impossible_habits_are_refused(habit: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SimulatedWorker("w", **habit)
