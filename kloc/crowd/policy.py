"""What kloc decides on answers by itself: whom it pays at once, whom it turns down, and what it leaves to a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.orm import Session

from kloc.crowd.agreement import match
from kloc.crowd.answers import is_report
from kloc.crowd.consolidate import from_stored
from kloc.crowd.verdicts import Decision
from kloc.store import crowd
from kloc.store.tables import AssignmentRow

#: Signs that together prove that nobody looked (see `kloc.crowd.answers`): none of them does alone.
NOBODY_LOOKED = frozenset({"hasty", "unwatched", "whole-video"})
_APPEAL = "If you think that this is a mistake, write to the requester."


@dataclass(frozen=True, slots=True)
class GoldRecord:
    """A worker on videos whose answer is known: how many, and the mean F1 at tIoU 0.5."""

    answers: int
    f1: float


def gold_records(session: Session) -> dict[str, GoldRecord]:
    """The gold record of every worker who has answered a gold task that could be read.

    What was turned down counts as well: a worker whose answers were does not go on with a clean record.
    """
    truth = crowd.gold(session)
    scores: dict[str, list[float]] = {}
    if truth:
        for answer in from_stored(crowd.answers(session, purpose="gold", rejected=True)):
            known = truth.get(answer.item)
            if known is not None:
                asked = [label for label in answer.classes if known.covers(label)]
                mine = [s for s in answer.segments if s.label in asked]
                right = [i for i in known.instances if i.label in asked]
                scores.setdefault(answer.worker_id, []).append(match(mine, right).f1)
    return {worker: GoldRecord(len(f1), sum(f1) / len(f1)) for worker, f1 in scores.items()}


@dataclass(frozen=True, slots=True)
class Policy:
    """The standing policy.

    approve: ``"readable"`` pays every answer that can be read; ``"quality"`` does the same but turns down what is
    proven to be spam; ``"manual"`` leaves everything to a person. grace_s: nothing is decided sooner after it came.
    gold_enough, gold_spam: so many gold tasks with a lower mean F1 are proof.
    """

    approve: Literal["readable", "quality", "manual"] = "readable"
    grace_s: float = 0.0
    gold_enough: int = 3
    gold_spam: float = 0.2

    def judge(
        self, row: AssignmentRow, duration: float, records: Mapping[str, GoldRecord], now: float
    ) -> tuple[Decision, str]:
        """The decision on an answer of a video of ``duration`` seconds, and why (a worker reads why not)."""
        if self.approve == "manual":
            return "hold", "a person decides"
        if is_report(row.problem):
            return "hold", "a report of a problem; a person decides"
        if row.problem is not None:
            return "hold", "cannot be read; a person decides"
        if now - (row.submitted_at or row.seen_at or now) < self.grace_s:
            return "hold", f"decided {self.grace_s / 3600:g} h after it was handed in"
        spam = self._spam(row, duration, records.get(row.worker_id)) if self.approve == "quality" else ""
        return ("reject", f"{spam} {_APPEAL}") if spam else ("approve", "can be read")

    def _spam(self, row: AssignmentRow, duration: float, record: GoldRecord | None) -> str:
        """Why the answer is proven to be spam; nothing where there is any doubt."""
        enough = record is not None and record.answers >= self.gold_enough
        if record is not None and enough and record.f1 < self.gold_spam:
            return (
                f"On {record.answers} videos whose right answer is known your marks agree with it by "
                f"{100 * record.f1:.0f} % (F1); below {100 * self.gold_spam:.0f} % answers are not accepted."
            )
        answer = row.answer or {}
        proven = set(answer.get("signs", ())) >= NOBODY_LOOKED
        if proven and not enough:  # who does well on enough gold has earned the benefit of the doubt
            return (
                f"One mark covers the whole video, it came after {answer['seconds_spent'] or 0:.0f} s of work on "
                f"{duration:.0f} s of video, and most of the video was not played."
            )
        return ""
