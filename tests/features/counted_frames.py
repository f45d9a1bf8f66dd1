"""Frames that tell their own index."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def grey_level(index: int) -> int:
    """The grey that marks frame ``index``: neighbours differ by more than coding and colour ranges do."""
    return 20 + 29 * (index % 8)


def counted_frames(count: int, width: int = 320, height: int = 240) -> list[NDArray[np.uint8]]:
    """Frames in one grey each, by :func:`grey_level`."""
    return [np.full((height, width, 3), grey_level(i), dtype=np.uint8) for i in range(count)]
