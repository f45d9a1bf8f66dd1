"""What workers are given: settings, videos with their proposals, hidden gold, example clips."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kloc.crowd import money
from kloc.crowd.gate import GoldTask
from kloc.crowd.plan import Example, PublishItem, PublishSettings
from kloc.errors import UsageError
from kloc.files import safe_name
from kloc.pipeline import media
from kloc.pipeline.media import Shown
from kloc.pipeline.telling import Reporter
from kloc.pipeline.training import current_predictions
from kloc.records import Annotation, Item
from kloc.seeds import generator
from kloc.store import crowd, meta, revisions, rounds, videos
from kloc.store.tables import RoundRow, VideoRow
from kloc.workspace import Workspace

#: The meta key of the cap that was given on the command line.
_CAP = "max_spend"
#: A video is prefilled with so many proposals at most: more would have to be cleared away first.
_PROPOSALS = 20


@dataclass(frozen=True)
class Gold:
    """A gold video: its known answer, and the classes that workers are asked about."""

    video_id: str
    annotation: Annotation
    classes: tuple[str, ...]


def campaign_id(workspace: Workspace) -> str:
    """By which the campaign's HITs are told from others at the endpoint."""
    with workspace.store.transaction() as session:
        return meta.get(session, "workspace_id") or ""


def fees(workspace: Workspace) -> money.FeeTable:
    """The endpoint's fee, from ``kloc.toml``."""
    return money.FeeTable(rate_permille=round(workspace.settings.crowd.fee_percent * 10))


def spend_cap(workspace: Workspace, given: str | None = None, *, remember: bool = False) -> int | None:
    """The cap in mills, ``None`` where there is none: the one given, else the one given last, else ``kloc.toml``'s.

    A cap that was given holds for all later commands (``remember``), until another is given or kloc.toml's is edited.
    """
    written = workspace.settings.crowd.max_spend
    cap = given
    with workspace.store.transaction() as session:
        if given is None:
            kept = json.loads(meta.get(session, _CAP) or "{}")
            cap = kept["given"] if kept.get("written") == written else written
        elif remember:
            money.parse_dollars(given, "--max-spend")
            meta.put(session, _CAP, json.dumps({"given": given, "written": written}))
    return money.parse_dollars(cap, "--max-spend") if cap else None


def publish_settings(workspace: Workspace, examples: dict[str, list[Example]] | None = None) -> PublishSettings:
    """What is the same for every HIT of the campaign, from ``kloc.toml``.

    Raises :class:`UsageError` for a rule of a class that there is not, and where the endpoint would approve before kloc
    may decide.
    """
    task, settings = workspace.settings.task, workspace.settings.crowd
    with workspace.store.transaction() as session:
        known = videos.classes(session)
    for key in ("definitions", "start_rules", "end_rules", "examples"):
        for name in getattr(task, key):
            if name not in known:
                raise UsageError(f"task.{key} in kloc.toml: there is no class {name!r}; known: {', '.join(known)}")
    if settings.grace_hours > 24 * settings.auto_approve_days:
        raise UsageError(
            f"crowd.grace_hours = {settings.grace_hours:g} in kloc.toml is longer than crowd.auto_approve_days = "
            f"{settings.auto_approve_days:g}: the endpoint would approve first; raise one or lower the other"
        )
    return PublishSettings(
        campaign=campaign_id(workspace),
        title=task.title,
        instructions=task.instructions,
        definitions=task.definitions,
        start_rules=task.start_rules,
        end_rules=task.end_rules,
        examples=examples or {},
        contact=task.contact,
        expected_minutes=task.expected_minutes,
        reward_mills=money.parse_dollars(task.reward, "task.reward"),
        assignments=task.assignments,
        lifetime_s=int(task.lifetime_days * 86_400),
        time_limit_s=int(task.time_limit_minutes * 60),
        auto_approval_s=int(settings.auto_approve_days * 86_400),
        fees=fees(workspace),
    )


# -- examples -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Clip:
    label: str
    video_id: str
    start: float
    end: float


def example_clips(workspace: Workspace, problems: list[str], reporter: Reporter) -> dict[str, list[Example]]:
    """The clips of ``task.examples`` by class, with their media made. Raises :class:`UsageError` for a wrong one."""
    clips = _clips(workspace)
    shown = media.make_media(workspace, sorted({clip.video_id for clip in clips}), problems, reporter)
    found: dict[str, list[Example]] = {}
    for clip in clips:
        if (copy := shown.get(clip.video_id)) is not None:
            start = max(clip.start - copy.offset, 0.0)
            found.setdefault(clip.label, []).append(Example(copy.key, start, clip.end - copy.offset, clip.label))
    return found


