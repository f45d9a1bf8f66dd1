"""Strategies side by side: which curves may be compared, over which part, and what comes out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from kloc.experiments.curves import (
    Arm,
    Curve,
    Estimate,
    aulc,
    aulc_minutes,
    common_end,
    estimate,
    paired_difference,
    ratio_to,
    relative_saving,
)
from kloc.report.simulation import Difference, Interval, Reached, Saving, Strategy
from kloc.selection.spec import parse

#: The paper's order, most saved first; strategies it does not know stand before random.
PAPER = ("lal", "mcle", "us", "random")
#: Labelled ratios at which Relative Saving is looked at, as far as the curves go.
SAVING_AT = (0.15, 0.2, 0.3, 0.5, 0.7, 0.9)
LEVEL = 0.8
#: The paper's batch wherever another one is not asked for.
_BATCH = 64
_SLACK = 1e-9


class Key(NamedTuple):
    """What is compared: a strategy with a policy."""

    strategy: str
    policy: str

    @property
    def kind(self) -> str:
        """The strategy's name without parameters."""
        return parse(self.strategy).name


def reference_of(curves: Sequence[Curve]) -> tuple[int, float]:
    """The batch and the noise at which strategies are compared: the ones that were kept while the others varied.

    Where that leaves a choice: the paper's batch of 64, else the smallest, and the smallest noise.
    """
    pairs = {(c.arm.batch, c.arm.noise) for c in curves}
    noises = sorted({noise for _, noise in pairs})
    noise = min(noises, key=lambda n: (-sum(other == n for _, other in pairs), n))
    batches = sorted(batch for batch, other in pairs if other == noise)
    spread = {batch: sum(other == batch for other, _ in pairs) for batch in batches}
    return min(batches, key=lambda b: (-spread[b], b != _BATCH, b)), noise


def comparable(curves: Sequence[Curve]) -> list[Curve]:
    """The finished curves; as long as there are none, those that have an area, else all."""
    return [c for c in curves if c.finished] or [c for c in curves if len(c.points) > 1] or list(curves)


