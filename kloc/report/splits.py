"""Reproducible splits: classes in equal shares everywhere, groups never torn apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from kloc.errors import UsageError
from kloc.records import SUBSETS, Subset

#: Shares of training, validation and testing unless others are given.
DEFAULT_SHARES: tuple[float, float, float] = (0.6, 0.2, 0.2)


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

    Iterative stratification (Sechidis et al., 2011) over groups: the rarest class is dealt out first, each group
    to the subset that still lacks that class most. The result depends on the generator's seed and the data,
    not on the order of ``labels``. Raises UsageError for impossible shares.
    """
    wanted = np.asarray(shares, np.float64)
    if len(wanted) != len(SUBSETS) or (wanted < 0).any() or abs(float(wanted.sum()) - 1) > 1e-6:
        raise UsageError(f"shares of training, validation and testing must sum to 1, not {list(shares)}")
    members: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for video_id in sorted(labels):
        named = groups is not None and video_id in groups
        members[(named, groups[video_id] if named and groups is not None else video_id)].append(video_id)
    keys = sorted(members)
    order = [keys[int(i)] for i in rng.permutation(len(keys))]
    content = {key: Counter(label for v in members[key] for label in set(labels[v])) for key in order}
    need = {label: wanted * n for label, n in sum(content.values(), Counter[str]()).items()}
    room = wanted * len(labels)
    result: dict[str, Subset] = {}
    left = dict.fromkeys(order)
    while left:
        remaining = sum((content[key] for key in left), Counter[str]())
        label = min(remaining, key=lambda c: (remaining[c], c)) if remaining else None
        batch = [key for key in left if label is None or content[key][label]]
        # Large groups first: they fit nowhere once the subsets are nearly full.
        for key in sorted(batch, key=lambda k: -len(members[k])):
            subset = _place(need.get(label) if label is not None else None, room, wanted)
            for video_id in members[key]:
                result[video_id] = SUBSETS[subset]
            room[subset] -= len(members[key])
            for name, count in content[key].items():
                need[name][subset] -= count
            del left[key]
    return {video_id: result[video_id] for video_id in sorted(result)}


def _place(need: np.ndarray | None, room: np.ndarray, wanted: np.ndarray) -> int:
    """The subset that lacks the class most, then the one with most room, then the first."""
    allowed = [i for i in range(len(wanted)) if wanted[i] > 0]
    return max(allowed, key=lambda i: (0.0 if need is None else round(float(need[i]), 9), round(float(room[i]), 9), -i))


def leaks(subsets: Mapping[str, str], groups: Mapping[str, str]) -> list[str]:
    """One sentence for each group that lies in more than one subset; an empty list is good news."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for video_id in sorted(subsets):
        if video_id in groups:
            found[groups[video_id]][subsets[video_id]].append(video_id)
    sentences = []
    for group in sorted(found):
        if len(found[group]) > 1:
            parts = [f"{subset}: {', '.join(ids[:3])}" for subset, ids in sorted(found[group].items())]
            sentences.append(f"group {group!r} lies in {len(parts)} subsets ({'; '.join(parts)})")
    return sentences
