"""From learning curves to what a report shows: panels, tables, and sentences that say no more than the seeds allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kloc.experiments.comparing import LEVEL, PAPER, Comparison, Key, goal_of, interval, reference_of
from kloc.experiments.curves import Curve, aligned, aulc, estimate
from kloc.report.html import Headline
from kloc.report.plots import Panel, Series
from kloc.report.simulation import (
    PUBLISHED_AULC,
    PUBLISHED_TO_80,
    Difference,
    Lesson,
    SimulationData,
    Strategy,
)
from kloc.selection.lal_model import CLOSE_TO_RANDOM

#: Colours and markers: the paper's strategies always have the same ones, random is grey.
_SLOTS = {"lal": 0, "mcle": 1, "us": 2, "random": 7}
_SPARE_SLOTS = (3, 4, 5, 6)
_LEVEL = (LEVEL, f"{100 * LEVEL:.0f} % of full mAP")
_ELSEWHERE = "Hollow marks are the paper's, on other features: compare order and shape, not height."


def simulation_data(
    curves: Sequence[Curve],
    *,
    simulated: bool,
    facts: Mapping[str, str],
    gains: Mapping[int, Mapping[str, Any]],
    problems: Sequence[str],
) -> SimulationData:
    """What the report shows of the curves of a finished or half finished experiment.

    Args:
        curves: at least one; an arm at most once.
        simulated: whether the features are invented; then the title says so.
        facts: what was run on what, in the order shown; "set", "videos", "classes" and "labelled at first" are also
            told in the protocol.
        gains: facts of LAL's regressors by seed.
        problems: one sentence each.

    Raises:
        ValueError: no curves, or one arm twice.
    """
    if not curves:
        raise ValueError("no curves to report")
    curves = sorted(curves, key=lambda c: c.arm)  # sums differ in their last bit by the order of their terms
    found = Comparison.of(curves, reference_of(curves))
    strategies, differences = found.strategies(), found.differences()
    slots = _slots(list(found.curves))
    goal = goal_of(curves)
    short = [c for c in curves if c.x[-1] < goal]
    notes = [f"{len(short)} of {len(curves)} campaigns have not got to the end: {_few([c.arm.name for c in short])}"]
    return SimulationData(
        title=f"Simulated campaigns on {facts.get('set', 'an annotated set')}" + (", simulated features" * simulated),
        simulated=simulated,
        summary=_summary(found, strategies, differences),
        headline=_headline(strategies),
        protocol=_protocol(found, facts, simulated),
        interval_note=_interval_note(found),
        learning=_learning(found, slots),
        cost=_cost(found, slots),
        batches=_batches(found, curves, slots),
        noises=_noises(found, curves, slots),
        strategies=strategies,
        differences=differences,
        order=_order(strategies, differences, len(found.seeds)),
        savings=found.savings(),
        saving_at=found.saving_at(),
        lessons=tuple(_lesson(seed, gains[seed]) for seed in sorted(gains)),
        problems=(*problems, *(notes if short else ())),
        provenance={**facts, "batch": str(found.batch), "oracle noise": f"{found.noise:g}", "seeds": _seeds(found)},
    )


def terminal_lines(data: SimulationData) -> dict[str, Any]:
    """The result on one screen of 80 columns: one line per strategy, then what it means."""
    width = max([8, *(len(s.name) for s in data.strategies)])
    lines: dict[str, Any] = {}
    if data.simulated:
        lines["features"] = "simulated"
    lines["strategy"] = f"{'to 80 %':<14}{'AULC':>5}  {'to random (95 %)':<24}"
    versus = {d.ours: d for d in data.differences if d.other == data.baseline}
    for s in data.strategies:
        area = f"{s.aulc.mean:.3f}" if s.aulc else "-"
        line = f"{_short(s):<14}{area:>5}  "
        if s.name in versus:
            line += _versus(versus[s.name], 80 - width - 2 - len(line))
        lines[s.name] = line.rstrip()
    lines["full mAP"] = f"{100 * data.strategies[0].full.mean:.1f} % with all labels"
    lines["seeds"] = f"{data.n_seeds}" if data.n_seeds > 1 else "1: no intervals, a difference may be chance"
    lines["order"] = data.order[-1]
    return lines


def _short(s: Strategy) -> str:
    return s.to_80.text.split(" (")[0]


def _versus(d: Difference, room: int) -> str:
    ends = d.labels.ends(sign=True)
    verdict = "cannot tell" if d.verdict.startswith("cannot") else d.verdict
    text = f"{d.labels.mean:+.3f}".replace("-", "−")
    whole = f"{text}  {verdict}" if ends is None else f"{text} ({ends}) {verdict}"
    return whole if len(whole) <= room else f"{text} {verdict}"


# -- words --------------------------------------------------------------------------------------------------------


def _few(names: Sequence[str], keep: int = 4) -> str:
    more = f" and {len(names) - keep} more" if len(names) > keep else ""
    return ", ".join(names[:keep]) + more


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _seeds(found: Comparison) -> str:
    return ", ".join(map(str, found.seeds))


def _summary(found: Comparison, strategies: Sequence[Strategy], differences: Sequence[Difference]) -> tuple[str, ...]:
    seeds = len(found.seeds)
    noise = f", {100 * found.noise:g} % noise in the answers" if found.noise else ""
    first = f"{_plural(len(strategies), 'strategy').replace('strategys', 'strategies')} compared over "
    first += f"{_plural(seeds, 'seed')}, {_plural(found.batch, 'video')} a round{noise}."
    sentences = [first]
    baseline = next((s.name for s in strategies if s.kind == "random"), None)
    told = [f"{d.ours} {d.verdict}" for d in differences if d.other == baseline]
    if told:
        sentences.append(f"By area under the learning curve, against random choice: {'; '.join(told)}.")
    elif baseline is None:
        sentences.append("Random choice was not run, so nothing says whether labels were saved at all.")
    if seeds == 1:
        sentences.append("With one seed there are no intervals: any difference may be chance.")
    return tuple(sentences)


def _headline(strategies: Sequence[Strategy]) -> tuple[Headline, ...]:
    cards = []
    # A row of cards: the first three and the last, which is random; the table has them all.
    for s in strategies if len(strategies) < 5 else (*strategies[:3], strategies[-1]):
        published = s.published_to_80
        # a sign of percent alone on a line looks lost
        paper = f"; paper {100 * published:.0f}\N{NO-BREAK SPACE}%" if published else ""
        note = f"of the labels for 80 % of the full mAP{paper}"
        if s.to_80.share is None:
            note = f"80 % of the full mAP, until {100 * s.to_80.until:.0f} % labelled"
        cards.append(Headline(s.name, _short(s), note))
    full = strategies[0].full.mean
    return (*cards, Headline("full mAP", f"{100 * full:.1f} %", "average over tIoU 0.5 to 0.95, all labels"))


def _protocol(found: Comparison, facts: Mapping[str, str], simulated: bool) -> str:
    sizes = "; ".join(f"{what}: {facts[what]}" for what in ("videos", "classes") if what in facts)
    parts = [
        'The protocol of the paper "What Do I Annotate Next?" (section 4.1)'
        + (f" on {facts['set']}" if "set" in facts else "")
        + (f" ({sizes})" if sizes else "")
        + "; every seed draws other classes and videos."
    ]
    if simulated:
        parts.append("Annotations are real; the features are invented from them, no video was looked at.")
    if "labelled at first" in facts:
        parts.append(f"First {facts['labelled at first']} videos of the pool, drawn at random, are labelled.")
    policies = sorted({key.policy for key in found.curves})
    noise = f", with a tIoU of about {1 - found.noise:g} to the truth" if found.noise else ", exactly"
    parts.append(
        f"In each round a strategy chooses {_plural(found.batch, 'video')} (policy {', '.join(policies)}), the oracle "
        f"gives all their instances{noise}, and the localizer is trained on all labels so far. Its average mAP on the "
        "Testing videos over tIoU 0.5 to 0.95 is shown as a share of what the same seed reaches with all labels. "
        "Every strategy of a seed starts from the same labels."
    )
    if {"lal", "mcle"} & {key.kind for key in found.curves}:
        parts.append("What lal and mcle know beforehand comes from the Knowledge-Source, whose classes the pool lacks.")
    return " ".join(parts)


def _interval_note(found: Comparison) -> str:
    if not found.has_width:
        return "Nothing has been chosen yet: there is no area under a curve of one point."
    text = f"AULC is the area from the first labels to {100 * found.end:.0f} % labelled"
    text += ", as in the paper" if found.end > 0.995 else ", the part that all compared campaigns have gone"
    if found.end <= 0.995:
        text += "; the paper's goes to 100 % and is larger for that reason alone"
    text += ". Normalised: divided by its width. By minutes: normalised, against estimated working minutes."
    if not found.whole:
        text += " Campaigns are still running: figures will change."
    elif found.unfinished:
        text += f" {_plural(len(found.unfinished), 'unfinished campaign')} left out."
    return text


def _order(strategies: Sequence[Strategy], differences: Sequence[Difference], seeds: int) -> tuple[str, ...]:
    """Whether the paper's order came out. The last sentence is the short answer."""
    published = " > ".join(f"{kind} ({100 * PUBLISHED_TO_80[kind]:.0f} %)" for kind in PAPER)
    sentences = [f"The paper's order is {published}, by labels to 80 % of the final mAP."]
    of_paper = {s.kind: s for s in strategies if s.published_to_80 is not None and s.aulc}
    ranked = sorted(of_paper.values(), key=lambda s: -(s.aulc.mean if s.aulc else 0.0))
    if len(ranked) < 2:
        return (*sentences, "Too few of these strategies have been run far enough to say anything about it.")
    sentences.append(f"Here it is {' > '.join(s.kind for s in ranked)}, by mean AULC.")
    names = {s.name for s in ranked}
    pairs = [d for d in differences if {d.ours, d.other} <= names]
    right = [d for d in pairs if d.labels.mean > 0]
    sure = [d for d in pairs if d.verdict == "better"]
    wrong = [f"{d.other} beats {d.ours}" for d in pairs if d.verdict == "worse"]
    missing = [kind for kind in PAPER if kind not in of_paper]
    part = f" (without {', '.join(missing)}, which {'were' if len(missing) > 1 else 'was'} not run)" if missing else ""
    sentences.append(
        f"Of {_plural(len(pairs), 'pair')} {len(right)} stand as in the paper, {len(sure)} of them with an interval "
        f"clear of 0; clearly the other way round: {', '.join(wrong) or 'none'}."
    )
    if len(right) < len(pairs) or [s.kind for s in ranked] != [k for k in PAPER if k in of_paper]:
        answer = f"The paper's order is not reproduced{part}"
        answer += "." if wrong else ", though no pair is clearly the other way round."
    elif len(sure) == len(pairs):
        answer = f"The paper's order is reproduced{part}."
    else:
        unsure = len(pairs) - len(sure)
        answer = f"The paper's order shows in the means{part}; {_plural(seeds, 'seed')} cannot tell "
        answer += f"{unsure} of {_plural(len(pairs), 'pair')} apart."
    return (*sentences, answer)


