"""The reference pages say what the program says today, and nothing of it goes without an explanation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from kloc.cli import app
from kloc.cli.reference import PAGES

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_says_what_the_program_says(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8") if (DOCS / name).exists() else ""
    assert written == PAGES[name](), f"docs/{name} is out of date; run: uv run python -m kloc.cli.reference docs"


def every_command(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if hasattr(command, "commands"):
            yield from every_command(command, f"{path} {name}")


def test_every_command_and_every_option_explains_itself() -> None:
    root: Any = typer.main.get_command(app)
    commands = list(every_command(root, "kloc"))
    assert len(commands) > 30
    silent = [name for name, command in commands if not (command.help or "").strip()]
    everything = [*commands, ("kloc", root)]
    silent += [f"{name} {p.name}" for name, c in everything for p in c.params if not (p.help or "").strip()]
    assert silent == [], "give them a help text"
    page = PAGES["commands.md"]()
    missing = [
        f"{name} {option}"
        for name, command in commands
        for parameter in command.params
        if parameter.param_type_name == "option"
        for option in parameter.opts
        if f"### {name}\n" not in page or option not in page
    ]
    assert missing == []
