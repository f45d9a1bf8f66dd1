"""The pictures of a card, drawn from its facts alone."""

from __future__ import annotations

from typing import NamedTuple

from kloc.report.card import Card
from kloc.report.plots import Curve, CurvePoint, Drawing, bars, heatmap, learning_curve, to_png

#: More bars than this nobody reads.
_CLASSES = 40


class Picture(NamedTuple):
    """A picture: its path from the card, what it shows in words, its bytes as PNG."""

    path: str
    text: str
    png: bytes


def draw(card: Card) -> list[Picture]:
    """All pictures that the facts allow; equal facts make equal pictures."""
    note = ", of simulated answers" if card.simulated else ""
    found = [_picture("classes", _classes_text(card) + note, _classes(card))]
    for one in card.attributes:
        values = {
            f"{bin_} ({place})": share / 100
            for bin_, place, share in zip(one.names, one.ranges, one.percent, strict=True)
        }
        name = "number of instances" if one.attribute == "instances" else one.attribute
        title = f"{name}, {one.unit}"
        text = f"Share of instances by {name} ({one.unit}){note}"
        found.append(
            _picture(one.attribute, text, bars(values, x_label="share of instances", title=title, percent=True))
        )
    for pair in card.pairwise:
        text = f"Percent of instances by {pair.rows} and {pair.columns}{note}"
        found.append(_picture(f"{pair.rows}-{pair.columns}", text, heatmap(pair, title="% of instances")))
    if len(card.curve) > 1:
        curve = Curve("after each round", tuple(CurvePoint(x, y) for x, y in card.curve))
        text = f"mAP at tIoU 0.5 of a localizer by the number of videos annotated in the campaign{note}"
        found.append(_picture("learning-curve", text, learning_curve([curve])))
    return found


def _picture(name: str, text: str, drawing: Drawing) -> Picture:
    return Picture(f"pictures/{name}.png", text, to_png(drawing, dpi=110))


def _classes(card: Card) -> Drawing:
    shown = sorted(card.classes, key=lambda row: (-row.instances, row.name))[:_CLASSES]
    return bars({row.name: row.instances for row in shown}, x_label="instances", title="instances per class")


def _classes_text(card: Card) -> str:
    if len(card.classes) <= _CLASSES:
        return "Instances per class"
    return f"Instances of the {_CLASSES} largest of {len(card.classes)} classes"
