"""Multi-scale sliding windows: proposals without training, for tests and the first rounds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from kloc.files import fingerprint, write_json
from kloc.proposals.base import MODEL_FILE, Proposals, register_generator
from kloc.proposals.saved import read_model_file, saved_settings

if TYPE_CHECKING:
    from kloc.features.bank import VideoFeatures


@dataclass(frozen=True, slots=True)
class SlidingSettings:
    """Geometry of the windows."""

    #: Windows shorter than this many seconds are not proposed (the whole video always is).
    min_length: float = 2.0
    #: Window lengths per halving: 1 gives the video times 1, .75, .5, .25, .125, ...; 2 adds .375, .1875, ...
    scales_per_octave: int = 1
    #: Stride as a fraction of the window's length; the finest in this range whose windows fit ``cap``.
    finest_stride: float = 0.25
    coarsest_stride: float = 0.5
    #: Never more windows than this per video; the shortest lengths give way first.
    cap: int = 200

    def __post_init__(self) -> None:
        if not (self.min_length > 0 and self.cap >= 1 and self.scales_per_octave in (1, 2)):
            raise ValueError("min_length must be above 0, cap at least 1 and scales_per_octave 1 or 2")
        if not 0 < self.finest_stride <= self.coarsest_stride:
            raise ValueError("strides must be above 0 and finest_stride at most coarsest_stride")


@register_generator("sliding")
class MultiscaleSliding:
    """Windows of several lengths, evenly spread from the first frame to the last, longest first."""

    name: ClassVar[str]
    Settings: ClassVar[type[SlidingSettings]] = SlidingSettings

    def __init__(self, settings: SlidingSettings | None = None) -> None:
        self.settings = settings or SlidingSettings()

    @property
    def fingerprint(self) -> str:
        return fingerprint({"name": self.name, **asdict(self.settings)})

    def propose(self, video: VideoFeatures) -> Proposals:
        """Windows of ``[video.start, video.end)``; the whole video is the first."""
        segments = windows(video.start, video.end, self.settings)
        return Proposals(video.video_id, segments, np.ones(len(segments), np.float32))

    def save(self, folder: Path) -> None:
        write_json(folder / MODEL_FILE, {"name": self.name, "settings": asdict(self.settings)})

    @classmethod
    def load(cls, folder: Path) -> Self:
        path = folder / MODEL_FILE
        return cls(saved_settings(SlidingSettings, read_model_file(path), path))


def windows(start: float, end: float, settings: SlidingSettings) -> NDArray[np.float64]:
    """The windows of ``[start, end)``, float64 ``(N, 2)``, ``1 <= N <= settings.cap``."""
    fractions = _fractions(end - start, settings)

    def counts(stride: float, n_scales: int) -> list[int]:
        return [1 + math.ceil((1 - f) / (stride * f) - 1e-9) for f in fractions[:n_scales]]

    n_scales = len(fractions)
    while n_scales > 1 and sum(counts(settings.coarsest_stride, n_scales)) > settings.cap:
        n_scales -= 1
    strides = np.linspace(settings.finest_stride, settings.coarsest_stride, 26)
    chosen = next((s for s in strides if sum(counts(float(s), n_scales)) <= settings.cap), strides[-1])
    parts = []
    for fraction, count in zip(fractions, counts(float(chosen), n_scales), strict=False):
        offsets = np.linspace(0.0, 1.0 - fraction, count)
        parts.append(np.stack([offsets, offsets + fraction], axis=1))
    unit = np.concatenate(parts)
    segments = start + unit * (end - start)
    return np.clip(segments, start, end)


def _fractions(duration: float, settings: SlidingSettings) -> list[float]:
    """Window lengths as fractions of the video, longest first; always the whole video."""
    fractions = [1.0, 0.75, 0.5]
    while fractions[-1] * duration / 2 >= settings.min_length and len(fractions) < 64:
        last = fractions[-1]
        fractions += [last / 2] if settings.scales_per_octave == 1 else [0.75 * last, last / 2]
    return [f for f in fractions if f == 1.0 or f * duration >= settings.min_length]
