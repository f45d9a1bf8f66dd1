"""What makes two feature files comparable: every setting that changes a number in them, once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kloc.errors import FormatError, UsageError
from kloc.files import fingerprint


@dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """Settings of one feature bank. ``stride``, ``window`` and ``offset`` count frames of ``1 / fps`` seconds.

    Feature ``i`` stands for ``video start + (offset + i * stride) / fps`` seconds and has seen ``window`` frames.
    Extracted features sample the video at ``fps`` (stride 1, window 1, offset 0.5); imported ones keep the
    numbers they were made with, e.g. fps 25, stride 4, window 16, offset 8.

    Raises :class:`UsageError` for a number that cannot be.
    """

    backbone: str
    #: First 16 hex digits of the weights' SHA-256, "random-SEED", or "unknown" for imported features.
    weights_id: str
    dim: int
    fps: float
    #: A video that would have more samples is sampled at a lower rate; ``None`` is no limit.
    max_frames: int | None = None
    #: Pixels: frames are resized to this short side, then a square of ``input_size`` is cut from their centre.
    short_side: int = 0
    input_size: int = 0
    stride: float = 1.0
    window: float = 1.0
    offset: float = 0.5

    def __post_init__(self) -> None:
        for name in ("fps", "stride", "window", "dim"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"features: {name} must be a number greater than 0, not {getattr(self, name)!r}")
        if self.max_frames is not None and self.max_frames < 1:
            raise UsageError(f"features: max_frames must be at least 1, not {self.max_frames!r}")
        if not 0 <= self.offset < math.inf:
            raise UsageError(f"features: offset must be a number and not negative, it is {self.offset!r}")

    @property
    def imported(self) -> bool:
        """Whether somebody else's program made the features."""
        return self.input_size == 0

    @property
    def fingerprint(self) -> str:
        """Equal settings, equal fingerprints, on every machine."""
        return fingerprint(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """All settings by name, numbers in one form (5 and 5.0 are the same rate)."""
        values = dataclasses.asdict(self)
        return {k: float(v) if k in ("fps", "stride", "window", "offset") else v for k, v in values.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FeatureSettings:
        """The settings that :meth:`to_json` wrote. Raises :class:`FormatError` for unknown or missing names."""
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(value) - known):
            raise FormatError(f"feature settings: unknown setting {unknown[0]!r}; made by a newer kloc?")
        try:
            return cls(**value)
        except TypeError as error:
            raise FormatError(f"feature settings: {error}") from None

    def differences(self, other: FeatureSettings) -> list[str]:
        """The settings that differ, as ``name: mine, theirs``."""
        mine, theirs = self.to_json(), other.to_json()
        return [f"{name}: {mine[name]!r} and {theirs[name]!r}" for name in mine if mine[name] != theirs[name]]
