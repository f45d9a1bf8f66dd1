"""Which candidates are real, and how far each worker is to be believed: expectation maximisation over everything.

Instances occur at a rate per question; a worker marks each with their sensitivity. False alarms come at a worker's
own rate per question and fall anywhere, so that one meets a candidate with about the share of the video that the
candidate covers: two random segments hardly coincide, two marks over the whole video always do. Hence a candidate
with voters V is real with the odds::

    rate x share x prod_V s / (f x share) x prod_others (1 - s) / (1 - f x share)

and because workers err together more often than independent coins would, the logarithm of these counts for three
quarters (:data:`EVIDENCE`; chosen on simulated workers with development seeds, by calibration).
Two candidates of a class that overlap, and that fewer workers marked both than one alone, exclude each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kloc.crowd.consolidation.candidates import Candidates
from kloc.crowd.consolidation.marks import Floats, Ints, Questions, members
from kloc.crowd.consolidation.records import ConsolidationSettings

#: Candidates exclude each other if they share more than this of the shorter.
RIVAL_SHARE = 0.3
#: No candidate is so short that a false alarm meets it less often: boundaries are not that sharp.
LEAST_SHARE = 0.05
#: What the log odds of independent workers are worth.
EVIDENCE = 0.75
#: At least this share of the workers marks more than half of what is there in a crowd that is believed.
CREDIBLE = 0.25
#: Evidence beyond these log odds adds nothing.
SURE = 30.0


@dataclass(frozen=True, slots=True)
class Presence:
    """posterior: ``(N,)``. sensitivity, false_alarms (per question): per worker."""

    posterior: Floats
    sensitivity: Floats
    false_alarms: Floats

    @property
    def credible(self) -> bool:
        """Whether enough workers mark more than half of what is there.

        Where hardly anybody does, the crowd cannot be told from one that marks at random, whose chance meetings pass
        for instances that most overlook.
        """
        return bool(len(self.sensitivity) and np.quantile(self.sensitivity, 1 - CREDIBLE) > 0.5)


@dataclass(frozen=True, slots=True)
class Known:
    """What gold tells. truth ``(N,)``: 1 real, 0 not, NaN unknown. questions ``(Q,)``: 1 where gold covers it.
    overlooked: per worker the gold instances that no candidate shows."""

    truth: Floats
    questions: Floats
    overlooked: Floats


def presence(questions: Questions, c: Candidates, known: Known, settings: ConsolidationSettings) -> Presence:
    """What is to be believed of candidates and workers.

    A question that one worker alone answered says nothing about anybody: reliability learns from the others, and
    from gold. Instances that nobody marked are counted as often as they must be expected.
    """
    low, high = c.medians()
    n_workers, n_questions = len(known.overlooked), len(questions.keys)
    asked = questions.asked >= 0
    telling = np.where(asked.sum(axis=1) > 1, 1.0, known.questions)
    told = telling[c.question][:, None]
    who, heard, vote = np.maximum(c.who, 0), c.heard, c.vote
    share = np.clip((high - low) / questions.spans[c.question], LEAST_SHARE, 1.0)[:, None]
    one, other = _rivals(c, low, high)
    everybody = np.maximum(questions.asked, 0)

    def of_candidates(values: Floats) -> Floats:
        return np.bincount(who[heard], weights=(values * told)[heard], minlength=n_workers).astype(np.float64)

    def of_questions(values: Floats) -> Floats:
        weights = np.broadcast_to((values * telling)[:, None], asked.shape)[asked]
        return np.bincount(everybody[asked], weights=weights, minlength=n_workers).astype(np.float64)

    answered = of_questions(np.ones(n_questions))
    fixed = ~np.isnan(known.truth)
    # At first a share of the votes, as if one more worker had marked it and one more had not.
    posterior = np.where(fixed, known.truth, (vote.sum(axis=1) + 1) / (asked.sum(axis=1)[c.question] + 2))
    marks = vote.sum() / max(asked.sum(), 1)
    usual = (settings.false_alarms[0] * marks, settings.false_alarms[1])
    sensitivity, false_alarms = np.full(n_workers, settings.sensitivity[0]), np.full(n_workers, usual[0])
    rate = 0.5
    for _ in range(settings.iterations):
        p = posterior[:, None]
        missed = np.where(asked, np.log1p(-sensitivity[everybody]), 0.0).sum(axis=1)
        unseen = rate * np.exp(missed) * (1 - known.questions)
        hits, real = of_candidates(p * vote), of_candidates(p * heard) + of_questions(unseen) + known.overlooked
        alarms = of_candidates((1 - p) * vote)
        sensitivity = _shrunk(hits, real, settings.sensitivity, settings.own_weight)
        false_alarms = _shrunk(alarms, answered, usual, settings.own_weight)
        rate = (1 + posterior.sum() + unseen.sum()) / (2 + n_questions)
        s, f = sensitivity[who], np.clip(false_alarms[who] * share, 1e-6, 0.9)
        evidence = np.where(vote, np.log(s / f), np.log((1 - s) / (1 - f)))
        log_odds = np.log(rate * share[:, 0]) + np.where(heard, evidence, 0.0).sum(axis=1)
        odds = np.exp(np.clip(EVIDENCE * log_odds, -SURE, SURE))
        against = np.bincount(one, weights=odds[other], minlength=len(c))
        posterior = np.where(fixed, known.truth, odds / (1 + odds + against))
    return Presence(posterior, sensitivity, false_alarms)


def _shrunk(hits: Floats, tries: Floats, prior: tuple[float, float], own_weight: float) -> Floats:
    """Each worker's rate, drawn to that of all workers together, and that to ``prior`` (rate, worth so many tries)."""
    mean = (prior[0] * prior[1] + hits.sum()) / (prior[1] + tries.sum())
    return np.asarray((own_weight * mean + hits) / (own_weight + tries))


def _rivals(c: Candidates, low: Floats, high: Floats) -> tuple[Ints, Ints]:
    """Ordered pairs of candidates that exclude each other. ``c.question`` ascends."""
    found: list[tuple[Ints, Ints]] = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
    whole = c.whole
    for i, j in members(c.question, c.question):
        shared = np.minimum(high[i], high[j]) - np.maximum(low[i], low[j])
        near = (i != j) & (shared > RIVAL_SHARE * np.minimum(high[i] - low[i], high[j] - low[j]))
        i, j = i[near], j[near]
        both, either = (whole[i] & whole[j]).sum(axis=1), (whole[i] | whole[j]).sum(axis=1)
        on = 2 * both <= either
        found.append((i[on], j[on]))
    one, other = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return one, other
