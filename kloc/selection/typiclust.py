"""TypiClust: typical videos of different kinds, for the first batches, before a model knows anything."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.neighbors import NearestNeighbors

from kloc.errors import UsageError
from kloc.records import Item
from kloc.selection.base import Context, Scores, strategy
from kloc.selection.keys import item_keys
from kloc.selection.pooled import annotated_features, unit_features
from kloc.threads import one_thread

#: Above so many clusters plain k-means gets slow and the paper takes mini-batches.
SMALL = 50
#: Two copies of one video are this near: a mean distance of 0 would make typicality infinite.
NEAREST = 1e-6


@strategy("typiclust")
class TypiClust:
    """Typicality within clusters of pooled features (Hacohen et al., ICML 2022, algorithm 1).

    Annotated and pool videos are put into ``min(n_annotated + batch, max_clusters)`` clusters. The next pick comes from
    the cluster with fewest annotated and picked videos, of those the largest; in it the video with the highest
    typicality: 1 / mean distance to its ``neighbours`` nearest neighbours of the cluster. Needs no predictions; a
    video without usable features scores ``-inf``. Follow its clusters with a policy that does (``top``).

    Args:
        neighbours: see above.
        max_clusters: see above.
    """

    name: ClassVar[str]
    heads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, neighbours: int = 20, max_clusters: int = 500) -> None:
        if neighbours < 1 or max_clusters < 1:
            raise UsageError(
                f"strategy 'typiclust': neighbours and max_clusters are at least 1, not {neighbours} and {max_clusters}"
            )
        self.neighbours = neighbours
        self.max_clusters = max_clusters
        self._group: NDArray[np.int64] = np.zeros(0, np.int64)
        self._covered: NDArray[np.int64] = np.zeros(0, np.int64)
        self._size: NDArray[np.int64] = np.zeros(0, np.int64)

    def score(self, items: Sequence[Item], context: Context) -> Scores:
        """Typicalities and clusters.

        Raises:
            UsageError: there are no features.
        """
        # Sorted by key: clusters must not depend on the pool's order, which is often sorted by class.
        order = np.argsort(item_keys(items, context.seed, "typiclust"), kind="stable")
        rows, usable, n_nan = unit_features([items[i] for i in order], context, "strategy 'typiclust'")
        places = order[usable]
        if n_nan:
            context.note(f"{n_nan} of {len(items)} videos have NaN features; they are picked last")
        value = np.full(len(items), -np.inf)
        self._group = np.full(len(items), -1, np.int64)
        self._covered = self._size = np.zeros(0, np.int64)
        if len(places):
            known = annotated_features(context)
            n_known = 0 if known is None else len(known)
            everything = rows if known is None else np.concatenate([known, rows])
            wanted = min(n_known + max(context.batch, 1), self.max_clusters, len(everything))
            with one_thread():  # sums in one order: the same clusters on any number of cores
                labels = self._clusters(everything, wanted, context)
                own = labels[n_known:]
                value[places] = self._typicality(rows, own)
            self._group[places] = own
            self._covered = np.bincount(labels[:n_known], minlength=wanted)
            self._size = np.bincount(labels, minlength=wanted)
        return Scores(value, self._group.copy())

    @staticmethod
    def _clusters(x: NDArray[np.float32], count: int, context: Context) -> NDArray[np.int64]:
        state = int(context.rng("typiclust").integers(2**31))
        if count <= SMALL:
            model = KMeans(count, n_init=1, random_state=state)
        else:
            model = MiniBatchKMeans(count, n_init=1, batch_size=5000, random_state=state)
        labels: NDArray[np.int64] = model.fit_predict(x).astype(np.int64)
        return labels

    def _typicality(self, x: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
        value = np.zeros(len(x))
        members = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
        for own in members:
            if len(own) < 2:
                continue  # alone in its cluster, like nothing else: the least typical there is
            count = min(self.neighbours, len(own) - 1)
            distances, _ = NearestNeighbors(n_neighbors=count).fit(x[own]).kneighbors()
            value[own] = 1.0 / np.maximum(distances.mean(axis=1), NEAREST)
        return value

    def next_group(self, open_groups: Collection[int]) -> int | None:
        """Of the clusters that still have videos to offer the one with fewest annotated and picked videos.

        Of equals the largest.
        """
        open_ = np.fromiter(open_groups, np.int64, len(open_groups))
        if not len(open_):
            return None
        return int(open_[np.lexsort((open_, -self._size[open_], self._covered[open_]))[0]])

    def picked(self, index: int) -> None:
        """Count a pick for its cluster."""
        group = self._group[index]
        if group >= 0:
            self._covered[group] += 1

    def reason(self, index: int, score: float) -> str:
        group = self._group[index]
        return f"typical of {self._size[group]} videos that look alike (typicality {score:.2f})"
