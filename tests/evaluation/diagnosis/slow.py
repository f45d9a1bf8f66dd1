"""DETAD's definitions in plain loops, to judge the fast code by. Nothing here is shared with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kloc.records import Dataset, Detection, Instance

SLACK = 1e-9
KINDS = ("double detection", "wrong label", "localization", "confusion", "background")


def tiou(a: Instance | Detection, b: Instance | Detection) -> float:
    shared = max(0.0, min(a.end, b.end) - max(a.start, b.start))
    union = (a.end - a.start) + (b.end - b.start) - shared
    return shared / union if union > 0 else 0.0


@dataclass(frozen=True)
class Verdict:
    """A detection at one threshold: the instance it took (video, place), or whether it is left out."""

    video: str
    detection: Detection
    took: tuple[str, int] | None
    left_out: bool


class World:
    """Truth and detections, judged by the rule of that name."""

    def __init__(self, truth: Dataset, detections: Mapping[str, Sequence[Detection]], rule: str = "activitynet"):
        self.truth, self.rule = truth, rule
        self.classes = [c for c in truth.classes if c.lower() != "ambiguous"]
        self.instances = {
            (v, i): x
            for v, a in truth.annotations.items()
            for i, x in enumerate(a.instances)
            if x.label.lower() != "ambiguous"
        }
        self.ranked = {
            label: sorted(
                ((v, d) for v, ds in detections.items() if v in truth.annotations for d in ds if d.label == label),
                key=lambda row: (-row[1].score, row[0], row[1].start, row[1].end),
            )
            for label in self.classes
        }

    def of(self, label: str) -> list[tuple[str, int]]:
        return [key for key, x in self.instances.items() if x.label == label]

    @property
    def labels(self) -> list[str]:
        """Classes with truth."""
        return [label for label in self.classes if self.of(label)]

    @property
    def mean_per_class(self) -> float:
        return len(self.instances) / len(self.labels) if self.labels else 0.0

    def verdicts(self, label: str, threshold: float) -> list[Verdict]:
        """All detections of a class, best first."""
        ranked, took = self.ranked[label], {}
        if self.rule == "activitynet":
            free = set(self.of(label))
            for n, (video, detection) in enumerate(ranked):
                best = sorted(
                    ((tiou(detection, self.instances[k]), k[1], k) for k in free if k[0] == video), reverse=True
                )
                if best and best[0][0] >= threshold - SLACK:
                    took[n] = best[0][2]
                    free.discard(best[0][2])
        else:
            for key in self.of(label):
                best = sorted(
                    (-tiou(d, self.instances[key]), n)
                    for n, (v, d) in enumerate(ranked)
                    if v == key[0] and n not in took
                )
                if best and -best[0][0] > threshold + SLACK:
                    took[best[0][1]] = key
        return [
            Verdict(v, d, took.get(n), n not in took and self.touches_ambiguous(v, d))
            for n, (v, d) in enumerate(ranked)
        ]

    def touches_ambiguous(self, video: str, detection: Detection) -> bool:
        return self.rule == "thumos" and any(
            x.label.lower() == "ambiguous" and min(x.end, detection.end) > max(x.start, detection.start)
            for x in self.truth.annotations[video].instances
        )

    def kind(self, verdict: Verdict, threshold: float) -> str:
        """What a false positive is."""
        own = [
            (tiou(verdict.detection, x), x.label == verdict.detection.label)
            for (v, _), x in self.instances.items()
            if v == verdict.video
        ]
        top = max((u for u, _ in own), default=0.0)
        same = any(s and u >= top - SLACK for u, s in own)
        if top < 0.1 - SLACK:
            return "background"
        if top >= threshold - SLACK if self.rule == "activitynet" else top > threshold + SLACK:
            return "double detection" if same else "wrong label"
        return "localization" if same else "confusion"

    def precision(self, verdicts: Sequence[Verdict], n_truth: int, weight: float) -> list[tuple[bool, float]]:
        """Whether each counted detection is right, and R N / (R N + FP) at it."""
        rows, right, wrong = [], 0, 0
        for verdict in verdicts:
            if verdict.left_out:
                continue
            right += verdict.took is not None
            wrong += verdict.took is None
            reached = right / n_truth * weight
            rows.append((verdict.took is not None, reached / (reached + wrong)))
        return rows

    def ap(self, verdicts: Sequence[Verdict], n_truth: int, weight: float) -> float:
        rows = self.precision(verdicts, n_truth, weight)
        total = 0.0
        for n, (right, precision) in enumerate(rows):
            if right:
                total += max(p for _, p in rows[n:]) if self.rule == "activitynet" else precision
        return total / n_truth

    def mean_ap(
        self,
        thresholds: Sequence[float],
        *,
        normalised: bool,
        keep: Callable[[Verdict, float, int], bool] = lambda verdict, threshold, rank: True,
        inside: Callable[[tuple[str, int]], bool] = lambda key: True,
    ) -> float:
        """Mean over thresholds and classes; of the detections kept and the instances inside.

        What takes an instance outside at any threshold is not kept at any.
        """
        by_class = []
        for label in self.classes:
            n_truth = sum(inside(key) for key in self.of(label))
            if not n_truth:
                continue
            weight = self.mean_per_class if normalised else n_truth
            at = [self.verdicts(label, threshold) for threshold in thresholds]
            stay = [not any(v.took is not None and not inside(v.took) for v in same) for same in zip(*at, strict=True)]
            for threshold, verdicts in zip(thresholds, at, strict=True):
                left = [v for n, v in enumerate(verdicts) if stay[n] and keep(v, threshold, n)]
                by_class.append(self.ap(left, n_truth, weight))
        return sum(by_class) / len(by_class) if by_class else math.nan

    def missed(self, thresholds: Sequence[float]) -> dict[tuple[str, int], float]:
        """Share of the thresholds at which each instance is missed."""
        hits = dict.fromkeys(self.instances, 0)
        for threshold in thresholds:
            for label in self.labels:
                verdicts = self.verdicts(label, threshold)
                rows = self.precision(verdicts, len(self.of(label)), self.mean_per_class)
                counted = [v for v in verdicts if not v.left_out]
                for verdict, (right, precision) in zip(counted, rows, strict=True):
                    if right and verdict.took is not None and precision > 0.05:
                        hits[verdict.took] += 1
        return {key: 1 - n / len(thresholds) for key, n in hits.items()}
