"""Reproducible splits: classes in equal shares everywhere, groups never torn apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from kloc.errors import UsageError
from kloc.records import SUBSETS, Subset
from kloc.report.groups import Group

#: Shares of training, validation and testing unless others are given.
DEFAULT_SHARES: tuple[float, float, float] = (0.6, 0.2, 0.2)
#: A small set is dealt out so many times, a large one less often, since its groups are small beside it.
_DEALS, _DEALT_AT_MOST = 64, 20_000
#: Among more groups no pair is looked for: single ones are small enough to come as close.
_SWAPPED_AT_MOST = 300

Floats = NDArray[np.float64]


def split(
    labels: Mapping[str, Sequence[str]],
    rng: np.random.Generator,
    *,
    shares: Sequence[float] = DEFAULT_SHARES,
    groups: Mapping[str, str] | None = None,
) -> dict[str, Subset]:
    """Put every video into training, validation or testing.

    labels: classes of each video (video-level labels, or those of its instances); may be empty for a video.
    shares: of training, validation, testing; sum to 1, a share of 0 leaves that subset empty.
    groups: group of a video (its source, its uploader); a group is never divided. Videos without an entry are
        groups of their own.

    Minimises `deviation`: groups are dealt out one by one, in every other deal those that hold most of a class first,
    each to the subset that lacks its classes most (as in the iterative stratification of Sechidis et al., 2011); then
    groups move and change places as long as that helps. The best of several deals counts. The result depends on the
    generator's seed and the data, not on the order of ``labels``. Raises UsageError for impossible shares.
    """
    wanted = np.asarray(shares, np.float64)
    if len(wanted) != len(SUBSETS) or (wanted < 0).any() or abs(float(wanted.sum()) - 1) > 1e-6:
        raise UsageError(f"shares of training, validation and testing must sum to 1, not {list(shares)}")
    if not labels:
        return {}
    members: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for video_id in sorted(labels):
        group = (groups or {}).get(video_id)
        members[(group is not None, video_id if group is None else group)].append(video_id)
    keys = sorted(members)
    held = _held([[labels[v] for v in members[key]] for key in keys])
    n_deals = max(1, min(_DEALS, _DEALT_AT_MOST // len(keys)))
    deals = [_deal(held, wanted, rng.permutation(len(keys)), largest_first=i % 2 == 0) for i in range(n_deals)]
    _, best = min(deals, key=lambda deal: round(deal[0], 12))
    return {v: SUBSETS[best[i]] for i, key in enumerate(keys) for v in members[key]}


def _held(groups: Sequence[Sequence[Sequence[str]]]) -> csr_array:
    """What share of every class, and of all videos (the last column), each group holds: ``(G, C + 1)``."""
    classes = sorted({label for videos in groups for video in videos for label in video})
    column = {label: i for i, label in enumerate(classes)}
    found = [
        (row, at)
        for row, videos in enumerate(groups)
        for video in videos
        for at in (*sorted({column[label] for label in video}), len(classes))
    ]
    rows, columns = np.array(found, np.int64).T
    totals = np.bincount(columns)
    table = csr_array((1 / totals[columns], (rows, columns)), shape=(len(groups), len(totals)))
    table.sum_duplicates()
    return table


def _deal(
    held: csr_array, wanted: Floats, order: NDArray[np.int64], *, largest_first: bool
) -> tuple[float, NDArray[np.int64]]:
    """One deal: the sum of squared differences to the shares that are wanted, and the subset of every group."""
    # What each subset has too much of; forbidden ones stay out of the sum.
    allowed = np.flatnonzero(wanted > 0)
    excess = np.repeat(-wanted[allowed, None], held.shape[1], axis=1)
    size = np.asarray(held.multiply(held).sum(axis=1)).ravel()
    placed = np.zeros(held.shape[0], np.int64)
    if largest_first:
        order = order[np.argsort(-size[order], kind="stable")]
    for group in order.tolist():
        low, high = held.indptr[group], held.indptr[group + 1]
        at, share = held.indices[low:high], held.data[low:high]
        placed[group] = int(np.argmin((excess[:, at] @ share).round(12)))
        excess[placed[group], at] += share
    _improve(held, size, excess, placed)
    return float((excess**2).sum()), allowed[placed]


def _improve(held: csr_array, size: Floats, excess: Floats, placed: NDArray[np.int64]) -> None:
    """Move single groups, then change two for each other, as long as it helps; ``excess``, ``placed`` are changed."""
    every = np.arange(len(placed))
    pull = held @ excess.T
    # Half of what a change of two groups costs because of what they have in common.
    common = (held @ held.T).toarray() if len(placed) <= _SWAPPED_AT_MOST else None

    def move(group: int, subset: int) -> None:
        row = held[[group]].toarray().ravel()
        for to, sign in ((subset, 1), (placed[group], -1)):
            excess[to] += sign * row
            pull[:, to] += sign * (held @ row)
        placed[group] = subset

    for _ in range(2 * len(placed)):
        gain = pull - pull[every, placed][:, None]
        change = (gain + size[:, None]).round(12)
        change[every, placed] = 0
        one, subset = divmod(int(np.argmin(change)), change.shape[1])
        if change[one, subset] < 0:
            move(one, subset)
            continue
        if common is None:
            break
        across = gain[:, placed]
        swap = (across + across.T + size[:, None] + size - 2 * common).round(12)
        one, two = divmod(int(np.argmin(swap)), len(placed))
        if swap[one, two] >= 0:
            break
        there, here = int(placed[two]), int(placed[one])
        move(one, there)
        move(two, here)


def deviation(labels: Mapping[str, Sequence[str]], subsets: Mapping[str, str], shares: Sequence[float]) -> float:
    """How far a split is from the shares that were asked for: 0 is perfect.

    The root of the mean squared difference between a class's share of videos in a subset and that subset's share,
    over all subsets and all classes; all videos together count as one more class.
    """
    held = _held([[labels[v]] for v in sorted(labels)])
    inside = np.array([[subsets[v] == s for s in SUBSETS] for v in sorted(labels)], np.float64)
    found = held.T @ inside
    return float(np.sqrt(np.mean((found - np.asarray(shares)) ** 2)))


def leaks(subsets: Mapping[str, str], groups: Iterable[Group]) -> list[str]:
    """One sentence for each group that lies in more than one subset; an empty list is good news."""
    sentences = []
    for group in groups:
        found: dict[str, list[str]] = defaultdict(list)
        for video_id in group.videos:
            if video_id in subsets:
                found[subsets[video_id]].append(video_id)
        if len(found) > 1:
            parts = [
                f"{subset}: {', '.join(ids[:3])}" + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
                for subset, ids in sorted(found.items())
            ]
            sentences.append(f"{' and '.join(group.because)} in {len(parts)} subsets ({'; '.join(parts)})")
    return sentences
