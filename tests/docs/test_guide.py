"""The guide's commands are typed as they stand there, in a fresh folder with small videos."""

from __future__ import annotations

import os
import shutil
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docs_helpers import ROOT, blocks, commands, kloc

from kloc.config import template

GUIDE = ROOT / "docs" / "guide.md"
#: Where the guide's people work: a test has none, so that the answers of its two rounds are simulated.
PEOPLE = "kloc run --rounds 2 --batch 3 --simulate ../truth.json"
#: Only quicker than the defaults.
SETTINGS = {"general.name": "jumps", "general.workers": 1, "features.fps": 1.0}


@dataclass(frozen=True)
class Walk:
    """The workspace in which the guide ends, and what each command said."""

    root: Path
    said: dict[str, str]


@pytest.fixture(scope="module")
def walk(campaign_files: Any, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    folder = tmp_path_factory.mktemp("guide") / "fresh"
    shutil.copytree(campaign_files.folder, folder)
    typed: list[str] = []
    for block in blocks(GUIDE):
        if block.language == "shell":
            typed += block.text.replace("\\\n", " ").splitlines()
        elif "kloc ingest --watch" in block.text:
            typed.append(PEOPLE)
    said: dict[str, str] = {}
    with chdir(folder):
        for line in typed:
            if line.startswith("cd "):
                os.chdir(line.removeprefix("cd "))
                Path("kloc.toml").write_text(template(**SETTINGS), encoding="utf-8")
            for words in commands(line):
                said[" ".join(words)] = kloc(*words)
        return Walk(Path.cwd(), said)


def test_the_guide_ends_with_a_published_dataset(walk: Walk) -> None:
    dataset, reports = walk.root / "dataset", walk.root / "reports"
    for made in (dataset / "README.md", dataset / "annotations.json", dataset / "croissant.json"):
        assert made.stat().st_size > 0
    assert list((dataset / "data").glob("*.parquet"))
    assert {"statistics.html", "evaluation.html", "report.html"} <= {page.name for page in reports.glob("*.html")}
    assert "none" in next(line for line in walk.said["diff dataset"].splitlines() if line.startswith("difference"))


def test_what_the_guide_makes_of_simulated_answers_says_so(walk: Walk) -> None:
    for page in ("README.md", "annotations.json"):
        assert "simulated" in (walk.root / "dataset" / page).read_text(encoding="utf-8")
    for page in ("statistics.html", "report.html"):
        assert "imulated" in (walk.root / "reports" / page).read_text(encoding="utf-8")
