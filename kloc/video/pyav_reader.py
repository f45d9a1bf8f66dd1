"""Exact frame access with PyAV: the fallback of every platform, codec and damaged file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from kloc.errors import UsageError, VideoError

from .timeline import PacketReader, Timeline, one_line, open_container, video_stream

#: Frames it is cheaper to decode on through than to seek past.
_STRIDE = 8


def target_size(
    native: tuple[int, int], rotation: int, size: tuple[int, int] | None, short_side: int | None
) -> tuple[int, int]:
    """``(width, height)`` of upright frames for what :func:`kloc.video.open_video` was asked for."""
    width, height = native if rotation % 180 == 0 else (native[1], native[0])
    if short_side is not None:
        scale = short_side / min(width, height)
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
    if size is None:
        return width, height
    if min(size) < 1 or max(size) > 16384:
        raise UsageError(f"cannot make frames of {size[0]}x{size[1]} pixels")
    return int(size[0]), int(size[1])


def checked_indices(indices: Sequence[int] | NDArray[np.int64], n_frames: int, path: Path) -> NDArray[np.int64]:
    """``indices`` as int64 ``(n,)``, all within the video."""
    wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
    if wanted.size and (wanted.min() < 0 or wanted.max() >= n_frames):
        raise UsageError(f"{one_line(path)}: frame {wanted.min()}..{wanted.max()} asked of {n_frames} frames")
    return wanted


class PyAVReader:
    """A :class:`~kloc.video.source.VideoSource` that seeks to key frames when wanted frames lie far apart and
    decodes straight on when they lie close. A frame that damage has made undecodable shows its predecessor,
    as a player does; ``held`` counts those.
    """

    decoder = "pyav"

    def __init__(
        self,
        path: Path,
        timeline: Timeline,
        *,
        size: tuple[int, int] | None = None,
        short_side: int | None = None,
    ) -> None:
        self.path = path
        self.n_frames = int(timeline.pts.size)
        self.timestamps = timeline.times
        self.held = 0
        self._timeline = timeline
        #: The last frame decoded and one decoded too far, each with its index.
        self._current: tuple[int, av.VideoFrame] | None = None
        self._pending: tuple[int, av.VideoFrame] | None = None
        #: Wanted time: packets shown earlier may be skipped where no other frame needs them.
        self._target: int | None = None
        self._open()
        first = self._decode(0)
        #: ``(width, height)`` as stored, before rotation.
        self.native_size = (first.width, first.height)
        #: Degrees clockwise by which the stored picture is turned upright: 0, 90, 180 or 270.
        self.rotation = clockwise(first)
        self.pixel_format = first.format.name
        self.size = target_size(self.native_size, self.rotation, size, short_side)

    def frames(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8 ``(n, H, W, 3)``; see :class:`~kloc.video.source.VideoSource`."""
        wanted = checked_indices(indices, self.n_frames, self.path)
        width, height = self.size
        out = np.empty((wanted.size, height, width, 3), dtype=np.uint8)
        unique, where = np.unique(wanted, return_inverse=True)
        for number, index in enumerate(unique):
            out[where == number] = self._upright(self._decode(int(index)))
        return out

    def close(self) -> None:
        self._pending = None
        self._current = None
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _upright(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        width, height = self.size if self.rotation % 180 == 0 else (self.size[1], self.size[0])
        picture = frame.reformat(width=width, height=height, format="rgb24", interpolation=Interpolation.BILINEAR)
        array: NDArray[np.uint8] = np.asarray(picture.to_ndarray(), dtype=np.uint8)
        return np.rot90(array, k=-self.rotation // 90)

    def _open(self) -> None:
        self._container = open_container(self.path)
        self._stream = video_stream(self._container, self.path)
        self._restart(None)

    def _restart(self, key: int | None) -> None:
        """Continue decoding at the key frame shown at ``key``; None: at the start of the file."""
        if key is not None:
            self._container.seek(key, stream=self._stream, backward=True)
        self._reader = PacketReader(self._container, self._stream)
        self._decoded: Iterator[tuple[int, av.VideoFrame]] = self._numbered()
        self._pending = self._current = None
        self._target = None

    def _numbered(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decoded frames with their index in the timeline; frames that are not in it are left out."""
        pts = self._timeline.pts
        count = 0
        context = self._stream.codec_context
        for packet in self._reader.packets():
            skip = self._target is not None and packet.pts is not None and packet.pts < self._target
            context.skip_frame = "NONREF" if skip else "DEFAULT"
            for frame in self._reader.decode(packet):
                if not self._timeline.by_pts:
                    yield count, frame
                    count += 1
                elif frame.pts is not None:
                    index = int(np.searchsorted(pts, frame.pts))
                    if index < pts.size and pts[index] == frame.pts:
                        yield index, frame

    def _decode(self, index: int) -> av.VideoFrame:
        if self._current is not None and self._current[0] == index:
            return self._current[1]
        keys, pts = self._timeline.keys, self._timeline.pts
        slot = max(int(np.searchsorted(keys, pts[index], side="right")) - 1, 0)
        position = -1 if self._current is None else self._current[0]
        behind = position > index or (self._pending is not None and self._pending[0] > index)
        if behind or (self._timeline.by_pts and int(np.searchsorted(pts, keys[slot])) > position + _STRIDE):
            self._jump(slot)
        frame, exact = self._advance(index, skip=self._timeline.by_pts)
        # Seeking can land late (open groups of pictures, decoding order): go back further, then to the start.
        for earlier in (max(slot - 1, 0), None):
            if exact or not self._timeline.by_pts:
                break
            self._jump(earlier)
            frame, exact = self._advance(index, skip=False)
        if frame is None:
            raise VideoError(f"{one_line(self.path)}: the frame at {self.timestamps[index]:.3f} s cannot be decoded")
        if not exact:
            self.held += 1
        return frame

    def _jump(self, slot: int | None) -> None:
        if slot is not None and self._timeline.by_pts:
            try:
                self._restart(int(self._timeline.keys[slot]))
                return
            except av.error.FFmpegError:
                pass  # a container without an index cannot seek: begin again at its start
        self._container.close()
        self._open()

    def _advance(self, index: int, *, skip: bool) -> tuple[av.VideoFrame | None, bool]:
        """Decode on to frame ``index``; otherwise the last frame before it, and False."""
        self._target = int(self._timeline.pts[index]) if skip else None
        while True:
            found = self._pending or next(self._decoded, None)
            self._pending = None
            if found is None or found[0] > index:
                self._pending = found
                return (None if self._current is None else self._current[1]), False
            self._current = found
            if found[0] == index:
                return found[1], True


def clockwise(frame: av.VideoFrame) -> int:
    """Degrees clockwise, 0, 90, 180 or 270, that turn a decoded frame upright by its display matrix."""
    return round(-frame.rotation / 90) * 90 % 360
