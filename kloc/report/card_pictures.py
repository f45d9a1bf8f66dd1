"""The pictures of a card, drawn from its facts alone."""

from __future__ import annotations

from typing import NamedTuple

from kloc.report.card import Card
from kloc.report.plots import Curve, CurvePoint, Drawing, learning_curve, to_png
from kloc.report.statistics import Statistics
from kloc.report.statistics_page import panels

#: Of all panels of the statistics, those that a card shows.
_SHOWN = ("instances-per-class", "coverage", "length", "instances", "coverage-by-length")


class Picture(NamedTuple):
    """A picture: its path from the card, what it shows in words, its bytes as PNG."""

    path: str
    text: str
    png: bytes


def draw(card: Card) -> list[Picture]:
    """All pictures that the facts allow; equal facts make equal pictures."""
    drawings: dict[str, Drawing] = panels(card.statistics)
    words = _words(card.statistics)
    if len(card.curve) > 1:
        curve = Curve("after each round", tuple(CurvePoint(x, y) for x, y in card.curve))
        drawings["learning-curve"] = learning_curve([curve])
        reached = "; ".join(f"{100 * y:.1f} % at {x}" for x, y in card.curve)
        words["learning-curve"] = f"mAP at tIoU 0.5 of a localizer by the number of videos annotated: {reached}"
    note = " (simulated answers)" if card.simulated else ""
    return [
        Picture(f"pictures/{name}.png", words[name] + note, to_png(drawings[name], dpi=110))
        for name in (*_SHOWN, "learning-curve")
        if name in drawings and name in words
    ]


def _words(statistics: Statistics) -> dict[str, str]:
    """What each picture shows, with its figures, for who cannot see it."""
    counts = sorted(((row.instances, row.label) for row in statistics.per_class), key=lambda one: (-one[0], one[1]))
    words = {"instances-per-class": f"Instances per class, from {counts[0][0]:,} down to {counts[-1][0]:,}"}
    for one in statistics.attributes:
        shares = ", ".join(f"{n} ({r}) {p:.1f} %" for n, r, p in zip(one.names, one.ranges, one.percent, strict=True))
        words[one.attribute] = f"Instances by {one.title}: {shares}"
    words["coverage-by-length"] = "Percent of instances by coverage and length"
    return words
