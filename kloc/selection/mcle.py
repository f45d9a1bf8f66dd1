"""Maximum conflict - label equality: take the videos in which the model contradicts a prior, evening out the labels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kloc.errors import UsageError
from kloc.records import Annotation, Item
from kloc.segments import Segments, above, as_segments
from kloc.selection.base import Context, PredictionSource, Scores, strategy

#: Of a segment: above the one it holds an action, below the other it is background (P2 section 3.1, selection.md 6).
POSITIVE, NEGATIVE = 0.7, 0.3
#: Videos whose scores by model and prior lie in the memory together.
CHUNK = 16_384


@strategy("mcle")
class MaximumConflictLabelEquality:
    """Where the newest model and the prior disagree most, from the side of which fewer segments are labelled.

    P2 section 3.3 after Gavves et al. (ICCV 2015). With p_t and p_0 the actionness that model and prior give a segment,
    its conflict is ``-(2 p_t - 1)(2 p_0 - 1)``; a video's is the mean of its ``top`` largest, in [-1, 1]. Its predicted
    sign is that of the sum of ``2 p_t - 1`` over the same segments (0 counts as +). As long as no more positive than
    negative segments are labelled the next pick comes from the videos of sign + (group 1), else from the others (group
    0). Labelled are

    - the proposals of annotated videos: positive above tIoU 0.7 with an instance, negative below 0.3;
    - those of what this batch holds already: as the model predicts them, positive from p_t = 0.5 on, negative below.

    A video without proposals, or of which the prior has nothing to say, scores ``-inf``. Only policies that follow
    groups (``top``) keep the labels equal.

    Args:
        top: how many of the largest conflicts make a video's.
    """

    name: ClassVar[str]
    heads: ClassVar[frozenset[str]] = frozenset({"actionness"})

    def __init__(self, top: int = 3) -> None:
        if top < 1:
            raise UsageError(f"strategy 'mcle': top must be at least 1, not {top}")
        self.top = top
        self.n_positive = self.n_negative = 0
        self._positive: NDArray[np.int64] = np.zeros(0, np.int64)
        self._negative: NDArray[np.int64] = np.zeros(0, np.int64)
        self._group: NDArray[np.int64] = np.zeros(0, np.int64)
        self._counts: dict[int, tuple[int, int]] = {}

    def score(self, items: Sequence[Item], context: Context) -> Scores:
        """Conflicts, and the side each video is predicted to lie on.

        Raises:
            UsageError: there is no prior, or it was made for other proposals, or it has nothing to say of any video.
        """
        if context.prior is None:
            raise UsageError(
                "strategy 'mcle' needs a prior to contradict; make one with `kloc prior knowledge SOURCE` or "
                "`kloc prior web LISTS.csv`"
            )
        if context.predictions is None:
            raise UsageError("strategy 'mcle' needs predictions; train and predict first, or select at random")
        value = np.full(len(items), -np.inf)
        self._group = np.zeros(len(items), np.int64)
        self._positive, self._negative = np.zeros((2, len(items)), np.int64)
        self._counts = {}
        silent: list[str] = []
        n_compared = 0
        for begin, names in _chunks(map(context.prediction_id, items)):
            now = _collect(context.predictions, names)
            before = _collect(context.prior, names)
            _check(now, before, names)
            silent += [names[i] for i in np.flatnonzero((now.length >= 0) & (before.length < 0)).tolist()]
            n_compared += int(((now.length >= 0) & (before.length >= 0)).sum())
            own = np.flatnonzero((now.length > 0) & (before.length >= 0))
            found = conflicts(now, before, own, self.top)
            places = begin + own
            value[places], self._group[places] = found.value, found.side
            yes = now.values >= 0.5
            self._positive[places] = np.bincount(now.owner[yes], minlength=len(names))[own]
            self._negative[places] = np.bincount(now.owner[~yes], minlength=len(names))[own]
        if silent:
            which = f"{silent[0]!r}" + (f" ({len(silent)} such videos)" if len(silent) > 1 else "")
            if not n_compared:
                raise UsageError(
                    f"the prior has nothing to say of {which}: it was made for other videos; make it again with "
                    "`kloc prior`"
                )
            context.note(f"mcle: the prior has nothing to say of {which}; what it cannot judge is picked last")
        self.n_positive, self.n_negative = labelled_segments(context)
        return Scores(value, self._group.copy())

    def next_group(self, open_groups: Collection[int]) -> int:
        """The side to take from, be it empty: 1 as long as no more positive than negative segments are labelled."""
        return int(self.n_positive <= self.n_negative)

    def picked(self, index: int) -> None:
        """Count a pick's segments as the model predicts them."""
        self._counts[index] = self.n_positive, self.n_negative
        self.n_positive += int(self._positive[index])
        self.n_negative += int(self._negative[index])

    def reason(self, index: int, score: float) -> str:
        what = "shows an action" if self._group[index] else "shows no action"
        if score > 0:
            text = f"model and prior contradict each other (conflict {score:.2f} of at most 1)"
        else:
            text = f"model and prior do not contradict each other (conflict {score:.2f})"
        text += f"; the model says it {what}"
        if index in self._counts:
            positive, negative = self._counts[index]
            text += f", with {positive} positive and {negative} negative segments labelled or expected before it"
        return text


