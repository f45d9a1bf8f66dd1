"""What may be wrong with a dataset, for its card: every check that runs is named, whether it finds something or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np

from kloc.crowd.agreement import match
from kloc.crowd.answers import HASTY_SHARE, is_report
from kloc.crowd.consolidate import WorkerAnswer, from_stored
from kloc.pipeline import quality, serving
from kloc.records import SUBSETS, Dataset, Item
from kloc.report.card import Check
from kloc.report.statistics import Statistics
from kloc.store import crowd, reviewing, rounds, videos
from kloc.workspace import Workspace

#: A class with fewer instances than this is hard to learn from and harder to measure on.
FEW = 10
#: An instance that consolidation believes in less than this is in doubt.
DOUBT = 0.7
#: Krippendorff's own bound: below it not even tentative conclusions should be drawn.
ALPHA = 0.667
#: Two answers whose F1 lies below this have more in conflict than in common.
AGREE = 0.5
_NAMED = 8


def of_dataset(dataset: Dataset, statistics: Statistics, origins: Mapping[str, int]) -> list[Check]:
    """The checks that need the annotations alone. ``origins``: as on the card."""
    simulated = origins.get("crowd", 0) or len(dataset.annotations)
    return [
        Check("simulated answers", _if(dataset.simulated, f"{simulated:,} of {len(dataset.annotations):,} videos carry "
                                       "the answers of simulated workers: no person marked them")),
        Check("labels (reversed, repeated, overlapping, shorter than 0.5 s, outside their video, of no known class)",
              tuple(f"{p.count:,} x {p.kind}: {', '.join(p.examples)}" for p in statistics.label_problems)),
        Check(f"classes with fewer than {FEW} instances", _few(statistics)),
        Check("classes missing from a split", _missing(statistics)),
        Check("the same video or source in two splits", tuple(f"{p.count:,} x {p.kind}: {', '.join(p.examples)}"
                                                   for p in statistics.leakage)),
        Check(f"instances with a confidence below {DOUBT:g}", _doubtful(dataset)),
    ]  # fmt: skip


def of_campaign(workspace: Workspace) -> tuple[list[Check], list[str]]:
    """The checks that need the campaign store, and why others could not run."""
    with workspace.store.transaction() as session:
        every = rounds.all_rounds(session)
        done = {row.index for row in every if row.state == "done"}
        chosen = rounds.selections(session)
        hits = {hit.token: hit for hit in crowd.hits(session)}
        given = [a for a in crowd.answers(session, purpose="task") if a.round in done]
        lines = [line for line in reviewing.answer_lines(session) if line.token in hits]
        reports = [(hits[row.token].video_id, row.kind, row.handled) for row in reviewing.reports(session)]
        pool = len(videos.rows(session, "ok"))
        aside = {state: [row.id for row in videos.rows(session, state)] for state in ("quarantined", "missing")}
    checks = [
        Check("videos set aside because they cannot be decoded", _videos(aside["quarantined"], "left out")),
        Check("videos known by name only", _videos(aside["missing"], "without a file, and left out")),
    ]
    if not hits:
        return checks, [
            "what only answers of workers show (agreement, reports, unread and late answers): none gave any"
        ]
    open_rounds = [row.index for row in every if row.state != "done"]
    counts = Counter(answer.token for answer in given)
    short = [h.video_id for t, h in hits.items() if h.purpose == "task" and h.round in done and counts[t] < h.wanted]
    signs = Counter(sign for line in lines if line.answer for sign in line.answer.get("signs", ()))
    unread = [line for line in lines if line.problem is not None and not is_report(line.problem)]
    picked = [row for row in every if row.index in done and row.strategy != "random"]
    biased = sum(s.round in {row.index for row in picked} for s in chosen)
    checks += [
        Check("videos not chosen by chance", _if(biased, f"{biased:,} were chosen for what a model said, of a pool of "
                                                 f"{pool:,}: figures over them are not those of the pool")),
        Check(f"agreement of workers (alpha below {ALPHA:g}, F1 below {AGREE:g})", _agreement(workspace, given)),
        Check("videos that workers reported", _reported(reports)),
        Check("answers that could not be read", _if(unread, f"{len(unread):,} were left out")),
        Check("answers with signs of haste", _hasty(signs, len(lines))),
        Check("videos with fewer answers than were asked for", _videos(short, "with fewer")),
        Check("rounds under way", _if(open_rounds, f"round {', '.join(map(str, open_rounds))}: answers to come change "
                                      "the dataset")),
    ]  # fmt: skip
    if not (workspace.crowd / "endpoint.sqlite").exists():
        return checks, ["answers that came too late: the endpoint that took them in is not this workspace's own"]
    from kloc.crowd.endpoint import admin

    late = admin.late_answers(serving.database_url(workspace))
    return [*checks, Check("answers that came too late", _if(late, f"{late:,} came after their task had closed and do "
                                                             "not count"))], []  # fmt: skip


def _if(there: object, sentence: str) -> tuple[str, ...]:
    return (sentence,) if there else ()


def _few(statistics: Statistics) -> tuple[str, ...]:
    few = sorted((row.instances, row.label) for row in statistics.per_class if row.instances < FEW)
    names = [f"{label} ({count})" for count, label in few]
    return _if(few, f"{len(few):,} of {len(statistics.per_class):,} classes: {_some(names)}")


def _missing(statistics: Statistics) -> tuple[str, ...]:
    present = [subset for subset in SUBSETS if any(row.by_subset.get(subset) for row in statistics.per_class)]
    found: list[str] = []
    for subset in present:
        lacking = [row.label for row in statistics.per_class if row.instances and not row.by_subset.get(subset)]
        found += _if(lacking, f"{subset} holds no instance of {_some(lacking)}")
    return tuple(found)


def _doubtful(dataset: Dataset) -> tuple[str, ...]:
    values = [i.confidence for a in dataset.annotations.values() for i in a.instances]
    low = sum(value < DOUBT for value in values)
    return _if(low, f"{low:,} of {len(values):,} instances")


def _agreement(workspace: Workspace, given: Sequence[crowd.StoredAnswer]) -> tuple[str, ...]:
    figures = quality.figures(workspace) or {}
    alpha = figures.get("agreement", {}).get("alpha")
    found = list(_if(alpha is not None and alpha < ALPHA, f"Krippendorff's alpha over time is {alpha or 0:.2f}"))
    known = [w["agreement"] for w in figures.get("workers", {}).values() if w["agreement"] is not None]
    apart = sum(value < AGREE for value in known)
    found += _if(apart, f"{apart:,} of {len(known):,} workers agree with the others by less than an F1 of {AGREE:g}")
    by_item: dict[Item, list[WorkerAnswer]] = {}
    for answer in from_stored(given):
        by_item.setdefault(answer.item, []).append(answer)
    compared = {item.video_id: _f1(answers) for item, answers in by_item.items() if len(answers) > 1}
    torn = [video_id for video_id, f1 in compared.items() if f1 < AGREE]
    found += _if(torn, f"in {len(torn):,} of {len(compared):,} videos two answers agree by less than an F1 of "
                       f"{AGREE:g} on average: {_some(sorted(torn))}")  # fmt: skip
    return tuple(found)


def _f1(answers: Sequence[WorkerAnswer]) -> float:
    return float(np.mean([match(a.segments, b.segments).f1 for a, b in combinations(answers, 2)]))


def _reported(reports: Iterable[tuple[str, str, bool]]) -> tuple[str, ...]:
    by_video: dict[str, Counter[str]] = {}
    waiting: set[str] = set()
    for video_id, kind, handled in reports:
        by_video.setdefault(video_id, Counter())[kind] += 1
        if not handled:
            waiting.add(video_id)
    if not by_video:
        return ()
    told = [
        f"{v} ({', '.join(f'{k}: {n}' for k, n in sorted(kinds.items()))})" for v, kinds in sorted(by_video.items())
    ]
    return (f"{_count(by_video)}, {len(waiting):,} not looked at since: {_some(told)}",)


def _hasty(signs: Mapping[str, int], total: int) -> tuple[str, ...]:
    words = {
        "hasty": f"took less than {HASTY_SHARE:.0%} of the video's duration",
        "unwatched": f"came after playing less than {HASTY_SHARE:.0%} of the video",
        "whole-video": "hold one mark over the whole video, which may be right",
    }
    return tuple(f"{signs[sign]:,} of {total:,} answers {text}" for sign, text in words.items() if signs.get(sign))


def _videos(ids: Collection[str], what: str) -> tuple[str, ...]:
    return _if(ids, f"{_count(ids)} {what}: {_some(sorted(ids))}")


def _count(videos: Collection[str]) -> str:
    return f"{len(videos):,} video{'' if len(videos) == 1 else 's'}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else "")
