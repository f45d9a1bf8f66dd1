"""Which moments of a video are looked at, and which frame shows each of them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kloc.errors import UsageError
from kloc.records import Grid


def sample_times(start: float, end: float, fps: float, max_frames: int | None = None) -> Grid:
    """Evenly spaced samples of the video ``[start, end)``, seconds.

    Sample ``i`` stands for ``start + (i + 0.5) / fps``, the middle of the ``1 / fps`` seconds it covers; as
    many as have their middle before ``end``. A video with more than ``max_frames`` of them is sampled at the
    lower rate at which exactly ``max_frames`` cover it evenly. At least one sample, inside the video.

    Raises UsageError for an empty or infinite range, ``fps <= 0`` or ``max_frames < 1``.
    """
    if not (math.isfinite(start) and math.isfinite(end) and end > start):
        raise UsageError(f"cannot sample the empty range [{start}, {end}) s: give the probed start and end")
    if not (math.isfinite(fps) and fps > 0):
        raise UsageError(f"cannot sample at {fps} frames per second: give a rate above 0")
    if max_frames is not None and max_frames < 1:
        raise UsageError(f"max_frames is {max_frames}: allow at least 1")
    duration = end - start
    step = 1.0 / fps
    # The guard keeps a middle that rounding puts within a nanosecond of `end` out of the grid.
    count = math.ceil(duration * fps - 0.5 - 1e-9)
    if max_frames is not None and count > max_frames:
        count, step = max_frames, duration / max_frames
    if count < 1:
        return Grid(start=start + duration / 2, step=step, window=step, count=1)
    return Grid(start=start + step / 2, step=step, window=step, count=count)


def nearest_frames(timestamps: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the frame whose timestamp is nearest to each time; the earlier one in a tie.

    timestamps: float64 ``(n_frames,)``, ascending. times: float64 ``(n,)``. Returns int64 ``(n,)``.
    Raises UsageError without frames or where timestamps do not ascend.
    """
    stamps = np.asarray(timestamps, dtype=np.float64)
    wanted = np.asarray(times, dtype=np.float64)
    if stamps.size == 0:
        raise UsageError("there are no frames to choose from")
    if np.any(np.diff(stamps) < 0):
        raise UsageError("frame timestamps must ascend")
    right = np.clip(np.searchsorted(stamps, wanted, side="left"), 0, stamps.size - 1)
    left = np.maximum(right - 1, 0)
    earlier = np.abs(wanted - stamps[left]) <= np.abs(stamps[right] - wanted)
    return np.where(earlier, left, right).astype(np.int64)
