"""How much may be spent on a batch: minutes of people's time, or money."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kloc.errors import UsageError
from kloc.records import Item
from kloc.seeds import generator

#: Prices are sums of rounded numbers; so much over the limit still fits.
_SLACK = 1e-9


@dataclass(frozen=True)
class Budget:
    """A limit and what every item of the pool costs of it.

    limit: minutes or dollars, above 0.
    price: of every item, in the pool's order, float64 ``(n,)``, each above 0 and finite.
    unit: what both are.
    """

    limit: float
    price: NDArray[np.float64]
    unit: Literal["minutes", "dollars"]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.limit) and self.limit > 0):
            raise UsageError(f"a budget of {self.limit:g} {self.unit} buys nothing; give more than 0")
        if not (np.isfinite(self.price) & (self.price > 0)).all():
            raise UsageError(f"every video must cost some {self.unit}; check [task] in kloc.toml")

    def said(self, amount: float) -> str:
        """An amount for people."""
        return f"${amount:.2f}" if self.unit == "dollars" else f"{amount:.1f} minutes"

    def expected_count(self, n_items: int) -> int:
        """About how many items it will buy, at least 1: as many as in an order that has nothing to do with prices.

        What still fits is taken, so neither the median nor the mean price tells it where prices differ widely.
        """
        # Sorted before they are mixed: the pool's order decides nothing.
        price = generator(0, "budget", "expected").permutation(np.sort(self.price))
        left, count = self.limit + _SLACK, 0
        while len(price := price[price <= left]):
            total = np.cumsum(price)
            bought = int(np.searchsorted(total, left, side="right"))
            count += bought
            left -= float(total[bought - 1])
            price = price[bought + 1 :]  # the one after them was refused
        return min(n_items, max(1, count))


class Purse:
    """What is left of a budget while a batch is picked: what still fits is taken, until nothing fits.

    Args:
        budget: what there is.
        items: the pool, for messages.

    Raises:
        UsageError: the budget pays for no item at all; names the cheapest.
    """

    def __init__(self, budget: Budget, items: Sequence[Item]) -> None:
        if len(budget.price) != len(items):
            raise UsageError(f"a budget with {len(budget.price)} prices does not fit a pool of {len(items)} items")
        self.budget = budget
        self.spent = 0.0
        self.limit = budget.limit
        self._by_price = np.argsort(budget.price, kind="stable")
        self._seen = np.zeros(len(items), bool)
        self._cheapest = 0  # in _by_price, of those not seen yet
        if len(items):
            cheapest = int(self._by_price[0])
            if budget.price[cheapest] > budget.limit + _SLACK:
                raise UsageError(
                    f"a budget of {budget.said(budget.limit)} is too small for any video: the cheapest, "
                    f"{items[cheapest].video_id!r}, takes {budget.said(float(budget.price[cheapest]))}"
                )

    def affordable(self, index: int) -> bool | None:
        """Pay for an item if it fits; ``None``: neither this nor any other item fits any more."""
        self._seen[index] = True
        price, left = float(self.budget.price[index]), self.limit - self.spent + _SLACK
        if price <= left:
            self.spent += price
            return True
        prices, order = self.budget.price, self._by_price
        while self._cheapest < len(order) and self._seen[order[self._cheapest]]:
            self._cheapest += 1
        nothing = self._cheapest == len(order) or prices[order[self._cheapest]] > left
        return None if nothing else False

    def forget_refused(self, taken: Sequence[int]) -> None:
        """Let refused items be asked about again, after the limit was raised."""
        self._seen[:] = False
        self._seen[list(taken)] = True
        self._cheapest = 0
