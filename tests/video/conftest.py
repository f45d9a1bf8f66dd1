"""Videos whose frames carry their own number, in every condition a pool of found videos brings."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from kloc.video.write import write_video

BITS = 10
FPS = 25.0
#: Gaps between the frames of the variable-rate file, seconds.
GAPS = (1 / 25, 1 / 10, 1 / 50, 0.5, 0.3)


def draw(number: int, height: int = 96, width: int = 160) -> NDArray[np.uint8]:
    """A frame with ``number`` as 2 x 5 coarse blocks, black for 0 and white for 1, over a moving texture."""
    texture = np.add.outer(np.arange(height) * 2, np.arange(width) + 3 * number) % 64
    frame = np.repeat(texture[:, :, None], 3, axis=2).astype(np.uint8)
    bh, bw = height // 2, width // 5
    for bit in range(BITS):
        y, x = bit // 5 * bh, bit % 5 * bw
        frame[y : y + bh, x : x + bw] //= 4
        if number >> bit & 1:
            frame[y : y + bh, x : x + bw] += 220
    return frame


def read(frame: NDArray[np.uint8]) -> int:
    """The number burned into a frame of any size, compressed or scaled."""
    bh, bw = frame.shape[0] / 2, frame.shape[1] / 5
    number = 0
    for bit in range(BITS):
        y, x = bit // 5 * bh, bit % 5 * bw
        core = frame[round(y + bh * 0.25) : round(y + bh * 0.75), round(x + bw * 0.25) : round(x + bw * 0.75)]
        number |= int(core.mean() > 128) << bit
    return number


def variable_times(n: int) -> NDArray[np.float64]:
    gaps = [GAPS[i % len(GAPS)] for i in range(n - 1)]
    return np.concatenate([[0.0], np.cumsum(gaps)])


def corners(n: int = 4) -> Iterator[NDArray[np.uint8]]:
    """Red top left, green top right, blue bottom left, white bottom right; 96 wide, 64 high."""
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[:32, :48] = (220, 0, 0)
    frame[:32, 48:] = (0, 220, 0)
    frame[32:, :48] = (0, 0, 220)
    frame[32:, 48:] = 220
    for _ in range(n):
        yield frame


def corner_names(frame: NDArray[np.uint8]) -> list[str]:
    """Colours of the four corners of a frame: top left, top right, bottom left, bottom right."""
    h, w = frame.shape[:2]
    names = []
    for y, x in ((h // 4, w // 4), (h // 4, 3 * w // 4), (3 * h // 4, w // 4), (3 * h // 4, 3 * w // 4)):
        r, g, b = (int(v) > 110 for v in frame[y, x])
        names.append({(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}[r, g, b])
    return names


def write_with_sound(path: Path, n_frames: int, video_start: float) -> None:
    """Sound from 0 on, video from ``video_start``: the container starts where the video does not."""
    rate = 16000
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=rate, layout="mono")
        stream = None
        if n_frames:
            stream = container.add_stream("libx264", rate=25, options={"bf": "2", "preset": "veryfast"})
            stream.height, stream.width, stream.pix_fmt = 96, 160, "yuv420p"
            stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(int((video_start + max(n_frames, 25) / 25) * rate) // 1024):
            chunk = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            chunk.sample_rate, chunk.pts, chunk.time_base = rate, i * 1024, Fraction(1, rate)
            container.mux(sound.encode(chunk))
        container.mux(sound.encode(None))
        if stream is not None:
            for i in range(n_frames):
                picture = av.VideoFrame.from_ndarray(draw(i), format="rgb24").reformat(format="yuv420p")
                picture.pts, picture.time_base = round((video_start + i / 25) * 1000), Fraction(1, 1000)
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))


def trim_start(source: Path, out: Path, n_hidden: int, n_frames: int, ticks: int) -> None:
    """Hide the first frames of an mp4 by its edit list, as cutting without re-encoding does."""
    data = bytearray(source.read_bytes())
    at = data.index(b"elst") + 8
    count, duration, media_time = struct.unpack(">IIi", data[at : at + 12])
    assert count == 1
    shown = duration * (n_frames - n_hidden) // n_frames
    data[at + 4 : at + 12] = struct.pack(">Ii", shown, media_time + n_hidden * ticks)
    out.write_bytes(data)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Readable videos by name. Frame ``i`` carries the number ``i``; times as in ``clip_times``."""
    folder = tmp_path_factory.mktemp("clips")
    n = 60

    def numbers(count: int = n) -> Iterator[NDArray[np.uint8]]:
        return (draw(i) for i in range(count))

    late = 2.0 + np.arange(n) / FPS
    make: dict[str, Callable[[Path], None]] = {
        "constant.mp4": lambda p: write_video(p, numbers(), FPS),
        "b_frames.mp4": lambda p: write_video(p, numbers(), FPS, b_frames=3, gop=40),
        "one_gop.mp4": lambda p: write_video(p, numbers(), FPS, b_frames=2, gop=500),
        "ntsc.mkv": lambda p: write_video(p, numbers(), Fraction(30000, 1001), b_frames=2),
        "variable.mp4": lambda p: write_video(p, numbers(), FPS, pts=variable_times(n)),
        "reordered.mp4": lambda p: write_video(p, numbers(), FPS, pts=variable_times(n), b_frames=2),
        "late.mp4": lambda p: write_video(p, numbers(), FPS, pts=late, b_frames=2),
        "late.mkv": lambda p: write_video(p, numbers(), FPS, pts=late),
        "vp9.webm": lambda p: write_video(p, numbers(), FPS, codec="libvpx-vp9"),
        "mpeg4.avi": lambda p: write_video(p, numbers(), FPS, codec="mpeg4"),
        "stream.ts": lambda p: write_video(p, numbers(), FPS, b_frames=2),
        "ten_bit.mp4": lambda p: write_video(p, numbers(), FPS, pixel_format="yuv420p10le"),
        "hevc_ten_bit.mp4": lambda p: write_video(p, numbers(), FPS, codec="libx265", pixel_format="yuv420p10le"),
        # x265 makes open groups of pictures: after a seek decord gives wrong frames there.
        "open_gop.mp4": lambda p: write_video(p, numbers(), FPS, codec="libx265", b_frames=3),
        "av1.mp4": lambda p: write_video(p, numbers(), FPS, codec="libsvtav1"),
        "one_frame.mp4": lambda p: write_video(p, numbers(1), FPS),
        "a name with späces & 名前.mp4": lambda p: write_video(p, numbers(), FPS),
        "sound_first.mp4": lambda p: write_with_sound(p, n, 2.0),
    }
    clips: dict[str, Path] = {}
    for name, write in make.items():
        clips[name] = folder / name
        write(clips[name])
    clips["trimmed.mp4"] = folder / "trimmed.mp4"
    trim_start(clips["one_gop.mp4"], clips["trimmed.mp4"], 10, n, 512)
    clips["link.mp4"] = folder / "link.mp4"
    clips["link.mp4"].symlink_to(clips["constant.mp4"])
    return clips


