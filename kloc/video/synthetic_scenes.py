"""Backgrounds of the demo videos: landscapes drawn from noise, light that changes, a camera that drifts.

Everything is a pure function of a :class:`numpy.random.Generator`; nothing is read from disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """A painted background, larger than the frame so that the camera can move over it.

    picture: RGB, ``(height + margin, width + 2 * margin)`` pixels.
    foreground: RGBA of the same size, drawn over the actors (grass, leaves), or ``None``.
    horizon: the row of ``picture`` where the ground begins.
    night: whether the scene is dark (lamps and flames look brighter in it).
    """

    picture: Image.Image
    foreground: Image.Image | None
    horizon: int
    margin: int
    night: bool


def value_noise(rng: np.random.Generator, width: int, height: int, cells: tuple[float, float], octaves: int = 4) -> F32:
    """Fractal value noise in [0, 1], float32 ``(height, width)``; ``cells`` counts the coarsest cells (x, y)."""
    total = np.zeros((height, width), np.float32)
    weight, norm = 1.0, 0.0
    for octave in range(octaves):
        nx = max(2, min(width, round(cells[0] * 2**octave)))
        ny = max(2, min(height, round(cells[1] * 2**octave)))
        grid = Image.fromarray(rng.random((ny, nx), dtype=np.float32))
        total += weight * np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC), np.float32)
        norm += weight
        weight *= 0.55
    noise: F32 = np.clip(total / norm, 0.0, 1.0).astype(np.float32)
    return noise


def ridge(rng: np.random.Generator, width: int, roughness: int) -> F32:
    """A smooth 1-D silhouette in [0, 1], float32 ``(width,)``."""
    silhouette: F32 = value_noise(rng, width, 1, (roughness, 1), octaves=4)[0]
    return silhouette


def _gradient(height: int, width: int, stops: list[Colour]) -> F32:
    position = np.linspace(0, len(stops) - 1, height)
    table = np.asarray(stops, np.float32)
    rows = np.stack([np.interp(position, np.arange(len(stops)), table[:, c]) for c in range(3)], axis=1)
    return np.repeat(rows[:, None, :], width, axis=1).astype(np.float32)


def _mix(base: F32, colour: Colour, alpha: F32) -> None:
    base += (np.asarray(colour, np.float32) - base) * alpha[..., None]


def _image(pixels: F32) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


SKIES: dict[str, list[Colour]] = {
    "clear": [(70, 130, 200), (150, 195, 230), (222, 232, 236)],
    "overcast": [(142, 154, 166), (176, 186, 192), (206, 210, 210)],
    "evening": [(70, 84, 142), (212, 140, 120), (248, 202, 142)],
    "morning": [(120, 160, 200), (232, 208, 190), (250, 232, 206)],
    "night": [(10, 14, 38), (22, 30, 64), (48, 56, 92)],
}


def _sky(rng: np.random.Generator, width: int, height: int, mood: str) -> F32:
    sky = _gradient(height, width, SKIES[mood])
    if mood == "night":
        stars = rng.random((height, width)) > 0.9985
        sky[stars] = rng.uniform(140, 240, (int(stars.sum()), 1))
        return sky
    clouds = value_noise(rng, width, height, (3, 5), octaves=5)
    cover = rng.uniform(0.45, 0.6)
    white: Colour = (255, 232, 214) if mood == "evening" else (246, 247, 248)
    _mix(sky, white, np.clip((clouds - cover) * 4.0, 0, 0.85).astype(np.float32))
    return sky


def _hills(rng: np.random.Generator, sky: F32, horizon: int, colour: Colour, haze: Colour) -> None:
    """Two or three ridges before the sky, the farther the paler."""
    height, width = sky.shape[:2]
    rows = np.arange(height)[:, None]
    n = int(rng.integers(2, 4))
    for i in range(n):
        near = (i + 1) / n
        top = horizon - (0.34 - 0.22 * near) * horizon * (0.35 + ridge(rng, width, 3 + 2 * i))
        tint = np.asarray(haze, np.float32) * (1 - near) + np.asarray(colour, np.float32) * near
        shade = value_noise(rng, width, height, (24, 20), octaves=3)[..., None] * 26 - 13
        sky[:] = np.where((rows >= top)[..., None], tint + shade, sky)


def _ground(rng: np.random.Generator, width: int, depth: int, far: Colour, near: Colour, contrast: float) -> F32:
    """Ground in perspective: coarse noise at the viewer's feet, fine and flat at the horizon."""
    ground = _gradient(depth, width, [far, near])
    flat = value_noise(rng, width, depth * 2, (14, 40), octaves=4)
    rows = (np.linspace(0, 1, depth) ** 0.6 * (2 * depth - 1)).astype(np.intp)
    fine = rng.normal(0, 1, (depth, width)).astype(np.float32)
    weight = np.linspace(0.4, 1.0, depth, dtype=np.float32)[:, None]
    ground += ((flat[rows] - 0.5) * contrast + fine * contrast * 0.07)[..., None] * weight[..., None]
    return ground


