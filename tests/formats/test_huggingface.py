"""Hugging Face datasets: what `load_dataset` gives of ours, and other people's parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.interchange import make_dataset
from kloc.errors import FormatError, UsageError
from kloc.formats import huggingface
from kloc.formats.common import Extra
from kloc.records import Annotation, Dataset, Instance, Item, Video
from tests.formats.interchange_helpers import one_video, opened


def test_load_dataset_sees_every_video_in_its_split(tmp_path: Path) -> None:
    assert opened("datasets", tmp_path).videos == 12


def test_parquet_alone_gives_the_same_features(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed (uv sync --group interchange)")
    huggingface.write(tmp_path, make_dataset(4, 5), Extra())
    files = {split: str(tmp_path / "data" / f"{split}.parquet") for split in ("train", "validation", "test")}
    datasets.disable_progress_bars()
    found = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 2, "validation": 1, "test": 1}
    features = found["train"].features
    assert list(features) == list(huggingface.COLUMNS)
    assert features == found["test"].features
    assert features["instances"].feature["label_id"].names[:2] == ["class 0 & <more>", "class 1 & <more>"]


def test_whatever_a_row_may_leave_out_is_read(tmp_path: Path) -> None:
    """As other people's tables have it: no bounds, whole numbers, another column, a split in parts."""
    rows: list[dict[str, Any]] = [
        {"video": "a", "instances": [{"label": "jump", "start": 1, "end": 3}], "fps": 25},
        {"video": None, "instances": []},
        {"video": "b", "instances": None},
        {"video": "c", "instances": [{"label": None, "start": 1, "end": 3}, {"label": "run", "start": 2, "end": 9}]},
    ]
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / "validation-00000-of-00001.parquet")
    dataset, problems = huggingface.read(tmp_path)
    assert {v.subset for v in dataset.videos.values()} == {"validation"}
    assert dataset.annotations["a"].instances == (Instance(1, 3, "jump"),)
    assert dataset.annotations["c"].instances == (Instance(2, 9, "run"),)
    assert "b" in dataset.videos
    assert "b" not in dataset.annotations
    assert [p.split(" (")[0] for p in problems] == [
        "3 x video without a duration",
        "1 x row that names no video, left out",
        "1 x segment that cannot be read, left out",
    ]


def test_a_searched_part_and_what_was_searched_for_survive(tmp_path: Path) -> None:
    video = Video("v", 0.5, 60.25, labels=("jump",), subset="testing", url="https://example.org/v")
    known = Annotation(Item("v", 10.0, 20.0), (Instance(11.5, 12.25, "jump", 0.75),), frozenset({"jump"}))
    dataset = Dataset(("run", "jump"), {"v": video}, {"v": known}, "part", "simulated workers")
    huggingface.write(tmp_path, dataset, Extra())
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["test.parquet"]
    assert huggingface.read(tmp_path, name="part").dataset == dataset


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "movie.mp4").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"holds 'movie\.mp4', which is no parquet file"):
        huggingface.write(tmp_path, one_video(Instance(1, 2, "jump")), Extra())


def test_what_is_no_such_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    path.write_bytes(b"PAR1 nothing of the kind PAR1")
    with pytest.raises(FormatError, match=r"train\.parquet: cannot be read as parquet") as caught:
        huggingface.read(path)
    assert "\n" not in str(caught.value)
    pq.write_table(pa.table({"video": ["a"]}), path)
    with pytest.raises(FormatError, match=r"train\.parquet: no column instances; expected video, path"):
        huggingface.read(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="holds no parquet file"):
        huggingface.read(tmp_path / "empty")
