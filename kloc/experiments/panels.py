"""What a report draws of learning curves: by labels, by working time, by batch size and by noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kloc.experiments.comparing import LEVEL, Comparison, Key, interval, key_of
from kloc.experiments.curves import Curve, aligned, aulc, estimate, paired_difference
from kloc.report.plots import Panel, Series
from kloc.report.simulation import PUBLISHED_AULC, PUBLISHED_TO_80, Interval

#: Colours and markers: the paper's strategies always have the same ones, random is grey.
_SLOTS = {"lal": 0, "mcle": 1, "us": 2, "random": 7}
_SPARE_SLOTS = (3, 4, 5, 6)
_LEVEL = (LEVEL, f"{100 * LEVEL:.0f} % of full mAP")
_ELSEWHERE = "Hollow marks are the paper's, on other features: compare order and shape, not height."


class Varied(NamedTuple):
    """A panel of AULC over batch size or noise, and each strategy's difference to random at the same value."""

    panel: Panel | None = None
    gaps: tuple[Series, ...] = ()


def slots_of(keys: Sequence[Key]) -> dict[Key, int]:
    """A colour and marker for each strategy."""
    slots: dict[Key, int] = {}
    spare = 0
    for key in keys:
        if key.kind in _SLOTS and _SLOTS[key.kind] not in slots.values():
            slots[key] = _SLOTS[key.kind]
        else:
            slots[key] = _SPARE_SLOTS[spare % len(_SPARE_SLOTS)]
            spare += 1
    return slots


def _line(name: str, group: Sequence[Curve], slot: int, *, of_minutes: bool) -> Series:
    """The mean over seeds, as far as all of them go; a single one is drawn with its own points."""
    places = [c.minutes if of_minutes else c.x for c in group]
    if len(group) == 1:
        return Series(name, _floats(places[0]), _floats(group[0].y), slot=slot)
    low, high = max(float(x[0]) for x in places), min(float(x[-1]) for x in places)
    n = int(np.clip(max(map(len, places)), 2, 101)) if high > low else 1
    band = aligned(group, np.linspace(low, max(low, high), n), of_minutes=1.0 if of_minutes else None)
    return Series(name, _floats(band.x), _floats(band.mean), _floats(band.low), _floats(band.high), slot)


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


def _band_note(found: Comparison) -> str:
    seeds = len(found.seeds)
    if seeds < 2:
        return "One seed, so there are no bands: differences between the lines may be chance."
    few = " (very wide with so few)" if seeds < 4 else ""
    return (
        f"Lines are means over {seeds} seeds, bands their 95 % intervals{few}. Bands may overlap where the paired "
        "differences below are clear."
    )


def learning(found: Comparison, slots: Mapping[Key, int]) -> Panel:
    """Shares of the full mAP by labelled share."""
    lines = tuple(_line(found.name(k), group, slots[k], of_minutes=False) for k, group in found.curves.items())
    published = tuple(
        Series(f"{key.kind}, paper", (PUBLISHED_TO_80[key.kind],), (LEVEL,), slot=slots[key])
        for key in found.curves
        if key.strategy in PUBLISHED_TO_80
    )
    note = _band_note(found) + (f" {_ELSEWHERE}" if published else "")
    return Panel(
        "How far each labelled share gets", "labelled share of the pool", "share of full mAP", lines, published,
        _LEVEL, percent="xy", note=note,
    )  # fmt: skip


def cost(found: Comparison, slots: Mapping[Key, int]) -> Panel | None:
    """Shares of the full mAP by working minutes; ``None`` where nothing was chosen yet."""
    if not found.has_width:
        return None
    lines = tuple(_line(found.name(k), group, slots[k], of_minutes=True) for k, group in found.curves.items())
    note = (
        "Minutes are estimated from the videos' lengths and instances. A strategy that likes long videos looks better "
        "by videos than by working time."
    )
    return Panel(
        "The same by working time", "working minutes", "share of full mAP", lines, level=_LEVEL, percent="y", note=note
    )


