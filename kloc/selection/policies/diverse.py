"""A batch whose videos differ from each other: the farthest first, or drawn by squared distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from kloc.errors import UsageError
from kloc.records import Item
from kloc.selection.base import Context, Scores, Strategy
from kloc.selection.policies.base import Walk, Walker, best_first, in_order, policy
from kloc.selection.pooled import annotated_features, unit_features
from kloc.selection.probabilities import class_distribution
from kloc.threads import one_thread


class Space(Protocol):
    """Points that can say how far all of them are from one of them."""

    def __len__(self) -> int: ...

    def to(self, index: int) -> NDArray[np.floating]:
        """Squared distances of all points to one, ``(n,)``."""
        ...


class Sphere:
    """Points of length 1, float32 ``(n, D)``."""

    def __init__(self, x: NDArray[np.float32]) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def to(self, index: int) -> NDArray[np.float32]:
        """Squared distances, in [0, 4]."""
        return self.to_point(self.x[index])

    def to_point(self, point: NDArray[np.float32]) -> NDArray[np.float32]:
        """Squared distances to any point of length 1."""
        distances: NDArray[np.float32] = self.x @ point
        distances *= -2.0
        distances += 2.0
        np.maximum(distances, 0.0, out=distances)
        return distances

    def to_nearest(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Squared distances to the nearest of many points ``(m, D)`` of length 1."""
        nearest = np.full(len(self.x), -1.0, np.float32)
        for low in range(0, len(points), 256):  # bounded memory, whatever is annotated
            np.maximum(nearest, (self.x @ points[low : low + 256].T).max(axis=1), out=nearest)
        distances: NDArray[np.float32] = np.maximum(2.0 - 2.0 * nearest, 0.0)
        return distances


class Gradients:
    """BADGE's gradient embeddings ``a_i x x_i`` (outer products) without ever making them.

    The squared distance of two of them is ``|a|^2 |x|^2 + |b|^2 |y|^2 - 2 (a.b)(x.y)``: two small products instead
    of vectors with C x D numbers.

    Args:
        p: class distributions, float64 ``(n, K)``.
        x: features of length 1, float32 ``(n, D)``.
    """

    def __init__(self, p: NDArray[np.float64], x: NDArray[np.float32]) -> None:
        self.x = x
        self.a = p.astype(np.float32)
        self.a[np.arange(len(p)), p.argmax(axis=1)] -= 1.0
        self.norms = np.einsum("ij,ij->i", self.a, self.a) * np.einsum("ij,ij->i", x, x)

    def __len__(self) -> int:
        return len(self.x)

    def to(self, index: int) -> NDArray[np.float32]:
        """Squared distances of all gradient embeddings to one."""
        product: NDArray[np.float32] = self.x @ self.x[index]
        product *= self.a @ self.a[index]
        product *= -2.0
        product += self.norms
        product += self.norms[index]
        np.maximum(product, 0.0, out=product)
        return product


def farthest_first(space: Space, near: NDArray[np.float32] | None = None) -> Walk:
    """k-center greedy: always the point farthest from all centres (Sener and Savarese, ICLR 2018).

    Args:
        space: the points; the first one comes first where there are no centres yet, and wins ties.
        near: squared distance of each point to the nearest centre so far; ``None`` without centres.
    """
    near = np.full(len(space), np.inf, np.float32) if near is None else near.copy()
    for _ in range(len(space)):
        index = int(near.argmax())
        taken = yield index
        if taken:
            np.minimum(near, space.to(index), out=near)
        near[index] = -1.0  # never again


def drawn_by_distance(
    space: Space, rng: np.random.Generator, near: NDArray[np.float32] | None = None, first: int = 0
) -> Walk:
    """k-means++ seeding: each point is drawn with a probability that grows with its squared distance to the centres.

    Args:
        space: the points.
        rng: draws.
        near: squared distance to the nearest centre so far; ``None`` without centres: then ``first`` comes first.
        first: see ``near``.
    """
    left = np.ones(len(space), bool)
    started = near is not None
    near = np.full(len(space), np.inf, np.float32) if near is None else near.copy()
    for _ in range(len(space)):
        if started:
            index = _draw(near, left, rng)
        else:
            index = first if left[first] else int(left.argmax())
        taken = yield index
        left[index] = False
        if taken:
            started = True
            np.minimum(near, space.to(index), out=near)
        near[index] = 0.0


