"""From learning curves to what a report shows: panels, tables, and sentences that say no more than the seeds allow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kloc.experiments.comparing import PAPER, Comparison
from kloc.experiments.curves import Arm, Curve
from kloc.experiments.panels import batches, cost, learning, noises, slots_of
from kloc.report.html import Headline
from kloc.report.simulation import PUBLISHED_TO_80, Difference, Lesson, SimulationData, Strategy
from kloc.selection.lal_model import CLOSE_TO_RANDOM
from kloc.selection.spec import parse

#: Policies that read video-level labels.
_READ_LABELS = ("class-quota", "cost-aware")


def simulation_data(
    curves: Sequence[Curve],
    *,
    simulated: bool,
    facts: Mapping[str, str],
    gains: Mapping[int, Mapping[str, Any]],
    problems: Sequence[str],
    asked: Sequence[Arm] = (),
    until: float = 1.0,
) -> SimulationData:
    """What the report shows of the curves of a finished or half finished experiment.

    Args:
        curves: at least one; an arm at most once.
        simulated: whether the features are invented; then the title says so.
        facts: what was run on what, in the order shown; "set", "videos", "classes" and "labelled at first" are also
            told in the protocol.
        gains: facts of LAL's regressors by seed.
        problems: one sentence each.
        asked: all arms that were to be run; those of the curves always count as asked for.
        until: the labelled ratio that they were to go to.

    Raises:
        ValueError: no curves, or one arm twice.
    """
    if not curves:
        raise ValueError("no curves to report")
    curves = sorted(curves, key=lambda c: c.arm)  # sums differ in their last bit by the order of their terms
    found = Comparison.of(curves, asked=asked, until=until)
    strategies, differences = found.strategies(), found.differences()
    slots = slots_of(list(found.curves))
    by_batch, by_noise = batches(found, curves, slots), noises(found, curves, slots)
    arms = sorted({*asked, *(c.arm for c in curves)})
    whole = {c.arm for c in curves if c.finished}
    short = [arm.name for arm in arms if arm not in whole]
    notes = [f"{len(short)} of {len(arms)} campaigns failed or are unfinished: {_few(short)}"]
    return SimulationData(
        title=f"Simulated campaigns on {facts.get('set', 'an annotated set')}" + (", simulated features" * simulated),
        simulated=simulated,
        summary=_summary(found, strategies, differences),
        headline=_headline(strategies),
        protocol=_protocol(found, facts, simulated),
        interval_note=_interval_note(found),
        learning=learning(found, slots),
        cost=cost(found, slots),
        batches=by_batch.panel,
        batch_gaps=by_batch.gaps,
        noises=by_noise.panel,
        noise_gaps=by_noise.gaps,
        strategies=strategies,
        differences=differences,
        order=_order(found, strategies, differences),
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
    lines["full mAP"] = f"{100 * data.strategies[0].full.mean:.1f} % with all labels and no noise"
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
        why = "failed or is unfinished" if any(key.kind == "random" for key in found.missing) else "was not run"
        sentences.append(f"Random choice {why}, so nothing says whether labels were saved at all.")
    if found.missing:
        names = [found.name(key) for key in found.missing]
        sentences.append(f"Not shown, since failed or unfinished: {', '.join(names)}; see the known problems.")
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
    return (*cards, Headline("full mAP", f"{100 * full:.1f} %", "average over tIoU 0.5 to 0.95, all labels, no noise"))


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
        "Testing videos over tIoU 0.5 to 0.95 is shown as a share of what the same seed reaches with all labels and no "
        "noise. Every strategy of a seed starts from the same labels."
    )
    readers = [policy for policy in policies if parse(policy, "policy").name in _READ_LABELS]
    if readers:
        parts.append(
            f"{' and '.join(readers)} {'reads' if len(readers) == 1 else 'read'} the classes that videos are filed "
            "under; where the set is an ActivityNet JSON those are the classes of its annotations, which a new "
            "campaign may not know of unlabelled videos."
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
    if not found.finished:
        text += " No campaign has got to its end: figures will change."
    elif found.left_out:
        text += f" Left out: {_plural(len(found.left_out), 'campaign')} that failed or "
        text += "is unfinished." if len(found.left_out) == 1 else "are unfinished."
    return text


def _order(found: Comparison, strategies: Sequence[Strategy], differences: Sequence[Difference]) -> tuple[str, ...]:
    """Whether the paper's order came out. The last sentence is the short answer."""
    published = " > ".join(f"{kind} ({100 * PUBLISHED_TO_80[kind]:.0f} %)" for kind in PAPER)
    sentences = [f"The paper's order is {published}, by labels to 80 % of the final mAP."]
    of_paper = {s.kind: s for s in strategies if s.published_to_80 is not None and s.aulc}
    ranked = sorted(of_paper.values(), key=lambda s: -(s.aulc.mean if s.aulc else 0.0))
    if len(ranked) < 2:
        return (*sentences, "Too few of these strategies have been run to their end to say anything about it.")
    sentences.append(f"Here it is {' > '.join(s.kind for s in ranked)}, by mean AULC.")
    names = {s.name for s in ranked}
    pairs = [d for d in differences if {d.ours, d.other} <= names]
    right = [d for d in pairs if d.labels.mean > 0]
    sure = [d for d in pairs if d.verdict == "better"]
    wrong = [f"{d.other} beats {d.ours}" for d in pairs if d.verdict == "worse"]
    part = _without([kind for kind in PAPER if kind not in of_paper], {key.strategy for key in found.missing})
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
        answer = f"The paper's order shows in the means{part}; {_plural(len(found.seeds), 'seed')} cannot tell "
        answer += f"{unsure} of {_plural(len(pairs), 'pair')} apart."
    return (*sentences, answer)


def _without(missing: Sequence[str], asked: Collection[str]) -> str:
    """In brackets, which of the paper's strategies the answer lacks and why."""
    failed = [kind for kind in missing if kind in asked]
    others = [kind for kind in missing if kind not in asked]
    parts = []
    if others:
        parts.append(f"without {', '.join(others)}, which {'were' if len(others) > 1 else 'was'} not run")
    if failed:
        one = len(failed) == 1
        parts.append(f"without {', '.join(failed)}, which failed or {'is' if one else 'are'} unfinished")
    return f" ({'; '.join(parts)})" if parts else ""


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
