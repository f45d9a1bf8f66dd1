"""What the pages say can be typed and followed: every command parses, every link leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer
from docs_helpers import PAGES, ROOT, blocks, commands

from kloc.cli import app

#: The pages that the program makes hold usages, not commands.
TYPED = [page for page in PAGES if page.name not in ("commands.md", "settings.md", "formats.md")]
ROOT_COMMAND: Any = typer.main.get_command(app)


def names(pages: list[Path]) -> list[str]:
    return [page.relative_to(ROOT).as_posix() for page in pages]


def typed(page: Path) -> Iterator[list[str]]:
    """Every `kloc ...` line of a page: in blocks, and in backticks within its prose."""
    text = page.read_text(encoding="utf-8")
    for block in blocks(page):
        if block.language in ("", "shell", "console"):
            yield from commands(block.text)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for inline in re.findall(r"`(kloc [^`]+)`", prose):
        yield from commands(inline.replace("\\|", "|"))


def what_is_wrong(words: list[str]) -> str | None:
    """Why typer would refuse these words; ``None`` if they are a command whose options all exist."""
    command: Any = ROOT_COMMAND
    words = [word for word in words if word not in ("&", "...", "…")]
    while words and words[0].startswith("--") and words[0] in option_names(command):
        words = words[1:]
    while hasattr(command, "commands"):
        if not words or words[0].isupper():
            return None  # only the group is named, or a placeholder stands for the command
        if words[0] not in command.commands:
            return f"there is no command {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    unknown = [
        word for word in words if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in option_names(command)
    ]
    return f"has no option {unknown[0]}" if unknown else None


def option_names(command: Any) -> set[str]:
    """Every way to write an option of a command."""
    return {"--help", "-h"} | {name for p in command.params for name in (*p.opts, *p.secondary_opts)}


@pytest.mark.parametrize("page", TYPED, ids=names(TYPED))
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    wrong = {" ".join(["kloc", *words]): what_is_wrong(words) for words in typed(page)}
    assert {line: why for line, why in wrong.items() if why} == {}


def test_a_wrong_command_is_found() -> None:
    assert what_is_wrong(["selct"]) == "there is no command 'selct'"
    assert what_is_wrong(["crowd", "invites", "Ada"]) == "there is no command 'invites'"
    assert what_is_wrong(["select", "--btach", "3"]) == "has no option --btach"
    assert what_is_wrong(["--debug", "select", "--batch=3", "-w", "DIR"]) is None
    assert sum(1 for _ in typed(ROOT / "docs" / "guide.md")) > 20


def anchors(page: Path) -> set[str]:
    """The names under which a page's headings can be linked to."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = [*re.findall(r"\]\(([^)\s]+)", text), *re.findall(r"(?:src|srcset|href)=\"([^\"]+)\"", text)]
    dead = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_every_page_can_be_found_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if page.relative_to(ROOT).as_posix() not in readme] == []


def test_the_readme_begins_with_what_to_type() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    first = lines[:30]
    assert "pip install uv && uv run kloc demo" in first
    assert "pip install uv && uv run pytest" in first


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "pictures").glob("*")), ids=lambda path: path.name)
def test_a_picture_is_small_and_shown(picture: Path) -> None:
    assert picture.stat().st_size < 200_000
    assert any(picture.name in page.read_text(encoding="utf-8") for page in PAGES)