def _draw(near: NDArray[np.float32], left: NDArray[np.bool_], rng: np.random.Generator) -> int:
    total = np.cumsum(near, dtype=np.float64)
    draw = rng.random()
    if total[-1] > 0:
        index = int(np.searchsorted(total, draw * total[-1], side="right"))
        if index < len(near) and left[index] and near[index] > 0:
            return index
    # Only copies of centres are left (or the draw fell on the last bit): take them in their order.
    return int(np.where(left, near, -1.0).argmax())


def _renamed(walk: Walk, names: NDArray[np.int64]) -> Walk:
    position = next(walk, None)
    while position is not None:
        taken = yield int(names[position])
        try:
            position = walk.send(taken)
        except StopIteration:
            return


@policy("diverse")
class Diverse(Walker):
    """Good scores that are not all alike: first the best-scored candidates, then different ones among them.

    ``method="k-center"``: always the candidate farthest from all annotated and picked videos, the best score first
    where nothing is annotated (core-set). ``"k-means++"``: drawn by squared distance to them. ``"badge"``: drawn by
    squared distance between gradient embeddings, which are long where the model is unsure (Ash et al., ICLR 2020,
    algorithm 1, with the video's mean features and mean class distribution); before the first predictions it is
    k-means++. Distances are between pooled features of length 1. Candidates without usable features come after those
    with, by score; then the rest of the pool, ``-inf`` last.

    Args:
        method: see above.
        prefilter: candidates are the best ``prefilter x batch`` scored items; 0 or none: the whole pool.
    """

    name: ClassVar[str]

    def __init__(
        self, method: Literal["k-center", "k-means++", "badge"] = "k-center", prefilter: int | None = 10
    ) -> None:
        if prefilter is not None and prefilter < 0:
            raise UsageError(f"policy 'diverse': prefilter is a multiple of the batch, 0 for no limit, not {prefilter}")
        self.method = method
        self.prefilter = prefilter or 0

    def walk(self, items: Sequence[Item], scores: Scores, expected: int, strategy: Strategy, context: Context) -> Walk:
        """Candidates by diversity, then everything else by score."""
        value = scores.value
        scored = np.flatnonzero(~np.isneginf(value))
        count = self.prefilter * max(expected, 1) if self.prefilter else len(scored)
        # By score and key, so that nothing below depends on the pool's order.
        candidates, _ = best_first(items, value, scored, count, context.seed)
        # Sums in one order: the same batch on any number of cores.
        with one_thread():
            if len(candidates):
                rows, usable, n_nan = unit_features([items[i] for i in candidates], context, "policy 'diverse'")
                if n_nan:
                    context.note(
                        f"{n_nan} of {len(candidates)} candidates have NaN features; they come after the others"
                    )
                walk, candidates = self._walk(items, rows, candidates[usable], context)
                yield from _renamed(walk, candidates)
        done = np.zeros(len(items), bool)
        done[candidates] = True
        yield from in_order(items, value, np.flatnonzero(~done), context.seed, expected)

    def _walk(
        self, items: Sequence[Item], rows: NDArray[np.float32], candidates: NDArray[np.int64], context: Context
    ) -> tuple[Walk, NDArray[np.int64]]:
        """Positions of candidates, and the candidates they stand for."""
        method = self.method
        if method == "badge" and context.predictions is not None and len(context.predictions):
            return self._badge(items, rows, candidates, context)
        if method == "badge":
            context.note("no predictions yet: 'diverse,method=badge' draws by distance alone, as k-means++ does")
            method = "k-means++"
        space = Sphere(rows)
        centres = annotated_features(context)
        near = None if centres is None else space.to_nearest(centres)
        if method == "k-center":
            return farthest_first(space, near), candidates
        return drawn_by_distance(space, context.rng("diverse", method), near), candidates

    def _badge(
        self, items: Sequence[Item], rows: NDArray[np.float32], candidates: NDArray[np.int64], context: Context
    ) -> tuple[Walk, NDArray[np.int64]]:
        p = class_distribution([items[i] for i in candidates], context).p
        known = np.flatnonzero(np.isfinite(p).all(axis=1))
        if not len(known):
            raise UsageError("policy 'diverse,method=badge' needs predictions of the candidates; run `kloc predict`")
        space = Gradients(p[known], rows[known])
        # As in the paper's code, the longest gradient begins: the video the model is least sure of.
        first = int(space.norms.argmax())
        return drawn_by_distance(space, context.rng("diverse", "badge"), None, first), candidates[known]
