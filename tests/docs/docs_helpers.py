"""What the tests of the documentation share: the pages, their code blocks, a small workspace."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from kloc.cli import app

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]


class Block(NamedTuple):
    """A fenced block of a page: its language (empty where none is said) and its text."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in their order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [Block(language, text) for language, text in found]


def commands(text: str) -> list[list[str]]:
    """The `kloc` lines of a shell block as argument lists, without comments; continued lines are joined."""
    lines = text.replace("\\\n", " ").splitlines()
    parts = [shlex.split(piece, comments=True) for line in lines for piece in re.split(r"\s&&\s", line)]
    return [words[1:] for words in parts if words and words[0] == "kloc"]


def kloc(*arguments: str | Path) -> str:
    """Run a command in this process, in the folder we are in; returns what it printed. Its errors are raised."""
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, f"kloc {' '.join(map(str, arguments))}: {result.output}"
    return result.output
