"""Which segments of several workers mean the same occurrence: average-link clustering by tIoU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kloc.segments import pairwise_tiou

#: Average similarities are compared after rounding: ties on paper must not be decided by the last bit.
DECIMALS = 12


def cluster(segments: NDArray[np.float64], workers: Sequence[int], threshold: float) -> list[tuple[int, ...]]:
    """Group ``segments`` (float64 ``(N, 2)``, seconds) by average-link tIoU of at least ``threshold``.

    ``workers`` gives for each segment who marked it; a cluster holds at most one segment per worker. The two most
    similar clusters merge first; of equally similar pairs the one whose earliest members come first, so give the
    segments in a canonical order. Returns sorted tuples of indices, ordered by their first index.
    """
    groups: list[tuple[int, ...]] = []
    for part in _connected(segments):
        found = _agglomerate(segments[part], [workers[i] for i in part], threshold)
        groups += [tuple(part[i] for i in group) for group in found]
    return sorted(groups)


def _connected(segments: NDArray[np.float64]) -> list[list[int]]:
    """Indices of segments that hang together by overlap: nothing can merge across a gap."""
    parts: list[list[int]] = []
    reach = -np.inf
    for index in np.lexsort((segments[:, 1], segments[:, 0])):
        if segments[index, 0] >= reach:
            parts.append([])
        parts[-1].append(int(index))
        reach = max(reach, segments[index, 1])
    return [sorted(part) for part in parts]


def _agglomerate(segments: NDArray[np.float64], workers: Sequence[int], threshold: float) -> list[tuple[int, ...]]:
    n = len(segments)
    members: list[list[int]] = [[i] for i in range(n)]
    # sums[i, j] is the sum of tIoU over all pairs between cluster i and cluster j.
    sums = pairwise_tiou(segments, segments)
    sizes = np.ones(n)
    owner = np.asarray(workers)
    allowed = owner[:, None] != owner[None, :]
    average = np.where(np.triu(allowed, 1), np.round(sums, DECIMALS), -1.0)
    while n > 1:
        best = int(np.argmax(average))  # the first of equal ones: the lowest pair of indices
        i, j = divmod(best, n)
        if average[i, j] < threshold:
            break
        members[i] = sorted(members[i] + members[j])
        members[j] = []
        sums[i] += sums[j]
        sums[:, i] += sums[:, j]
        sizes[i] += sizes[j]
        allowed[i] &= allowed[j]
        allowed[:, i] = allowed[i]
        allowed[j] = False
        allowed[:, j] = False
        fresh = np.where(allowed[i], np.round(sums[i] / (sizes[i] * sizes), DECIMALS), -1.0)
        average[j] = average[:, j] = -1.0
        average[i, i + 1 :] = fresh[i + 1 :]
        average[:i, i] = fresh[:i]
    return [tuple(group) for group in members if group]
