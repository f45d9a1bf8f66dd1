"""A batch that evens out how often each class is annotated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kloc.errors import UsageError
from kloc.records import Item
from kloc.selection.base import Context, Scores, Strategy
from kloc.selection.policies.base import Queue, Walk, Walker, in_order, policy
from kloc.selection.probabilities import class_distribution


@policy("class-quota")
class ClassQuota(Walker):
    """The best-scored video of the class that has fewest annotated and picked videos, one after the other.

    A video's classes are its video-level labels; without any, the class that the newest model gives most weight on
    average over the video. An annotated video counts for the classes of its instances and its labels. Videos of
    unknown class come after the others, ``-inf`` last.
    """

    name: ClassVar[str]

    def walk(self, items: Sequence[Item], scores: Scores, expected: int, strategy: Strategy, context: Context) -> Walk:
        """Scored items by class in turn, then the rest by score."""
        own = item_classes(items, scores, context)
        members: dict[str, list[int]] = {}
        for index, labels in enumerate(own):
            for name in labels:
                members.setdefault(name, []).append(index)
        if len(members) == 1:
            context.note(f"all videos of known class are {next(iter(members))!r}: class-quota has nothing to even out")
        names = sorted(members)
        # Between equally rare classes the round's seed decides, not the alphabet.
        turn = dict(zip(names, context.rng("class-quota").permutation(len(names)).tolist(), strict=True))
        counts = _annotated(context)
        first = max(1, expected // max(len(names), 1))
        queues = {n: Queue(items, scores.value, np.array(members[n], np.int64), context.seed, first) for n in names}
        done = np.zeros(len(items), bool)
        while queues:
            rarest = min(queues, key=lambda name: (counts[name], turn[name]))
            best = queues[rarest].pop()
            if best is None:
                del queues[rarest]
            elif not done[best]:  # a video of several classes stands in several queues
                done[best] = True
                if (yield best):
                    counts.update(own[best])
        yield from in_order(items, scores.value, np.flatnonzero(~done), context.seed, expected)


def item_classes(items: Sequence[Item], scores: Scores, context: Context) -> list[tuple[str, ...]]:
    """Classes of all scored items: labels, else the predicted class, else none; none for items scored ``-inf``.

    Raises:
        UsageError: no scored item has a known class.
    """
    scored = ~np.isneginf(scores.value)
    own: list[tuple[str, ...]] = [
        context.labels.get(item.video_id, ()) if ok else () for item, ok in zip(items, scored.tolist(), strict=True)
    ]
    missing = [index for index in np.flatnonzero(scored).tolist() if not own[index]]
    if missing and context.predictions is not None and len(context.predictions):
        p, classes = class_distribution([items[index] for index in missing], context)
        if classes:
            actions = p[:, : len(classes)]
            for index, row in zip(missing, actions, strict=True):
                if np.isfinite(row).all() and row.max() > 0:
                    own[index] = (classes[int(row.argmax())],)
    unknown = int(scored.sum()) - sum(map(bool, own))
    if scored.any() and unknown == scored.sum():
        raise UsageError(
            "policy 'class-quota' needs a class per video: add video-level labels (kloc add labels.csv), or train and "
            "predict a model with classes first"
        )
    if unknown:
        context.note(
            f"{unknown} of {len(items)} videos have no label and no predicted class; they come after the others"
        )
    return own


def _annotated(context: Context) -> Counter[str]:
    counts: Counter[str] = Counter()
    for video_id, annotation in context.annotations.items():
        counts.update({*(i.label for i in annotation.instances), *context.labels.get(video_id, ())})
    return counts
