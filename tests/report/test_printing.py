"""What class names and ids hold never reaches a terminal as a command, nor breaks a line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kloc.cli import app
from kloc.cli.console import console, show
from kloc.pipeline.telling import Summary
from kloc.printing import printable

EVIL = "\x1b[31mred\x1b]0;pwn\x07\nnew\x9b2J[bold]x"
SHOWN = "\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}]0;pwn"


def _files(folder: Path) -> tuple[Path, Path]:
    rows = [{"label": EVIL, "segment": [1, 3]}]
    truth, predictions = folder / "truth.json", folder / "predictions.json"
    entry = {"subset": "validation", "duration": 9, "annotations": rows}
    truth.write_text(json.dumps({"database": {"v\x1b[2J\n": entry, EVIL: {**entry, "duration": 8}}}))
    found = [{"label": label, "segment": [1, 3], "score": 0.5} for label in (EVIL, "\x1b[7mother")]
    predictions.write_text(json.dumps({"results": {"v\x1b[2J\n": found, "\x1b[1mw\n": found}}))
    return truth, predictions


@pytest.mark.parametrize("command", ["evaluate", "diff", "stats"])
def test_names_of_files_are_not_obeyed(command: str, tmp_path: Path) -> None:
    truth, predictions = _files(tmp_path)
    after = tmp_path / "after.json"
    after.write_text(truth.read_text().replace("[1, 3]", "[1, 4]").replace("new", "old"))
    second = {"evaluate": [predictions], "diff": [after], "stats": []}[command]
    done = CliRunner().invoke(app, [command, *map(str, (truth, *second))], env={"COLUMNS": "80"})
    assert "pwn" in done.output
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.output)
    assert not re.search(r"^(new|old)", done.output, re.MULTILINE)  # what follows the line break in the name


def test_facts_problems_and_hints_are_each_one_line() -> None:
    with console.capture() as captured:
        show(Summary("s", {f"a{EVIL[:5]}": EVIL}, [EVIL], hint=EVIL))
    assert "\x1b" not in captured.get()
    assert len(captured.get().splitlines()) == 3
    assert captured.get().count(SHOWN) == 3


def test_what_is_no_command_stays() -> None:
    assert printable("héé 走る 🏃‍♀️\u00a0[bold]") == "héé 走る 🏃‍♀️\u00a0[bold]"
    assert printable("a\nb\x85c\u2028d\u202ee\ud800") == "a�b�c�d�e�"
