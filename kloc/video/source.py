"""Open a video and read its frames exactly: decord where it reads the file right, PyAV everywhere else."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from kloc.errors import UsageError, VideoError

from .pyav_reader import PyAVReader, target_size
from .timeline import one_line, read_timeline

Decoder = Literal["auto", "decord", "pyav"]


class VideoSource(Protocol):
    """Frames of one video by index. One thread per reader; open it in the process that reads it."""

    #: Number of decodable frames.
    n_frames: int
    #: float64 ``(n_frames,)``, seconds on the video stream's own clock, ascending.
    timestamps: NDArray[np.float64]
    #: Which library decodes: "decord" or "pyav".
    decoder: str

    def frames(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8 ``(n, H, W, 3)`` RGB, upright, in the order of ``indices`` (any order, repeats allowed).

        Raises UsageError for an index outside ``[0, n_frames)``, VideoError where decoding fails.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_video(
    path: Path | str,
    *,
    size: tuple[int, int] | None = None,
    short_side: int | None = None,
    decoder: Decoder = "auto",
) -> VideoSource:
    """Open ``path`` for exact frame access.

    size: ``(width, height)`` of the frames, whatever the video's aspect. short_side: scale so that the
    shorter side has that many pixels and the aspect stays. Neither: the video's own size. All upright.
    decoder: "auto" takes decord where it is installed and agrees with the stream's own packets on every
    frame's time, else PyAV; "decord" and "pyav" (e.g. what a :class:`~kloc.video.probe.Probe` names) insist.

    Safe in spawned workers; never carry an open source through a fork, decord hangs there.

    Raises VideoError with a plain one-line reason, UsageError for an impossible size.
    """
    path = Path(path)
    if size is not None and short_side is not None:
        raise UsageError("give either size or short_side, not both")
    if decoder not in ("auto", "decord", "pyav"):
        raise UsageError(f"unknown decoder {decoder!r}: use auto, decord or pyav")
    timeline = read_timeline(path, verify=decoder != "decord")
    if decoder != "pyav":
        reason = "decord is not installed"
        if has_decord():
            from .decord_reader import DecordReader

            with PyAVReader(path, timeline, size=None) as first:
                native, rotation = first.native_size, first.rotation
            try:
                return DecordReader(path, timeline, target_size(native, rotation, size, short_side), native, rotation)
            except VideoError as error:
                reason = str(error)
        if decoder == "decord":
            raise VideoError(f"{one_line(path)}: decord cannot read it: {reason}")
    return PyAVReader(path, timeline, size=size, short_side=short_side)


def has_decord() -> bool:
    """Whether decord can be imported here (it has no wheels for some platforms)."""
    try:
        return importlib.util.find_spec("decord") is not None
    except (ImportError, ValueError):
        return False
