"""Uncertainty sampling on the scores of a video's proposals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

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


#: More would tell videos apart by nothing but chance, and the tables grow with them.
MAX_BINS = 1000
#: Rows read at once: below that Python's own time shows, above it the processor's cache overflows.
BLOCK_ROWS = 524_288
#: The bits of float16's 1.0: of the numbers from 0 to 1 the bits are ordered as the numbers are.
_ONE = 0x3C00
#: Sums of so many rounded entropies are exact in float64, so their order does not matter.
_EXACT = 2.0**44


def _bin_table(bins: int) -> NDArray[np.uint16]:
    """The bin of every float16 from 0 to 1, by its bits."""
    values = np.arange(_ONE + 1, dtype=np.uint16).view(np.float16)
    table: NDArray[np.uint16] = (
        bin_counts(values, np.arange(len(values)), len(values), bins).argmax(axis=1).astype("<u2")
    )
    return table


def _entropy_table() -> NDArray[np.float64]:
    """The binary entropy of every float16 from 0 to 1, by its bits."""
    p = np.arange(_ONE + 1, dtype=np.uint16).view(np.float16).astype(np.float64)
    return np.round((entr(p) + entr(1.0 - p)) * _EXACT) / _EXACT


def top_binary_entropy(
    values: NDArray[np.floating], offsets: NDArray[np.int64], k: int, table: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean binary entropy (natural, in [0, ln 2]) of each owner's ``k`` highest values; ``-inf`` where none.

    ``values`` lie in [0, 1]; ``table`` is `_entropy_table`, used where they are float16.
    """
    lengths = np.diff(offsets)
    sums = np.zeros(len(lengths))
    half = values.dtype == np.float16
    for owners, rows in _rows(values.view(np.uint16) if half else values.astype(np.float64), offsets):
        width = rows.shape[1]
        top = np.partition(rows, width - k, axis=1)[:, width - k :] if width > k else rows
        # Padding is 0 and so is the entropy of 0. The table's sums are exact, in whatever order the product makes them.
        entropies = np.take(table, top) if half else entr(top) + entr(1.0 - top)
        sums[owners] = entropies @ np.ones(entropies.shape[1]) if half else entropies.sum(axis=1)
    counts = np.minimum(lengths, k)
    return np.where(counts > 0, np.minimum(sums / np.maximum(counts, 1), np.log(2.0)), -np.inf)


def _rows(values: NDArray[Any], offsets: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """(owners, their values ``(m, width)`` filled up with zeros), owners of similar length together."""
    lengths = np.diff(offsets)
    everybody = np.arange(len(lengths))
    if len(lengths) and lengths[0] > 0 and (lengths == lengths[0]).all():
        yield everybody, values.reshape(len(lengths), int(lengths[0]))
        return
    power = np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64)
    for exponent in np.unique(power[lengths > 0]).tolist():
        owners = everybody[(power == exponent) & (lengths > 0)]
        own = lengths[owners]
        filled = np.arange(int(own.max())) < own[:, None]
        rows = np.zeros(filled.shape, values.dtype)
        rows[filled] = values[np.repeat(offsets[owners] - (np.cumsum(own) - own), own) + np.arange(int(own.sum()))]
        yield owners, rows


@strategy("us")
class UncertaintySampling:
    """Entropy of a video's proposal scores (P2, section 3.3).

    ``mode="histogram"``: entropy of the histogram of all scores, the paper's; it measures how widely the scores
    spread, not how close they are to one half. ``mode="binary"``: mean binary entropy of the ``k`` highest
    scores, which does. A video without proposals scores ``-inf``.

    Args:
        bins: of the histogram on [0, 1], at most `MAX_BINS`.
        mode: see above.
        k: how many of the highest scores ``mode="binary"`` looks at; the stage-wise model keeps 10.
    """

    name: ClassVar[str]
    heads: ClassVar[frozenset[str]] = frozenset({"actionness"})

    def __init__(self, bins: int = 10, mode: Literal["histogram", "binary"] = "histogram", k: int = 10) -> None:
        if not 2 <= bins <= MAX_BINS or k < 1:
            raise UsageError(f"strategy 'us': bins must be from 2 to {MAX_BINS:,} and k at least 1, not {bins} and {k}")
        if mode not in ("histogram", "binary"):
            raise UsageError(f"strategy 'us': mode must be 'histogram' or 'binary', not {mode!r}")
        self.bins = bins
        self.mode = mode
        self.k = k
        # float16 has so few values from 0 to 1 that looking a result up is faster than computing it.
        self._bins = _bin_table(bins)
        self._entropies = _entropy_table()

    @property
    def bound(self) -> float:
        """The highest score there is."""
        return float(np.log(self.bins if self.mode == "histogram" else 2))

    def score(self, items: Sequence[Item], context: Context) -> Scores:
        """Entropies in [0, `bound`], natural logarithm."""
        value = np.full(len(items), -np.inf)
        for block in context.blocks(items, self.heads, BLOCK_ROWS):
            value[block.positions] = self._score_block(block)
        return Scores(value)

    def _score_block(self, block: Block) -> NDArray[np.float64]:
        values, owner = block.arrays["actionness"], None
        broken: NDArray[np.int64] = np.zeros(0, np.int64)
        half = values.dtype == np.float16
        if not half or (len(values) and values.view(np.uint16).max() > _ONE):
            owner = block.owner("actionness")
            broken = owner[np.isnan(values)]
            values = (np.clip(np.nan_to_num(values), 0.0, 1.0) + 0.0).astype(values.dtype)
        if self.mode == "binary":
            scores = top_binary_entropy(values, block.offsets["actionness"], self.k, self._entropies)
        elif half:
            n, bins = len(block.positions), self.bins
            index = np.repeat(np.arange(0, n * bins, bins), block.lengths("actionness"))
            index += np.take(self._bins, values.view(np.uint16))
            scores = histogram_entropy(np.bincount(index, minlength=n * bins).reshape(n, bins))
        else:
            owner = block.owner("actionness") if owner is None else owner
            scores = histogram_entropy(bin_counts(values, owner, len(block.positions), self.bins))
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


@strategy("us-binary")
class BinaryUncertaintySampling(UncertaintySampling):
    """``us`` with ``mode="binary"`` under a name of its own: how close the best proposals are to one half.

    Args:
        k: how many of the highest scores it looks at.
    """

    def __init__(self, k: int = 10) -> None:
        super().__init__(mode="binary", k=k)
