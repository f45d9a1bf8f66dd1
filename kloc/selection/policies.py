"""From scores to a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from kloc.records import Item
from kloc.selection.base import Context, Scores, Steering, Strategy, Watching
from kloc.selection.keys import item_keys
from kloc.selection.registry import Registry


class Policy(Protocol):
    """Chooses a batch. Scores come without NaN; ``-inf`` items are taken only when nothing else is left."""

    name: ClassVar[str]

    def pick(
        self, items: Sequence[Item], scores: Scores, batch: int, strategy: Strategy, context: Context
    ) -> list[int]:
        """Indices of ``min(batch, n)`` different items, in the order of picking.

        A strategy that has ``picked`` is told of each pick before the next one is made.
        """
        ...


POLICIES: Registry[Policy] = Registry("policy", ("pick",))

policy = POLICIES.register


def make_policy(name: str, **params: Any) -> Policy:
    """A policy by name.

    Raises:
        UsageError: an unknown name or parameter.
    """
    return POLICIES.make(name, **params)


def available_policies() -> tuple[str, ...]:
    """Names of all policies."""
    return POLICIES.names()


def best_first(
    items: Sequence[Item], value: NDArray[np.float64], among: NDArray[np.int64], count: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The ``count`` best of ``among`` (indices), best first, with the keys that break ties.

    Equal scores are ordered by a random key per item, never by the pool's order. Found by a partial sort.
    """
    count = min(count, len(among))
    if count == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    values = value[among]
    cut = np.partition(values, len(values) - count)[len(values) - count]
    candidates = among[values >= cut]
    keys = item_keys(items, seed, "tie", candidates.tolist())
    order = np.lexsort((keys, -value[candidates]))[:count]
    return candidates[order], keys[order]


@policy("top")
class Top:
    """The highest scores first.

    Where the strategy puts items into groups, picks are made one at a time: from the group the strategy asks for
    (``next_group``), without a wish from the one that has given fewest so far; an empty group gives way to the
    best item of any other.
    """

    name: ClassVar[str]

    def pick(
        self, items: Sequence[Item], scores: Scores, batch: int, strategy: Strategy, context: Context
    ) -> list[int]:
        count = min(batch, len(items))
        value = scores.value
        if scores.group is None:
            everything = np.arange(len(items), dtype=np.int64)
            picks: list[int] = best_first(items, value, everything, count, context.seed)[0].tolist()
            for index in picks:
                _tell(strategy, index)
            return picks
        picks = self._in_turn(items, value, scores.group, count, strategy, context)
        rest = np.flatnonzero(np.isneginf(value))
        for index in best_first(items, value, rest, count - len(picks), context.seed)[0].tolist():
            _tell(strategy, index)
            picks.append(index)
        return picks

    def _in_turn(
        self,
        items: Sequence[Item],
        value: NDArray[np.float64],
        group: NDArray[np.int64],
        count: int,
        strategy: Strategy,
        context: Context,
    ) -> list[int]:
        queues: dict[int, list[tuple[float, int, int]]] = {}  # (-score, key, index), the best at the end
        known = ~np.isneginf(value)
        for number in np.unique(group[known]).tolist():
            best, keys = best_first(items, value, np.flatnonzero(known & (group == number)), count, context.seed)
            rows = zip((-value[best]).tolist(), keys.tolist(), best.tolist(), strict=True)
            queues[number] = list(rows)[::-1]
        given = dict.fromkeys(queues, 0)
        picks: list[int] = []
        while queues and len(picks) < count:
            if isinstance(strategy, Steering):
                wanted = strategy.next_group()
            else:
                wanted = min(queues, key=lambda number: (given[number], number))
            if wanted is None or wanted not in queues:
                wanted = min(queues, key=lambda number: queues[number][-1])
            index = queues[wanted].pop()[2]
            given[wanted] += 1
            if not queues[wanted]:
                del queues[wanted]
            _tell(strategy, index)
            picks.append(index)
        return picks


def _tell(strategy: Strategy, index: int) -> None:
    if isinstance(strategy, Watching):
        strategy.picked(index)
