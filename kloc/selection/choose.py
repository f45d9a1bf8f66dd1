"""Choosing the next batch: score the pool, clean the scores, let a policy pick, say why."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kloc.errors import KlocError, UsageError
from kloc.records import Item
from kloc.selection.base import Context, Scores, Strategy, make_strategy
from kloc.selection.policies import Policy

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pick:
    """One chosen item. ``rank`` is 1 plus the number of pool items with a higher score."""

    item: Item
    score: float
    rank: int
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """A batch and how it came about.

    strategy: that was used, which is "random" where the one asked for had no predictions yet.
    n_pool: items to choose from.
    n_unscored: how many of them the strategy could say nothing about (no prediction, no proposal, NaN).
    n_nan: how many of those because their score was NaN.
    notes: plain sentences for the user; empty when all went as asked.
    """

    picks: tuple[Pick, ...]
    strategy: str
    policy: str
    n_pool: int
    n_unscored: int = 0
    n_nan: int = 0
    notes: tuple[str, ...] = ()

    @property
    def items(self) -> tuple[Item, ...]:
        """The chosen items in the order of picking."""
        return tuple(pick.item for pick in self.picks)


def select(items: Sequence[Item], strategy: Strategy, policy: Policy, batch: int, context: Context) -> Selection:
    """Choose ``min(batch, len(items))`` different items of the pool.

    The pool is what is still to be annotated; its order does not matter. Memory beyond the items is a few numbers
    per item. Before the first predictions a strategy that reads them gives way to a random draw, and the
    selection says so.

    Args:
        items: the pool, every item once.
        strategy: gives scores.
        policy: makes a batch of them.
        batch: how many to choose.
        context: what the strategy may look at.

    Raises:
        UsageError: a negative batch, or an item that is in the pool twice.
        KlocError: a strategy or policy (a plug-in's) that breaks its contract.
    """
    if batch < 0:
        raise UsageError(f"a batch of {batch} items cannot be chosen; give 0 or more")
    notes: list[str] = []
    cold = bool(strategy.heads) and (context.predictions is None or not len(context.predictions))
    if cold:
        notes.append(f"no predictions yet: chosen at random instead of by {strategy.name!r}")
        strategy = make_strategy("random")
    scores, n_nan = _clean(strategy.score(items, context), len(items), strategy.name)
    n_unscored = int(np.isneginf(scores.value).sum())
    if n_nan:
        message = f"strategy {strategy.name!r} gave NaN to {n_nan} of {len(items)} items; they are picked last"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        notes.append(message)
    if n_unscored > n_nan:
        notes.append(f"{n_unscored - n_nan} of {len(items)} items have no prediction to judge by; they are picked last")
        log.warning(notes[-1])
    chosen = policy.pick(items, scores, batch, strategy, context)
    _check_picks(items, chosen, min(batch, len(items)), policy.name)
    ranks = _ranks(scores.value, chosen)
    picks = tuple(
        Pick(items[index], score := float(scores.value[index]), rank, _reason(strategy, index, score, cold))
        for index, rank in zip(chosen, ranks, strict=True)
    )
    return Selection(picks, strategy.name, policy.name, len(items), n_unscored, n_nan, tuple(notes))


def _clean(scores: Scores, n_items: int, name: str) -> tuple[Scores, int]:
    value, group = np.asarray(scores.value, np.float64), scores.group
    if value.shape != (n_items,) or (group is not None and np.shape(group) != (n_items,)):
        raise KlocError(f"strategy {name!r} must give one score (and group) per item: {n_items}, not {value.shape}")
    bad = np.isnan(value)
    n_nan = int(bad.sum())
    if n_nan:
        value = np.where(bad, -np.inf, value)
    return Scores(value, None if group is None else np.asarray(group, np.int64)), n_nan


def _check_picks(items: Sequence[Item], chosen: Sequence[int], expected: int, name: str) -> None:
    different = len(set(chosen))
    if len(chosen) != expected or different != expected:
        raise KlocError(f"policy {name!r} is broken: it picked {different} different items instead of {expected}")
    seen: set[Item] = set()
    for index in chosen:
        item = items[index]
        if item in seen:
            where = f"{item.video_id!r} {item.start:g}-{item.end:g} s"
            raise UsageError(f"{where} is in the pool twice; list every item once")
        seen.add(item)


def _ranks(value: NDArray[np.float64], chosen: Sequence[int]) -> list[int]:
    ordered = np.sort(value)
    ranks: list[int] = (len(value) - np.searchsorted(ordered, value[list(chosen)], side="right") + 1).tolist()
    return ranks


def _reason(strategy: Strategy, index: int, score: float, cold: bool) -> str:
    if np.isneginf(score):
        return f"{strategy.name!r} has nothing to judge it by; taken because the scored items ran out"
    reason = strategy.reason(index, score)
    return f"{reason} (no predictions yet)" if cold else reason
