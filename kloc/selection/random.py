"""Random selection: the yardstick every strategy is measured against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kloc.records import Item
from kloc.selection.base import Context, Scores, strategy
from kloc.selection.keys import item_keys


@strategy("random")
class Random:
    """Uniform without replacement.

    The number of an item depends on the item and the seed alone: neither the order of the pool nor what else is
    in it changes whether one of two items comes first.
    """

    name: ClassVar[str]
    heads: ClassVar[frozenset[str]] = frozenset()

    def score(self, items: Sequence[Item], context: Context) -> Scores:
        """Uniform numbers in [0, 1)."""
        keys = item_keys(items, context.seed, "random")
        return Scores((keys >> np.uint64(11)).astype(np.float64) * 2.0**-53)

    def reason(self, index: int, score: float) -> str:
        return "drawn at random"