def _tree(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, foot: float, size: float, leaf: Colour
) -> None:
    trunk = (86, 64, 46)
    draw.polygon(
        [
            (x - size * 0.06, foot),
            (x + size * 0.06, foot),
            (x + size * 0.03, foot - size * 0.7),
            (x - size * 0.03, foot - size * 0.7),
        ],
        fill=trunk,
    )
    for i in range(90):
        angle, radius = rng.uniform(0, 2 * np.pi), size * 0.36 * np.sqrt(rng.random())
        cx, cy = x + radius * np.cos(angle) * 1.1, foot - size * 0.85 + radius * np.sin(angle)
        light = 0.62 + 0.5 * (foot - size * 0.5 - cy) / size + 0.1 * rng.random() + 0.1 * (i / 90)
        r = size * rng.uniform(0.05, 0.1)
        draw.ellipse(
            [cx - r, cy - r * 0.8, cx + r, cy + r * 0.8], fill=tuple(int(min(255, max(0, c * light))) for c in leaf)
        )


def _pine(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, foot: float, size: float, leaf: Colour
) -> None:
    for level in range(5):
        top, half = foot - size * (1 - 0.16 * level), size * (0.1 + 0.055 * level)
        shade = 0.8 + 0.06 * level + rng.uniform(-0.05, 0.05)
        draw.polygon(
            [(x, top), (x - half, top + size * 0.3), (x + half, top + size * 0.3)],
            fill=tuple(int(c * shade) for c in leaf),
        )


def _grass_front(rng: np.random.Generator, size: tuple[int, int], leaf: Colour) -> Image.Image:
    """Blades that stand before the actors at the lower edge."""
    front = Image.new("RGBA", size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(front)
    width, height = size
    tall = ridge(rng, width, 5)
    for _ in range(width):
        x = int(rng.integers(0, width))
        length = height * (0.03 + 0.14 * max(0.0, float(tall[x]) - 0.42) * 2)
        shade = rng.uniform(0.55, 1.0)
        lean = rng.uniform(-0.35, 0.35) * length
        draw.line(
            [(x, height), (x + lean, height - length)],
            fill=(*(int(c * shade) for c in leaf), 255),
            width=1 + int(rng.random() < 0.35),
        )
    return front


def meadow(rng: np.random.Generator, width: int, height: int) -> tuple[Image.Image, Image.Image | None, int, bool]:
    """Grass, hills and a few trees under an open sky."""
    mood = str(rng.choice(["clear", "overcast", "evening", "morning"]))
    horizon = int(height * rng.uniform(0.42, 0.52))
    leaf: Colour = (72, 118, 50) if rng.random() < 0.7 else (164, 116, 46)
    pixels = _sky(rng, width, height, mood)
    _hills(rng, pixels, horizon, (70, 104, 84), SKIES[mood][2])
    pixels[horizon:] = _ground(rng, width, height - horizon, (134, 158, 84), (74, 108, 44), 46)
    picture = _image(pixels)
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(3, 8))):
        _tree(draw, rng, rng.uniform(0, width), horizon + rng.uniform(2, 14), height * rng.uniform(0.22, 0.42), leaf)
    for _ in range(int(rng.integers(30, 120))):
        y = horizon + (height - horizon) * rng.uniform(0.15, 1) ** 0.7
        x, r = rng.uniform(0, width), 0.6 + (y - horizon) / height * 2.2
        draw.ellipse(
            [x - r, y - r, x + r, y + r], fill=((236, 226, 120), (232, 232, 240), (206, 110, 130))[int(rng.integers(3))]
        )
    return picture, _grass_front(rng, (width, height), (82, 126, 48)), horizon, False


