"""Statistics as one self-contained HTML page, and as pictures of each panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from kloc.report.campaign import Agreement, Campaign, price
from kloc.report.html import Cell, Headline, ReportData, Table, render_page
from kloc.report.plots import Drawing, bars, heatmap, ranked
from kloc.report.statistics import Statistics, sentences

#: Rows of tables about single videos, and classes that a picture names one by one.
_ROWS, _NAMED = 500, 60

T = TypeVar("T")


def render_statistics(statistics: Statistics) -> str:
    """The page as one HTML text. Equal statistics give equal bytes."""
    s, campaign = statistics, statistics.campaign
    data = ReportData(
        title=s.name,
        summary=(*([f"Origin: {s.origin}"] if s.origin and not s.simulated else []), *sentences(s)),
        simulated=s.simulated or (campaign is not None and campaign.simulated),
        headline=_headline(s),
        statistics=replace(s, per_class=tuple(sorted(s.per_class, key=lambda r: (-r.instances, r.label)))),
        problems=s.reading,
    )
    return render_page(
        "statistics.html.j2",
        data=data,
        videos=_videos(s),
        agreement=_agreement(campaign.agreement) if campaign is not None and campaign.agreement else "",
        rounds=_rounds(campaign) if campaign is not None and campaign.rounds else None,
        chosen=_chosen(campaign) if campaign is not None and campaign.chosen else None,
        missing=_missing(campaign) if campaign is not None and campaign.missing else None,
    )


def panels(statistics: Statistics) -> dict[str, Drawing]:
    """A drawing of each panel by the name of its file."""
    s = statistics
    found = {
        "instances-per-class": _per_class("instances", {r.label: r.instances for r in s.per_class}),
        "videos-per-class": _per_class("videos", {r.label: r.videos for r in s.per_class}),
    }
    for h in (*s.attributes, s.videos_by_instances):
        shares = {f"{n}  {r}": p / 100 for n, r, p in zip(h.names, h.ranges, h.percent, strict=True)}
        of_videos = h.attribute == "videos"
        drawing = bars(shares, x_label=f"of {'videos' if of_videos else 'instances'}", title=h.title, percent=True)
        found["instances-per-video" if of_videos else h.attribute] = drawing
    for m in s.pairwise:
        found[f"{m.rows}-by-{m.columns}"] = heatmap(m, title="% of instances")
    return found


def _per_class(what: str, counts: Mapping[str, int]) -> Drawing:
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    title = f"{what.capitalize()} per class"
    if len(ordered) <= _NAMED:
        return bars(dict(ordered), x_label=what, title=title)
    return ranked([n for _, n in ordered], x_label="classes, the largest first", y_label=what, title=title)


def _headline(s: Statistics) -> tuple[Headline, ...]:
    untimed = s.untimed == s.videos
    cards = [
        Headline("videos", f"{s.annotated:,}", f"annotated, of {s.videos:,}"),
        Headline("instances", f"{s.instances:,}", f"of {s.classes:,} classes"),
        Headline("per video", f"{s.instances_per_video:.2f}", f"{s.instances_per_video_with_any:.2f} where any occurs"),
        Headline("hours", "–" if untimed else f"{s.hours:.1f}", f"{s.action_hours:.1f} h of action"),
    ]
    if s.median_length is not None and s.mean_length is not None:
        cards.append(Headline("median length", f"{s.median_length:.1f} s", f"mean {s.mean_length:.1f} s"))
    if s.campaign is not None and s.campaign.rounds:
        cards.append(Headline("paid", price(s.campaign.dollars), f"in {len(s.campaign.rounds)} rounds"))
    return tuple(cards)


def _first(rows: Sequence[T], what: str) -> tuple[Sequence[T], str]:
    """The rows that are shown, and a note where that is not all."""
    if len(rows) <= _ROWS:
        return rows, ""
    return rows[:_ROWS], f"The first {_ROWS:,} of {len(rows):,} videos, {what}; `kloc stats --json` has all."


def _videos(s: Statistics) -> Table:
    ordered = sorted(s.per_video, key=lambda v: (-v.instances, v.video_id))
    shown, note = _first(ordered, "those with the most instances")
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            v.video_id,
            v.subset,
            v.instances,
            v.action_seconds,
            v.duration or None,
            v.action_seconds / v.duration if v.duration else None,
        )
        for v in shown
    )
    return Table(("video", "subset", "instances", "action, s", "duration, s", "share of action"), rows, note)


def _agreement(agreed: Agreement) -> str:
    def shown(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    return (
        f"Two workers agree with an F1 of {shown(agreed.f1)} ({agreed.pairs:,} pairs of answers, at tIoU 0.5), "
        f"Krippendorff's alpha {shown(agreed.alpha)}; their starts differ by {shown(agreed.start_spread)} s, "
        f"their ends by {shown(agreed.end_spread)} s."
    )


def _rounds(campaign: Campaign) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            f"round {r.round}",
            r.strategy,
            r.videos,
            r.minutes,
            r.answers,
            price(r.dollars),
            price(r.dollars / max(r.videos, 1)),
        )
        for r in campaign.rounds
    )
    return Table(("round", "strategy", "videos", "minutes of video", "answers", "paid", "per video"), rows)


def _chosen(campaign: Campaign) -> Table:
    ordered = sorted(campaign.chosen, key=lambda c: (-c.dollars, c.round, c.rank, c.video_id))
    shown, note = _first(ordered, "the dearest")
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (c.video_id, c.round, c.strategy, c.rank, c.answers, c.minutes, price(c.dollars)) for c in shown
    )
    return Table(("video", "round", "strategy", "rank", "answers", "minutes of work", "paid"), rows, note)


def _missing(campaign: Campaign) -> Table:
    shown, note = _first(campaign.missing, "by id")
    return Table(("video",), tuple((line,) for line in shown), note)
