"""One occurrence marked as several, several marked as one: found by what the other workers do at the same place.

Two neighbouring marks of one worker claim that the class pauses between them. Every other worker who marked there
has a say: their mark goes through from the first to the second, or it stops at one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kloc.crowd.consolidation.boundaries import unit
from kloc.crowd.consolidation.marks import Bools, Floats, Ints, Marks, members

#: A mark that holds several is as long as they are together: tIoU with their extent.
SAME_TIOU = 0.7


@dataclass(frozen=True, slots=True)
class _Pauses:
    """Pairs of neighbours ``(P,)`` (indices of marks), whether the pause is there, and ``(pair, mark)`` of the marks
    that go through."""

    before: Ints
    after: Ints
    real: Bools
    pair: Ints
    through: Ints


def joined(marks: Marks, n_slots: int) -> Marks:
    """The marks with those put together that most workers who marked there have in one."""
    pauses = _pauses(marks, n_slots)
    order = _by_worker(marks)
    opens = np.ones(len(marks), dtype=bool)
    opens[pauses.after[~pauses.real]] = False
    first = np.flatnonzero(opens[order])
    if not len(first):
        return marks
    return Marks(
        marks.question[order][first],
        marks.slot[order][first],
        np.minimum.reduceat(marks.low[order], first),
        np.maximum.reduceat(marks.high[order], first),
    ).sorted()


def held_together(marks: Marks, n_slots: int) -> tuple[Ints, Ints]:
    """``(whole, part)`` for each mark that holds several which most workers who marked there have apart.

    A part never holds others itself; each whole has two parts at least, and about their extent: who marks the whole
    video has not merged anything.
    """
    pauses = _pauses(marks, n_slots)
    on = pauses.real[pauses.pair]
    pair, through = pauses.pair[on], pauses.through[on]
    links = np.concatenate([np.stack([through, side[pair]]) for side in (pauses.before, pauses.after)], axis=1)
    whole, part = np.unique(links, axis=1)
    holds = np.zeros(len(marks), dtype=bool)
    holds[through] = True
    plain = ~holds[part]
    whole, part = whole[plain], part[plain]
    low, high = np.full(len(marks), np.inf), np.full(len(marks), -np.inf)
    np.minimum.at(low, whole, marks.low[part])
    np.maximum.at(high, whole, marks.high[part])
    shared = np.minimum(high, marks.high) - np.maximum(low, marks.low)
    covered = np.maximum(high, marks.high) - np.minimum(low, marks.low)
    fits = (np.bincount(whole, minlength=len(marks)) > 1) & (shared >= SAME_TIOU * covered)
    return whole[fits[whole]], part[fits[whole]]


def _by_worker(marks: Marks) -> Ints:
    return np.lexsort((marks.high, marks.low, marks.slot, marks.question))


def _pauses(marks: Marks, n_slots: int) -> _Pauses:
    """The majority decides, the worker whose pause it is included. In a tie it is real where it is at least as long
    as the unit of boundary errors: who splits one occurrence in two leaves little between the halves."""
    order = _by_worker(marks)
    a, b = order[:-1], order[1:]
    same = (marks.question[a] == marks.question[b]) & (marks.slot[a] == marks.slot[b])
    a, b = a[same], b[same]
    balance = np.ones(len(a))
    found: list[tuple[Ints, Ints]] = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
    for pair, mark in members(marks.question[a], marks.question):
        other = marks.slot[mark] != marks.slot[a[pair]]
        pair, mark = pair[other], mark[other]
        through, stops = _says(marks, mark, a[pair], b[pair])
        found.append((pair[through], mark[through]))
        # One voice per worker, and none for those whose marks say both.
        voter = pair * n_slots + marks.slot[mark]
        yes, no = np.unique(voter[stops]), np.unique(voter[through])
        balance += np.bincount(np.setdiff1d(yes, no) // n_slots, minlength=len(a))
        balance -= np.bincount(np.setdiff1d(no, yes) // n_slots, minlength=len(a))
    long = marks.low[b] - marks.high[a] >= unit(marks.low[a], marks.high[b])
    pair, passing = (np.concatenate(parts) for parts in zip(*found, strict=True))
    real = (balance > 0) | ((balance == 0) & long)
    return _Pauses(before=a, after=b, real=real, pair=pair, through=passing)


def _says(marks: Marks, mark: Ints, a: Ints, b: Ints) -> tuple[Bools, Bools]:
    """Whether a mark goes through from ``a`` to ``b``, whether it stops at one of them: by which ends are nearer."""
    low, high = marks.low, marks.high
    from_a = low[mark] < (low[a] + low[b]) / 2
    to_b = high[mark] > (high[a] + high[b]) / 2
    through = from_a & to_b & (low[mark] < high[a]) & (high[mark] > low[b])
    stops = (from_a & ~to_b & _shares_half(marks, mark, a)) | (~from_a & to_b & _shares_half(marks, mark, b))
    return through, stops


def _shares_half(marks: Marks, one: Ints, other: Ints) -> Bools:
    """Whether two marks share more than half of the shorter."""
    length: Floats = marks.high - marks.low
    shared = np.minimum(marks.high[one], marks.high[other]) - np.maximum(marks.low[one], marks.low[other])
    return np.asarray(shared > 0.5 * np.minimum(length[one], length[other]))
