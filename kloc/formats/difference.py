"""What changed between two versions of a dataset: videos, classes, instances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from kloc.records import Annotation, Dataset, Instance, Video
from kloc.segments import pairwise_tiou

#: Times and confidences no further apart than this are equal: files hold microseconds.
SAME = 1.5e-6
#: An instance has moved, rather than one gone and another come, from this tIoU on.
MOVED_TIOU = 0.1
#: So many instances of one class in one video are matched at once, in the order of their starts.
_BLOCK = 1000


@dataclass(frozen=True, slots=True)
class Moved:
    """An instance whose boundaries are others now."""

    video_id: str
    before: Instance
    after: Instance

    @property
    def shift(self) -> float:
        """Mean distance of its two boundaries, seconds."""
        return (abs(self.after.start - self.before.start) + abs(self.after.end - self.before.end)) / 2


@dataclass(frozen=True, slots=True)
class Difference:
    """From a dataset to a later one. ``videos``: ids by what happened to them; ``kept``: instances equal in both."""

    totals: tuple[dict[str, int], dict[str, int]]
    videos: Mapping[str, tuple[str, ...]]
    subsets: tuple[tuple[str, str, str], ...]
    classes_added: tuple[str, ...]
    classes_removed: tuple[str, ...]
    classes_renamed: tuple[tuple[str, str], ...]
    classes_reordered: bool
    added: tuple[tuple[str, Instance], ...]
    removed: tuple[tuple[str, Instance], ...]
    moved: tuple[Moved, ...]
    relabelled: tuple[tuple[str, Instance, str], ...]
    confidences: int
    kept: int
    origins: tuple[str, str]

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        found = (self.subsets, self.classes_added, self.classes_removed, self.classes_renamed, self.added)
        more = (self.removed, self.moved, self.relabelled, self.confidences, self.classes_reordered)
        return not any((*found, *more, *self.videos.values(), self.origins[0] != self.origins[1]))

    def counts(self) -> dict[str, Any]:
        """How much of each kind, only where there is any."""
        found: dict[str, Any] = {f"videos {kind}": len(ids) for kind, ids in self.videos.items()}
        found |= {
            "videos in another subset": len(self.subsets),
            "classes added": len(self.classes_added),
            "classes removed": len(self.classes_removed),
            "classes renamed": len(self.classes_renamed),
            "order of the classes": int(self.classes_reordered),
            "instances added": len(self.added),
            "instances removed": len(self.removed),
            "instances moved": len(self.moved),
            "instances relabelled": len(self.relabelled),
            "confidences changed": self.confidences,
        }
        if self.moved:
            found["mean boundary shift (s)"] = round(float(np.mean([one.shift for one in self.moved])), 3)
        return {kind: count for kind, count in found.items() if count}

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain data."""

        def rows(found: Iterable[tuple[str, Instance]]) -> list[dict[str, Any]]:
            return [{"video": v, "label": i.label, "segment": [i.start, i.end]} for v, i in found]

        return {
            "same": self.same,
            "before": self.totals[0],
            "after": self.totals[1],
            "counts": self.counts(),
            "videos": {kind: list(ids) for kind, ids in self.videos.items()},
            "subsets": [{"video": v, "before": a, "after": b} for v, a, b in self.subsets],
            "classes": {
                "added": list(self.classes_added),
                "removed": list(self.classes_removed),
                "renamed": [{"before": a, "after": b} for a, b in self.classes_renamed],
                "reordered": self.classes_reordered,
            },
            "instances": {
                "kept": self.kept,
                "added": rows(self.added),
                "removed": rows(self.removed),
                "moved": [
                    {
                        "video": one.video_id,
                        "label": one.after.label,
                        "before": [one.before.start, one.before.end],
                        "after": [one.after.start, one.after.end],
                        "shift": round(one.shift, 6),
                    }
                    for one in self.moved
                ],
                "relabelled": [
                    {"video": v, "segment": [i.start, i.end], "before": i.label, "after": label}
                    for v, i, label in self.relabelled
                ],
                "confidences": self.confidences,
            },
            "origin": {"before": self.origins[0], "after": self.origins[1]},
        }


def totals(dataset: Dataset) -> dict[str, int]:
    """How many videos, annotated videos, classes and instances."""
    instances = sum(len(annotation.instances) for annotation in dataset.annotations.values())
    return {
        "videos": len(dataset.videos),
        "annotated": len(dataset.annotations),
        "classes": len(dataset.classes),
        "instances": instances,
    }