def _lesson(seed: int, facts: Mapping[str, Any]) -> Lesson:
    correlation = facts.get("rank_correlation")
    ends = facts.get("rank_correlation_interval") or []
    return Lesson(
        seed,
        correlation,
        (float(ends[0]), float(ends[1])) if len(ends) == 2 else None,
        {str(k): float(v) for k, v in (facts.get("rank_correlation_by_share") or {}).items()},
        facts.get("gain_mean"),
        facts.get("gain_std"),
        facts.get("states"),
        correlation is not None and correlation < CLOSE_TO_RANDOM,
    )


# -- panels -------------------------------------------------------------------------------------------------------


def _slots(keys: Sequence[Key]) -> dict[Key, int]:
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


def _learning(found: Comparison, slots: Mapping[Key, int]) -> Panel:
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


def _cost(found: Comparison, slots: Mapping[Key, int]) -> Panel | None:
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


def _areas(
    found: Comparison, curves: Sequence[Curve], slots: Mapping[Key, int], of: str
) -> tuple[tuple[Series, ...], tuple[float, ...]]:
    """AULC of each strategy by batch or noise, over the part that the comparison is of; and the values there are."""
    fixed = "noise" if of == "batch" else "batch"
    lines, values = [], set()
    for key, slot in slots.items():
        mine = [
            c for c in curves
            if (c.arm.strategy, c.arm.policy) == key and getattr(c.arm, fixed) == getattr(found, fixed)
            and c.x[-1] >= found.end - 1e-9 and c.x[0] < found.end
        ]  # fmt: skip
        x = sorted({float(getattr(c.arm, of)) for c in mine})
        means = [interval(estimate([aulc(c, found.end) for c in mine if getattr(c.arm, of) == at])) for at in x]
        values |= set(x)
        ends = [(m.low, m.high) for m in means if m.low is not None and m.high is not None]
        low, high = zip(*ends, strict=True) if len(ends) == len(means) and ends else ((), ())
        if x:
            lines.append(Series(found.name(key), tuple(x), tuple(m.mean for m in means), low, high, slot))
    return tuple(lines), tuple(sorted(values))


