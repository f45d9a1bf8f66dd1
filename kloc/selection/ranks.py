"""Where an item stands in the pool under each strategy: what a user wants to see beside the one that was used."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kloc.records import Item
from kloc.selection.base import Context, Strategy
from kloc.selection.spec import strategy_from

log = logging.getLogger(__name__)


#: Larger pools are not clustered only to show where their videos would stand.
MAX_CLUSTERED = 50_000


def rankable(context: Context, n_items: int) -> tuple[str, ...]:
    """The built-in strategies whose ranks in a pool of ``n_items`` can be computed with what ``context`` has."""
    names = ["random"]
    if context.predictions is not None and len(context.predictions):
        names += ["us", "us-binary"]
        names += ["lal"] if context.gain is not None else []
        names += ["mcle"] if context.prior is not None else []
    if context.pooled is not None and n_items <= MAX_CLUSTERED:
        names.append("typiclust")
    return tuple(names)


def ranks_under(items: Sequence[Item], context: Context, names: Iterable[str]) -> dict[str, NDArray[np.int64]]:
    """Ranks of all items under strategies: 1 plus the number of items with a higher score.

    Args:
        items: the pool.
        context: what the strategies may look at.
        names: which strategies, as `kloc.selection.spec.parse` reads them.

    Returns:
        int64 ``(n,)`` by name, in the order of ``names``. A strategy that fails is left out, see `scored_by`.
    """
    ranks: dict[str, NDArray[np.int64]] = {}
    for name in names:
        if (scored := scored_by(items, context, name)) is not None:
            ranks[name] = ranks_of(scored.value)
    return ranks


class Scored(NamedTuple):
    """A strategy that has just scored a pool, and its scores, float64 ``(n,)``."""

    strategy: Strategy
    value: NDArray[np.float64]


def scored_by(items: Sequence[Item], context: Context, name: str) -> Scored | None:
    """A strategy's scores of a pool; ``None`` where it fails, and ``context.note`` says why.

    They are there to be looked at: no selection should end for them.
    """
    try:
        strategy = strategy_from(name)
        # Its remarks are about a selection that is not made.
        value = np.asarray(strategy.score(items, replace(context, heard=[])).value, np.float64)
        if value.shape != (len(items),):
            raise ValueError(f"it gave {value.shape} scores for {len(items)} items")
    except Exception as error:  # plug-ins may throw anything
        reason = " ".join(str(error).split()) or type(error).__name__
        context.note(f"no ranks under {name!r}: {reason}")
        log.warning("no ranks under %r: %s: %s", name, type(error).__name__, reason)
        return None
    return Scored(strategy, value)


def ranks_of(value: NDArray[np.float64]) -> NDArray[np.int64]:
    """1 plus the number of higher scores, int64 ``(n,)``; NaN counts as ``-inf``."""
    value = np.where(np.isnan(value), -np.inf, value)
    ranks: NDArray[np.int64] = len(value) - np.searchsorted(np.sort(value), value, side="right") + 1
    return ranks
