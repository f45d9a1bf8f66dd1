"""Write videos: one H.264 encoder setting for proxies, demo videos and tests. Same input, same bytes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path

import av
import av.error
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from kloc.errors import UsageError, VideoError
from kloc.files import atomic_write

#: Ticks per second where every frame brings its own time; all usual rates divide it (or miss by < 6 us).
_CLOCK = 90_000


def write_video(
    path: Path | str,
    frames: Iterable[NDArray[np.uint8]],
    fps: float | Fraction,
    *,
    gop: int = 15,
    crf: int = 23,
    pts: Sequence[float] | NDArray[np.float64] | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    preset: str = "veryfast",
    rotation: int | None = None,
    b_frames: int = 0,
) -> None:
    """Encode RGB frames into ``path`` (mp4 by its suffix; mkv, webm, avi... work too), whole or not at all.

    The mp4 has its index in front (faststart), so that a browser can seek while it loads. One encoder thread,
    no creation time, no library version: the same input gives the same bytes on one build of FFmpeg.

    frames: uint8 ``(H, W, 3)`` RGB, all of one size; a generator is read frame by frame.
    fps: frames per second; also the duration of the last frame where ``pts`` is given.
    gop: most frames between two key frames.
    pts: seconds of each frame, ascending, for variable rates and late starts; longer than ``frames`` is an error.
    rotation: degrees (0, 90, 180, 270) a player turns the picture clockwise, stored as a phone stores it.
    b_frames: 0 keeps decoding order and showing order equal, which every player seeks best.

    Raises UsageError for no frame, uneven sizes, odd sizes under 4:2:0, or times that do not ascend;
    VideoError where FFmpeg refuses.
    """
    path = Path(path)
    rate = Fraction(fps).limit_denominator(1001 * 64)
    if rate <= 0:
        raise UsageError(f"{path}: cannot write a video at {fps} frames per second")
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise UsageError(f"{path}: no frames to write")
    _check_size(path, first, pixel_format)
    options = {"threads": "1"}
    if codec in ("libx264", "libx265"):
        options |= {"preset": preset, "crf": str(crf), "bf": str(b_frames)}
    if codec == "libx264":
        # x264's look-ahead reads memory nobody has written: with it, equal frames now and then give other bytes.
        options["x264-params"] = "no-mbtree=1:rc-lookahead=0:scenecut=0"
    elif codec == "libx265":
        options["x265-params"] = "log-level=none:pools=none:frame-threads=1"
    elif codec == "libsvtav1":
        options = {"preset": "8", "crf": str(crf), "svtav1-params": "lp=1"}
    elif codec == "libvpx-vp9":
        options |= {"crf": str(crf), "b": "0", "deadline": "realtime", "cpu-used": "8"}
    # The muxer reopens its own file to move the index to the front, so it needs a real name of its own.
    with tempfile.TemporaryDirectory(prefix="kloc-") as folder:
        scratch = Path(folder) / f"video{path.suffix or '.mp4'}"
        movie_options = {"movflags": "+faststart"} if path.suffix.lower() in ("", ".mp4", ".mov", ".m4v") else {}
        try:
            container = av.open(str(scratch), "w", options={"fflags": "+bitexact", **movie_options})
        except (av.error.FFmpegError, ValueError) as error:
            raise UsageError(f"{path}: FFmpeg writes no such file: {error}") from error
        try:
            with _priority_kept(), container:
                try:
                    stream = container.add_stream(codec, rate=rate, options=options)
                except ValueError as error:  # PyAV's unknown codec, or one the container cannot hold
                    raise UsageError(f"{path}: cannot hold codec {codec}: {error}") from error
                assert isinstance(stream, VideoStream)
                stream.height, stream.width = first.shape[:2]
                stream.pix_fmt = pixel_format
                stream.gop_size = gop
                stream.codec_context.thread_count = 1
                stream.codec_context.flags |= av.codec.context.Flags.bitexact
                stream.codec_context.time_base = Fraction(1, _CLOCK) if pts is not None else 1 / rate
                if rotation:
                    stream.set_display_rotation(-rotation)
                _encode(path, container, stream, chain([first], iterator), rate, pts)
        except av.error.FFmpegError as error:
            raise VideoError(f"{path}: cannot be encoded with {codec}: {error}") from error
        with scratch.open("rb") as source, atomic_write(path) as target:
            shutil.copyfileobj(source, target, 1 << 20)


@contextmanager
def _priority_kept() -> Iterator[None]:
    """Leave this thread's scheduling class as it was found.

    SVT-AV1, run by root, puts the thread that opens it under SCHED_FIFO, and every process that thread starts
    afterwards inherits it: two busy ones then starve the whole machine, for good.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != before[0]:
            os.sched_setscheduler(0, *before)


def _encode(
    path: Path,
    container: OutputContainer,
    stream: VideoStream,
    frames: Iterator[NDArray[np.uint8]],
    rate: Fraction,
    pts: Sequence[float] | NDArray[np.float64] | None,
) -> None:
    ticks = None if pts is None else [round(float(t) * _CLOCK) for t in pts]
    if ticks is not None and any(b <= a for a, b in pairwise(ticks)):
        raise UsageError(f"{path}: frame times must ascend")
    time_base = stream.codec_context.time_base
    last = max(round(_CLOCK / rate), 1)
    durations = {} if ticks is None else dict(zip(ticks, [*np.diff(ticks).tolist(), last], strict=True))

    def mux(picture: av.VideoFrame | None) -> None:
        for packet in stream.encode(picture):
            if durations and packet.pts is not None:
                # Without it the muxer gives the last frame the length of the one before.
                packet.duration = round(
                    durations[_to_ticks(packet, time_base)] * Fraction(1, _CLOCK) / packet.time_base
                )
            elif not packet.duration:
                packet.duration = round(1 / rate / packet.time_base)
            container.mux(packet)

    count = 0
    for count, array in enumerate(frames, start=1):
        if array.shape != (stream.height, stream.width, 3) or array.dtype != np.uint8:
            raise UsageError(
                f"{path}: frame {count - 1} is {array.dtype} {array.shape}, not uint8 "
                f"({stream.height}, {stream.width}, 3) as the first one"
            )
        if ticks is not None and count > len(ticks):
            raise UsageError(f"{path}: more frames than the {len(ticks)} times given")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
        picture = picture.reformat(format=stream.pix_fmt, interpolation=Interpolation.BILINEAR)
        picture.pts = count - 1 if ticks is None else ticks[count - 1]
        picture.time_base = time_base
        mux(picture)
    if ticks is not None and count != len(ticks):
        raise UsageError(f"{path}: {count} frames for {len(ticks)} times")
    mux(None)


def _to_ticks(packet: av.Packet[VideoStream], time_base: Fraction | None) -> int:
    assert packet.pts is not None
    return round(packet.pts * (packet.time_base or time_base or Fraction(1, _CLOCK)) * _CLOCK)


def _check_size(path: Path, frame: NDArray[np.uint8], pixel_format: str) -> None:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise UsageError(f"{path}: frames must be uint8 (H, W, 3), not {frame.dtype} {frame.shape}")
    height, width = frame.shape[:2]
    if "420" in pixel_format and (height % 2 or width % 2):
        raise UsageError(f"{path}: {pixel_format} needs an even height and width, not {width}x{height}")
