"""Small still pictures of a video at given times, for reports and segment boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from kloc.errors import UsageError, VideoError

from .pyav_reader import PyAVReader
from .sampling import nearest_frames
from .timeline import one_line, read_timeline

#: White pixels between the pictures of a strip.
_GAP = 4


def thumbnail(path: Path | str, time: float, width: int) -> bytes:
    """JPEG of the frame nearest to ``time`` (seconds), upright, ``width`` pixels wide, the aspect kept.

    Raises VideoError where the video cannot be read, UsageError for a width below 1 or a time that is no number.
    """
    return encode_jpeg(_pictures(Path(path), [time], width)[0])


def thumbnail_strip(path: Path | str, times: Sequence[float], width: int) -> bytes:
    """JPEG of the frames nearest to ``times``, side by side in that order, each ``width`` pixels wide."""
    pictures = _pictures(Path(path), times, width)
    height = pictures.shape[1]
    strip = np.full((height, len(times) * (width + _GAP) - _GAP, 3), 255, dtype=np.uint8)
    for i, picture in enumerate(pictures):
        strip[:, i * (width + _GAP) : i * (width + _GAP) + width] = picture
    return encode_jpeg(strip)


def _pictures(path: Path, times: Sequence[float], width: int) -> NDArray[np.uint8]:
    """uint8 ``(n, H, width, 3)``. By PyAV: for single frames it starts quicker than decord and holds less."""
    if width < 1 or not times or not np.isfinite(np.asarray(times, dtype=np.float64)).all():
        raise UsageError(f"{one_line(path)}: a thumbnail needs a width of at least 1 and a time in seconds")
    timeline = read_timeline(path)
    with PyAVReader(path, timeline) as reader:
        full_width, full_height = reader.size
    height = max(round(full_height * width / full_width), 1)
    with PyAVReader(path, timeline, size=(width, height)) as reader:
        return reader.frames(nearest_frames(reader.timestamps, np.asarray(times, dtype=np.float64)))


def encode_jpeg(picture: NDArray[np.uint8]) -> bytes:
    """JPEG of a uint8 ``(H, W, 3)`` RGB picture; the same picture gives the same bytes."""
    context = av.VideoCodecContext.create("mjpeg", "w")
    context.height, context.width = picture.shape[:2]
    context.pix_fmt = "yuvj420p"
    context.time_base = Fraction(1, 25)
    context.flags |= Flags.bitexact | Flags.qscale
    context.global_quality = 4 * 118  # lambda units: quantizer 4 of 2..31, good and still small
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(
        format="yuvj420p", interpolation=Interpolation.BILINEAR
    )
    frame.pts = 0
    try:
        return b"".join(bytes(p) for p in [*context.encode(frame), *context.encode(None)])
    except av.error.FFmpegError as error:
        raise VideoError(f"a picture of {picture.shape[1]}x{picture.shape[0]} cannot be stored: {error}") from error
