"""Which segments of several workers mean the same occurrence: average-link clustering by tIoU."""

from __future__ import annotations

import numpy as np

from kloc.crowd.consolidation.marks import Bools, Floats, Ints, Marks

#: Average similarities are compared after rounding: ties on paper must not be decided by the last bit.
DECIMALS = 12
#: Groups of equal size are clustered together, as many at once as have so many pairs.
MOST_CELLS = 1_000_000


def cluster(marks: Marks, threshold: float) -> Ints:
    """For each mark the index of the first mark of its cluster, ``(N,)``.

    Marks of one question with an average-link tIoU of at least ``threshold`` (above 0); a cluster holds at most one
    mark per worker. The two most similar clusters merge first; of equally similar pairs the one whose earliest
    members come first.
    """
    root = np.arange(len(marks))
    part = _connected(marks)
    sizes = np.bincount(part)
    first = np.cumsum(sizes) - sizes
    order = np.argsort(part, kind="stable")
    for n in np.unique(sizes[sizes > 1]):
        starts = first[sizes == n]
        at_once = max(MOST_CELLS // int(n * n), 1)
        for begin in range(0, len(starts), at_once):
            index = order[starts[begin : begin + at_once, None] + np.arange(n)]
            found = _agglomerate(marks.low[index], marks.high[index], marks.slot[index], threshold)
            root[index] = np.take_along_axis(index, found, axis=1)
    return root


def _connected(marks: Marks) -> Ints:
    """Numbers of the groups of marks that hang together by overlap: nothing can merge across a gap."""
    if not len(marks):
        return np.zeros(0, dtype=np.int64)
    shift = marks.question * (marks.high.max() - marks.low.min() + 1.0)
    reach = np.maximum.accumulate(marks.high + shift)
    apart = marks.low[1:] + shift[1:] >= reach[:-1]
    return np.concatenate([[0], np.cumsum(apart)])


def _agglomerate(low: Floats, high: Floats, slot: Ints, threshold: float) -> Ints:
    """Cluster each row of ``(B, n)`` for itself; the column of the first member of each one's cluster, ``(B, n)``."""
    b, n = low.shape
    shared = np.minimum(high[:, :, None], high[:, None]) - np.maximum(low[:, :, None], low[:, None])
    shared = np.maximum(shared, 0.0)
    length = high - low
    # sums[:, i, j] is the sum of tIoU over all pairs between cluster i and cluster j.
    sums = shared / (length[:, :, None] + length[:, None] - shared)
    sizes = np.ones((b, n))
    allowed = slot[:, :, None] != slot[:, None]
    average = np.where(_above_diagonal(n) & allowed, np.round(sums, DECIMALS), -1.0)
    root = np.tile(np.arange(n), (b, 1))
    live, column = np.arange(b), np.arange(n)
    while len(live):
        best = average[live].reshape(len(live), -1).argmax(axis=1)  # the first of equal ones: the lowest pair
        i, j = np.divmod(best, n)
        on = average[live, i, j] >= threshold
        live, i, j = live[on], i[on], j[on]
        root[live] = np.where(root[live] == j[:, None], i[:, None], root[live])
        sums[live, i] += sums[live, j]
        sums[live, :, i] += sums[live, :, j]
        sizes[live, i] += sizes[live, j]
        both = allowed[live, i] & allowed[live, j]
        allowed[live, i] = allowed[live, :, i] = both
        allowed[live, j] = allowed[live, :, j] = False
        mean = np.round(sums[live, i] / (sizes[live, i][:, None] * sizes[live]), DECIMALS)
        fresh = np.where(allowed[live, i], mean, -1.0)
        average[live, j] = average[live, :, j] = -1.0
        average[live, i] = np.where(column > i[:, None], fresh, -1.0)
        average[live, :, i] = np.where(column < i[:, None], fresh, -1.0)
    return root


def _above_diagonal(n: int) -> Bools:
    return np.triu(np.ones((n, n), dtype=bool), 1)
