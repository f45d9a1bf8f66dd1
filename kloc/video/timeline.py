"""When each frame of a video is shown, read once and shared by probing and both readers.

The times come from the packets of the video stream itself, never from a frame's index and never from the
container, whose start and duration also speak of the audio. Where packets cannot be trusted (damaged files,
containers that store no presentation times) every frame is decoded once instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import cast

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from kloc.errors import VideoError

#: Containers that can hold video. Playlists and scripts, which may name other files or hosts, are not read.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,gif,rm,wtv,dv,ivf,nut"
#: Containers whose packets carry the time at which a frame is shown.
_TIMED = {"mov", "matroska", "nut"}


@dataclass(frozen=True)
class Timeline:
    """The frames of one video stream.

    pts: int64 ``(n_frames,)``, strictly ascending, in units of ``time_base`` seconds.
    """

    pts: NDArray[np.int64]
    time_base: Fraction
    #: Presentation times of the key frames, ascending, trimmed-off ones included (a decoder may start there).
    keys: NDArray[np.int64]
    #: Seconds the last frame is shown.
    last_duration: float
    #: Whether decoded frames carry these ``pts``; if not, the order of decoding alone tells which is which.
    by_pts: bool
    #: Whether the packets alone told the times and the first and last frames could be decoded.
    trusted: bool
    #: Whether an edit list hides some packets from view.
    trimmed: bool
    #: Whether frames shown before a key frame are stored after it (open groups of pictures).
    open_gop: bool
    #: First name of the container's format, e.g. "mov".
    container: str
    n_video_streams: int
    #: What is wrong with a file that can still be used.
    warning: str | None = field(default=None)

    @property
    def times(self) -> NDArray[np.float64]:
        """float64 ``(n_frames,)``, seconds."""
        return self.pts.astype(np.float64) * self.time_base.numerator / self.time_base.denominator

    @property
    def end(self) -> float:
        """Seconds at which the last frame ends."""
        return float(self.times[-1]) + self.last_duration


def one_line(text: object) -> str:
    """``text`` without line breaks, for messages that hold foreign file names or library errors."""
    return re.sub(r"\s+", " ", str(text)).strip()


def open_container(path: Path) -> InputContainer:
    """Open a local video file of a known container format. Raises VideoError with the plain reason."""
    name = one_line(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(1024)
    except FileNotFoundError:
        raise VideoError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise VideoError(f"{name}: is a folder, not a video file") from None
    except OSError as error:
        raise VideoError(f"{name}: cannot be read: {error.strerror or error}") from error
    if not head:
        raise VideoError(f"{name}: the file is empty (0 bytes); fetch it again")
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|body|\?xml)", head, re.IGNORECASE):
        raise VideoError(f"{name}: is a web page, not a video; the download failed, fetch it again")
    try:
        # An absolute path is never taken for the name of a protocol ("concat:...").
        return av.open(
            os.path.abspath(path),  # noqa: PTH100 - resolve() would follow links and lose the name
            metadata_errors="replace",
            container_options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"},
        )
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(
            f"{name}: no container format is recognized or its index is missing "
            f"({one_line(reason)}); fetch or convert the file again"
        ) from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The video stream a player shows; cover pictures do not count. One thread decodes it."""
    streams = _video_streams(container)
    name = one_line(path)
    if not streams:
        what = "only audio" if container.streams.audio else "no video stream"
        raise VideoError(f"{name}: holds {what}")
    stream = streams[0]
    if stream.codec_context is None:
        raise VideoError(f"{name}: its video codec is unknown to this FFmpeg; convert it to H.264")
    stream.codec_context.thread_count = 1
    return stream


def _video_streams(container: InputContainer) -> list[VideoStream]:
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


