"""Choosing the next batch: score the pool, clean the scores, let a policy pick, say why."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kloc.errors import KlocError, UsageError
from kloc.records import Item
from kloc.selection.base import Context, Scores, Strategy, make_strategy
from kloc.selection.budget import Budget, Purse
from kloc.selection.keys import item_keys
from kloc.selection.policies import Policy, Walk, Walking, take

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
    spent: of the budget, in its unit; ``None`` without one.
    """

    picks: tuple[Pick, ...]
    strategy: str
    policy: str
    n_pool: int
    n_unscored: int = 0
    n_nan: int = 0
    notes: tuple[str, ...] = ()
    spent: float | None = None

    @property
    def items(self) -> tuple[Item, ...]:
        """The chosen items in the order of picking."""
        return tuple(pick.item for pick in self.picks)


def select(
    items: Sequence[Item],
    strategy: Strategy,
    policy: Policy,
    batch: int | None,
    context: Context,
    *,
    budget: Budget | None = None,
    epsilon: float = 0.0,
) -> Selection:
    """Choose ``min(batch, len(items))`` different items of the pool, or as many as a budget pays for.

    The pool is what is still to be annotated; its order does not matter. Memory beyond the items is a few numbers
    per item. Before the first predictions a strategy that reads them gives way to a random draw, and the
    selection says so. A budget is spent in the policy's order: what still fits is taken, until nothing fits.

    Args:
        items: the pool, every item once.
        strategy: gives scores.
        policy: makes a batch of them.
        batch: how many to choose at most; ``None``: as many as the budget pays for.
        context: what the strategy may look at.
        budget: what may be spent; ``None``: only ``batch`` counts.
        epsilon: share of the batch (``round(epsilon * batch)`` items; of a budget, that share of it) that is drawn at
            random from what the policy left, so that a strategy that is wrong about the pool sees the rest of it. Of a
            budget the policy gets one item at least (below a share of 1), and at the end what the draw left over.

    Raises:
        UsageError: a negative batch, neither batch nor budget, a share outside [0, 1], a budget too small for any
            item, an item that is in the pool twice, or what a strategy or policy needs is not there.
        KlocError: a strategy or policy (a plug-in's) that breaks its contract.
    """
    if batch is None and budget is None:
        raise UsageError("say how much to choose: a batch, or a budget")
    if batch is not None and batch < 0:
        raise UsageError(f"a batch of {batch} items cannot be chosen; give 0 or more")
    if not 0 <= epsilon <= 1:
        raise UsageError(f"epsilon {epsilon:g}: the share drawn at random lies between 0 and 1")
    purse = None if budget is None else Purse(budget, items)
    count = len(items) if batch is None else min(batch, len(items))
    expected = count if budget is None or not items else min(count, budget.expected_count(len(items)))
    context = replace(context, batch=expected, heard=[])
    cold = bool(strategy.heads) and (context.predictions is None or not len(context.predictions))
    if cold:
        context.note(f"no predictions yet: chosen at random instead of by {strategy.name!r}")
        strategy = make_strategy("random")
    scores, n_nan = _clean(strategy.score(items, context), len(items), strategy.name)
    n_unscored = int(np.isneginf(scores.value).sum())
    _remark(scores, n_nan, n_unscored, strategy, policy, context)
    if batch is not None and batch > len(items) and budget is None:
        context.note(f"the pool holds only {len(items)} items, fewer than the {batch} asked for: all are chosen")
    n_drawn = round(epsilon * count)
    if budget is None or purse is None:
        chosen = policy.pick(items, scores, count - n_drawn, strategy, context)
        drawn = _at_random(items, chosen, n_drawn, strategy, context, None)
        taken = [*chosen, *drawn]
        _check_picks(items, taken, count, policy.name)
    else:
        taken, drawn = _within(items, scores, count, expected, strategy, policy, context, purse, epsilon)
        _check_picks(items, taken, len(taken), policy.name)
        left = budget.limit - purse.spent
        context.note(f"used {budget.said(purse.spent)} of {budget.said(budget.limit)}; {budget.said(left)} stay")
    random_ones = set(drawn)
    picks = []
    for index, rank in zip(taken, _ranks(scores.value, taken), strict=True):
        score = float(scores.value[index])
        reason = _reason(strategy, index, score, cold)
        if index in random_ones:
            reason = f"drawn at random from the rest of the pool (epsilon {epsilon:g})"
        picks.append(Pick(items[index], score, rank, reason))
    spent = None if purse is None else purse.spent
    return Selection(
        tuple(picks), strategy.name, policy.name, len(items), n_unscored, n_nan, tuple(context.heard), spent
    )