def _settings(
    found: Comparison, curves: Sequence[Curve], of: str
) -> tuple[dict[Key, dict[float, list[Curve]]], tuple[float, ...]]:
    """Per compared strategy its curves by batch or noise, as far as they have an area up to the end of the comparison.

    Also all values of batch or noise that occur.
    """
    fixed = "noise" if of == "batch" else "batch"
    groups: dict[Key, dict[float, list[Curve]]] = {key: {} for key in found.curves}
    for curve in curves:
        far = curve.x[0] < found.end <= curve.x[-1] + 1e-9 and (curve.finished or not found.finished)
        if far and key_of(curve.arm) in groups and getattr(curve.arm, fixed) == getattr(found, fixed):
            groups[key_of(curve.arm)].setdefault(float(getattr(curve.arm, of)), []).append(curve)
    return groups, tuple(sorted({value for group in groups.values() for value in group}))


def _varied(
    found: Comparison, curves: Sequence[Curve], slots: Mapping[Key, int], of: str
) -> tuple[tuple[Series, ...], tuple[Series, ...], tuple[float, ...]]:
    """AULC of each strategy by batch or noise, its difference to random at the same value, and the values there are."""
    groups, values = _settings(found, curves, of)
    lines = [
        _series(
            found.name(key), {at: interval(estimate([aulc(c, found.end) for c in group[at]])) for at in group}, slot
        )
        for key, slot in slots.items()
        if (group := groups[key])
    ]
    gaps = []
    for baseline in (key for key in groups if key.kind == "random"):
        for key in (key for key in groups if key.kind != "random"):
            both = {
                at: interval(paired_difference(mine, other, found.end))
                for at, mine in groups[key].items()
                if (other := groups[baseline].get(at)) and {c.arm.seed for c in mine} & {c.arm.seed for c in other}
            }
            if both:
                gaps.append(_series(f"{found.name(key)} less {found.name(baseline)}", both, slots[key]))
        break  # random choice under one policy is enough to compare with
    return tuple(lines), tuple(gaps), values


def _series(name: str, means: Mapping[float, Interval], slot: int) -> Series:
    """Means by their place, with a band where each has an interval."""
    x = sorted(means)
    ends = [(m.low, m.high) for m in map(means.__getitem__, x) if m.low is not None and m.high is not None]
    low, high = zip(*ends, strict=True) if len(ends) == len(x) else ((), ())
    return Series(name, tuple(x), tuple(means[at].mean for at in x), low, high, slot)


def batches(found: Comparison, curves: Sequence[Curve], slots: Mapping[Key, int]) -> Varied:
    """AULC by batch size, where several were run."""
    lines, gaps, values = _varied(found, curves, slots, "batch")
    if not found.has_width or len(values) < 2:
        return Varied()
    whole = found.end > 0.995
    published = tuple(
        Series(f"{key.kind}, paper", tuple(map(float, rows)), tuple(rows.values()), slot=slots[key])
        for key in slots
        if whole and (rows := PUBLISHED_AULC.get(key.strategy))
    )
    note = (
        "Most of a fall towards large batches lies in the measure: a curve has a point per batch, and the straight "
        "lines between few points cut off the bend of the very same curve. Random choice does not depend on the batch; "
        "its line shows how much. Look at the differences to random at the same batch size, in the figures below. "
        "The paper: mcle falls from .75 at batch 1 to .65 at batch 64, lal by .05 only, us is poor from batch 32."
    )
    note += f" {_ELSEWHERE}" if published else "" if whole else " Its areas go to 100 % labelled, these do not."
    panel = Panel(
        f"AULC by batch size, noise {100 * found.noise:g} %", "videos a round", "AULC", lines, published,
        ticks=values, log=True, small=True, note=note,
    )  # fmt: skip
    return Varied(panel, gaps)


def noises(found: Comparison, curves: Sequence[Curve], slots: Mapping[Key, int]) -> Varied:
    """AULC by the oracle's noise, where several were run."""
    lines, gaps, values = _varied(found, curves, slots, "noise")
    if not found.has_width or len(values) < 2:
        return Varied()
    note = (
        "Noise n: the oracle's segments have a tIoU of about 1 − n with the truth. The full mAP that areas are shares "
        "of is without noise everywhere. The paper: 5 % of noise can help lal, and all strategies tolerate more."
    )
    panel = Panel(
        f"AULC by oracle noise, batch {found.batch}", "noise of the oracle", "AULC", lines, percent="x",
        small=True, note=note,
    )  # fmt: skip
    return Varied(panel, gaps)