def clip_truth(name: str) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
    """Times (seconds) and burned numbers of all frames of a clip, and the last frame's duration."""
    n = 60
    numbers = np.arange(n)
    if name == "one_frame.mp4":
        return np.zeros(1), np.zeros(1, np.int64), 1 / FPS
    if name == "ntsc.mkv":
        return numbers * 1001 / 30000, numbers, 1001 / 30000
    if name == "reordered.mp4":  # its last frame's duration is not stored: kloc takes the median
        return variable_times(n), numbers, 0.1
    if name == "variable.mp4":
        return variable_times(n), numbers, 1 / FPS
    if name == "trimmed.mp4":
        return np.arange(n - 10) / FPS, numbers[10:], 1 / FPS
    start = 2.0 if name.startswith(("late", "sound_first")) else 0.08 if name == "stream.ts" else 0.0
    return start + numbers / FPS, numbers, 1 / FPS


CLIPS = (
    "constant.mp4",
    "b_frames.mp4",
    "one_gop.mp4",
    "ntsc.mkv",
    "variable.mp4",
    "reordered.mp4",
    "late.mp4",
    "late.mkv",
    "vp9.webm",
    "mpeg4.avi",
    "stream.ts",
    "ten_bit.mp4",
    "hevc_ten_bit.mp4",
    "open_gop.mp4",
    "av1.mp4",
    "one_frame.mp4",
    "a name with späces & 名前.mp4",
    "sound_first.mp4",
    "trimmed.mp4",
    "link.mp4",
)


class Helpers:
    """What test modules need of this file; tests are no package, so it comes as a fixture."""

    draw = staticmethod(draw)
    read = staticmethod(read)
    corners = staticmethod(corners)
    corner_names = staticmethod(corner_names)
    variable_times = staticmethod(variable_times)
    write_with_sound = staticmethod(write_with_sound)
    truth = staticmethod(clip_truth)


@pytest.fixture(scope="session")
def helpers() -> type[Helpers]:
    return Helpers


@pytest.fixture(params=CLIPS)
def clip(request: pytest.FixtureRequest, clips: dict[str, Path]) -> Path:
    """Each readable clip in turn."""
    return clips[request.param]


@pytest.fixture
def real_videos() -> Path:
    """Real videos beside a developer's checkout; the test skips without them."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "videos"
    if not folder.is_dir():
        pytest.skip("the real videos (shared/data/videos beside the checkout) are not here")
    return folder
