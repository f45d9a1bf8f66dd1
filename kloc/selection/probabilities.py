"""What the newest model thinks of a video as a whole: one class distribution per item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kloc.records import Item
from kloc.selection.base import Context
from kloc.shards import Block


class Distribution(NamedTuple):
    """Class distributions of ``n`` items.

    p: float64 ``(n, K)``, rows sum to 1; NaN where there is no prediction.
    classes: names of the first columns; a last column beyond them is "no action".
    """

    p: NDArray[np.float64]
    classes: tuple[str, ...]


def class_distribution(items: Sequence[Item], context: Context) -> Distribution:
    """The mean of each video's class distributions over all positions of all levels, actions first, background last.

    Scores of sigmoid models are scaled to sum to 1. Where no level has any scores: (mean actionness, 1 - mean), without
    class names.

    Raises:
        UsageError: there are no predictions.
    """
    source = context.predictions
    levels = tuple(getattr(source, "levels", ()))
    classes = tuple(getattr(source, "classes", context.classes))
    p = np.full((len(items), len(classes) + 1), np.nan)
    for block in context.blocks(items, frozenset({"levels"})):
        columns = [column for column in sorted(block.arrays) if column.startswith("levels.")]
        background = {info.column: info.background for info in levels}
        sums = np.zeros((len(block.positions), len(classes) + 1))
        for column in columns:
            scores = block.arrays[column]
            default = len(classes) if scores.shape[1] > len(classes) else None
            rows = _actions_first(scores, background.get(column, default))
            if rows.shape[1] == len(classes) + 1:
                sums += _sum_by_item(rows, block.offsets[column])
        total = sums.sum(axis=1, keepdims=True)
        known = np.isfinite(total[:, 0]) & (total[:, 0] > 0)
        p[block.positions[known]] = sums[known] / total[known]
    if np.isnan(p).all():
        return Distribution(_actionness(items, context), ())
    return Distribution(p, classes)


def _actions_first(scores: NDArray[np.floating], background: int | None) -> NDArray[np.float64]:
    """Rows ``(T, C + 1)`` that sum to 1, the background's column last, 0 where the level has none."""
    x = scores.astype(np.float64)
    last = np.zeros((len(x), 1)) if background is None else x[:, [background]]
    x = np.hstack([x if background is None else np.delete(x, background, axis=1), last])
    total = x.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(x, total, out=np.zeros_like(x), where=total > 0)
    return shares


def _sum_by_item(rows: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    sums = np.zeros((len(offsets) - 1, rows.shape[1]))
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled):
        sums[filled] = np.add.reduceat(rows, offsets[:-1][filled], axis=0)
    return sums


def _actionness(items: Sequence[Item], context: Context) -> NDArray[np.float64]:
    mean = np.full(len(items), np.nan)
    for block in context.blocks(items, frozenset({"actionness"})):
        mean[block.positions] = _mean(block)
    return np.column_stack([mean, 1.0 - mean])


def _mean(block: Block) -> NDArray[np.float64]:
    values = np.clip(block.arrays["actionness"].astype(np.float64), 0.0, 1.0)[:, None]
    counts = block.lengths("actionness")
    sums = _sum_by_item(values, block.offsets["actionness"])[:, 0]
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
