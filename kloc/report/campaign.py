"""What a campaign tells of a dataset: its rounds, who chose which video, what it cost. Plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RoundRow:
    """One round. minutes: of video. answers: that count. dollars: paid, with fees."""

    round: int
    strategy: str
    state: str
    videos: int
    minutes: float
    answers: int
    dollars: float


@dataclass(frozen=True)
class ChosenRow:
    """One video that a round chose. rank: in its strategy's order of the pool, 1 is first. minutes: of work on it."""

    video_id: str
    round: int
    strategy: str
    rank: int
    answers: int
    minutes: float | None
    dollars: float


@dataclass(frozen=True)
class Agreement:
    """Pairs of workers on the same video. Spreads: mean seconds between matched starts, and ends."""

    pairs: int
    f1: float | None
    alpha: float | None
    start_spread: float | None
    end_spread: float | None


@dataclass(frozen=True)
class Campaign:
    """All of it. missing: annotated or chosen videos whose file is not there, each with what is known about it."""

    simulated: bool
    rounds: tuple[RoundRow, ...]
    chosen: tuple[ChosenRow, ...]
    agreement: Agreement | None
    missing: tuple[str, ...]

    @property
    def dollars(self) -> float:
        """Paid in all rounds."""
        return sum(row.dollars for row in self.rounds)


def price(dollars: float) -> str:
    """For people: ``$1,200.50``, with the third decimal only where there is one."""
    return f"${dollars:,.3f}".removesuffix("0")
