"""A subset that no reader knows costs no row: it is counted and taken as training, by every reader alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kloc.errors import FormatError
from kloc.formats.common import Extra, Problems
from kloc.formats.registry import named
from kloc.records import Annotation, Dataset, Instance, Video

ROW = {"label": "run", "segment": [1, 3]}
FILES: dict[str, tuple[str, str]] = {
    "activitynet": (
        "a.json",
        json.dumps({"database": {"v": {"subset": "weird", "duration": 9, "annotations": [ROW]}}}),
    ),
    "csv": ("a.csv", "video,label,start,end,subset\nv,run,1,3,weird\n"),
    "hacs": ("a.csv", "classname,youtube_id,subset,start,end,label\nrun,v,weird,1,3,1\n"),
    "kinetics": ("a.csv", "label,youtube_id,time_start,time_end,split\nrun,v,1,3,weird\n"),
    "coco": (
        "a.json",
        json.dumps(
            {
                "videos": [{"id": 1, "name": "v", "duration": 9, "split": "weird"}],
                "categories": [{"id": 1, "name": "run"}],
                "annotations": [{"id": 1, "video_id": 1, "category_id": 1, "segment": [1, 3]}],
            }
        ),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_an_odd_subset_is_counted_and_taken_as_training(name: str, tmp_path: Path) -> None:
    file, content = FILES[name]
    (tmp_path / file).write_text(content, encoding="utf-8")
    dataset, problems = named(name).module.read(tmp_path / file)
    assert dataset.videos["v"].subset == "training"
    assert dataset.videos["v"].labels == ("run",)
    assert any(line.startswith("1 x subset that is not known, taken as training (") for line in problems), problems


@pytest.mark.parametrize("name", ["cvat", "elan"])
def test_a_class_that_a_text_format_cannot_hold_is_told_why(name: str, tmp_path: Path) -> None:
    video = Video("v", 0.0, 9.0)
    odd = Dataset(("run ",), {"v": video}, {"v": Annotation(video.item, (Instance(1, 2, "run "),))}, "d")
    with pytest.raises(FormatError, match=r"no line breaks, no spaces at the ends"):
        named(name).module.write(tmp_path / "out", odd, Extra())


def test_an_empty_name_among_examples_is_seen() -> None:
    problems = Problems()
    problems.add("no video of this workspace, the row is left out", "")
    assert problems.sentences() == ["1 x no video of this workspace, the row is left out ('')"]
