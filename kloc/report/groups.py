"""Which videos belong together: what is seen in one of them would give away another one in a test."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, urlsplit

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

#: Two videos are near-duplicates where the cosine of their pooled and standardised features lies above this. Chosen on
#: 90 clips of UCF101: no two scenes come as close, and of clips copied at half the size and compressed again most do.
ALIKE = 0.8
#: So many videos are compared with so many others at a time.
_BLOCK = 1024
#: Everybody's videos lie there: the host says nothing about who made them.
_PLATFORMS = (
    "youtube.com", "youtu.be", "youtube-nocookie.com", "vimeo.com", "dailymotion.com", "tiktok.com", "instagram.com",
    "facebook.com", "bilibili.com", "flickr.com", "twitter.com", "x.com", "archive.org", "wikimedia.org",
)  # fmt: skip
#: A clip of a longer video as Kinetics' crawlers name it: the video's id, its start and its end.
_KINETICS = re.compile(r"(?:v_)?([A-Za-z0-9_-]{11})_\d{6}_\d{6}")

Keys = dict[str, str]


@dataclass(frozen=True)
class Group:
    """Videos, sorted, that must lie in one subset, and why."""

    videos: tuple[str, ...]
    because: tuple[str, ...]


def join(ties: Mapping[str, Mapping[str, str]]) -> list[Group]:
    """Groups of at least two videos out of ties: a reason, and a key for each video it says something about.

    Two videos of one key belong together, and so do those that a third one ties to each other. Groups come in the
    order of their first videos, reasons in the order of ``ties``.
    """
    ids = sorted({v for keys in ties.values() for v in keys})
    number = {v: i for i, v in enumerate(ids)}
    together = [
        (reason, sorted(number[v] for v in videos))
        for reason, keys in ties.items()
        for videos in _by_key(keys).values()
        if len(videos) > 1
    ]
    pairs = np.array([(own[0], other) for _, own in together for other in own[1:]], np.int64).reshape(-1, 2)
    of = _connected(len(ids), pairs[:, 0], pairs[:, 1])
    reasons: dict[int, list[str]] = defaultdict(list)
    for reason, own in together:
        known = reasons[int(of[own[0]])]
        if reason not in known:
            known.append(reason)
    members: dict[int, list[str]] = defaultdict(list)
    for video_id, group in zip(ids, of.tolist(), strict=True):
        members[group].append(video_id)
    return [Group(tuple(members[g]), tuple(reasons[g])) for g in sorted(reasons, key=lambda g: members[g][0])]


def _by_key(keys: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for video_id in sorted(keys):
        found[keys[video_id]].append(video_id)
    return found


def near_duplicates(ids: Sequence[str], pooled: NDArray[np.float32], above: float = ALIKE, block: int = _BLOCK) -> Keys:
    """Videos whose features are nearly the same: the first of its group for each video that has another.

    pooled: mean features ``(V, D)`` in the order of ``ids``. Each dimension is brought to mean 0 and deviation 1 over
    all videos, since features of networks point into one half of space and few of their dimensions are large.
    Compared block by block: memory grows with V times D, not with V squared.
    """
    deviation = pooled.std(axis=0, dtype=np.float64)
    varies = deviation > 1e-6 * float(np.abs(pooled).max(initial=0.0))
    rows = pooled - pooled.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows *= np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0).astype(np.float32)
    length = np.linalg.norm(rows, axis=1)
    plain = length <= 1e-4  # the mean itself: alike to one another and to nothing else
    rows /= np.where(plain, 1.0, length)[:, None]
    rows[plain] = 0
    alone = np.flatnonzero(plain)
    of = _connected(len(ids), alone[:-1], alone[1:])
    for i in range(0, len(ids), block):
        for j in range(i, len(ids), block):
            a, b = np.nonzero(rows[i : i + block] @ rows[j : j + block].T > above)
            one, two = of[a + i], of[b + j]
            if (one != two).any():
                of = _connected(len(ids), one, two)[of]
    first: dict[int, str] = {}
    for video_id, group in sorted(zip(ids, of.tolist(), strict=True)):
        first.setdefault(group, video_id)
    count = np.bincount(of, minlength=1)
    return {v: first[g] for v, g in zip(ids, of.tolist(), strict=True) if count[g] > 1}


def _connected(n: int, one: NDArray[np.int64], two: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of each node's component in a graph of ``n`` nodes with edges ``one[i], two[i]``."""
    graph = coo_array((np.ones(len(one), np.float64), (one, two)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def same_source(urls: Mapping[str, str | None]) -> Keys:
    """The longer video or page each video was taken from, where its URL or its name (as Kinetics' are) tells."""
    found = {}
    for video_id, url in urls.items():
        named = _KINETICS.fullmatch(video_id)
        key = _source(_parts(url)) or (f"youtube {named.group(1)}" if named else "")
        if key:
            found[video_id] = key
    return found


def same_channel(urls: Mapping[str, str | None]) -> Keys:
    """The uploader's channel, where the URL names it."""
    found = {v: _channel(_parts(url)) for v, url in urls.items()}
    return {v: key for v, key in found.items() if key}


def same_host(urls: Mapping[str, str | None]) -> Keys:
    """The site each video comes from; nothing for those that everybody's videos lie on."""
    found = {v: _host(_parts(url)) for v, url in urls.items()}
    return {v: host for v, host in found.items() if host and not _on(host, _PLATFORMS)}


def _parts(url: str | None) -> SplitResult | None:
    try:
        parts = urlsplit((url or "").strip())
        return parts if parts.hostname else None
    except ValueError:
        return None


def _host(parts: SplitResult | None) -> str:
    return "" if parts is None else (parts.hostname or "").removeprefix("www.").removeprefix("m.")


def _on(host: str, names: Sequence[str]) -> bool:
    return any(host == name or host.endswith(f".{name}") for name in names)


def _source(parts: SplitResult | None) -> str:
    if parts is None:
        return ""
    host, query = _host(parts), parse_qs(parts.query)
    steps = [step for step in parts.path.split("/") if step]
    if _on(host, ("youtube.com", "youtube-nocookie.com")) and query.get("v"):
        return f"youtube {query['v'][0]}"
    if _on(host, ("youtube.com", "youtube-nocookie.com")) and len(steps) == 2 and steps[0] in ("embed", "shorts", "v"):
        return f"youtube {steps[1]}"
    if host == "youtu.be" and steps:
        return f"youtube {steps[0]}"
    return f"{host}{parts.path}?{parts.query}"


def _channel(parts: SplitResult | None) -> str:
    if parts is None:
        return ""
    host, steps = _host(parts), [step for step in parts.path.split("/") if step]
    if steps and steps[0].startswith("@"):
        return f"{host}/{steps[0]}"
    if len(steps) > 1 and steps[0] in ("channel", "user", "c"):
        return f"{host}/{steps[0]}/{steps[1]}"
    named = parse_qs(parts.query).get("ab_channel")
    return f"{host}/@{named[0]}" if named else ""