def beach(rng: np.random.Generator, width: int, height: int) -> tuple[Image.Image, Image.Image | None, int, bool]:
    """Sea with waves and a strip of sand."""
    mood = str(rng.choice(["clear", "evening", "morning", "overcast"]))
    line, horizon = int(height * rng.uniform(0.3, 0.38)), int(height * rng.uniform(0.5, 0.56))
    pixels = _sky(rng, width, height, mood)
    sea = _gradient(horizon - line, width, [(70, 118, 150), (84, 158, 170)])
    waves = value_noise(rng, width, horizon - line, (6, 14), octaves=3)
    _mix(sea, (236, 244, 244), np.clip((waves - 0.6) * 5, 0, 0.8).astype(np.float32))
    pixels[line:horizon] = sea * 0.8 + np.asarray(SKIES[mood][1], np.float32) * 0.2
    pixels[horizon:] = _ground(rng, width, height - horizon, (214, 194, 150), (196, 164, 112), 34)
    return _image(pixels), None, horizon, False


def square(rng: np.random.Generator, width: int, height: int) -> tuple[Image.Image, Image.Image | None, int, bool]:
    """A paved square before a row of houses."""
    mood = str(rng.choice(["clear", "overcast", "evening"]))
    horizon = int(height * rng.uniform(0.5, 0.56))
    picture = _image(_sky(rng, width, height, mood))
    draw = ImageDraw.Draw(picture)
    x = -10.0
    while x < width:
        broad, top = rng.uniform(40, 80), horizon - height * rng.uniform(0.22, 0.42)
        wall = np.asarray(
            ((196, 170, 140), (176, 132, 112), (206, 198, 180), (150, 156, 160), (184, 180, 140))[int(rng.integers(5))]
        ) * rng.uniform(0.8, 1.05)
        colour = tuple(int(min(255, c)) for c in wall)
        draw.rectangle([x, top, x + broad, horizon], fill=colour)
        draw.polygon(
            [(x - 3, top), (x + broad + 3, top), (x + broad - 6, top - 14), (x + 6, top - 14)], fill=(122, 76, 62)
        )
        for wy in np.arange(top + 10, horizon - 16, 22):
            for wx in np.arange(x + 8, x + broad - 12, 18):
                lit = rng.random() < 0.12
                draw.rectangle(
                    [wx, wy, wx + 8, wy + 12], fill=(238, 214, 150) if lit else (74, 86, 98), outline=(226, 222, 214)
                )
        x += broad + 1
    pixels = np.array(picture, np.float32)
    pixels[horizon:] = _ground(rng, width, height - horizon, (170, 166, 160), (136, 130, 124), 22)
    picture = _image(pixels)
    draw = ImageDraw.Draw(picture)
    for step in np.linspace(0, 1, 9)[1:] ** 1.7:
        y = horizon + step * (height - horizon)
        draw.line([(0, y), (width, y)], fill=(112, 108, 104))
    for lane in np.linspace(-2.5, 3.5, 24):
        draw.line(
            [(width / 2 + (lane - 0.5) * width * 0.35, horizon), (width / 2 + (lane - 0.5) * width, height)],
            fill=(120, 116, 112),
        )
    return picture, None, horizon, False


def room(rng: np.random.Generator, width: int, height: int) -> tuple[Image.Image, Image.Image | None, int, bool]:
    """A room: wallpaper, a window, pictures, a wooden floor."""
    horizon = int(height * rng.uniform(0.54, 0.62))
    wall: Colour = ((196, 186, 166), (150, 172, 170), (190, 158, 146), (168, 172, 196))[int(rng.integers(4))]
    pixels = np.zeros((height, width, 3), np.float32) + np.asarray(wall, np.float32)
    pixels += (8 * np.sign(np.sin(np.arange(width) / rng.uniform(4, 9))))[None, :, None].astype(np.float32)
    pixels += (value_noise(rng, width, height, (3, 3), 2) * 40 - 20)[..., None]
    floor = _ground(rng, width, height - horizon, (150, 112, 76), (126, 86, 54), 26)
    pixels[horizon:] = floor
    picture = _image(pixels)
    draw = ImageDraw.Draw(picture)
    for lane in np.linspace(-3, 4, 26):
        draw.line(
            [(width / 2 + (lane - 0.5) * width * 0.4, horizon), (width / 2 + (lane - 0.5) * width, height)],
            fill=(96, 66, 42),
        )
    draw.rectangle([0, horizon - 7, width, horizon], fill=(226, 220, 206))
    for _ in range(int(rng.integers(2, 5))):
        x, y, w, h = rng.uniform(0, width), rng.uniform(10, horizon * 0.4), rng.uniform(24, 60), rng.uniform(28, 60)
        inner = _image(_sky(rng, int(w), int(h), str(rng.choice(["clear", "evening", "morning"]))))
        draw.rectangle([x - 4, y - 4, x + int(w) + 3, y + int(h) + 3], fill=(110, 78, 50))
        picture.paste(inner, (int(x), int(y)))
    return picture, None, horizon, False