def _remark(scores: Scores, n_nan: int, n_unscored: int, strategy: Strategy, policy: Policy, context: Context) -> None:
    """Tell what a user would not expect of the scores."""
    n_items = len(scores.value)
    if n_nan:
        message = f"strategy {strategy.name!r} gave NaN to {n_nan} of {n_items} items; they are picked last"
        warnings.warn(message, RuntimeWarning, stacklevel=3)
        context.note(message)
    if n_unscored > n_nan:
        context.note(f"{n_unscored - n_nan} of {n_items} items have {_lacking(strategy)}; they are picked last")
        log.warning(context.heard[-1])
    known = scores.value[~np.isneginf(scores.value)]
    if len(known) > 1 and known.min() == known.max():
        context.note(f"all {len(known)} scored items have the same score ({known[0]:.4g}): their order is random")
    if n_items > 1 and not len(known):
        context.note("no item has a score: the order is random")
    if scores.group is not None and not getattr(policy, "follows_groups", True):
        context.note(f"policy {policy.name!r} does not follow the groups of {strategy.name!r}; 'top' does")


def _lacking(strategy: Strategy) -> str:
    return "no prediction to judge by" if strategy.heads else f"nothing that {strategy.name!r} can judge by"


def _within(
    items: Sequence[Item],
    scores: Scores,
    count: int,
    expected: int,
    strategy: Strategy,
    policy: Policy,
    context: Context,
    purse: Purse,
    epsilon: float,
) -> tuple[list[int], list[int]]:
    """What a budget buys, in the order of picking, and which of it was drawn at random."""
    if not isinstance(policy, Walking):
        raise UsageError(f"policy {policy.name!r} cannot follow a budget; choose by --batch, or take another policy")

    def go_on(limit: float, wanted: int, taken: list[int]) -> list[int]:
        # A fresh walk: what an earlier one was refused may fit by now, in its old place.
        purse.limit = limit
        purse.forget_refused(taken)
        walk = policy.walk(items, scores, expected, strategy, context)
        return take(walk, wanted, strategy, purse.affordable, frozenset(taken))

    full, n_drawn = purse.budget.limit, round(epsilon * count)
    if epsilon < 1:
        n_drawn = max(0, min(n_drawn, count - 1))
    chosen = go_on(full * (1.0 - epsilon), count - n_drawn, [])
    if not chosen and epsilon < 1:
        # The policy's share pays for nothing: without this the whole batch would be random.
        chosen = go_on(full, min(1, count), [])
    purse.limit = full
    purse.forget_refused(chosen)
    drawn = _at_random(items, chosen, n_drawn, strategy, context, purse)
    taken = [*chosen, *drawn]
    if epsilon and len(taken) < count:  # rounding and prices leave some of the random share
        taken += go_on(full, count - len(taken), taken)
    return taken, drawn


def _at_random(
    items: Sequence[Item], chosen: Sequence[int], count: int, strategy: Strategy, context: Context, purse: Purse | None
) -> list[int]:
    if not count:
        return []
    left = np.ones(len(items), bool)
    left[list(chosen)] = False
    rest = np.flatnonzero(left)
    order = rest[np.argsort(item_keys(items, context.seed, "epsilon", rest.tolist()), kind="stable")]
    return take(_each(order), count, strategy, None if purse is None else purse.affordable)


def _each(order: NDArray[np.int64]) -> Walk:
    for index in order.tolist():  # noqa: UP028 - a plain iterator could not be sent anything
        yield index


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
