"""Simulated per-video features from real annotations: real durations and instances, invented appearance.

For experiments at the scale of ActivityNet without its videos. Whatever is computed from these features is called
*simulated* wherever its numbers appear. The generator is frozen: `fingerprint` names it, and a test holds the hash
of this file, so that no strategy can be helped along by changing the data it is judged on.

What a video shows, per sample of time, is a sum of

- the look of the place: an offset of the video's own, and one that is typical of its class (context);
- inside an instance, *actionness*: a direction made of one part that all actions share, one that a family of
  classes shares and one of the class's own, with a strength that differs by class, video and instance; and the
  class's own prototype, in one of three modes of very different frequency;
- distractors: stretches of background with the actionness of some other class and no class prototype;
- noise that is correlated in time, as neighbouring frames are.

Instances fade in and out over about two seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from kloc.features.bank import VideoFeatures
from kloc.files import fingerprint
from kloc.records import Annotation, Grid, Instance, Video
from kloc.seeds import generator

#: Raised when the generator changes; part of the fingerprint.
VERSION = 1

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Appearance:
    """How loud each part of a feature is (norms; the noise's is that of one sample), and how things are spread."""

    dim: int = 256
    #: Seconds per sample; longer videos than ``max_samples`` of them are sampled more coarsely.
    step: float = 1.0
    max_samples: int = 256
    place: float = 1.5
    context: float = 0.4
    actionness: float = 0.55
    prototype: float = 0.55
    noise: float = 2.6
    #: Seconds over which noise forgets itself.
    memory: float = 3.0
    #: Seconds over which an instance fades in and out.
    fade: float = 2.0
    n_families: int = 8
    #: Standard deviations of the logarithm of the strength of classes, videos and instances.
    class_spread: float = 0.35
    video_spread: float = 0.35
    instance_spread: float = 0.2
    #: Distractors per video, and their actionness as a share of a real one's.
    distractors: float = 0.8
    distractor_strength: tuple[float, float] = (0.3, 0.9)
    mode_shares: tuple[float, ...] = (0.6, 0.3, 0.1)


@dataclass(frozen=True)
class _Class:
    actionness: Array
    context: Array
    modes: Array
    strength: float


class SimulatedFeatures:
    """Features of annotated videos. The same video, annotation and seed give the same features, in any order.

    Args:
        classes: all classes of the data set, in any order.
        seed: of the world: what classes look like.
        appearance: how difficult it is.
    """

    def __init__(self, classes: Sequence[str], seed: int = 0, appearance: Appearance | None = None) -> None:
        self.classes = tuple(sorted(classes))
        self.seed = seed
        self.appearance = appearance or Appearance()

    @property
    def fingerprint(self) -> str:
        """Names generator, settings and seed: features of two never mix."""
        return fingerprint({"simulated features": VERSION, "seed": self.seed, **asdict(self.appearance)})

    @cached_property
    def _world(self) -> dict[str, _Class]:
        look = self.appearance
        rng = generator(self.seed, "simulated features", "world")
        shared = _directions(rng, 1, look.dim)[0]
        families = _directions(rng, look.n_families, look.dim)
        world = {}
        for name in self.classes:
            # Drawn by name: a class looks the same whatever other classes there are.
            own = generator(self.seed, "simulated features", "class", name)
            family = families[int(own.integers(look.n_families))]
            direction, context, prototype = _directions(own, 3, look.dim)
            modes = prototype + 0.7 * _directions(own, len(look.mode_shares), look.dim)
            world[name] = _Class(
                _unit(0.6 * shared + 0.6 * family + 0.5 * direction),
                context,
                modes / np.linalg.norm(modes, axis=1, keepdims=True),
                float(np.exp(own.normal(0, look.class_spread))),
            )
        return world

    def features(self, video: Video, annotation: Annotation | None) -> VideoFeatures:
        """Features of one video, float32 ``(T, dim)``, rounded to float16 as a feature bank would.

        The annotation is the truth that is shown; ``None`` and an annotation without instances show background.
        """
        look = self.appearance
        rng = generator(self.seed, "simulated features", "video", video.id)
        step = max(look.step, video.duration / look.max_samples)
        grid = Grid(video.start + step / 2, step, step, max(1, math.ceil(video.duration / step - 0.5)))
        instances = annotation.instances if annotation is not None else ()
        rows = np.zeros((grid.count, look.dim))
        rows += look.place * rng.normal(size=look.dim) / math.sqrt(look.dim)
        labels = sorted({i.label for i in instances} or set(video.labels) & set(self.classes))
        scene = labels[0] if labels else self.classes[int(rng.integers(len(self.classes)))]
        rows += look.context * self._world[scene].context
        strength = float(np.exp(rng.normal(0, look.video_spread)))
        mode = int(rng.choice(len(look.mode_shares), p=look.mode_shares))
        for instance in instances:
            kind = self._world[instance.label]
            power = strength * kind.strength * float(np.exp(rng.normal(0, look.instance_spread)))
            shown = look.actionness * kind.actionness + look.prototype * kind.modes[mode]
            rows += power * _envelope(grid, instance.start, instance.end, look.fade)[:, None] * shown
        for start, end, name, share in self._distractors(video, instances, rng):
            shown = look.actionness * share * strength * self._world[name].actionness
            rows += _envelope(grid, start, end, look.fade)[:, None] * shown
        rows += _noise(rng, grid, look)
        return VideoFeatures(video.id, rows.astype(np.float16).astype(np.float32), grid, video.start, video.end)

    def _distractors(
        self, video: Video, instances: Sequence[Instance], rng: np.random.Generator
    ) -> list[tuple[float, float, str, float]]:
        """Stretches of background that look like an action: start, end, of which class, how much."""
        look = self.appearance
        found = []
        for _ in range(int(rng.poisson(look.distractors))):
            length = video.duration * float(rng.uniform(0.05, 0.3))
            start = video.start + float(rng.uniform(0, video.duration - length))
            name = self.classes[int(rng.integers(len(self.classes)))]
            share = float(rng.uniform(*look.distractor_strength))
            if all(min(start + length, i.end) - max(start, i.start) < 0.2 * length for i in instances):
                found.append((start, start + length, name, share))
        return found


def _directions(rng: np.random.Generator, count: int, dim: int) -> Array:
    rows = rng.normal(size=(count, dim))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _unit(row: Array) -> Array:
    return np.asarray(row / np.linalg.norm(row))


def _envelope(grid: Grid, start: float, end: float, fade: float) -> Array:
    """How much of an instance each sample sees, ``(T,)`` in [0, 1]."""
    rise = np.clip((grid.times - start) / fade + 0.5, 0.0, 1.0)
    fall = np.clip((end - grid.times) / fade + 0.5, 0.0, 1.0)
    return np.asarray(np.minimum(rise, fall))


def _noise(rng: np.random.Generator, grid: Grid, look: Appearance) -> Array:
    """Stationary noise ``(T, dim)`` that a first-order filter correlates in time."""
    keep = math.exp(-grid.step / look.memory)
    fresh = rng.normal(size=(grid.count, look.dim)) * (look.noise / math.sqrt(look.dim))
    fresh[1:] *= math.sqrt(1 - keep * keep)
    return np.asarray(lfilter([1.0], [1.0, -keep], fresh, axis=0))
