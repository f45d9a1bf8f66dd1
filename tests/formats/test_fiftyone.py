"""FiftyOne: what its importer sees of ours, frames that somebody moved, and other people's datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kloc.errors import FormatError
from kloc.formats import fiftyone
from kloc.formats.common import Extra, Media
from kloc.records import Instance
from tests.formats.interchange_helpers import one_video, opened


def test_the_importer_of_fiftyone_sees_every_detection(tmp_path: Path) -> None:
    opened("fiftyone", tmp_path)


def _write(folder: Path, fps: float | None = 25.0) -> dict[str, Any]:
    dataset = one_video(Instance(1.01, 1.99, "run", 0.5), start=0.4, end=10.4)
    fiftyone.write(folder, dataset, Extra(media={"v": Media("clips/v.mkv", fps)}))
    return json.loads((folder / "labels.json").read_text())  # type: ignore[no-any-return]


def test_frames_count_from_one_and_include_the_last(tmp_path: Path) -> None:
    """Frame 16 (of 1, 2, ...) is shown from 0.4 + 15 / 25 = 1.0 s on, frame 40 until 0.4 + 40 / 25 = 2.0 s."""
    content = _write(tmp_path)
    notes = {"start": 1.01, "end": 1.99}
    assert content["labels"]["v"] == [{"label": 1, "support": [16, 40], "confidence": 0.5, "attributes": notes}]
    assert content["classes"] == ["jump", "run"]
    assert json.loads((tmp_path / "data.json").read_text()) == {"v.mp4": "clips/v.mkv"}
    assert fiftyone.read(tmp_path).dataset.annotations["v"].instances == (Instance(1.01, 1.99, "run", 0.5),)


def test_frames_that_were_moved_hold_against_the_seconds_beside_them(tmp_path: Path) -> None:
    content = _write(tmp_path)
    content["labels"]["v"][0]["support"] = [16, 41]
    (tmp_path / "labels.json").write_text(json.dumps(content))
    (found,) = fiftyone.read(tmp_path).dataset.annotations["v"].instances
    assert (found.start, found.end) == (pytest.approx(1.0), pytest.approx(2.04))


def test_seconds_stand_where_the_rate_is_not_known(tmp_path: Path) -> None:
    content = _write(tmp_path, fps=None)
    assert content["labels"]["v"][0]["timestamps"] == [1.01, 1.99]
    assert "support" not in content["labels"]["v"][0]
    said = fiftyone.write(tmp_path, one_video(Instance(1, 2, "run")), Extra())
    assert said[-1] == "the frame rates of 1 videos are not known: FiftyOne must open their files (with ffprobe)"


def test_a_dataset_as_fiftyone_exports_it(tmp_path: Path) -> None:
    labels = {
        "a": [{"label": "jump", "support": [1, 25]}, {"label": 0, "support": [26, 50], "confidence": None}, 3],
        "b": None,
        "c": {"label": 0},
        "d": [{"label": 7, "timestamps": [0, 1]}, {"label": "run", "support": [5]}],
    }
    (tmp_path / "labels.json").write_text(json.dumps({"classes": ["run"], "labels": labels}))
    dataset, problems = fiftyone.read(tmp_path)
    assert dataset.annotations["a"].instances == (Instance(0, 1, "jump"), Instance(1, 2, "run"))
    assert sorted(dataset.videos) == ["a", "b", "d"]
    assert sorted(dataset.annotations) == ["a", "d"]
    assert [p.split(" (")[0] for p in problems] == [
        "2 x segment in frames of a video without a rate, taken as 25 per second",
        "2 x segment without two times, left out",
        "3 x video without a duration",
        "1 x video whose segments are no list, left out",
        "1 x segment that cannot be read, left out",
    ]


def test_what_is_no_such_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('{"samples": []}')
    with pytest.raises(FormatError, match=r"labels\.json: no 'labels'; is this a FiftyOne temporal detection dataset"):
        fiftyone.read(tmp_path)
    with pytest.raises(FormatError, match=r"labels\.json: cannot be read"):
        fiftyone.read(tmp_path / "nowhere" / "labels.json")
