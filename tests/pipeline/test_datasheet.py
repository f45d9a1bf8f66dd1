"""The datasheet's questions: asked once, kept where people can edit them, never in the way."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from kloc.errors import UsageError
from kloc.pipeline import datasheet, pool
from kloc.workspace import Workspace

TEXTS = [
    "One.",
    'Several\nlines "quoted" \\ back\\slashed',
    "\x7f \x00 \u2028 😀",
    '"""',
    "[section]\nkey = 1",
    "# not a comment",
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    pool.init(tmp_path / "w")
    return Workspace.open(tmp_path / "w")


def test_the_file_holds_every_question_and_is_valid_toml(workspace: Workspace) -> None:
    datasheet.keep(workspace)
    text = (workspace.root / datasheet.FILE).read_text()
    raw = tomllib.loads(text)
    assert {f"{section}.{name}" for section, table in raw.items() for name in table} == set(datasheet.QUESTIONS)
    flat = " ".join(line.removeprefix("# ") for line in text.splitlines())
    assert all(question in flat for question in datasheet.QUESTIONS.values())
    assert not any(one.answer for one in datasheet.answers(workspace))


@pytest.mark.parametrize("text", TEXTS)
def test_answers_are_kept_as_they_were_given(workspace: Workspace, text: str) -> None:
    datasheet.keep(workspace, {"uses.done": text})
    datasheet.keep(workspace, {"motivation.purpose": "x"})
    kept = {one.key: one.answer for one in datasheet.answers(workspace)}
    assert (kept["uses.done"], kept["motivation.purpose"]) == (text.strip(), "x")


def test_what_was_edited_by_hand_stays(workspace: Workspace) -> None:
    path = workspace.root / datasheet.FILE
    path.write_text('[uses]\ndone = """\nby\nhand"""\n')
    datasheet.keep(workspace)
    assert path.read_text().startswith("[uses]"), "a file that is there is not written anew"
    datasheet.keep(workspace, {"uses.suitable": "more"})
    kept = {one.key: one.answer for one in datasheet.answers(workspace)}
    assert (kept["uses.done"], kept["uses.suitable"]) == ("by\nhand", "more")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[uses]\ndonne = 'x'", "did you mean 'uses.done'?"),
        ("[nonsense]\nx = 'y'", "known: motivation.purpose"),
        ("done = 'x'", "outside the sections"),
        ("[uses]\ndone = 3", "is no text"),
        ("[uses\n", "cannot be read as TOML"),
    ],
)
def test_a_broken_file_is_named_with_what_to_do(workspace: Workspace, text: str, told: str) -> None:
    (workspace.root / datasheet.FILE).write_text(text)
    with pytest.raises(UsageError, match=r"datasheet\.toml: .*" + told.replace("?", r"\?")):
        datasheet.answers(workspace)


def asking(*answers: str) -> tuple[list[str], Callable[[str, int, int], str]]:
    """Questions as they are put, and what answers them in turn; then the input ends."""
    put: list[str] = []
    left = iter(answers)

    def answer(question: str, number: int, count: int) -> str:
        put.append(question)
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return put, answer


def test_a_question_is_put_until_it_is_answered_and_never_again(workspace: Workspace) -> None:
    put, answer = asking("because", "  ", "nobody")
    assert datasheet.ask(workspace, answer) == 2
    assert len(put) == 4, "three answers, then the input ended"
    again, silent = asking()
    datasheet.ask(workspace, silent)
    assert again == [put[1]], "the first open one is the one that was left open"
    kept = {one.question: one.answer for one in datasheet.answers(workspace)}
    assert [kept[q] for q in put[:3]] == ["because", "", "nobody"]


def test_ask_never_blocks_without_a_terminal(workspace: Workspace) -> None:
    command = [sys.executable, "-m", "kloc", "card", "--ask", "-w", str(workspace.root)]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert "--ask needs a terminal; give --answers FILE.toml" in result.stderr.replace("\n", " ")


def test_ask_in_a_terminal(workspace: Workspace) -> None:
    """Typed answers are kept even where the card then cannot be written, and Ctrl-D stops."""
    here, there = pty.openpty()
    os.write(here, b"To jump.\n\nA grant.\n\x04")
    command = [sys.executable, "-m", "kloc", "card", "--ask", "-w", str(workspace.root)]
    result = subprocess.run(command, stdin=there, capture_output=True, text=True, timeout=120)
    os.close(here)
    os.close(there)
    assert "nothing is annotated yet" in result.stderr
    assert f"1/{len(datasheet.QUESTIONS)}" in result.stdout
    kept = {one.key: one.answer for one in datasheet.answers(workspace)}
    assert [kept[key] for key in list(datasheet.QUESTIONS)[:4]] == ["To jump.", "", "A grant.", ""]
