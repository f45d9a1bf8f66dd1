"""All answers of a campaign, laid out flat: a question is one class of one item, a mark one segment of one worker."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from kloc.crowd.consolidation.records import WorkerAnswer
from kloc.errors import KlocError
from kloc.records import Item

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: So many pairs are looked at in one go: it bounds memory, and the result does not depend on it.
MOST_PAIRS = 1_000_000


@dataclass(frozen=True, slots=True)
class Questions:
    """keys: sorted. asked: worker indices ``(Q, K)``, ascending, -1 behind the last. spans: seconds ``(Q,)``."""

    keys: list[tuple[Item, str]]
    asked: Ints
    spans: Floats


@dataclass(frozen=True, slots=True)
class Marks:
    """Segments ``(N,)`` in canonical order: by question, low, high, slot.

    question: index of the question. slot: column of the worker in ``Questions.asked``. low, high: seconds.
    """

    question: Ints
    slot: Ints
    low: Floats
    high: Floats

    def __len__(self) -> int:
        return len(self.question)

    def __getitem__(self, index: Bools | Ints) -> Marks:
        return Marks(self.question[index], self.slot[index], self.low[index], self.high[index])

    def sorted(self) -> Marks:
        return self[np.lexsort((self.slot, self.high, self.low, self.question))]


def lay_out(
    ordered: Sequence[WorkerAnswer], classes: Collection[str], index: Mapping[str, int]
) -> tuple[Questions, Marks]:
    """``ordered``: by item, worker, assignment. ``index``: numbers of the workers, in their order.

    Of several answers of one worker to one question the first counts, of equal segments one. Raises
    :class:`KlocError` for a label outside ``classes`` or outside what the worker was asked.
    """
    known = set(classes)
    keys: list[tuple[Item, str]] = []
    everybody: list[list[int]] = []
    rows: list[tuple[int, int, float, float]] = []
    for item, group in groupby(ordered, key=lambda answer: answer.item):
        said: dict[str, dict[int, set[tuple[float, float]]]] = {}
        for answer in group:
            pairs: dict[str, set[tuple[float, float]]] = {label: set() for label in answer.classes}
            strange = {s.label for s in answer.segments}.difference(pairs) | pairs.keys() - known
            if strange:
                raise KlocError(f"assignment {answer.assignment_id}: class {min(strange)!r} was not asked about")
            for s in answer.segments:
                if s.end > s.start:
                    pairs[s.label].add((s.start, s.end))
            for label, marked in pairs.items():
                said.setdefault(label, {}).setdefault(index[answer.worker_id], marked)
        for label, by_worker in sorted(said.items()):
            for slot, marked in enumerate(by_worker.values()):
                rows += [(len(keys), slot, low, high) for low, high in marked]
            keys.append((item, label))
            everybody.append(list(by_worker))
    asked = np.full((len(keys), max(map(len, everybody), default=1)), -1)
    for question, workers in enumerate(everybody):
        asked[question, : len(workers)] = workers
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    marks = Marks(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2], table[:, 3])
    return Questions(keys, asked, np.array([item.duration for item, _ in keys])), marks.sorted()


def members(question: Ints, of: Ints) -> Iterator[tuple[Ints, Ints]]:
    """All ``(i, j)`` where row ``j`` is of the question ``question[i]``; ``of``: the questions of the rows, ascending.

    In portions of about :data:`MOST_PAIRS`; every ``i`` is wholly in one of them.
    """
    first, last = np.searchsorted(of, question, "left"), np.searchsorted(of, question, "right")
    counts = last - first
    portion = np.cumsum(counts) // MOST_PAIRS
    edges = [0, *(np.flatnonzero(np.diff(portion)) + 1).tolist(), len(question)]
    for low, high in pairwise(edges):
        here = counts[low:high]
        i = np.repeat(np.arange(low, high), here)
        within = np.arange(len(i)) - np.repeat(np.cumsum(here) - here, here)
        yield i, first[i] + within
