"""Croissant metadata: accepted by mlcroissant, which then reads the records; equal facts, equal bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kloc.files import write_json
from kloc.formats import huggingface
from kloc.formats.common import Extra
from kloc.pipeline.carding import of_dataset
from kloc.records import Annotation, Dataset, Instance, Video
from kloc.report.card import Answer, Card
from kloc.report.card_files import data_files
from kloc.report.croissant import croissant

FOUND = (Instance(1.0, 31.0, "high jump"), Instance(40.0, 45.5, 'a "quoted" class', 0.75))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Four videos in two splits; one without an instance, one searched for one class only."""
    videos = {f"v{i}": Video(f"v{i}", 0.0, 90.0, subset="training" if i < 3 else "testing") for i in range(4)}
    known = {v: Annotation(video.item, FOUND) for v, video in videos.items()}
    known["v1"] = Annotation(videos["v1"].item, (), frozenset({"high jump"}))
    return Dataset((FOUND[0].label, FOUND[1].label), videos, known, "Jumps & <runs>")


@pytest.fixture(scope="module")
def folder(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("croissant")
    huggingface.write(path, dataset, Extra())
    return path


@pytest.fixture(scope="module")
def card(dataset: Dataset, folder: Path) -> Card:
    return data_files(of_dataset(dataset), folder)


@pytest.fixture(scope="module")
def mlcroissant() -> Any:
    return pytest.importorskip("mlcroissant", reason="mlcroissant is not installed (uv sync --group interchange)")


def test_it_says_what_the_tables_hold(card: Card) -> None:
    made = croissant(card)
    files, records = made["distribution"], made["recordSet"][1]
    assert [(f["contentUrl"], f["sha256"]) for f in files[:-1]] == [(f.path, f.sha256) for f in card.files]
    assert [f["name"] for f in records["field"]] == ["split", *huggingface.COLUMNS]
    assert made["rai:dataCollectionMissingData"].startswith("In 1 of 4 videos only some classes")
    assert any("classes with fewer than" in line for line in made["rai:dataLimitations"])


def test_equal_facts_make_equal_bytes(card: Card) -> None:
    again = Card.from_json(json.loads(json.dumps(card.to_json())))
    assert json.dumps(croissant(card)) == json.dumps(croissant(again))


def test_answers_fill_what_only_people_know(card: Card) -> None:
    told = {
        "motivation.creators": "Some lab",
        "distribution.date": "2026-02-03",
        "distribution.place": "https://data.example/jumps",
        "collection.annotators": "Students",
        "uses.suitable": "Counting",
        "maintenance.updates": "Every spring",
    }
    made = croissant(replace(card, datasheet=tuple(Answer(key, "?", text) for key, text in told.items())))
    assert (made["creator"]["name"], made["datePublished"], made["url"]) == tuple(list(told.values())[:3])
    assert (made["rai:annotatorDemographics"], made["rai:dataReleaseMaintenancePlan"]) == ("Students", "Every spring")
    assert made["rai:dataUseCases"] == ["Counting"]
    vague = croissant(
        replace(card, datasheet=(Answer("distribution.date", "?", "soon"), Answer("distribution.place", "?", "here")))
    )
    assert not {"datePublished", "url"} & set(vague)


@pytest.mark.parametrize("licence", ["cc-by-nc-sa-4.0", "CC0-1.0", "mit", "Ask: us", "unknown"])
def test_a_licence_is_an_address_where_it_has_one(card: Card, licence: str) -> None:
    told = croissant(replace(card, licence=licence))["license"]
    assert told == licence if licence in ("Ask: us", "unknown") else told.startswith("https://")


def test_mlcroissant_accepts_it_and_reads_the_records(
    mlcroissant: Any, card: Card, folder: Path, dataset: Dataset
) -> None:
    write_json(folder / "croissant.json", croissant(replace(card, citation="@misc{x}")))
    loaded = mlcroissant.Dataset(jsonld=folder / "croissant.json")
    assert not loaded.metadata.ctx.issues.errors
    assert loaded.metadata.name == dataset.name
    records = {row["videos/video"].decode(): row for row in loaded.records("videos")}
    assert records.keys() == dataset.videos.keys()
    assert {v: row["videos/split"] for v, row in records.items()} == {
        v: huggingface.SPLITS[video.subset].encode() for v, video in dataset.videos.items()
    }
    for video_id, row in records.items():
        found = [
            Instance(*(float(one[f"videos/instances/{k}"]) for k in ("start", "end")),
                     one["videos/instances/label"].decode(), float(one["videos/instances/confidence"]))
            for one in row["videos/instances"]
        ]  # fmt: skip
        assert tuple(found) == dataset.annotations[video_id].instances
    assert [row["splits/name"] for row in loaded.records("splits")] == ["train", "test"]


def test_mlcroissant_accepts_hostile_names(mlcroissant: Any, card: Card, folder: Path) -> None:
    text = 'x"\n</script> {"@id": "y"} \u2028 https://a.example'
    hostile = replace(card, statistics=replace(card.statistics, name=text), licence=text, description=text)
    write_json(folder / "hostile.json", croissant(hostile))
    loaded = mlcroissant.Dataset(jsonld=folder / "hostile.json")
    assert (loaded.metadata.name, loaded.metadata.license) == (text, [text])
    assert len(list(loaded.records("videos"))) == 4


def test_a_table_that_was_changed_is_noticed(card: Card, folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for file in card.files:
        (tmp_path / file.path).write_bytes((folder / file.path).read_bytes())
    assert data_files(card, tmp_path) == card
    (data / "train.parquet").write_bytes((data / "test.parquet").read_bytes())
    assert data_files(card, tmp_path).files[0].sha256 == card.files[1].sha256 != card.files[0].sha256
