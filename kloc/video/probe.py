"""What kloc needs to know of a video before it uses it. Every video is probed once and the answer is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kloc.errors import FormatError, VideoError

from .pyav_reader import PyAVReader
from .source import open_video
from .timeline import Timeline, one_line, open_container, read_timeline, video_stream


@dataclass(frozen=True)
class Probe:
    """One usable video. Seconds are those of the video stream, which a browser shows."""

    #: Time of the first frame, seconds.
    start: float
    #: Time of the last decodable frame plus its duration, seconds; not what the container claims.
    end: float
    #: Pixels of the upright picture.
    width: int
    height: int
    #: Degrees clockwise (0, 90, 180, 270) by which the stored picture is turned upright.
    rotation: int
    codec: str
    pixel_format: str
    #: Decodable frames.
    n_frames: int
    #: Mean frames per second; for information, never to compute a time from an index.
    fps: float
    #: Whether frames stray from an even rhythm by more than rounding.
    variable_rate: bool
    #: Which reader serves this file: "decord" or "pyav".
    decoder: Literal["decord", "pyav"]
    #: Seconds per tick of the stream's clock, e.g. "1/12800".
    time_base: str = ""
    #: Width of a pixel over its height, of the upright picture; 1 for nearly all videos.
    pixel_aspect: float = 1.0
    #: What is wrong with a file that can be used all the same, e.g. that it is truncated.
    warning: str | None = None

    @property
    def duration(self) -> float:
        return self.end - self.start

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON document or the store."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Probe:
        """Inverse of :meth:`to_json`. Raises FormatError for missing or unknown fields."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(value) - known):
            raise FormatError(f"a stored probe has unknown fields ({', '.join(unknown)}): probe the video again")
        try:
            return cls(**value)
        except TypeError as error:
            raise FormatError(f"a stored probe is incomplete ({error}): probe the video again") from error


def probe(path: Path | str) -> Probe:
    """Find out what ``path`` holds and which reader serves it.

    Reads the stream's packets and decodes its first and last group of pictures; decodes everything only where
    that finds damage or the container stores no times. A truncated file is used up to its last decodable
    frame and says so in ``warning``.

    Raises VideoError with a plain one-line reason for what cannot be used: no such file, an empty one, a web
    page, only audio, an unknown codec, nothing that decodes.
    """
    path = Path(path)
    timeline = read_timeline(path)
    times = timeline.times
    with PyAVReader(path, timeline) as reader:
        width, height = reader.size
        rotation, pixel_format = reader.rotation, reader.pixel_format
    with open_container(path) as container:
        stream = video_stream(container, path)
        codec = stream.codec_context.codec.canonical_name
        aspect = stream.sample_aspect_ratio
    pixel_aspect = float(aspect) if aspect else 1.0
    if rotation % 180:
        pixel_aspect = 1.0 / pixel_aspect
    return Probe(
        start=float(times[0]),
        end=timeline.end,
        width=width,
        height=height,
        rotation=rotation,
        codec=codec,
        pixel_format=pixel_format,
        n_frames=int(times.size),
        fps=mean_rate(times, timeline.last_duration),
        variable_rate=is_variable(times),
        decoder=_choose_decoder(path, timeline),
        time_base=str(timeline.time_base),
        pixel_aspect=pixel_aspect,
        warning=timeline.warning,
    )


def mean_rate(times: NDArray[np.float64], last_duration: float) -> float:
    """Mean frames per second of ascending ``times``, seconds; of a single frame by its duration."""
    if times.size > 1:
        return float((times.size - 1) / (times[-1] - times[0]))
    return 1.0 / last_duration


def is_variable(times: NDArray[np.float64]) -> bool:
    """Whether frame times stray from an even grid by more than what rounding to milliseconds explains."""
    if times.size < 3:
        return False
    gaps = np.diff(times)
    period = float(np.median(gaps))
    even = times[0] + (times[-1] - times[0]) / (times.size - 1) * np.arange(times.size)
    uneven = np.abs(gaps - period) > max(0.25 * period, 0.002)
    return bool(uneven.any() or np.abs(times - even).max() > 0.5 * period)


def _choose_decoder(path: Path, timeline: Timeline) -> Literal["decord", "pyav"]:
    """decord where it opens the file, agrees on every time and reads both ends; PyAV must read them otherwise."""
    ends = sorted({0, int(timeline.pts.size) - 1})
    try:
        with open_video(path, decoder="auto") as source:
            source.frames(ends)
            if source.decoder == "decord":
                return "decord"
    except VideoError:
        with PyAVReader(path, timeline) as fallback:
            try:
                fallback.frames(ends)
            except VideoError as error:
                raise VideoError(f"{one_line(path)}: its first or last frame does not decode: {error}") from error
    return "pyav"