def _batches(found: Comparison, curves: Sequence[Curve], slots: Mapping[Key, int]) -> Panel | None:
    lines, values = _areas(found, curves, slots, "batch")
    if not found.has_width or len(values) < 2:
        return None
    whole = found.end > 0.995
    published = tuple(
        Series(f"{key.kind}, paper", tuple(map(float, rows)), tuple(rows.values()), slot=slots[key])
        for key in slots
        if whole and (rows := PUBLISHED_AULC.get(key.strategy))
    )
    note = "The paper: mcle falls from .75 at batch 1 to .65 at batch 64, lal by .05 only, us is poor from batch 32."
    note += f" {_ELSEWHERE}" if published else "" if whole else " Its areas go to 100 % labelled, these do not."
    return Panel(
        f"AULC by batch size, noise {100 * found.noise:g} %", "videos a round", "AULC", lines, published,
        ticks=values, log=True, small=True, note=note,
    )  # fmt: skip


def _noises(found: Comparison, curves: Sequence[Curve], slots: Mapping[Key, int]) -> Panel | None:
    lines, values = _areas(found, curves, slots, "noise")
    if not found.has_width or len(values) < 2:
        return None
    note = (
        "Noise n: the oracle's segments have a tIoU of about 1 − n with the truth. The paper: 5 % of noise can help "
        "lal, and all strategies tolerate more."
    )
    return Panel(
        f"AULC by oracle noise, batch {found.batch}", "noise of the oracle", "AULC", lines, percent="x",
        small=True, note=note,
    )  # fmt: skip
