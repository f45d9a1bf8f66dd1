"""All answers of a campaign, laid out flat: a question is one class of one item, a mark one segment of one worker."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

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
    """``ordered``: by item, worker, assignment. ``index``: numbers of the workers.

    Of several answers of one worker to one question the first counts, of equal segments one. Raises
    :class:`KlocError` for a label outside ``classes`` or outside what the worker was asked.
    """
    known = set(classes)
    said: dict[tuple[Item, str], dict[int, list[tuple[float, float]]]] = {}
    for answer in ordered:
        strange = {s.label for s in answer.segments}.difference(answer.classes) | set(answer.classes) - known
        if strange:
            raise KlocError(f"assignment {answer.assignment_id}: class {min(strange)!r} was not asked about")
        worker = index[answer.worker_id]
        for label in set(answer.classes):
            of_label = [(s.start, s.end) for s in answer.segments if s.label == label and s.end > s.start]
            said.setdefault((answer.item, label), {}).setdefault(worker, of_label)
    keys = sorted(said)
    asked = np.full((len(keys), max(map(len, said.values()), default=1)), -1)
    rows: list[tuple[int, int, float, float]] = []
    for question, key in enumerate(keys):
        for slot, (worker, pairs) in enumerate(sorted(said[key].items())):
            asked[question, slot] = worker
            rows += [(question, slot, low, high) for low, high in set(pairs)]
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