def told_before_practice(workspace: Workspace) -> list[str]:
    """The examples that give a practice video's answer away. Raises :class:`UsageError` for one that is no clip."""
    shown = {clip.video_id for clip in _clips(workspace)}
    gate = gold_videos(workspace)[: workspace.settings.task.gate]
    return [
        f"{gold.video_id}: an example of task.examples and a practice video as well: workers see its answer before"
        for gold in gate
        if gold.video_id in shown
    ]


def _clips(workspace: Workspace) -> list[_Clip]:
    clips = [_clip(label, text) for label, texts in workspace.settings.task.examples.items() for text in texts]
    with workspace.store.transaction() as session:
        usable = videos.usable(session)
    for clip in clips:
        video = usable.get(clip.video_id)
        if video is None:
            raise UsageError(
                f"task.examples in kloc.toml: there is no usable video {clip.video_id!r}; `kloc status` shows them"
            )
        if clip.start < video.start or clip.end > video.end + 1e-6:
            raise UsageError(
                f"task.examples in kloc.toml: {clip.video_id}@{clip.start:g}-{clip.end:g} lies outside the video's "
                f"{video.start:g} to {video.end:g} s"
            )
    return clips


def _clip(label: str, text: str) -> _Clip:
    video_id, _, times = text.rpartition("@")
    start, _, end = times.partition("-")
    try:
        clip = _Clip(label, video_id, float(start), float(end))
    except ValueError:
        clip = _Clip(label, video_id, math.nan, math.nan)
    if not video_id or not 0 <= clip.start < clip.end < math.inf:
        raise UsageError(f"task.examples in kloc.toml: {text!r} is no clip; write VIDEO@START-END in seconds")
    return clip


# -- gold -----------------------------------------------------------------------------------------------------


def gold_videos(workspace: Workspace) -> list[Gold]:
    """The usable gold videos in the order in which they were marked; the first ``task.gate`` form the gate."""
    with workspace.store.transaction() as session:
        marked = sorted((row for row in videos.rows(session, "ok") if row.gold is not None), key=lambda r: r.gold or 0)
        classes = videos.classes(session)
        found = []
        for row in marked:
            known = [r for r in revisions.current_rows(session, row.id) if r.source != "crowd"]
            if len(known) == 1:
                annotation = revisions.to_annotation(known[0])
                asked = tuple(name for name in row.labels or classes if annotation.covers(name))
                found.append(Gold(row.id, annotation, asked or tuple(n for n in classes if annotation.covers(n))))
    return [gold for gold in found if gold.classes]


def gate_tasks(workspace: Workspace, problems: list[str], reporter: Reporter) -> list[GoldTask]:
    """The gate's videos with their known answers, in media seconds. Raises :class:`UsageError` where one is missing."""
    count = workspace.settings.task.gate
    chosen = gold_videos(workspace)[:count]
    if len(chosen) < count:
        raise UsageError(
            f"task.gate = {count} in kloc.toml, but {len(chosen)} gold videos are there; mark some annotated videos "
            "with `kloc crowd gold VIDEO...`"
        )
    shown = media.make_media(workspace, [gold.video_id for gold in chosen], problems, reporter)
    missing = [gold.video_id for gold in chosen if gold.video_id not in shown]
    if missing:
        raise UsageError(f"gold video {missing[0]!r} cannot be shown ({problems[-1]}); mark another one")
    return [_gold_task(gold, shown[gold.video_id]) for gold in chosen]


def _gold_task(gold: Gold, shown: Shown) -> GoldTask:
    segments = [
        {"label": i.label, "start": max(i.start - shown.offset, 0.0), "end": i.end - shown.offset}
        for i in gold.annotation.instances
        if i.label in gold.classes
    ]
    return GoldTask(_item(gold.annotation.item, gold.classes, shown, None), tuple(segments))