def compare(before: Dataset, after: Dataset) -> Difference:
    """What became of ``before``. Instances are matched one to one, by video and label (renamed classes count as one).

    Equal ones are kept; the rest is matched so that the sum of tIoU is largest; pairs from `MOVED_TIOU` on have moved.
    """
    renamed = _renamed(before, after)
    old = _with_names(before, renamed)
    added: list[tuple[str, Instance]] = []
    removed: list[tuple[str, Instance]] = []
    moved: list[Moved] = []
    relabelled: list[tuple[str, Instance, str]] = []
    confidences = kept = 0
    for video_id in sorted({*old.annotations, *after.annotations}):
        pairs, gone, come = _matched(_instances(old, video_id), _instances(after, video_id))
        for a, b in pairs:
            if abs(a.start - b.start) > SAME or abs(a.end - b.end) > SAME:
                moved.append(Moved(video_id, a, b))
            else:
                kept += 1
            confidences += abs(a.confidence - b.confidence) > SAME
        for a, b in _same_stretch(gone, come):
            relabelled.append((video_id, a, b.label))
            gone.remove(a)
            come.remove(b)
        removed += [(video_id, one) for one in gone]
        added += [(video_id, one) for one in come]
    common = [label for label in after.classes if label in old.classes]
    both = [v for v in sorted(before.videos) if v in after.videos]
    return Difference(
        totals=(totals(before), totals(after)),
        videos=_videos(old, after, both),
        subsets=tuple(
            (v, before.videos[v].subset, after.videos[v].subset)
            for v in both
            if before.videos[v].subset != after.videos[v].subset
        ),
        classes_added=tuple(label for label in after.classes if label not in old.classes),
        classes_removed=tuple(label for label in old.classes if label not in after.classes),
        classes_renamed=tuple(renamed.items()),
        classes_reordered=common != [label for label in old.classes if label in after.classes],
        added=tuple(added),
        removed=tuple(removed),
        moved=tuple(moved),
        relabelled=tuple(relabelled),
        confidences=confidences,
        kept=kept,
        origins=(before.origin, after.origin),
    )


def _videos(old: Dataset, new: Dataset, both: list[str]) -> dict[str, tuple[str, ...]]:
    """Ids by what happened to the video itself; kinds that did not happen are left out."""

    def other(video_id: str, *names: str) -> bool:
        a, b = old.videos[video_id], new.videos[video_id]
        return any(getattr(a, name) != getattr(b, name) for name in names)

    def bounds(video_id: str) -> bool:
        if not (old.is_timed(video_id) and new.is_timed(video_id)):
            return old.is_timed(video_id) != new.is_timed(video_id)
        a, b = old.videos[video_id], new.videos[video_id]
        return abs(a.start - b.start) > SAME or abs(a.end - b.end) > SAME

    def searched(video_id: str) -> bool:
        a, b = old.annotations.get(video_id), new.annotations.get(video_id)
        return a is not None and b is not None and _coverage(old, video_id, a) != _coverage(new, video_id, b)

    kinds = {
        "added": [v for v in sorted(new.videos) if v not in old.videos],
        "removed": [v for v in sorted(old.videos) if v not in new.videos],
        "newly annotated": [v for v in both if v in new.annotations and v not in old.annotations],
        "no longer annotated": [v for v in both if v in old.annotations and v not in new.annotations],
        "searched for other classes": [v for v in both if searched(v)],
        "with other labels": [v for v in both if _silent(old, v) != _silent(new, v)],
        "with another duration or start": [v for v in both if bounds(v)],
        "with another URL": [v for v in both if other(v, "url")],
    }
    return {kind: tuple(ids) for kind, ids in kinds.items() if ids}


def _silent(dataset: Dataset, video_id: str) -> set[str]:
    """Labels of the whole video beyond those of its instances: what instances say is told with them."""
    return set(dataset.videos[video_id].labels) - {one.label for one in _instances(dataset, video_id)}


def _coverage(dataset: Dataset, video_id: str, annotation: Annotation) -> tuple[Any, ...]:
    """What was searched: for which classes, and which part of the video where that is not the whole."""
    video, item = dataset.videos[video_id], annotation.item
    part = None if (item.start, item.end) == (video.start, video.end) else (round(item.start, 5), round(item.end, 5))
    return annotation.exhaustive_for, part


