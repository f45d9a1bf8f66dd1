"""What a policy is, and what all of them stand on: a lazy order of the pool, and the hand that takes from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kloc.records import Item
from kloc.selection.base import Context, Scores, Strategy, Watching
from kloc.selection.keys import item_keys
from kloc.selection.registry import Constructors

#: Yields indices, the one to take next first; is sent whether the one just yielded was taken.
Walk = Generator[int, bool, None]


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


@runtime_checkable
class Walking(Protocol):
    """A policy that a budget of minutes or money can follow: it may be refused an item and goes on to the next."""

    def walk(self, items: Sequence[Item], scores: Scores, expected: int, strategy: Strategy, context: Context) -> Walk:
        """Yield every item of the pool once, lazily; about ``expected`` of them will be taken.

        The strategy has been told of a taken item before the walk goes on.
        """
        ...


class Walker:
    """Base of the built-in policies: a walk, and a batch as its first steps."""

    name: ClassVar[str]
    #: Whether it takes from the sides a strategy asks for (`kloc.selection.base.Steering`).
    follows_groups: ClassVar[bool] = False

    def walk(self, items: Sequence[Item], scores: Scores, expected: int, strategy: Strategy, context: Context) -> Walk:
        """See `Walking.walk`."""
        raise NotImplementedError(f"{type(self).__name__} must say in which order it takes items")

    def pick(
        self, items: Sequence[Item], scores: Scores, batch: int, strategy: Strategy, context: Context
    ) -> list[int]:
        """The first ``batch`` items of the walk."""
        return take(self.walk(items, scores, batch, strategy, context), min(batch, len(items)), strategy)


def take(
    walk: Walk,
    count: int,
    strategy: Strategy,
    affordable: Callable[[int], bool | None] | None = None,
    before: Collection[int] = frozenset(),
) -> list[int]:
    """Take up to ``count`` items from a walk, telling the strategy of each.

    ``affordable`` says of an index whether it still fits (and pays for it), ``None`` once nothing fits any more.
    ``before`` are indices taken earlier: the walk hears that they are taken, and they count no second time.
    """
    picks: list[int] = []
    if count <= 0:
        return picks
    with closing(walk):
        index = next(walk, None)
        while index is not None:
            if index in before:
                verdict: bool | None = True
            else:
                verdict = True if affordable is None else affordable(index)
            if verdict and index not in before:
                picks.append(index)
                if isinstance(strategy, Watching):
                    strategy.picked(index)
            if verdict is None or len(picks) == count:
                break
            try:
                index = walk.send(verdict)
            except StopIteration:
                break
    return picks


POLICIES: Constructors[Policy] = Constructors("policy", ("pick",))

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
    if count <= 0:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    values = value[among]
    cut = np.partition(values, len(values) - count)[len(values) - count]
    candidates = among[values >= cut]
    keys = item_keys(items, seed, "tie", candidates.tolist())
    order = np.lexsort((keys, -value[candidates]))[:count]
    return candidates[order], keys[order]


class Queue:
    """Some items, best first, sorted only as far as somebody looks: ``first`` at once, then ever more."""

    def __init__(
        self,
        items: Sequence[Item],
        value: NDArray[np.float64],
        among: NDArray[np.int64],
        seed: int,
        first: int = 64,
    ) -> None:
        self._items = items
        self._value = value
        self._rest = among
        self._given = among[:0]
        self._seed = seed
        self._chunk = max(first, 16)
        self._sorted: list[tuple[float, int, int]] = []  # (-score, key, index), the best at the end

    def peek(self) -> tuple[float, int, int] | None:
        """(-score, key, index) of the best one left, which orders queues among each other; ``None`` when empty."""
        if not self._sorted:
            if len(self._given):
                self._rest = self._rest[np.isin(self._rest, self._given, assume_unique=True, invert=True)]
            if not len(self._rest):
                return None
            best, keys = best_first(self._items, self._value, self._rest, self._chunk, self._seed)
            rows = zip((-self._value[best]).tolist(), keys.tolist(), best.tolist(), strict=True)
            self._sorted = list(rows)[::-1]
            self._given = best
            self._chunk *= 4
        return self._sorted[-1]

    def pop(self) -> int | None:
        """The best one left, taken out; ``None`` when empty."""
        if self.peek() is None:
            return None
        return self._sorted.pop()[2]

    def __iter__(self) -> Iterator[int]:
        while (index := self.pop()) is not None:
            yield index


def in_order(
    items: Sequence[Item], value: NDArray[np.float64], among: NDArray[np.int64], seed: int, expected: int
) -> Walk:
    """Walk over ``among`` (indices), best first."""
    for index in Queue(items, value, among, seed, expected):  # noqa: UP028 - a plain iterator could not be sent anything
        yield index