@dataclass(frozen=True)
class Comparison:
    """The curves of one batch and noise that are compared, by strategy, and what they share.

    end: labelled ratio up to which areas are taken. finished: whether the compared curves are; only while none is,
    curves are compared that are not. left_out: arms of that batch and noise that failed or are unfinished.
    missing: what was asked for, at any batch and noise, and has no curve to compare.
    """

    curves: Mapping[Key, tuple[Curve, ...]]
    batch: int
    noise: float
    end: float
    finished: bool
    left_out: tuple[Arm, ...]
    missing: tuple[Key, ...]

    @classmethod
    def of(cls, curves: Sequence[Curve], *, asked: Sequence[Arm] = (), until: float = 1.0) -> Comparison:
        """Compare what can be compared, at the batch and noise of `reference_of`.

        Args:
            curves: at least one.
            asked: all arms that were to be run; those of the curves always count as asked for.
            until: the labelled ratio that arms were to go to. They go on to the end of their batch, some further than
                others; areas are taken up to here.
        """
        usable = comparable(curves)
        batch, noise = reference_of(usable)
        used = [c for c in usable if (c.arm.batch, c.arm.noise) == (batch, noise)]
        arms = sorted({*asked, *(c.arm for c in curves)})
        shown = {c.arm for c in used}
        left = tuple(a for a in arms if (a.batch, a.noise) == (batch, noise) and a not in shown)
        keys = _in_order({key_of(a) for a in shown})
        missing = tuple(_in_order({key_of(a) for a in arms} - set(keys)))
        groups = {key: tuple(c for c in used if key_of(c.arm) == key) for key in keys}
        end = min(until, common_end(used))
        return cls(groups, batch, noise, end, all(c.finished for c in used), left, missing)

    @property
    def all(self) -> list[Curve]:
        """Every compared curve."""
        return [c for group in self.curves.values() for c in group]

    @property
    def start(self) -> float:
        """The last of the first ratios."""
        return max(float(c.x[0]) for c in self.all)

    @property
    def has_width(self) -> bool:
        """Whether there is anything between start and end."""
        return self.end > self.start + _SLACK

    @property
    def seeds(self) -> list[int]:
        """Of the compared curves, ascending."""
        return sorted({c.arm.seed for c in self.all})

    def name(self, key: Key) -> str:
        """For people: without the policy where there is only one."""
        policies = {k.policy for k in (*self.curves, *self.missing)}
        return key.strategy if len(policies) == 1 else f"{key.strategy} · {key.policy}"

    @cached_property
    def _minutes_end(self) -> dict[int, float]:
        """Per seed, the working minutes that all its curves have got to."""
        ends: dict[int, float] = {}
        for curve in self.all:
            at = float(curve.minutes[-1])
            ends[curve.arm.seed] = min(at, ends.get(curve.arm.seed, at))
        return ends

    def by_minutes(self, curve: Curve) -> float:
        """Mean share of the full mAP over the working minutes that all curves of the seed have in common."""
        return aulc_minutes(curve, 1.0, self._minutes_end[curve.arm.seed])

    def strategies(self) -> tuple[Strategy, ...]:
        """One row per strategy, in the paper's order."""
        return tuple(self._strategy(key, group) for key, group in self.curves.items())

    def _strategy(self, key: Key, group: Sequence[Curve]) -> Strategy:
        def mean(of: Callable[[Curve], float]) -> Interval | None:
            return interval(estimate([of(c) for c in group])) if self.has_width else None

        return Strategy(
            self.name(key), key.kind, reached(group),
            mean(lambda c: aulc(c, self.end)),
            mean(lambda c: aulc(c, self.end, normalised=True)),
            mean(self.by_minutes),
            interval(estimate([c.full for c in group])),
        )  # fmt: skip

    def differences(self) -> tuple[Difference, ...]:
        """Of every two strategies that have a seed in common, the one that comes first in the paper's order first."""
        return tuple(
            self._difference(ours, other)
            for ours, other in itertools.combinations(self.curves, 2)
            if self.has_width and _shared(self.curves[ours], self.curves[other])
        )

    def _difference(self, ours: Key, other: Key) -> Difference:
        first, second = self.curves[ours], self.curves[other]
        labels = paired_difference(first, second, self.end)
        a, b = ({c.arm.seed: self.by_minutes(c) for c in group} for group in (first, second))
        minutes = estimate([a[seed] - b[seed] for seed in _shared(first, second)])
        boot = (labels.boot_low, labels.boot_high) if labels.n > 1 else None
        return Difference(
            self.name(ours), self.name(other), interval(labels), boot, labels.verdict,
            interval(minutes), minutes.verdict,
        )  # fmt: skip

    def saving_at(self) -> tuple[float, ...]:
        """The ratios at which all curves have something to say."""
        return tuple(at for at in SAVING_AT if self.start < at <= self.end + _SLACK)

    def savings(self) -> tuple[Saving, ...]:
        """Relative Saving of every strategy over every other, means of the seeds' own."""
        return tuple(
            self._saving(ours, other)
            for other in reversed(list(self.curves))
            for ours in self.curves
            if ours != other and self.saving_at() and _shared(self.curves[ours], self.curves[other])
        )

    def _saving(self, ours: Key, other: Key) -> Saving:
        a, b = ({c.arm.seed: c for c in self.curves[key]} for key in (ours, other))
        seeds = _shared(self.curves[ours], self.curves[other])
        values = []
        for at in self.saving_at():
            found = [relative_saving(a[seed], b[seed], at) for seed in seeds]
            told = [v for v in found if v is not None]
            values.append(interval(estimate(told)) if told else None)
        return Saving(self.name(ours), self.name(other), len(seeds), tuple(values))


def key_of(arm: Arm) -> Key:
    """What of an arm is compared."""
    return Key(arm.strategy, arm.policy)


def _in_order(keys: set[Key]) -> list[Key]:
    places = {"random": len(PAPER) + 1} | {kind: i for i, kind in enumerate(PAPER[:-1])}
    return sorted(keys, key=lambda key: (places.get(key.kind, len(PAPER)), key))


def _shared(first: Sequence[Curve], second: Sequence[Curve]) -> list[int]:
    return sorted({c.arm.seed for c in first} & {c.arm.seed for c in second})


def interval(found: Estimate) -> Interval:
    """A mean with its t-interval, or without one from a single seed."""
    if found.n < 2:
        return Interval(found.mean, None, None, found.n)
    return Interval(found.mean, found.low, found.high, found.n)


def reached(group: Sequence[Curve], level: float = LEVEL) -> Reached:
    """Where the curves of one strategy reach a share of the full mAP; those that do not count with their end."""
    found = [ratio_to(c, level) for c in group]
    told = [r for r in found if r is not None]
    until = float(np.mean([c.x[-1] for c in group]))
    if not told:
        return Reached(level, None, 0, len(group), until)
    bounds = [float(c.x[-1]) if r is None else r for r, c in zip(found, group, strict=True)]
    return Reached(level, interval(estimate(bounds)), len(told), len(group), until)
