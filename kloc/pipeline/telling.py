"""How a stage tells what it does: progress while it runs, one screen at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol


class Reporter(Protocol):
    """Where a stage tells how far it is. The command line draws bars; tests and libraries stay silent."""

    def start(self, what: str, total: int) -> None: ...

    def advance(self, count: int = 1) -> None: ...

    def finish(self) -> None: ...

    def say(self, line: str) -> None: ...


class Silent:
    """A reporter that says nothing."""

    def start(self, what: str, total: int) -> None:
        """Nothing to draw."""

    def advance(self, count: int = 1) -> None:
        """Nothing to draw."""

    def finish(self) -> None:
        """Nothing to draw."""

    def say(self, line: str) -> None:
        """Nobody listens."""


@dataclass(frozen=True)
class Summary:
    """What a stage did, on one screen: facts with their values, problems as sentences, a hint at the next step."""

    stage: str
    facts: dict[str, Any]
    problems: list[str] = field(default_factory=list)
    hint: str = ""
    #: More than fits a screen, for ``--json``.
    data: dict[str, Any] = field(default_factory=dict)
    #: Whether everything was up to date and nothing was done.
    idle: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"stage": self.stage, **self.facts, **self.data, "problems": self.problems, "hint": self.hint}


def shortened(lines: list[str], where: str = "with --json", keep: int = 5) -> list[str]:
    """The first few problems, how many more there are, and where all of them are."""
    if len(lines) <= keep:
        return lines
    return [*lines[:keep], f"... and {len(lines) - keep} more (all of them {where})"]
