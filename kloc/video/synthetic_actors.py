"""The actors of the demo videos: six things that do something, and what passes by while they do.

An actor stands idle, acts, or does something that is no action (``tease``: the wheel is nudged, the ball
rolls). Each is drawn in a box of its own: x in [-1.3, 1.3], y from 0 (the ground) to 2.6, in units of the
actor's scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Mode = Literal["idle", "act", "tease"]
Point = tuple[float, float]

BOX = 2.6  # width and height of an actor's box, in units
SHARP = 2  # drawn this much larger than shown, then reduced

INK: Colour = (62, 54, 50)
WOOD: Colour = (116, 80, 52)


@dataclass(frozen=True)
class Pose:
    """What an actor does at one moment.

    t: seconds since it began. level: 0..1, grows when an action begins and fades when it ends.
    """

    mode: Mode
    t: float
    level: float


@dataclass(frozen=True)
class Style:
    """What does not change during a video: two or three colours, a number that varies the details."""

    colours: tuple[Colour, ...]
    variant: float


class Pen:
    """Draws in units on a transparent square."""

    def __init__(self, scale: float) -> None:
        self.scale = scale * SHARP
        self.side = round(BOX * scale) * SHARP
        self.image = Image.new("RGBA", (self.side, self.side), (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.image)

    def at(self, x: float, y: float) -> Point:
        return self.side / 2 + x * self.scale, self.side - 4 - y * self.scale

    def polygon(self, points: Sequence[Point], colour: Colour, alpha: int = 255) -> None:
        self.draw.polygon([self.at(*p) for p in points], fill=(*colour, alpha))

    def line(self, points: Sequence[Point], colour: Colour, width: float, alpha: int = 255) -> None:
        pixels = max(1, round(width * self.scale))
        self.draw.line([self.at(*p) for p in points], fill=(*colour, alpha), width=pixels, joint="curve")

    def disc(self, x: float, y: float, rx: float, ry: float, colour: Colour, alpha: int = 255) -> None:
        self.draw.ellipse(self._box(x, y, rx, ry), fill=(*colour, alpha))

    def wedge(
        self, x: float, y: float, r: float, first: float, last: float, colour: Colour, squash: float = 1.0
    ) -> None:
        self.draw.pieslice(self._box(x, y, r / squash**0.5, r * squash), first, last, fill=(*colour, 255))

    def glow(self, x: float, y: float, r: float, colour: Colour, alpha: int) -> None:
        """A soft light: discs of falling transparency, blended over what is there."""
        halo = Image.new("RGBA", self.image.size, (*colour, 0))
        ink = ImageDraw.Draw(halo)
        for i in range(8):
            ink.ellipse(self._box(x, y, r * (1 - i / 8), r * (1 - i / 8)), fill=(*colour, alpha * (i + 1) // 8))
        self.image.alpha_composite(halo)
        self.draw = ImageDraw.Draw(self.image)

    def shadow(self, x: float, rx: float, alpha: int = 90) -> None:
        self.disc(x, 0.06, rx, 0.07, (20, 20, 24), alpha)

    def done(self) -> Image.Image:
        """The patch at its final size, RGBA."""
        return self.image.reduce(SHARP)

    def _box(self, x: float, y: float, rx: float, ry: float) -> list[float]:
        (left, bottom), (right, top) = self.at(x - rx, y - ry), self.at(x + rx, y + ry)
        return [left, top, right, bottom]


def _wheel(pen: Pen, pose: Pose, style: Style) -> None:
    centre, radius = 1.2, 0.85
    pen.shadow(0, 0.7)
    pen.line([(0, centre), (-0.6, 0.05)], WOOD, 0.09)
    pen.line([(0, centre), (0.6, 0.05)], WOOD, 0.09)
    speed = 620.0 * pose.level if pose.mode == "act" else 0.0
    angle = style.variant * 360
    if pose.mode == "act":
        angle += 520.0 * pose.t
    elif pose.mode == "tease":
        angle += 24.0 * np.sin(2.2 * pose.t)
    disc = Pen(pen.scale / SHARP)
    for i in range(8):
        start = angle + 45 * i
        disc.wedge(0, centre, radius, start, start + 45, style.colours[i % len(style.colours)])
    if speed:  # motion blur: the mean of the wheel turned a little further and further
        hub = disc.at(0, centre)
        steps = np.linspace(0, speed / 12, 6)
        turned = [np.asarray(disc.image.rotate(-s, center=hub), np.float32) for s in steps]
        disc.image = Image.fromarray(np.mean(turned, axis=0).astype(np.uint8), "RGBA")
    pen.image.alpha_composite(disc.image)
    pen.draw = ImageDraw.Draw(pen.image)
    pen.disc(0, centre, 0.12, 0.12, INK)
    for i in range(12):
        a = np.pi * i / 6
        lit = pose.mode == "act" and pose.level > 0.3 and (i + int(pose.t * 8)) % 2 == 0
        size = 0.075 if lit else 0.05
        pen.disc(
            1.0 * np.cos(a) * 0.93, centre + 0.93 * np.sin(a), size, size, (255, 240, 170) if lit else (120, 108, 92)
        )


def _ball(pen: Pen, pose: Pose, style: Style) -> None:
    radius, x, height, squash, spin = 0.48, 0.0, 0.0, 1.0, style.variant * 360
    if pose.mode == "act":
        phase = (pose.t * (1.15 + 0.3 * style.variant)) % 1.0
        height = 4 * phase * (1 - phase) * 1.45 * pose.level
        squash = 0.78 if height < 0.14 else 1.0 + 0.08 * (1 - height / 1.45)
        spin += 90 * pose.t
    elif pose.mode == "tease":
        x = 0.75 * np.sin(0.9 * pose.t)
        spin += 150 * x
    pen.shadow(x, 0.38 - 0.13 * min(height, 1.5), 110 - int(40 * min(height, 1.5)))
    if pose.mode == "act":  # a trail where it just was, dust where it hits the ground
        for lag in (0.16, 0.08) if pose.t > 0.16 else ():
            before = (pose.t - lag) * (1.15 + 0.3 * style.variant) % 1.0
            past = 4 * before * (1 - before) * 1.45 * pose.level
            pen.disc(x, 0.04 + radius + past, radius * 0.95, radius * 0.95, style.colours[0], 70)
        for side in (-1, 1):
            pen.disc(side * (0.6 + 0.15 * height), 0.12, 0.2, 0.09, (214, 204, 184), int(150 * max(0.0, 1 - height)))
    y = 0.04 + radius * squash + height
    for i in range(6):
        pen.wedge(x, y, radius, spin + 60 * i, spin + 60 * i + 60, style.colours[i % len(style.colours)], squash)
    pen.disc(x - 0.1, y + 0.14, 0.08, 0.06, (255, 255, 255))


def _umbrella(pen: Pen, pose: Pose, style: Style) -> None:
    spread = {"idle": 0.0, "tease": 0.16 * abs(np.sin(1.4 * pose.t)), "act": pose.level}[pose.mode]
    sway = 0.03 * np.sin(2.0 * pose.t) if pose.mode == "act" else 0.0
    top, foot = 2.25, 0.05
    pen.shadow(0, 0.25 + 0.75 * spread, 90)
    pen.line([(0, foot), (sway, top)], INK, 0.06)
    half, drop = 0.09 + 1.05 * spread, 1.35 - 0.6 * spread
    edges = np.linspace(-1.0, 1.0, 7)
    for i in range(6):  # panels under a dome, each with a hem that curves up
        part = np.linspace(edges[i], edges[i + 1], 5)
        dome = top - drop + drop * np.sqrt(np.maximum(0.0, 1 - np.abs(part) ** (1 + spread)))
        hem = top - drop + 0.1 * spread * np.sin(np.linspace(np.pi, 0, 5))
        x = sway + half * part
        panel = [*zip(x, dome, strict=True), *zip(x[::-1], hem, strict=True)]
        pen.polygon(panel, style.colours[i % len(style.colours)])
        if i:
            pen.line([(sway, top), (float(x[0]), top - drop)], INK, 0.02)
    pen.line([(sway, top), (sway, top + 0.14)], INK, 0.05)


def _flag(pen: Pen, pose: Pose, style: Style) -> None:
    pen.shadow(-0.9, 0.2)
    pen.line([(-0.9, 0.04), (-0.9, 2.5)], (190, 186, 178), 0.07)
    pen.disc(-0.9, 2.5, 0.07, 0.07, (214, 178, 80))
    n, bands = 14, len(style.colours)
    s = np.linspace(0, 1, n)
    if pose.mode == "act":
        length, droop = 0.35 + 1.7 * pose.level, 0.9 * (1 - pose.level)
        wave = 0.16 * s * np.sin(7.5 * s - 9 * pose.t)
    else:
        sway = 0.08 * np.sin(1.8 * pose.t) if pose.mode == "tease" else 0.0
        length, droop = 0.17 + sway, 0.95
        wave = 0.03 * np.sin(14 * s + style.variant * 6)
    x = -0.88 + length * s
    top = 2.42 - droop * s + wave
    tall = 1.05 if pose.mode == "act" else 0.8
    for b in range(bands):
        high, low = top - tall * b / bands, top - tall * (b + 1) / bands
        pen.polygon([*zip(x, high, strict=True), *zip(x[::-1], low[::-1], strict=True)], style.colours[b])
    for i in range(2, n, 4):  # folds
        for b in range(bands):
            shade: Colour = tuple(int(c * 0.78) for c in style.colours[b])  # type: ignore[assignment]
            above, below = float(top[i]) - tall * b / bands, float(top[i]) - tall * (b + 1) / bands
            pen.line([(float(x[i]), above), (float(x[i]), below)], shade, 0.05)


def _fire(pen: Pen, pose: Pose, style: Style) -> None:
    pen.shadow(0, 0.85)
    act = pose.mode == "act"
    if act:
        pen.glow(0, 0.75, 1.25, (255, 150, 50), int(110 * pose.level))
    for x, tilt in ((-0.45, 0.35), (0.45, -0.35), (-0.1, 0.55)):
        pen.line(
            [(x - 0.35, 0.1), (x + 0.35, 0.1 + 0.4 * abs(tilt))]
            if tilt > 0
            else [(x + 0.35, 0.1), (x - 0.35, 0.1 - 0.4 * tilt)],
            WOOD,
            0.15,
        )
    for i in range(-3, 4):
        pen.disc(0.26 * i, 0.06, 0.12, 0.08, (128, 126, 122))
    if act:
        for layer, (colour, size) in enumerate((((226, 72, 24), 1.0), ((248, 150, 34), 0.7), ((255, 232, 130), 0.42))):
            points: list[Point] = [(-0.55 * size, 0.14)]
            for k in range(5):
                lick = (
                    np.sin(11 * pose.t + 2.3 * k + 6 * style.variant) * 0.22
                    + np.sin(17 * pose.t + 1.1 * k + layer) * 0.13
                )
                height = (1.6 - 0.28 * abs(k - 2)) * size * pose.level * (1 + lick)
                middle = (-0.44 + 0.22 * k) * size
                points += [(middle + 0.06 * lick, 0.14 + height), (middle + 0.11 * size, 0.14 + height * 0.45)]
            points.append((0.55 * size, 0.14))
            pen.polygon(points, colour, 235)
        for k in range(4):
            rise = (pose.t * 0.9 + k * 0.27 + style.variant) % 1
            pen.disc(0.3 * np.sin(5 * k + 3 * rise), 0.9 + 1.4 * rise, 0.025, 0.025, (255, 190, 90))
    elif pose.mode == "tease":  # smoke, no flame
        for k in range(7):
            rise = (pose.t * 0.35 + k / 7) % 1
            pen.disc(
                0.16 * np.sin(4 * rise + k),
                0.3 + 1.9 * rise,
                0.1 + 0.22 * rise,
                0.1 + 0.2 * rise,
                (176, 176, 180),
                int(95 * (1 - rise)),
            )


def _swing(pen: Pen, pose: Pose, style: Style) -> None:
    top = 2.4
    pen.shadow(0, 0.9, 60)
    for side in (-1, 1):
        pen.line([(0.95 * side, top), (1.15 * side, 0.04)], WOOD, 0.09)
        pen.line([(0.95 * side, top), (0.8 * side, 0.04)], WOOD, 0.09)
    pen.line([(-1.0, top), (1.0, top)], WOOD, 0.1)
    ghosts: tuple[float, ...] = (0.0,)
    if pose.mode == "act":
        ghosts = (0.16, 0.08, 0.0)
    for ghost in ghosts:
        if pose.mode == "act":
            angle = 0.7 * pose.level * np.sin(2.9 * (pose.t - ghost))
        else:
            angle = 0.1 * np.sin(2.0 * pose.t) if pose.mode == "tease" else 0.0
        alpha = 255 if ghost == 0 else 80
        length = 1.75
        x, y = length * np.sin(angle), top - length * np.cos(angle)
        seat = np.asarray((np.cos(angle), np.sin(angle))) * 0.34
        for sign in (-1, 1):
            end = (x + sign * seat[0], y + sign * seat[1])
            pen.line([(0.3 * sign, top), end], (214, 206, 186), 0.035, alpha)
        pen.line([(x - seat[0], y - seat[1]), (x + seat[0], y + seat[1])], style.colours[0], 0.11, alpha)
        if pose.mode == "act":  # somebody sits on it, leaning with the motion
            up = np.asarray((-np.sin(angle), np.cos(angle)))
            body = (x + 0.5 * up[0], y + 0.5 * up[1])
            pen.line([(x, y + 0.03), body], style.colours[-1], 0.24, alpha)
            pen.disc(x + 0.68 * up[0], y + 0.68 * up[1], 0.15, 0.15, (224, 178, 144), alpha)
            pen.line(
                [(x, y + 0.05), (x + 0.42 * np.cos(angle), y + 0.42 * np.sin(angle) - 0.1)], (60, 72, 110), 0.13, alpha
            )


#: Class names of the demo, in the order of the dataset's classes, and how each is drawn.
ACTORS: dict[str, Callable[[Pen, Pose, Style], None]] = {
    "bouncing a ball": _ball,
    "burning a campfire": _fire,
    "opening an umbrella": _umbrella,
    "riding a swing": _swing,
    "spinning a wheel": _wheel,
    "waving a flag": _flag,
}

PALETTES: tuple[tuple[Colour, ...], ...] = (
    ((200, 52, 48), (240, 232, 214)),
    ((36, 92, 160), (242, 196, 64)),
    ((46, 130, 92), (236, 236, 228), (214, 86, 54)),
    ((126, 70, 140), (244, 180, 90)),
    ((226, 120, 40), (52, 72, 106), (240, 230, 210)),
    ((120, 120, 112), (168, 160, 142)),  # close to many backgrounds
)


def draw_actor(label: str, pose: Pose, style: Style, scale: float) -> Image.Image:
    """An RGBA patch of ``round(2.6 * scale)`` pixels a side; the ground is 2 pixels above its lower edge."""
    pen = Pen(scale)
    ACTORS[label](pen, pose, style)
    return pen.done()


def _balloon(pen: Pen, t: float, style: Style) -> None:
    pen.line([(0, 1.25), (0.06 * np.sin(3 * t), 0.4)], (230, 230, 230), 0.025)
    pen.disc(0, 1.45, 0.36, 0.43, style.colours[0])
    pen.disc(-0.11, 1.82, 0.09, 0.08, (250, 246, 240))


def _cart(pen: Pen, t: float, style: Style) -> None:
    pen.shadow(0, 1.1)
    pen.polygon([(-1.1, 0.5), (1.1, 0.5), (1.2, 1.15), (-1.2, 1.15)], style.colours[-1])
    for x in (-0.65, 0.65):
        pen.disc(x, 0.42, 0.4, 0.4, INK)
        for k in range(4):
            a = k * np.pi / 4 + 3 * t
            pen.line(
                [(x - 0.34 * np.cos(a), 0.42 - 0.34 * np.sin(a)), (x + 0.34 * np.cos(a), 0.42 + 0.34 * np.sin(a))],
                style.colours[0],
                0.07,
            )


def _walker(pen: Pen, t: float, style: Style) -> None:
    pen.shadow(0, 0.3)
    stride = 0.28 * np.sin(6 * t)
    for sign in (-1, 1):
        pen.line([(0, 0.85), (sign * stride, 0.05)], (58, 62, 80), 0.16)
        pen.line([(0, 1.5), (-sign * stride, 0.95)], style.colours[0], 0.14)
    pen.line([(0, 0.8), (0, 1.6)], style.colours[0], 0.42)
    pen.disc(0, 1.85, 0.2, 0.22, (216, 172, 140))


def _parasol(pen: Pen, t: float, style: Style) -> None:
    _walker(pen, t, style)
    pen.line([(0.15, 1.1), (0.15, 2.2)], INK, 0.05)
    for i in range(5):
        pen.wedge(0.15, 1.9, 0.62, 180 + 36 * i, 216 + 36 * i, style.colours[i % len(style.colours)])


def _bird(pen: Pen, t: float, style: Style) -> None:
    flap = 0.25 * np.sin(10 * t)
    pen.line([(-0.5, 1.3 + flap), (0, 1.15), (0.5, 1.3 + flap)], (54, 54, 60), 0.09)
    pen.disc(0, 1.14, 0.17, 0.08, (54, 54, 60))


def _banner(pen: Pen, t: float, style: Style) -> None:
    x = np.linspace(-1.2, 0.5, 12)
    wave = 0.08 * np.sin(5 * x - 6 * t)
    pen.polygon([*zip(x, 1.5 + wave, strict=True), *zip(x[::-1], 1.1 + wave[::-1], strict=True)], style.colours[0])
    pen.line([(0.5, 1.3), (0.75, 1.3)], INK, 0.03)
    pen.disc(0.98, 1.3, 0.26, 0.1, (226, 226, 232))
    pen.polygon([(0.8, 1.36), (0.72, 1.58), (0.92, 1.38)], (196, 60, 56))


def _lantern(pen: Pen, t: float, style: Style) -> None:
    pen.glow(0, 1.4, 0.9, (255, 170, 80), 80)
    pen.polygon([(-0.28, 1.05), (0.28, 1.05), (0.36, 1.75), (0, 1.9), (-0.36, 1.75)], (240, 150, 60), 235)
    pen.disc(0, 1.2, 0.15, 0.13 + 0.02 * np.sin(9 * t), (255, 232, 150))


#: What passes by and is no action, and where: on the ground or in the air.
PASSERS: dict[str, tuple[Callable[[Pen, float, Style], None], Literal["ground", "air"]]] = {
    "balloon": (_balloon, "air"),
    "cart": (_cart, "ground"),
    "walker": (_walker, "ground"),
    "parasol": (_parasol, "ground"),
    "bird": (_bird, "air"),
    "banner": (_banner, "air"),
    "lantern": (_lantern, "air"),
}

#: The passer that resembles each class.
LOOKALIKE: dict[str, str] = {
    "bouncing a ball": "balloon",
    "burning a campfire": "lantern",
    "opening an umbrella": "parasol",
    "riding a swing": "walker",
    "spinning a wheel": "cart",
    "waving a flag": "banner",
}


def draw_passer(name: str, t: float, style: Style, scale: float, *, mirrored: bool, blur: float = 0.0) -> Image.Image:
    """An RGBA patch of a passer, ``t`` seconds after it came; ``blur`` in pixels for what is far or very near."""
    pen = Pen(scale)
    PASSERS[name][0](pen, t, style)
    patch = pen.done()
    if mirrored:
        patch = patch.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return patch.filter(ImageFilter.GaussianBlur(blur)) if blur else patch
