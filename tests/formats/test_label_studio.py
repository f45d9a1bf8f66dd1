"""Label Studio: what its SDK sees of ours, regions that somebody moved, and other people's exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from kloc.errors import FormatError
from kloc.formats import label_studio
from kloc.formats.common import Extra, Media
from kloc.records import Dataset, Instance, Video
from tests.formats.interchange_helpers import one_video, opened


def test_the_sdk_of_label_studio_sees_every_region(tmp_path: Path) -> None:
    opened("label-studio-sdk", tmp_path)


def _write(folder: Path) -> list[dict[str, Any]]:
    dataset = one_video(Instance(1.01, 1.99, "run", 0.5))
    extra = Extra(media={"v": Media("clips/v.mkv", 25.0)}, header={"origin": "simulated workers"})
    label_studio.write(folder, dataset, extra)
    return json.loads((folder / "tasks.json").read_text())  # type: ignore[no-any-return]


def test_a_task_has_its_rate_and_ranges_count_from_one(tmp_path: Path) -> None:
    """Frame 26 is the time from 25 / 25 = 1 s on, frame 50 that until 50 / 25 = 2 s."""
    (task,) = _write(tmp_path)
    assert task["data"] == {
        "video": "clips/v.mkv", "video_id": "v", "subset": "training", "fps": 25.0, "origin": "simulated workers",
    }  # fmt: skip
    (region,) = task["annotations"][0]["result"]
    assert region["value"] == {"ranges": [{"start": 26, "end": 50}], "timelinelabels": ["run"]}
    setup = ElementTree.parse(tmp_path / "config.xml").getroot()
    (video,), (timeline,) = setup.findall("Video"), setup.findall("TimelineLabels")
    assert (region["from_name"], region["to_name"]) == (timeline.get("name"), video.get("name"))
    assert timeline.get("toName") == video.get("name")
    assert (video.get("value"), video.get("frameRate")) == ("$video", "$fps")
    assert [label.get("value") for label in timeline] == ["jump", "run"]
    dataset = label_studio.read(tmp_path).dataset
    assert dataset.annotations["v"].instances == (Instance(1.01, 1.99, "run", 0.5),)
    assert dataset.origin == "simulated workers"


def test_a_region_that_was_moved_holds_against_the_seconds_beside_it(tmp_path: Path) -> None:
    tasks = _write(tmp_path)
    tasks[0]["annotations"][0]["result"][0]["value"]["ranges"] = [{"start": 27, "end": 50}]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    (found,) = label_studio.read(tmp_path).dataset.annotations["v"].instances
    assert (found.start, found.end) == (1.04, 2.0)


def test_a_video_that_nobody_annotated_is_a_task_to_do(tmp_path: Path) -> None:
    dataset = Dataset(("jump",), {"v": Video("v", 0, 5)}, {})
    label_studio.write(tmp_path, dataset, Extra())
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    assert "annotations" not in task
    assert label_studio.read(tmp_path, name="dataset").dataset == dataset


def _region(start: Any, end: Any, *labels: Any) -> dict[str, Any]:
    return {"type": "timelinelabels", "value": {"ranges": [{"start": start, "end": end}], "timelinelabels": [*labels]}}


def test_an_export_as_label_studio_makes_it(tmp_path: Path) -> None:
    box = {"type": "videorectangle", "value": {}}
    tasks = [
        {"data": {"video": "/data/upload/1/a.mp4"}, "annotations": [{"result": [_region(1, 25, "jump"), box]}]},
        {
            "data": {"video": "https://example.org/b.mp4", "fps": 10},
            "annotations": [
                {"was_cancelled": True, "result": [_region(1, 2, "jump")]},
                {"ground_truth": True, "result": [_region(11, 20, "run", "jump"), _region("x", 3, "run")]},
                {"result": []},
            ],
        },
        {"data": {"video": "c.mp4"}, "annotations": [{"result": 4}]},
        "no task",
    ]
    path = tmp_path / "project-1.json"
    path.write_text(json.dumps(tasks))
    dataset, problems = label_studio.read(path)
    assert dataset.annotations["a"].instances == (Instance(0, 1, "jump"),)
    assert dataset.annotations["b"].instances == (Instance(1, 2, "jump"), Instance(1, 2, "run"))
    assert sorted(dataset.annotations) == ["a", "b"]
    assert [p.split(" (")[0] for p in problems] == [
        "1 x task without a frame rate, taken as 25 frames per second",
        "1 x region that is no segment in time, left out",
        "3 x video without a duration",
        "1 x task with several annotations, one of them taken",
        "1 x segment that cannot be read, left out",
        "1 x annotation without a list of regions, left out",
        "1 x entry that is no task, left out",
    ]


@pytest.mark.parametrize(
    ("content", "message"), [("{}", "a list of tasks"), ('[{"video": "a", "class": []}]', "export the project as JSON")]
)
def test_what_holds_no_tasks_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "tasks.json").write_text(content)
    with pytest.raises(FormatError, match=message):
        label_studio.read(tmp_path)
