"""The highest scores first, and the highest scores per minute first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kloc.records import Item
from kloc.selection.base import Context, Scores, Steering, Strategy
from kloc.selection.cost import DEFAULT, minutes_of
from kloc.selection.policies.base import Queue, Walk, Walker, in_order, policy


@policy("top")
class Top(Walker):
    """The highest scores first.

    Where the strategy puts items into groups, picks are made one at a time: from the group the strategy asks for
    (``next_group``), without a wish from the one that has given fewest so far; an empty group gives way to the
    best item of any other.
    """

    follows_groups = True

    def walk(self, items: Sequence[Item], scores: Scores, expected: int, strategy: Strategy, context: Context) -> Walk:
        """All items by score, or in turn; ``-inf`` last."""
        value = scores.value
        if scores.group is None:
            everything = np.arange(len(items), dtype=np.int64)
            yield from in_order(items, value, everything, context.seed, expected)
            return
        yield from _in_turn(items, value, scores.group, expected, strategy, context.seed)
        yield from in_order(items, value, np.flatnonzero(np.isneginf(value)), context.seed, expected)


def _in_turn(
    items: Sequence[Item],
    value: NDArray[np.float64],
    group: NDArray[np.int64],
    expected: int,
    strategy: Strategy,
    seed: int,
) -> Walk:
    known = np.flatnonzero(~np.isneginf(value))
    numbers, owner = np.unique(group[known], return_inverse=True)
    # One sort for all groups: a mask per group would take groups x items.
    members = np.split(known[np.argsort(owner, kind="stable")], np.cumsum(np.bincount(owner))[:-1])
    queues = {
        number: Queue(items, value, own, seed, expected // len(numbers))
        for number, own in zip(numbers.tolist(), members, strict=False)
    }
    given = dict.fromkeys(queues, 0)
    while queues:
        if isinstance(strategy, Steering):
            wanted = strategy.next_group(queues.keys())
        else:
            wanted = min(queues, key=lambda number: (given[number], number))
        if wanted is None or wanted not in queues:
            wanted = min(queues, key=lambda number: queues[number].peek() or ())
        queue = queues[wanted]
        index = queue.pop()
        if queue.peek() is None:
            del queues[wanted]
        if index is not None:
            taken = yield index
            given[wanted] += int(taken)


@policy("cost-aware")
class CostAware(Walker):
    """The most score per minute of annotation first.

    A score counts by how far it lies above the lowest one of the pool, because strategies' scores have no natural
    zero; the minutes are those of `kloc.selection.cost`. Where that makes no difference (equal scores have no score
    above the lowest) the fewest minutes come first. Follows a strategy's groups as ``top`` does.
    """

    follows_groups = True

    def walk(self, items: Sequence[Item], scores: Scores, expected: int, strategy: Strategy, context: Context) -> Walk:
        """All items by score per minute; ``-inf`` last."""
        return Top().walk(items, per_minute(items, scores, context), expected, strategy, context)


def per_minute(items: Sequence[Item], scores: Scores, context: Context) -> Scores:
    """What orders items by score above the pool's lowest finite one per estimated minute, then by fewer minutes.

    Whole numbers from 0 up, the same only where both are; infinite scores stay as they are.
    """
    value = scores.value
    finite = np.isfinite(value)
    if not finite.any():
        return scores
    context.note(f"minutes per video: {context.cost or DEFAULT}")
    minutes = minutes_of(items, context)[finite]
    rate = (value[finite] - value[finite].min()) / minutes
    order = np.lexsort((-minutes, rate))
    other = (np.diff(rate[order]) > 0) | (np.diff(minutes[order]) < 0)
    placed = value.copy()
    placed[np.flatnonzero(finite)[order]] = np.append(0, np.cumsum(other))
    return Scores(placed, scores.group)