def hidden_gold(workspace: Workspace, round_: int) -> list[tuple[Gold, int]]:
    """The gold videos hidden among a round's tasks, with how often each was hidden in other rounds.

    Those least used so far, drawn by the seed among equals.
    """
    task = workspace.settings.task
    spare = gold_videos(workspace)[task.gate :]
    with workspace.store.transaction() as session:
        used = [(row.video_id, row.round) for row in crowd.hits(session) if row.purpose == "gold"]
    rng = generator(workspace.settings.general.seed, "hidden gold", round_)
    lots = {gold.video_id: rng.random() for gold in spare}
    times = {gold.video_id: sum(v == gold.video_id and r != round_ for v, r in used) for gold in spare}
    chosen = sorted(spare, key=lambda gold: (times[gold.video_id], lots[gold.video_id]))[: task.gold_per_round]
    return [(gold, times[gold.video_id]) for gold in chosen]


# -- a round's tasks ------------------------------------------------------------------------------------------


def round_items(
    workspace: Workspace,
    row: RoundRow,
    problems: list[str],
    reporter: Reporter,
    *,
    prefill: float | None = None,
    dry_run: bool = False,
) -> list[PublishItem]:
    """A round's videos and the gold hidden among them, with their media made; a dry run makes none.

    prefill: detections of at least this score become proposals.
    """
    with workspace.store.transaction() as session:
        chosen = rounds.selections(session, row.index)
        rows = {s.video_id: session.get_one(VideoRow, s.video_id) for s in chosen}
        classes = tuple(videos.classes(session))
    drawn = hidden_gold(workspace, row.index)
    hidden = [gold for gold, _ in drawn]
    problems += [
        f"{gold.video_id}: gold that was hidden in another round; workers may know it, mark more (kloc crowd gold)"
        for gold, times in drawn
        if times
    ]
    there = [s.video_id for s in chosen if rows[s.video_id].state == "ok"] + [gold.video_id for gold in hidden]
    if dry_run:  # the price needs no copies of the videos
        shown = {v: Shown(safe_name(v), 0.0, 1.0, 0.04) for v in there}
    else:
        shown = media.make_media(workspace, there, problems, reporter)
    items = []
    for selection in chosen:
        if selection.video_id not in shown:  # otherwise make_media has said why
            if (state := rows[selection.video_id].state) != "ok":
                problems.append(f"{selection.video_id}: not published, it is {state} by now")
            continue
        item = Item(selection.video_id, selection.start, selection.end)
        # Without a label of its own a video is searched for every class.
        asked = tuple(rows[selection.video_id].labels) or classes
        items.append(_item(item, asked, shown[selection.video_id], row.index))
    if prefill is not None and not dry_run:
        items = _prefilled(workspace, items, prefill)
    for gold in hidden:
        if gold.video_id in shown:
            entry = _item(gold.annotation.item, gold.classes, shown[gold.video_id], row.index, purpose="gold")
            # Workers are given tasks in the order of their making: gold must not stand at the end.
            rng = generator(workspace.settings.general.seed, "place of gold", row.index, gold.video_id)
            items.insert(int(rng.integers(len(items) + 1)), entry)
    return items


def _item(item: Item, classes: Sequence[str], shown: Shown, round_: int | None, **more: Any) -> PublishItem:
    return PublishItem(
        item=item,
        classes=tuple(classes),
        media_key=shown.key,
        duration=shown.duration,
        frame_period=shown.frame_period,
        media_start=shown.offset,
        round=round_,
        **more,
    )


def _prefilled(workspace: Workspace, items: Iterable[PublishItem], score: float) -> list[PublishItem]:
    """The items with the newest detections of at least ``score`` as proposals, for the share that is drawn."""
    reader = current_predictions(workspace)
    if reader is None:
        raise UsageError("--prefill: there are no predictions yet; `kloc train` and `kloc predict` make them")
    seed, share = workspace.settings.general.seed, workspace.settings.task.prefill_share
    found = []
    for entry in items:
        drawn = generator(seed, "prefill", entry.item.video_id).random() < share
        segments = []
        for d in reader.get(entry.item.video_id).detections if drawn and entry.item.video_id in reader else ():
            start = max(d.start - entry.media_start, 0.0)
            end = min(d.end - entry.media_start, entry.duration)
            if d.score >= score and d.label in entry.classes and end > start:
                segments.append({"label": d.label, "start": round(start, 3), "end": round(end, 3)})
        segments = segments[:_PROPOSALS]
        found.append(replace(entry, prefill=tuple(sorted(segments, key=lambda s: (s["start"], s["end"], s["label"])))))
    return found
