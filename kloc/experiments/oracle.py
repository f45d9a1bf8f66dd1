"""An oracle that errs: what a simulated annotator says of a video (P2, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kloc import seeds
from kloc.errors import UsageError
from kloc.records import Annotation, Instance
from kloc.segments import jitter

#: A segment keeps at least this tIoU with the instance it is meant to be.
LOWEST_TIOU = 0.05


@dataclass(frozen=True)
class NoisyOracle:
    """Every instance comes back with a tIoU drawn from ``N(1 - noise, sigma)``, cut to [0.05, 1], with the truth.

    What it says of a video depends on the video and the seed alone, never on what was asked before.

    noise: mean loss of tIoU. sigma: its spread, by default ``noise / 2`` (the paper gives none).
    drop, spurious, wrong: chances, per instance, that it is left out, that another one is invented beside it, and that
    it gets another class; not in the paper, 0 by default.
    """

    noise: float
    seed: int
    sigma: float | None = None
    drop: float = 0.0
    spurious: float = 0.0
    wrong: float = 0.0

    def __post_init__(self) -> None:
        for name in ("noise", "drop", "spurious", "wrong"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"the oracle's {name} must lie between 0 and 1, not {getattr(self, name)}")
        if self.sigma is not None and not self.sigma >= 0:
            raise UsageError(f"the oracle's sigma must not be below 0, it is {self.sigma}")

    def annotate(self, truth: Annotation, low: float, high: float, classes: Sequence[str]) -> Annotation:
        """What the oracle says of a video that spans ``[low, high)`` seconds; without noise the truth itself.

        With noise, an instance wholly outside of the video is left out, and what reaches over an end is cut there.
        """
        if not (self.noise or self.sigma or self.drop or self.spurious or self.wrong):
            return truth
        rng = seeds.generator(self.seed, "oracle", truth.item.video_id)
        sigma = self.noise / 2 if self.sigma is None else self.sigma
        said: list[Instance] = []
        for instance in truth.instances:
            start, end = max(low, instance.start), min(high, instance.end)
            if end <= start:
                continue  # labels older than the video's file can name seconds that it lacks: nobody sees them
            tiou = float(np.clip(rng.normal(1 - self.noise, sigma), LOWEST_TIOU, 1.0))
            dropped, invented, mistaken = (rng.random(3) < (self.drop, self.spurious, self.wrong)).tolist()
            moved = jitter(start, end, tiou, low, high, rng)
            others = [name for name in classes if name != instance.label]
            label = others[int(rng.integers(len(others)))] if mistaken and others else instance.label
            if not dropped:
                said.append(Instance(*moved, label, instance.confidence))
            if invented:
                length = float(rng.uniform(0.05, 0.5)) * (high - low)
                begin = float(rng.uniform(low, high - length))
                said.append(Instance(begin, begin + length, instance.label, instance.confidence))
        return Annotation(truth.item, tuple(said), truth.exhaustive_for)
