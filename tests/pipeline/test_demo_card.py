"""The example in dataset_cards/demo/ is what the template makes of its facts (`python -m benchmarks.demo_card`)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.demo_card import EXAMPLE, FACTS
from kloc.formats import huggingface
from kloc.report.card import Card, render_card
from kloc.report.card_files import data_files
from kloc.report.card_pictures import draw
from kloc.report.croissant import croissant

MADE_BY = "make it again with `python -m benchmarks.demo_card`"


@pytest.fixture(scope="module")
def card() -> Card:
    return Card.from_json(json.loads((EXAMPLE / FACTS).read_text(encoding="utf-8")))


def test_the_template_makes_the_example_of_its_facts(card: Card) -> None:
    pictures = {picture.path: picture.text for picture in draw(card)}
    assert render_card(card, pictures) == (EXAMPLE / "README.md").read_text(encoding="utf-8"), MADE_BY
    assert croissant(card) == json.loads((EXAMPLE / "croissant.json").read_text(encoding="utf-8")), MADE_BY
    assert set(pictures) == {f"pictures/{p.name}" for p in (EXAMPLE / "pictures").iterdir()}, MADE_BY
    assert data_files(card, EXAMPLE) == card, "the tables are those of the facts"


def test_the_example_agrees_with_its_tables(card: Card) -> None:
    dataset, problems = huggingface.read(EXAMPLE)
    assert problems == []
    assert dataset.origin, "its tables say that they are simulated"
    assert len(dataset.videos) == card.videos
    assert sum(len(a.instances) for a in dataset.annotations.values()) == card.statistics.instances
    assert {one.name: one.instances for one in card.classes} == {
        label: sum(i.label == label for a in dataset.annotations.values() for i in a.instances)
        for label in dataset.classes
    }
    assert sum(file.rows for file in card.files) == card.videos


def test_it_is_called_simulated_everywhere(card: Card) -> None:
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    assert card.simulated
    assert text.split("\n# ")[1].splitlines()[2].startswith("> **Simulated annotations.**")
    for heading in re.findall(r"^### (.*)$", text, re.MULTILINE):
        if heading not in ("Classes", "What a row holds", "What workers were told"):
            assert heading.endswith("(simulated)"), heading
    assert "simulated" in json.loads((EXAMPLE / "croissant.json").read_text(encoding="utf-8"))["keywords"]
    assert sum(path.stat().st_size for path in EXAMPLE.rglob("*") if path.is_file()) < 1_000_000


def test_mlcroissant_loads_the_example(card: Card) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed (group interchange)")
    loaded = mlcroissant.Dataset(jsonld=EXAMPLE / "croissant.json")
    assert not loaded.metadata.ctx.issues.errors
    assert len(list(loaded.records("videos"))) == card.videos


def test_datasets_loads_the_example(card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets: Any = pytest.importorskip("datasets", reason="datasets is not installed (group interchange)")
    loaded = datasets.load_dataset(str(EXAMPLE), cache_dir=str(tmp_path))
    assert {split: part.num_rows for split, part in loaded.items()} == {file.split: file.rows for file in card.files}
    names = loaded["train"].features["instances"].feature["label_id"].names
    assert names == [one.name for one in card.classes]
