"""What simulated workers answer: pure functions of (seed, item, worker)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from kloc.errors import UsageError
from kloc.records import Instance
from kloc.seeds import generator
from kloc.segments import as_segments, pairwise_tiou

#: No simulated segment is shorter (seconds).
SHORTEST_S = 0.1
#: A proposal and a mark of the same class are about the same thing from this tIoU on.
SAME_TIOU = 0.3
#: A proposal whose boundaries are off by no more than this many units is left as it is.
GOOD_ENOUGH = 0.5

#: What a spammer sends where nothing is prefilled: the whole video or one random segment ("mixed"), the whole video,
#: one to three random segments, that nothing occurs, or always the middle half.
Spam = Literal["mixed", "whole", "random", "nothing", "middle"]
SPAM: tuple[Spam, ...] = get_args(Spam)


@dataclass(frozen=True, slots=True)
class SimulatedWorker:
    """One worker's habits. Probabilities are per instance unless said otherwise.

    miss: overlooks it. false_alarms: segments marked per answer where nothing is (a Poisson mean).
    bias, spread: systematic and random error of a boundary, in units of 0.5 s + 0.1 x the instance's duration.
    merge: takes two neighbours for one. split: takes one for two. confusion: names another class that was asked.
    laziness: probability per answer of accepting what is prefilled unseen; where nothing is, of marking the first
    instance only, half watched. spammer: does not look at all, and sends ``spam`` or what is prefilled.
    pace: seconds of work per second of video.
    trust: share of a proposal's error that stays after correction, and probability that a wrong one stays.
    report: probability per task of reporting a problem instead of answering.
    """

    name: str
    miss: float = 0.05
    false_alarms: float = 0.05
    bias: float = 0.0
    spread: float = 0.3
    merge: float = 0.02
    split: float = 0.02
    confusion: float = 0.02
    laziness: float = 0.02
    spammer: bool = False
    pace: float = 1.5
    spam: Spam = "mixed"
    trust: float = 0.2
    report: float = 0.0

    def __post_init__(self) -> None:
        for key in ("miss", "merge", "split", "confusion", "laziness", "trust", "report"):
            if not 0 <= getattr(self, key) <= 1:
                raise UsageError(f"simulated worker {self.name!r}: {key} {getattr(self, key)} is not a probability")
        if min(self.false_alarms, self.spread, self.pace) < 0:
            raise UsageError(f"simulated worker {self.name!r}: false_alarms, spread and pace are not below 0")
        if self.spam not in SPAM:
            raise UsageError(f"simulated worker {self.name!r}: spam {self.spam!r} is none of {', '.join(SPAM)}")

    def answer(
        self,
        duration: float,
        truth: Sequence[Instance],
        classes: Sequence[str],
        rng: np.random.Generator,
        prefill: Sequence[Instance] = (),
    ) -> dict[str, Any]:
        """The answer's JSON for media of ``duration`` seconds; ``truth`` and ``prefill`` in media seconds.

        The worker knows nothing of classes that were not asked about. An answer tells how much of the video was
        watched, and of a task with proposals which of them were kept, corrected or discarded.
        """
        asked = sorted(i for i in truth if i.label in classes and i.end > 0 and i.start < duration)
        spent = (10.0 + self.pace * duration + 4.0 * len(asked)) * float(rng.lognormal(0.0, 0.2))
        looked = duration
        if self.spammer:
            marked = _kept(prefill) or _own(_spam(self.spam, duration, classes, rng), duration)
            spent = looked = 0.1 * duration
        elif rng.random() < self.laziness:
            marked = _kept(prefill) or _own(self._honest(duration, asked[:1], classes, rng), duration)
            spent, looked = 0.4 * spent, 0.5 * duration
        else:
            marked = _own(self._honest(duration, asked, classes, rng), duration)
            if prefill:
                marked = self._corrected(marked, asked, sorted(prefill), duration, rng)
        entries = [{"label": s.label, "start": s.start, "end": s.end, "origin": marked[s]} for s in sorted(marked)]
        answer = {
            "version": 1,
            "segments": entries,
            "none": not entries,
            "seconds_spent": round(spent, 1),
            "watched": [[0.0, round(looked, 3)]],
            "guideline": "",
            "prefilled": bool(prefill),
        }
        if prefill:
            answer["discarded"] = len(set(prefill)) - sum(origin != "own" for origin in marked.values())
        return answer

    def _corrected(
        self,
        own: Mapping[Instance, str],
        truth: Sequence[Instance],
        prefill: Sequence[Instance],
        duration: float,
        rng: np.random.Generator,
    ) -> dict[Instance, str]:
        """What becomes of the proposals and of what the worker would have marked alone.

        A proposal near a mark of the worker's own stays where both boundaries are good enough and is moved
        otherwise, not all the way. One that shows an instance the worker overlooked is kept as a rule; one that shows
        nothing stays with probability ``trust``.
        """
        marked: dict[Instance, str] = {}
        left = sorted(own)
        for proposal in prefill:
            mark = _nearest(proposal, left)
            if mark is None:
                shown = _nearest(proposal, truth) is not None
                if rng.random() < (1 - self.miss if shown else self.trust):
                    marked[proposal] = "kept"
                continue
            left.remove(mark)
            unit = 0.5 + 0.1 * mark.duration
            off = (proposal.start - mark.start, proposal.end - mark.end)
            if max(map(abs, off)) <= GOOD_ENOUGH * unit:
                marked[proposal] = "kept"
            else:
                start, end = mark.start + self.trust * off[0], mark.end + self.trust * off[1]
                marked[_fit(Instance(start, end, mark.label), duration)] = "corrected"
        return dict.fromkeys(left, "own") | marked

    def _honest(
        self, duration: float, truth: Sequence[Instance], classes: Sequence[str], rng: np.random.Generator
    ) -> list[Instance]:
        seen = [i for i in truth if rng.random() >= self.miss]
        seen = _merged(seen, self.merge, rng)
        marked: list[Instance] = []
        for instance in seen:
            label = instance.label
            others = sorted(set(classes) - {label})
            if others and rng.random() < self.confusion:
                label = others[int(rng.integers(len(others)))]
            parts = [(instance.start, instance.end)]
            if rng.random() < self.split:
                cut = instance.start + instance.duration * float(rng.uniform(0.3, 0.7))
                parts = [(instance.start, cut), (cut, instance.end)]
            unit = 0.5 + 0.1 * instance.duration
            for start, end in parts:
                low, high = rng.normal(self.bias, self.spread, 2) * unit
                marked.append(Instance(start + float(low), end + float(high), label))
        for _ in range(int(rng.poisson(self.false_alarms))):
            length = duration * float(rng.uniform(0.05, 0.3))
            start = float(rng.uniform(0, duration - length))
            marked.append(Instance(start, start + length, classes[int(rng.integers(len(classes)))]))
        return marked


def default_crew(seed: int, n: int) -> tuple[SimulatedWorker, ...]:
    """``n`` workers of different skill; the last one of four or more is a spammer."""
    crew = []
    for index in range(n):
        rng = generator(seed, "crew", index)
        crew.append(
            SimulatedWorker(
                name=f"simulated-{index + 1:02d}",
                miss=round(float(rng.beta(2, 16)), 3),
                false_alarms=round(float(rng.gamma(2, 0.05)), 3),
                bias=round(float(rng.normal(0, 0.1)), 3),
                spread=round(float(rng.uniform(0.15, 0.7)), 3),
                merge=round(float(rng.uniform(0, 0.08)), 3),
                split=round(float(rng.uniform(0, 0.08)), 3),
                confusion=round(float(rng.uniform(0, 0.05)), 3),
                laziness=round(float(rng.beta(1, 20)), 3),
                spammer=n >= 4 and index == n - 1,
                pace=round(float(rng.uniform(1.1, 2.5)), 2),
            )
        )
    return tuple(crew)


def crowd(seed: int, n: int) -> tuple[SimulatedWorker, ...]:
    """A population for benchmarks: ``n`` workers of individual skill, each a spammer with probability 0.1.

    Good ones are common, poor ones exist: skill has long tails. Fixed before any consolidation was tuned on it.
    """
    workers = []
    for index in range(n):
        rng = generator(seed, "crowd", index)
        workers.append(
            SimulatedWorker(
                name=f"crowd-{index + 1:03d}",
                miss=float(rng.beta(1.5, 9)),
                false_alarms=float(rng.gamma(1.2, 0.2)),
                bias=float(rng.normal(0, 0.25)),
                spread=float(rng.lognormal(-0.7, 0.5)),
                merge=float(rng.beta(1, 7)),
                split=float(rng.beta(1, 12)),
                confusion=float(rng.beta(1, 24)),
                laziness=float(rng.beta(1, 20)),
                spammer=bool(rng.random() < 0.1),
                pace=float(rng.uniform(1.1, 2.5)),
                spam=SPAM[int(rng.integers(len(SPAM)))],
                trust=float(rng.beta(2, 6)),
            )
        )
    return tuple(workers)


def simulated_answer(
    worker: SimulatedWorker,
    seed: int,
    item_key: str,
    duration: float,
    truth: Sequence[Instance],
    classes: Sequence[str],
    prefill: Sequence[Instance] = (),
) -> dict[str, Any]:
    """The one answer this worker gives to this item under this seed; ``truth`` and ``prefill`` in media seconds."""
    return worker.answer(duration, truth, classes, generator(seed, "answer", item_key, worker.name), prefill)


def _spam(spam: Spam, duration: float, classes: Sequence[str], rng: np.random.Generator) -> list[Instance]:
    label = classes[int(rng.integers(len(classes)))]
    if spam == "nothing":
        return []
    if spam == "middle":
        return [Instance(0.25 * duration, 0.75 * duration, label)]
    if spam == "whole" or (spam == "mixed" and rng.random() < 0.5):
        return [Instance(0.0, duration, label)]
    count = 1 if spam == "mixed" else int(rng.integers(1, 4))
    pairs = [sorted(rng.uniform(0, duration, 2)) for _ in range(count)]
    return [Instance(float(start), float(end), label) for start, end in pairs]


def _own(segments: Sequence[Instance], duration: float) -> dict[Instance, str]:
    return {_fit(s, duration): "own" for s in segments}


def _kept(prefill: Sequence[Instance]) -> dict[Instance, str]:
    return dict.fromkeys(prefill, "kept")


def _nearest(proposal: Instance, others: Sequence[Instance]) -> Instance | None:
    """The one of the same class with the largest tIoU, where that is at least :data:`SAME_TIOU`."""
    same = [other for other in others if other.label == proposal.label]
    if not same:
        return None
    spans = as_segments([(s.start, s.end) for s in (proposal, *same)])
    tiou = pairwise_tiou(spans[:1], spans[1:])[0]
    best = int(tiou.argmax())
    return same[best] if tiou[best] >= SAME_TIOU else None


def _merged(instances: Sequence[Instance], probability: float, rng: np.random.Generator) -> list[Instance]:
    merged: list[Instance] = []
    for instance in instances:
        if merged and merged[-1].label == instance.label and rng.random() < probability:
            merged[-1] = Instance(merged[-1].start, max(merged[-1].end, instance.end), instance.label)
        else:
            merged.append(instance)
    return merged


def _fit(segment: Instance, duration: float) -> Instance:
    """Inside the media, not shorter than :data:`SHORTEST_S`, to the millisecond."""
    shortest = min(SHORTEST_S, duration)
    start = min(max(segment.start, 0.0), duration - shortest)
    end = min(max(segment.end, start + shortest), duration)
    return Instance(round(start, 3), round(end, 3), segment.label)
