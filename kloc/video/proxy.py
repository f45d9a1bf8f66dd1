"""Small copies of videos that a browser seeks in instantly: H.264, constant rate, a key frame every half second.

A 720p video with 250 frames between key frames takes about 570 ms to seek in a browser, its proxy 16 ms.
"""

from __future__ import annotations

import math
import shutil
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from kloc.errors import UsageError, VideoError
from kloc.files import atomic_write

from .probe import Probe
from .source import VideoSource, open_video
from .timeline import Timeline, one_line, read_timeline
from .write import write_video

#: A browser need not show more; videos of higher rates lose frames in the proxy, never in the features.
_MAX_RATE = 60.0
#: An original of this height or less, with a key frame at least this often, is served as it is.
_SEEKABLE_HEIGHT = 480
_SEEKABLE_GOP = 30
#: Seconds beyond which a file's times are broken or hostile: a day.
_MAX_DURATION = 24 * 3600.0
#: Decoded pictures held at once while encoding.
_CHUNK = 16


@dataclass(frozen=True)
class Proxy:
    """A seek-friendly copy. Video seconds = proxy seconds + ``offset``."""

    path: Path
    offset: float
    #: Seconds the proxy plays, from 0.
    duration: float
    #: Seconds between its frames; a worker's frame step.
    frame_period: float
    #: Whether it is the original itself, linked or copied.
    reused: bool


def make_proxy(source: Path | str, out: Path | str, probe: Probe, *, height: int = 360, gop: int = 15) -> Proxy:
    """Make the video that workers see from ``source``, whole or not at all.

    The proxy is a constant-rate H.264 yuv420p faststart mp4 without sound whose first frame is at 0. Frames
    are repeated and left out by time, so that a variable rate or a late start keeps its timeline. ``height``
    bounds the shorter side (a smaller video is not enlarged), ``gop`` the frames between two key frames.

    An original that is such a file already (H.264 mp4, yuv420p, upright, square pixels, from 0, constant rate,
    a key frame at least every 30 frames, at most 480 pixels tall, index in front) is linked or copied instead.

    Raises VideoError where ``source`` cannot be read or its times span more than a day, UsageError where
    ``out`` is ``source``.
    """
    source, out = Path(source), Path(out)
    if out.absolute() == source.absolute():
        raise UsageError(f"{one_line(source)}: the proxy would replace its own original; give another path")
    timeline = read_timeline(source)
    if _is_seek_friendly(source, probe, timeline):
        _link(source, out)
        return Proxy(out, 0.0, probe.duration, 1.0 / probe.fps, reused=True)
    if probe.duration > _MAX_DURATION:
        raise VideoError(
            f"{one_line(source)}: its frame times span {probe.duration / 3600:.0f} hours, too many for a proxy; "
            "mend its timestamps or cut it"
        )
    rate = proxy_rate(timeline.times, probe)
    period = 1.0 / float(rate)
    count = max(math.ceil(probe.duration / period - 0.5), 1)
    moments = probe.start + period * np.arange(count, dtype=np.float64)
    with open_video(source, size=_proxy_size(probe, height), decoder=probe.decoder) as video:
        shown = shown_frames(video.timestamps, moments)
        write_video(out, _repeated(video, shown), rate, gop=gop)
    return Proxy(out, probe.start, count * period, period, reused=False)


def proxy_rate(times: NDArray[np.float64], probe: Probe) -> Fraction:
    """Frames per second of the proxy: the original's, or, where that varies, that of its quick passages."""
    rate = probe.fps
    if probe.variable_rate:
        # The tenth percentile: a lone pair of frames a millisecond apart must not set the rate.
        rate = 1.0 / float(np.quantile(np.diff(times), 0.1))
    rate = min(max(rate, 1.0), _MAX_RATE)
    usual = [Fraction(n, 1) for n in (10, 12, 15, 20, 24, 25, 30, 50, 60)]
    usual += [Fraction(n * 1000, 1001) for n in (15, 24, 30, 60)]
    nearest = min(usual, key=lambda r: abs(float(r) - rate))
    if abs(float(nearest) - rate) <= 2e-4 * rate:
        return nearest
    return Fraction(rate).limit_denominator(1001)


def shown_frames(times: NDArray[np.float64], moments: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the frame on screen at each moment: the last one that has begun, give or take 2 ms of rounding."""
    return np.clip(np.searchsorted(times, moments + 0.002, side="right") - 1, 0, times.size - 1).astype(np.int64)


def _repeated(video: VideoSource, shown: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    for low in range(0, shown.size, _CHUNK):
        indices, where = np.unique(shown[low : low + _CHUNK], return_inverse=True)
        frames = video.frames(indices)
        for slot in where:
            yield frames[slot]


def _proxy_size(probe: Probe, height: int) -> tuple[int, int]:
    """``(width, height)``, even, with square pixels, the shorter side at most ``height``."""
    width = probe.width * probe.pixel_aspect
    scale = min(1.0, height / min(width, probe.height))
    return max(round(width * scale / 2) * 2, 2), max(round(probe.height * scale / 2) * 2, 2)


def _is_seek_friendly(source: Path, probe: Probe, timeline: Timeline) -> bool:
    plain = (
        probe.codec == "h264"
        and probe.pixel_format == "yuv420p"
        and probe.rotation == 0
        and probe.pixel_aspect == 1.0
        and probe.start == 0.0
        and not probe.variable_rate
        and probe.warning is None
        and min(probe.width, probe.height) <= _SEEKABLE_HEIGHT
    )
    sound = timeline.container == "mov" and timeline.trusted and not timeline.trimmed and timeline.n_video_streams == 1
    if not (plain and sound):
        return False
    keys = np.searchsorted(timeline.pts, timeline.keys)
    longest = int(np.diff(np.append(keys, timeline.pts.size)).max())
    return longest <= _SEEKABLE_GOP and is_faststart_mp4(source)


def is_faststart_mp4(path: Path) -> bool:
    """Whether ``path`` is an MP4 (not QuickTime) whose index comes before its media data."""
    with path.open("rb") as stream:
        for kind, brand in _boxes(stream):
            if kind == b"ftyp" and brand == b"qt  ":
                return False
            if kind in (b"moov", b"mdat"):
                return kind == b"moov"
    return False


def _boxes(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Kind and first four content bytes of each top-level box (ISO/IEC 14496-12, section 4.2)."""
    position = 0
    while len(head := stream.read(20)) >= 8:
        size, kind = struct.unpack(">I4s", head[:8])
        content = head[8:12]
        if size == 1 and len(head) >= 16:
            size, content = struct.unpack(">Q", head[8:16])[0], head[16:20]
        yield kind, content
        if size < 8:  # 0: the box runs to the end of the file
            return
        position += size
        stream.seek(position)


def _link(source: Path, out: Path) -> None:
    """``out`` becomes a hard link to the file behind ``source``, or a copy where links cannot be made."""
    out.parent.mkdir(parents=True, exist_ok=True)
    original = source.resolve()
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".link-") as folder:
        link = Path(folder) / "link"
        try:
            link.hardlink_to(original)
        except OSError:  # another file system, or one without links
            with original.open("rb") as content, atomic_write(out) as target:
                shutil.copyfileobj(content, target, 1 << 20)
            return
        link.replace(out)
