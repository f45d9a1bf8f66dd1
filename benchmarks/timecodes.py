"""Videos whose pictures carry their own time: blocks of bits that a program reads, digits that a person reads."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from kloc.video.write import write_video

#: The clock of the numbers in the pictures, ticks per second: that of MPEG.
CLOCK = 90_000
_COLUMNS, _ROWS = 8, 3
#: Share of the picture's height that the blocks take; the digits are below.
_BLOCKS = 0.75


def draw(ticks: int, size: tuple[int, int] = (320, 240)) -> NDArray[np.uint8]:
    """A picture, uint8 ``(H, W, 3)``, that says ``ticks``: 24 bits as 3 rows of blocks, white for 1, and digits."""
    width, height = size
    picture = Image.new("RGB", size, (70, 70, 70))
    pen = ImageDraw.Draw(picture)
    wide, high = width / _COLUMNS, height * _BLOCKS / _ROWS
    for bit in range(_COLUMNS * _ROWS):
        row, column = divmod(bit, _COLUMNS)
        colour = (235, 235, 235) if ticks >> bit & 1 else (20, 20, 20)
        pen.rectangle((column * wide + 1, row * high + 1, (column + 1) * wide - 2, (row + 1) * high - 2), fill=colour)
    text = f"{ticks / CLOCK:.3f} s"
    pen.text((width * 0.04, height * 0.79), text, fill=(255, 255, 255), font_size=height * 0.17)
    return np.asarray(picture, dtype=np.uint8)


def read(picture: NDArray[np.uint8]) -> int:
    """The ticks in a picture of :func:`draw`, scaled and compressed as it may be. Raises ValueError where a block
    is neither black nor white."""
    wide, high = picture.shape[1] / _COLUMNS, picture.shape[0] * _BLOCKS / _ROWS
    ticks = 0
    for bit in range(_COLUMNS * _ROWS):
        row, column = divmod(bit, _COLUMNS)
        top, left = (row + 0.3) * high, (column + 0.3) * wide
        light = picture[int(top) : int(top + 0.4 * high) + 1, int(left) : int(left + 0.4 * wide) + 1].mean()
        if 80 < light < 160:
            raise ValueError(f"block {bit} is grey ({light:.0f}): no frame of this video, or two at once")
        ticks |= int(light > 120) << bit
    return ticks


def _steady(n: int, rate: Fraction, start: float = 0.0) -> NDArray[np.float64]:
    return start + np.arange(n) / float(rate)


def _uneven(n: int, start: float = 0.0) -> NDArray[np.float64]:
    """What a phone or a screen recorder writes: about 30 frames a second, with gaps of up to half a second."""
    gaps = np.array([33, 41, 33, 50, 37, 100, 33, 500, 45, 33, 67, 200])[np.arange(n - 1) % 12] / 1000
    return start + np.concatenate([[0.0], np.cumsum(gaps)])


def make(folder: Path, names: tuple[str, ...]) -> dict[str, NDArray[np.int64]]:
    """Write the named videos into ``folder`` as ``NAME.mp4`` or ``.mkv``; gives the ticks of their frames."""
    ntsc = Fraction(30_000, 1001)
    known = {
        "short": (_steady(250, Fraction(25)), 25, 0, ".mp4"),
        "even": (_steady(300, Fraction(25)), 25, 2, ".mp4"),
        "ntsc": (_steady(300, ntsc), ntsc, 2, ".mp4"),
        "late": (_steady(300, Fraction(25), 2.0), 25, 2, ".mp4"),
        "late-mkv": (_steady(300, Fraction(25), 2.0), 25, 0, ".mkv"),
        "variable": (_uneven(200), 30, 0, ".mp4"),
        "late-variable": (_uneven(200, 2.0), 30, 2, ".mp4"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for name in names:
        times, rate, b_frames, suffix = known[name]
        ticks = np.rint(times * CLOCK).astype(np.int64)
        frames = (draw(int(tick)) for tick in ticks)
        # A key frame every ten seconds, as found videos have: the proxy is what makes seeking quick.
        write_video(folder / f"{name}{suffix}", frames, rate, gop=250, pts=ticks / CLOCK, b_frames=b_frames)
        made[name] = ticks
    return made
