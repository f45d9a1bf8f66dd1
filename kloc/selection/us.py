"""Uncertainty sampling on the scores of a video's proposals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from kloc.errors import UsageError
from kloc.records import Item
from kloc.selection.base import Context, Scores, strategy
from kloc.shards import Block


def bin_counts(values: NDArray[np.floating], owner: NDArray[np.int64], n_owners: int, bins: int) -> NDArray[np.int64]:
    """Histograms on [0, 1] of many sets of values at once, int64 ``(n_owners, bins)``; as `numpy.histogram`.

    ``owner`` says for every value whose it is. Bins are half-open, the last one is closed; values outside [0, 1]
    count at the border.
    """
    x = np.clip(values.astype(np.float64), 0.0, 1.0)
    edges = np.linspace(0.0, 1.0, bins + 1)
    index = np.minimum((x * bins).astype(np.int64), bins - 1)
    # The product rounds: a value just below or on an edge may have come out on its wrong side.
    index -= x < edges[index]
    index += (x >= edges[index + 1]) & (index < bins - 1)
    return np.bincount(owner * bins + index, minlength=n_owners * bins).reshape(n_owners, bins)


def histogram_entropy(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Natural entropy of each row of counts ``(n, bins)``, in [0, ln bins]; ``-inf`` for an empty row.

    Rows that hold the same counts in another order get the same value to the last bit, so that they tie.
    """
    total = counts.sum(axis=1, keepdims=True)
    share = np.sort(counts, axis=1) / np.maximum(total, 1)
    entropy = np.clip(entr(share).sum(axis=1), 0.0, np.log(counts.shape[1])) + 0.0
    return np.where(total[:, 0] > 0, entropy, -np.inf)


def top_binary_entropy(
    values: NDArray[np.floating], offsets: NDArray[np.int64], owner: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """Mean binary entropy (natural, in [0, ln 2]) of each owner's ``k`` highest values; ``-inf`` where none."""
    x = np.clip(values.astype(np.float64), 0.0, 1.0)
    x = x[np.lexsort((-x, owner))]
    first = np.arange(len(x)) - offsets[owner] < k
    x, owner = x[first], owner[first]
    n_owners = len(offsets) - 1
    sums = np.bincount(owner, weights=entr(x) + entr(1.0 - x), minlength=n_owners)
    counts = np.minimum(np.diff(offsets), k)
    return np.where(counts > 0, np.minimum(sums / np.maximum(counts, 1), np.log(2.0)), -np.inf)


@strategy("us")
class UncertaintySampling:
    """Entropy of a video's proposal scores (P2, section 3.3).

    ``mode="histogram"``: entropy of the histogram of all scores, the paper's; it measures how widely the scores
    spread, not how close they are to one half. ``mode="binary"``: mean binary entropy of the ``k`` highest
    scores, which does. A video without proposals scores ``-inf``.

    Args:
        bins: of the histogram on [0, 1].
        mode: see above.
        k: how many of the highest scores ``mode="binary"`` looks at; the stage-wise model keeps 10.
    """

    name: ClassVar[str]
    heads: ClassVar[frozenset[str]] = frozenset({"actionness"})

    def __init__(self, bins: int = 10, mode: Literal["histogram", "binary"] = "histogram", k: int = 10) -> None:
        if bins < 2 or k < 1:
            raise UsageError(f"strategy 'us': bins must be at least 2 and k at least 1, not {bins} and {k}")
        if mode not in ("histogram", "binary"):
            raise UsageError(f"strategy 'us': mode must be 'histogram' or 'binary', not {mode!r}")
        self.bins = bins
        self.mode = mode
        self.k = k

    @property
    def bound(self) -> float:
        """The highest score there is."""
        return float(np.log(self.bins if self.mode == "histogram" else 2))

    def score(self, items: Sequence[Item], context: Context) -> Scores:
        """Entropies in [0, `bound`], natural logarithm."""
        value = np.full(len(items), -np.inf)
        for block in context.blocks(items, self.heads):
            value[block.positions] = self._score_block(block)
        return Scores(value)

    def _score_block(self, block: Block) -> NDArray[np.float64]:
        values, owner = block.arrays["actionness"], block.owner("actionness")
        broken = owner[np.isnan(values)]
        if len(broken):
            values = np.nan_to_num(values)
        if self.mode == "histogram":
            scores = histogram_entropy(bin_counts(values, owner, len(block.positions), self.bins))
        else:
            scores = top_binary_entropy(values, block.offsets["actionness"], owner, self.k)
        scores[broken] = np.nan
        return scores

    def reason(self, index: int, score: float) -> str:
        if self.mode == "binary":
            what = f"undecided about its {self.k} best proposals: mean entropy"
        elif score <= 0:
            return "all its proposals score alike (entropy 0); drawn at random among such videos"
        else:
            what = "spread of its proposals' scores: entropy"
        return f"{what} {score:.3f} of at most {self.bound:.3f}"