def _instances(dataset: Dataset, video_id: str) -> list[Instance]:
    annotation = dataset.annotations.get(video_id)
    return [] if annotation is None else sorted(annotation.instances)


def _place(one: Instance) -> tuple[float, float]:
    return round(one.start, 6), round(one.end, 6)


def _renamed(before: Dataset, after: Dataset) -> dict[str, str]:
    """Old names by new ones: of classes that only one side has, those that share most of their instances' places."""
    gone, come = set(before.classes) - set(after.classes), set(after.classes) - set(before.classes)
    if not gone or not come:
        return {}

    def places(dataset: Dataset, classes: set[str]) -> dict[tuple[Any, ...], set[str]]:
        found: dict[tuple[Any, ...], set[str]] = {}
        for video_id, annotation in dataset.annotations.items():
            for one in annotation.instances:
                if one.label in classes:
                    found.setdefault((video_id, *_place(one)), set()).add(one.label)
        return found

    old, new = places(before, gone), places(after, come)
    counts = Counter(label for labels in (*old.values(), *new.values()) for label in labels)
    shared = Counter((a, b) for place in old.keys() & new.keys() for a in old[place] for b in new[place])
    renamed: dict[str, str] = {}
    for (a, b), count in sorted(shared.items(), key=lambda item: (-item[1], item[0])):
        if a not in renamed and b not in renamed.values() and 2 * count >= max(counts[a], counts[b]):
            renamed[a] = b
    return renamed


def _with_names(dataset: Dataset, renamed: Mapping[str, str]) -> Dataset:
    if not renamed:
        return dataset

    def new(label: str) -> str:
        return renamed.get(label, label)

    def video(old: Video) -> Video:
        return replace(old, labels=tuple(sorted({new(label) for label in old.labels})))

    def annotation(old: Annotation) -> Annotation:
        asked = None if old.exhaustive_for is None else frozenset(map(new, old.exhaustive_for))
        found = tuple(sorted(replace(one, label=new(one.label)) for one in old.instances))
        return Annotation(old.item, found, asked)

    return replace(
        dataset,
        classes=tuple(map(new, dataset.classes)),
        videos={k: video(v) for k, v in dataset.videos.items()},
        annotations={k: annotation(a) for k, a in dataset.annotations.items()},
    )


def _same_stretch(gone: list[Instance], come: list[Instance]) -> list[tuple[Instance, Instance]]:
    """Pairs of the same place with another label."""
    there: dict[tuple[float, float], list[Instance]] = {}
    for one in come:
        there.setdefault(_place(one), []).append(one)
    return [(one, there[_place(one)].pop(0)) for one in gone if there.get(_place(one))]


def _matched(
    old: list[Instance], new: list[Instance]
) -> tuple[list[tuple[Instance, Instance]], list[Instance], list[Instance]]:
    """Pairs of one video, what is left of the old ones, what is left of the new ones."""
    pairs: list[tuple[Instance, Instance]] = []
    gone: list[Instance] = []
    come: list[Instance] = []
    for label in sorted({one.label for one in (*old, *new)}):
        a, b = ([one for one in side if one.label == label] for side in (old, new))
        places = {_place(one): one for one in b}
        equal = [(one, places[_place(one)]) for one in a if _place(one) in places]
        done = {_place(one) for one, _ in equal}
        a, b = ([one for one in side if _place(one) not in done] for side in (a, b))
        pairs += equal
        for i in range(0, max(len(a), len(b)), _BLOCK):
            near = _assigned(a[i : i + _BLOCK], b[i : i + _BLOCK])
            pairs += near
            ours, theirs = {x for x, _ in near}, {y for _, y in near}
            gone += [one for one in a[i : i + _BLOCK] if one not in ours]
            come += [one for one in b[i : i + _BLOCK] if one not in theirs]
    return pairs, gone, come


def _assigned(old: list[Instance], new: list[Instance]) -> list[tuple[Instance, Instance]]:
    if not old or not new:
        return []
    tiou = pairwise_tiou(*(np.array([(one.start, one.end) for one in side]) for side in (old, new)))
    tiou[tiou < MOVED_TIOU] = 0.0
    rows, columns = linear_sum_assignment(tiou, maximize=True)
    return [(old[i], new[j]) for i, j in zip(rows, columns, strict=True) if tiou[i, j] > 0]