def camp(rng: np.random.Generator, width: int, height: int) -> tuple[Image.Image, Image.Image | None, int, bool]:
    """A clearing among pines at dusk or at night."""
    mood = "night" if rng.random() < 0.6 else "evening"
    horizon = int(height * rng.uniform(0.5, 0.58))
    dim = 0.55 if mood == "night" else 0.85
    pixels = _sky(rng, width, height, mood)
    _hills(rng, pixels, horizon, tuple(int(c * dim) for c in (48, 66, 74)), SKIES[mood][2])  # type: ignore[arg-type]
    pixels[horizon:] = _ground(rng, width, height - horizon, (84, 92, 66), (60, 62, 42), 30) * dim
    picture = _image(pixels)
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(9, 18))):
        leaf: Colour = tuple(int(c * dim * rng.uniform(0.7, 1.1)) for c in (50, 82, 62))  # type: ignore[assignment]
        _pine(draw, rng, rng.uniform(0, width), horizon + rng.uniform(2, 16), height * rng.uniform(0.25, 0.5), leaf)
    front = _grass_front(rng, (width, height), tuple(int(c * dim) for c in (70, 90, 56)))  # type: ignore[arg-type]
    return picture, front, horizon, mood == "night"


SCENES: dict[str, Callable[[np.random.Generator, int, int], tuple[Image.Image, Image.Image | None, int, bool]]] = {
    "meadow": meadow,
    "beach": beach,
    "square": square,
    "room": room,
    "camp": camp,
}


def paint(name: str, rng: np.random.Generator, width: int, height: int, margin: int) -> Scene:
    """The background ``name`` for frames of ``width`` x ``height`` pixels."""
    picture, front, horizon, night = SCENES[name](rng, width + 2 * margin, height + margin)
    return Scene(picture.filter(ImageFilter.GaussianBlur(0.5)), front, horizon, margin, night)


def camera_path(rng: np.random.Generator, n_frames: int, fps: float, margin: int, restless: float) -> NDArray[np.int64]:
    """Upper left corner of the view in the painting, int64 ``(n_frames, 2)`` as (x, y): slow drift, a little shake."""
    t = np.arange(n_frames) / fps
    sway = sum(np.sin(2 * np.pi * t / rng.uniform(14, 40) + rng.uniform(0, 6.3)) for _ in range(3)) / 3
    nod = np.sin(2 * np.pi * t / rng.uniform(10, 30) + rng.uniform(0, 6.3))
    shake = rng.normal(0, 0.5 * restless, (n_frames, 2))
    x = margin + sway * margin * 0.8 * restless + shake[:, 0]
    y = margin / 2 + nod * margin * 0.3 * restless + shake[:, 1]
    return np.stack([np.clip(np.rint(x), 0, 2 * margin), np.clip(np.rint(y), 0, margin)], axis=1).astype(np.int64)


def light_curve(rng: np.random.Generator, n_frames: int, fps: float, change: float) -> F32:
    """Gain of each colour channel over time, float32 ``(n_frames, 3)``: passing clouds, warmer and colder light."""
    t = np.arange(n_frames) / fps
    gain = 1 + change * 0.5 * (np.sin(2 * np.pi * t / rng.uniform(12, 30) + rng.uniform(0, 6.3)))
    gain += change * 0.35 * np.sin(2 * np.pi * t / rng.uniform(4, 9) + rng.uniform(0, 6.3))
    warm = change * 0.3 * np.sin(2 * np.pi * t / rng.uniform(20, 50) + rng.uniform(0, 6.3)) + rng.normal(0, 0.04)
    return np.stack([gain * (1 + warm), gain, gain * (1 - warm)], axis=1).astype(np.float32)
