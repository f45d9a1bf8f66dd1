"""Who marked what: the table of candidates that presence and boundaries are judged from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kloc.crowd.consolidation.boundaries import middle
from kloc.crowd.consolidation.cluster import cluster
from kloc.crowd.consolidation.marks import Bools, Floats, Ints, Marks, Questions
from kloc.crowd.consolidation.repair import held_together, joined


@dataclass(frozen=True, slots=True)
class Candidates:
    """One row per cluster, one column per worker who was asked, ``(N, K)``.

    question: ``(N,)``. who: worker index, -1 where nobody was asked. vote: they marked it. heard: their vote or its
    absence tells something. low, high: their boundaries; inf where they gave none.
    """

    question: Ints
    who: Ints
    vote: Bools
    heard: Bools
    low: Floats
    high: Floats

    def __len__(self) -> int:
        return len(self.question)

    @property
    def whole(self) -> Bools:
        """Who marked both boundaries."""
        return np.isfinite(self.low) & np.isfinite(self.high)

    def shares(self) -> Floats:
        """Share of those who were asked that marked it, ``(N,)``."""
        return np.asarray(self.vote.sum(axis=1) / np.maximum((self.who >= 0).sum(axis=1), 1))

    def medians(self) -> tuple[Floats, Floats]:
        """Starts and ends ``(N,)`` by those who marked both: so each start lies before its end."""
        return middle(self.low, self.whole), middle(self.high, self.whole)


def plain(questions: Questions, marks: Marks, tiou: float) -> Candidates:
    """Clusters of the marks as they are."""
    return _tabulate(questions, marks, tiou)[0]


def repaired(questions: Questions, marks: Marks, tiou: float) -> Candidates:
    """Clusters of the marks after splits are joined; a mark that holds several occurrences votes for each of them.

    Such a mark gives the start of the first and the end of the last. Of what lies between, its vote tells nothing:
    it would cover anything there.
    """
    n_slots = questions.asked.shape[1]
    marks = joined(marks, n_slots)
    whole, part = held_together(marks, n_slots)
    keep = np.ones(len(marks), dtype=bool)
    keep[whole] = False
    found, of_mark = _tabulate(questions, marks[keep], tiou)
    row = of_mark[(np.cumsum(keep) - 1)[part]]
    whole, row = np.unique(np.stack([whole, row]), axis=1)
    order = np.lexsort((row, found.medians()[0][row], whole))
    whole, row = whole[order], row[order]
    first, last = np.diff(whole, prepend=-1) != 0, np.diff(whole, append=-1) != 0
    slot = marks.slot[whole]
    # A mark of the worker's own for this very candidate says more, and of several wholes the first counts.
    fresh = np.zeros(len(whole), dtype=bool)
    fresh[np.unique(row * n_slots + slot, return_index=True)[1]] = True
    fresh &= ~found.vote[row, slot]
    for at_end, side, given in ((first, found.low, marks.low), (last, found.high, marks.high)):
        on = fresh & at_end
        side[row[on], slot[on]] = given[whole[on]]
    found.vote[row[fresh], slot[fresh]] = (first | last)[fresh]
    found.heard[row[fresh], slot[fresh]] = (first | last)[fresh]
    return found


def _tabulate(questions: Questions, marks: Marks, tiou: float) -> tuple[Candidates, Ints]:
    """The clusters of the marks, and of each mark the row of its cluster."""
    roots, row = np.unique(cluster(marks, tiou), return_inverse=True)
    question = marks.question[roots]
    who = questions.asked[question]
    low, high = np.full(who.shape, np.inf), np.full(who.shape, np.inf)
    low[row, marks.slot], high[row, marks.slot] = marks.low, marks.high
    return Candidates(question, who, np.isfinite(low), who >= 0, low, high), row