class _Collected(NamedTuple):
    """Actionness of many videos in the order asked for.

    values: float64 ``(n,)``; segments: float32 ``(n, 2)``; owner: int64 ``(n,)``, sorted; length: int64 ``(m,)``, -1
    where there is no prediction.
    """

    values: NDArray[np.float64]
    segments: NDArray[np.float32]
    owner: NDArray[np.int64]
    length: NDArray[np.int64]


class Conflicts(NamedTuple):
    """Of some videos: conflicts float64 ``(m,)``, and 1 where the predicted sign is +, else 0."""

    value: NDArray[np.float64]
    side: NDArray[np.int64]


def _chunks(names: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    begin = 0
    while chunk := list(islice(names, CHUNK)):
        yield begin, chunk
        begin += len(chunk)


def _collect(source: PredictionSource, names: Sequence[str]) -> _Collected:
    """Actionness by video. Two sources may hold their videos in two orders and cut them into other blocks."""
    length = np.full(len(names), -1, np.int64)
    values, owners, segments = [np.zeros(0)], [np.zeros(0, np.int64)], [np.zeros((0, 2), np.float32)]
    for block in source.blocks(names, ["actionness", "segments"]):
        length[block.positions] = block.lengths("actionness")
        values.append(block.arrays["actionness"].astype(np.float64))
        segments.append(np.asarray(block.arrays["segments"], np.float32))
        owners.append(block.positions[block.owner("actionness")])
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")  # a video's own scores keep their order: the proposals'
    return _Collected(np.concatenate(values)[order], np.concatenate(segments)[order], owner[order], length)


def _check(now: _Collected, before: _Collected, names: Sequence[str]) -> None:
    """Raises UsageError unless the prior has the same proposals of every predicted video that it knows."""
    both = (now.length >= 0) & (before.length >= 0)
    different = np.flatnonzero(both & (now.length != before.length))
    if len(different):
        first = int(different[0])
        has = f"{before.length[first]} scores for the {now.length[first]} proposals"
    else:
        ours, theirs = both[now.owner], both[before.owner]
        moved = (now.segments[ours] != before.segments[theirs]).any(axis=1)
        different = np.unique(now.owner[ours][moved])
        if not len(different):
            return
        first = int(different[0])
        has = "scores for other segments than the proposals"
    raise UsageError(
        f"the prior has {has} of {names[first]!r} ({len(different)} such videos): it was made for other videos or "
        "proposals; make it again with `kloc prior`"
    )


def conflicts(now: _Collected, before: _Collected, own: NDArray[np.int64], top: int) -> Conflicts:
    """Conflicts and sides of the videos ``own`` (sorted, each with at least one score); NaN where a score is NaN."""
    mine = np.zeros(len(now.length), bool)
    mine[own] = True
    p, p0 = (np.clip(x.values[mine[x.owner]], 0.0, 1.0) for x in (now, before))
    belief = 2 * p - 1
    conflict = -belief * (2 * p0 - 1)
    length = now.length[own]
    begin = np.cumsum(length) - length
    broken = np.add.reduceat(np.isnan(conflict), begin, dtype=np.int64) > 0 if len(own) else np.zeros(0, bool)
    left = np.where(np.isnan(conflict), 0.0, conflict)
    value, sign = np.zeros(len(own)), np.zeros(len(own))
    for _ in range(min(top, int(length.max(initial=0)))):
        taken, whose = _largest(left, belief, begin, length)
        value[whose] += left[taken]
        sign[whose] += belief[taken]
        left[taken] = -np.inf
    value /= np.minimum(length, top)
    value[broken] = np.nan
    side = (sign >= 0) & ~broken
    return Conflicts(value + 0.0, side.astype(np.int64))


def _largest(
    left: NDArray[np.float64], belief: NDArray[np.float64], begin: NDArray[np.int64], length: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each video the segment with the largest conflict left, and whose it is; none where all are taken.

    Of equal conflicts the higher belief counts, so that the order of proposals decides nothing. Maxima per video take a
    quarter of the time of sorting all.
    """
    best = np.repeat(np.maximum.reduceat(left, begin), length)
    held = np.where((left == best) & (best > -np.inf), belief, -np.inf)
    surest = np.repeat(np.maximum.reduceat(held, begin), length)
    found = np.flatnonzero((held == surest) & (held > -np.inf))
    whose = np.searchsorted(begin, found, side="right") - 1
    first = np.append(True, whose[1:] != whose[:-1])[: len(found)]
    return found[first], whose[first]


def labelled_segments(context: Context) -> tuple[int, int]:
    """How many proposals of the annotated videos are positive and negative.

    Only proposals inside the annotated stretch count; an annotation that asked about no class gives no negative ones.
    """
    known = [context.annotations[video_id] for video_id in sorted(context.annotations)]
    positive = negative = 0
    for block in context.blocks([annotation.item for annotation in known], frozenset({"segments"})):
        own = [known[position] for position in block.positions.tolist()]
        segments, owner = block.arrays["segments"].astype(np.float64), block.owner("segments")
        bounds = np.array([(a.item.start, a.item.end) for a in own]).reshape(-1, 2)
        inside = (segments[:, 0] >= bounds[owner, 0] - 1e-3) & (segments[:, 1] <= bounds[owner, 1] + 1e-3)
        best = best_tiou(segments, owner, own)
        asked = np.array([a.exhaustive_for is None or bool(a.exhaustive_for) for a in own], bool)[owner]
        positive += int((inside & above(best, POSITIVE)).sum())
        negative += int((inside & asked & (best < NEGATIVE - 1e-9)).sum())
    return positive, negative


def best_tiou(segments: Segments, owner: NDArray[np.int64], annotations: Sequence[Annotation]) -> NDArray[np.float64]:
    """Each segment's largest tIoU with an instance of its video, float64 ``(N,)``; 0 without any.

    All videos at once, one instance of each after the other.
    """
    best = np.zeros(len(segments))
    count = np.array([len(a.instances) for a in annotations], np.int64)
    for turn in range(int(count.max(initial=0))):
        holds = count > turn
        truth = np.zeros((len(annotations), 2))
        turns = [a.instances[turn] for a in annotations if len(a.instances) > turn]
        truth[holds] = as_segments([(instance.start, instance.end) for instance in turns])
        rows = np.flatnonzero(holds[owner])
        start, end = segments[rows].T
        first, last = truth[owner[rows]].T
        shared = np.maximum(np.minimum(end, last) - np.maximum(start, first), 0.0)
        union = np.maximum(end - start, 0.0) + np.maximum(last - first, 0.0) - shared
        best[rows] = np.maximum(best[rows], np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))
    return best
