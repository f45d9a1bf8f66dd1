"""Frames by decord: the fastest exact reader of sound files, at a known price.

What it needs watching for: it rebases the first frame to 0 and keeps times in float32 (so times come from the
packets); it numbers frames of some containers wrongly (so its times are compared with the packets'); after a
seek into an open group of pictures it is off by some frames (so PyAV reads those); a few widths come back with
padded rows; and a reader carried through a fork hangs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kloc.errors import VideoError

from .pyav_reader import PyAVReader, checked_indices
from .timeline import Timeline, one_line

#: Containers in which decord finds the frame it was asked for; in MPEG transport streams it does not.
_SOUND = {"mov", "matroska"}


class DecordReader:
    """A :class:`~kloc.video.source.VideoSource` on decord, one thread, CPU.

    Damage in the middle of a file ends decord at that point; from there on PyAV reads in its place.

    Raises VideoError where decord cannot open the file or disagrees with the timeline.
    """

    decoder = "decord"

    def __init__(
        self, path: Path, timeline: Timeline, size: tuple[int, int], native: tuple[int, int], rotation: int
    ) -> None:
        if not timeline.trusted or timeline.container not in _SOUND or timeline.n_video_streams != 1:
            raise VideoError("its times need PyAV")
        if timeline.open_gop:
            raise VideoError("after a seek it would give wrong frames of open groups of pictures")
        self.path = path
        self.n_frames = int(timeline.pts.size)
        self.timestamps = timeline.times
        self.size = size
        self.rotation = rotation
        self._timeline = timeline
        self._substitute: PyAVReader | None = None
        upright = native if rotation % 180 == 0 else (native[1], native[0])
        decord, self._error = _decord()
        # decord's own default (-1) leaves out the scaler, which is faster and exact.
        width, height = (-1, -1) if size == upright else size
        try:
            self._reader: Any = decord.VideoReader(
                str(path.absolute()), ctx=decord.cpu(0), width=width, height=height, num_threads=1
            )
            self._check()
        except self._error as error:
            raise VideoError(one_line(error)[:200]) from error

    def _check(self) -> None:
        if len(self._reader) != self.n_frames:
            raise VideoError(f"it finds {len(self._reader)} frames of {self.n_frames}")
        stamps = self._reader.get_frame_timestamp(np.arange(self.n_frames))[:, 0].astype(np.float64)
        expected = self.timestamps - self.timestamps[0]
        if not np.all(np.abs(stamps - expected) <= 1e-3 + 1e-6 * expected):
            raise VideoError("its times differ from those of the packets")
        width, height = self.size
        shape = self._reader[0].shape
        if shape[0] != height or shape[1] != width:
            raise VideoError(f"its frames are {shape[1]}x{shape[0]}, not {width}x{height}")
        self._padded = shape[2] != 3

    def frames(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8 ``(n, H, W, 3)``; see :class:`~kloc.video.source.VideoSource`."""
        wanted = checked_indices(indices, self.n_frames, self.path)
        width, height = self.size
        if wanted.size == 0:
            return np.empty((0, height, width, 3), dtype=np.uint8)
        if self._substitute is not None:
            return self._substitute.frames(wanted)
        unique, inverse = np.unique(wanted, return_inverse=True)
        try:
            if self._padded:
                rows = (self._reader[int(i)].asnumpy().reshape(height, -1)[:, : 3 * width] for i in unique)
                batch = np.stack([row.reshape(height, width, 3) for row in rows])
            else:
                batch = self._reader.get_batch(unique.tolist()).asnumpy()
        except self._error:
            # A damaged packet stops decord for good, where players go on: so does PyAV.
            self._substitute = PyAVReader(self.path, self._timeline, size=self.size)
            return self._substitute.frames(wanted)
        if np.array_equal(inverse, np.arange(unique.size)):
            return np.asarray(batch, dtype=np.uint8)
        return np.asarray(batch[inverse], dtype=np.uint8)

    def close(self) -> None:
        """Give back decord's prefetched frames, hundreds of megabytes for large pictures."""
        self._reader = None
        if self._substitute is not None:
            self._substitute.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _decord() -> tuple[Any, tuple[type[Exception], ...]]:
    """decord and the errors it raises, imported only here so that kloc works without it."""
    try:
        import decord
    except (ImportError, OSError) as error:  # OSError: a wheel whose library does not load here
        raise VideoError(f"decord does not load: {one_line(error)}") from error
    decord.logging.set_level(decord.logging.QUIET)  # it prints to stderr what it also raises
    return decord, (decord.DECORDError, RuntimeError, IndexError, UnicodeError)