class PacketReader:
    """Packets and frames of one stream in file order, stepping over what is damaged and counting it."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.container = container
        self.stream = stream
        #: Packets that could not be read or decoded.
        self.damaged = 0

    def packets(self) -> Iterator[av.Packet[VideoStream]]:
        """Whole packets, then the empty one that flushes the decoder. A read error is the end of the file."""
        iterator = self.container.demux(self.stream)
        while True:
            try:
                packet = next(iterator)
            except StopIteration:
                return
            except (av.error.FFmpegError, OSError):
                self.damaged += 1
                break
            if packet.is_corrupt:
                self.damaged += 1  # the half packet at a truncated end decodes to a grey picture
                continue
            yield packet
        yield cast("av.Packet[VideoStream]", av.Packet())  # an empty packet flushes the decoder

    def decode(self, packet: av.Packet[VideoStream]) -> list[av.VideoFrame]:
        """Frames that ``packet`` completes; none where it is damaged. Raises VideoError without a decoder."""
        try:
            return self.stream.decode(packet if packet.size else None)
        except av.error.EOFError:
            return []  # flushed before
        except (av.error.DecoderNotFoundError, av.error.PatchWelcomeError, NotImplementedError) as error:
            raise VideoError(
                f"{one_line(self.container.name)}: FFmpeg cannot decode {self.stream.codec_context.name}: "
                f"{one_line(error)}; convert it to H.264"
            ) from error
        except (av.error.FFmpegError, OSError):
            self.damaged += 1
            return []

    def frames(self) -> Iterator[av.VideoFrame]:
        for packet in self.packets():
            yield from self.decode(packet)


def read_timeline(path: Path, *, verify: bool = True) -> Timeline:
    """Find when each decodable frame of ``path`` is shown.

    Reads the packets, which is quick, and decodes the first and the last group of pictures (``verify``);
    decodes everything only where that finds a contradiction. Remembers the last few files of this process.

    Raises VideoError with a plain one-line reason when there is no frame to use.
    """
    try:
        status = path.stat()
    except OSError:
        open_container(path).close()  # raises with the reason
        raise
    return _read(path.absolute(), status.st_size, status.st_mtime_ns, status.st_ino, verify)


@lru_cache(maxsize=8)
def _read(path: Path, _size: int, _mtime: int, _inode: int, verify: bool) -> Timeline:
    with open_container(path) as container:
        stream = video_stream(container, path)
        timeline = _from_packets(container, stream)
        n_packets = stream.frames
    if timeline is None or (verify and not _ends_decode(path, timeline)):
        timeline = _from_decoding(path, n_packets)
    timeline.pts.setflags(write=False)
    timeline.keys.setflags(write=False)
    return timeline


def _from_packets(container: InputContainer, stream: VideoStream) -> Timeline | None:
    """The timeline by packet times; None where they are incomplete or not to be trusted."""
    kind = container.format.name.split(",")[0]
    if kind not in _TIMED or not stream.time_base:
        return None
    reader = PacketReader(container, stream)
    shown: list[int] = []
    keys: list[int] = []
    durations: dict[int, int] = {}
    n_hidden = 0
    open_gop = False
    for packet in reader.packets():
        if not packet.size:
            continue
        if packet.pts is None:
            return None
        if packet.is_keyframe:
            keys.append(packet.pts)
        elif len(keys) > 1 and packet.pts < keys[-1]:
            open_gop = True
        if packet.is_discard:
            n_hidden += 1
            continue
        shown.append(packet.pts)
        durations[packet.pts] = packet.duration or 0
    pts = np.unique(np.asarray(shown, dtype=np.int64))
    n_claimed = stream.frames
    if reader.damaged or not keys or pts.size == 0 or pts.size != len(shown):
        return None
    if n_claimed and n_claimed != len(shown) + n_hidden:
        return None
    # An mp4 stores gaps in decoding order: where frames are reordered that is not how long one is shown.
    reordered = kind == "mov" and bool(np.any(np.diff(shown) < 0))
    last = _last_duration(pts, 0 if reordered else durations[int(pts[-1])], stream)
    timeline = Timeline(
        pts=pts,
        time_base=stream.time_base,
        keys=np.unique(np.asarray(keys, dtype=np.int64)),
        last_duration=last,
        by_pts=True,
        trusted=True,
        trimmed=n_hidden > 0,
        open_gop=open_gop,
        container=kind,
        n_video_streams=len(_video_streams(container)),
    )
    warning = _shortfall(timeline.end, container, stream)
    return timeline if warning is None else _with_warning(timeline, warning)


def _ends_decode(path: Path, timeline: Timeline) -> bool:
    """Whether the first and the last frame the packets promise really come out of the decoder."""
    with open_container(path) as container:
        reader = PacketReader(container, video_stream(container, path))
        first = next(reader.frames(), None)
        if first is None or first.pts != timeline.pts[0] or reader.damaged:
            return False
    with open_container(path) as container:
        stream = video_stream(container, path)
        reader = PacketReader(container, stream)
        try:
            container.seek(int(timeline.keys[-1]), stream=stream, backward=True)
        except av.error.FFmpegError:
            return False  # without an index only decoding everything tells
        last = max((f.pts for f in reader.frames() if f.pts is not None), default=None)
        return last == timeline.pts[-1] and not reader.damaged


def _from_decoding(path: Path, n_claimed: int) -> Timeline:
    """The timeline by decoding everything: exact for whatever FFmpeg can still show, and slower."""
    pts: list[int | None] = []
    dts: list[int | None] = []
    keys: list[int] = []
    last = 0
    with open_container(path) as container:
        stream = video_stream(container, path)
        reader = PacketReader(container, stream)
        for frame in reader.frames():
            pts.append(frame.pts)
            dts.append(frame.dts)
            last = frame.duration or 0
            if frame.key_frame and frame.pts is not None:
                keys.append(frame.pts)
        name = one_line(path)
        codec = stream.codec_context.name
        if not pts:
            raise VideoError(f"{name}: no frame can be decoded (codec {codec}); the file is damaged, fetch it again")
        kind = container.format.name.split(",")[0]
        time_base = stream.time_base
        if time_base is None:
            raise VideoError(f"{name}: its frames carry no times; put the stream into an mp4 first")
        origin = stream.start_time or 0
        if _ascending(pts) and not (kind == "avi" and pts[0] != origin):
            times, by_pts = np.asarray(pts, dtype=np.int64), True
        else:
            # AVI numbers its frames in decoding order and knows no other time: its first frame is its start.
            times, by_pts = _from_dts(dts, pts, last, origin, name), False
        timeline = Timeline(
            pts=times,
            time_base=time_base,
            keys=np.unique(np.asarray(keys if by_pts and keys else [int(times[0])], dtype=np.int64)),
            last_duration=_last_duration(times, last, stream),
            by_pts=by_pts,
            trusted=False,
            trimmed=False,
            open_gop=False,
            container=kind,
            n_video_streams=len(_video_streams(container)),
        )
        warning = _shortfall(timeline.end, container, stream)
        if warning is None and n_claimed - len(pts) > max(2, n_claimed // 100):
            warning = f"truncated or damaged: {len(pts)} of {n_claimed} frames decode"
        if warning is None and reader.damaged:
            warning = f"damaged: {reader.damaged} packets were skipped"
    return timeline if warning is None else _with_warning(timeline, warning)


def _with_warning(timeline: Timeline, warning: str) -> Timeline:
    return Timeline(**{**vars(timeline), "warning": warning})


def _ascending(values: list[int | None]) -> bool:
    return all(v is not None for v in values) and all(
        b > a for a, b in pairwise(values) if a is not None and b is not None
    )


def _from_dts(dts: list[int | None], pts: list[int | None], step: int, origin: int, name: str) -> NDArray[np.int64]:
    """Times of frames in the order of decoding, rebased so that the first is at the stream's start."""
    raw = dts if any(v is not None for v in dts) else pts
    if all(v is None for v in raw):
        raise VideoError(f"{name}: its frames carry no times; put the stream into an mp4 first")
    step = max(step, 1)
    times: list[int] = []
    for value in raw:
        follow = times[-1] + step if times else 0
        if value is None:
            times.append(follow)
        else:
            times.append(max(value, times[-1] + 1) if times else value)
    return np.asarray([time - times[0] + origin for time in times], dtype=np.int64)


def _last_duration(pts: NDArray[np.int64], ticks: int, stream: VideoStream) -> float:
    """Seconds of the last frame: as stored, else as long as the others, else by the stream's rate."""
    base = float(stream.time_base or 0)
    if ticks > 0:
        return ticks * base
    if pts.size > 1:
        return float(np.median(np.diff(pts))) * base
    rate = stream.average_rate or stream.guessed_rate
    return 1.0 / float(rate) if rate else 0.04


def _shortfall(end: float, container: InputContainer, stream: VideoStream) -> str | None:
    """A warning where the stream's header promises more than a second beyond the last decodable frame."""
    base = stream.time_base
    claimed: float | None = None
    if stream.duration and base:
        claimed = float(((stream.start_time or 0) + stream.duration) * base)
    elif match := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", "")):
        claimed = int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
    elif container.duration and len(container.streams) == 1:
        claimed = ((container.start_time or 0) + container.duration) / 1e6
    if claimed is None or end >= claimed - 1.0:
        return None
    return f"truncated: decodes up to {end:.2f} s of the {claimed:.2f} s its header promises"
