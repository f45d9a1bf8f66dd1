"""VIA 3: what its page sees of ours (where its sources are), the project's structure, and other people's projects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kloc.errors import FormatError
from kloc.formats import via
from kloc.formats.common import Extra, Media
from kloc.records import Instance
from tests.formats.interchange_helpers import one_video, opened


def test_the_page_of_via_sees_every_segment(tmp_path: Path) -> None:
    opened("via", tmp_path)


def test_the_project_has_what_via_asks_for(tmp_path: Path) -> None:
    """As VIA 3.1.1 itself saves a project; each key that its code reads without asking whether it is there."""
    path = tmp_path / "via.json"
    extra = Extra(media={"v": Media("https://example.org/v.mp4")}, header={"origin": "simulated workers"})
    via.write(path, one_video(Instance(1.25, 2.5, "jump"), Instance(2, 3, "run", 0.5)), extra)
    project = json.loads(path.read_text())
    assert list(project) == ["project", "config", "attribute", "file", "metadata", "view"]
    assert project["project"]["data_format_version"] == "3.1.1"
    assert project["project"]["vid_list"] == ["1"]
    assert project["project"]["pname"] == "one - simulated workers"
    assert project["config"]["file"]["loc_prefix"] == {"1": "", "2": "", "3": "", "4": ""}
    assert {k: (a["aname"], a["anchor_id"], a["type"]) for k, a in project["attribute"].items()} == {
        "1": ("class", "FILE1_Z2_XY0", 1),
        "2": ("confidence", "FILE1_Z2_XY0", 1),
    }
    file = {k: v for k, v in project["file"]["1"].items() if k != "kloc"}
    assert file == {"fid": "1", "fname": "v.mp4", "type": 4, "loc": 2, "src": "https://example.org/v.mp4"}
    assert project["view"] == {"1": {"fid_list": ["1"]}}
    assert list(project["metadata"].values()) == [
        {"vid": "1", "flg": 0, "z": [1.25, 2.5], "xy": [], "av": {"1": "jump"}},
        {"vid": "1", "flg": 0, "z": [2.0, 3.0], "xy": [], "av": {"1": "run", "2": "0.500000"}},
    ]


def _project(**metadata: Any) -> dict[str, Any]:
    options = {"a": "jump", "b": "run"}
    return {
        "project": {"data_format_version": "3.1.1", "vid_list": ["1"]},
        "attribute": {"7": {"aname": "activity", "anchor_id": "FILE1_Z2_XY0", "type": 4, "options": options}},
        "file": {"1": {"fid": "1", "fname": "clip.one.mp4", "type": 4, "loc": 1, "src": ""}},
        "view": {"1": {"fid_list": ["1"]}, "2": {"fid_list": ["1", "2"]}},
        "metadata": metadata,
    }


def test_a_project_as_others_make_it(tmp_path: Path) -> None:
    path = tmp_path / "via.json"
    rows = {
        "ok": {"vid": "1", "flg": 0, "z": [1, 2.5], "xy": [], "av": {"7": "b"}},
        "region": {"vid": "1", "flg": 0, "z": [1.5], "xy": [2, 1, 1, 5, 5], "av": {"7": "a"}},
        "word": {"vid": "1", "flg": 0, "z": [3, "4"], "xy": [], "av": {"7": "typed"}},
        "silent": {"vid": "1", "flg": 0, "z": [3, 4], "xy": [], "av": {}},
        "pair": {"vid": "2", "flg": 0, "z": [3, 4], "xy": [], "av": {"7": "a"}},
        "odd": 3,
    }
    path.write_text(json.dumps(_project(**rows)))
    dataset, problems = via.read(path)
    assert dataset.classes == ("jump", "run", "typed")
    assert dataset.annotations["clip.one"].instances == (Instance(1, 2.5, "run"), Instance(3, 4, "typed"))
    assert [p.split(" (")[0] for p in problems] == [
        "1 x entry that is no segment in time, left out",
        "1 x segment that cannot be read, left out",
        "2 x entry of a video that is not in the project, left out",
        "1 x video without a duration",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [("[]", "expected an object"), ("{}", "is this a VIA 3 project"), ('{"project": {}, "view": 1}', "VIA 3 project")],
)
def test_what_is_no_project_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "via.json").write_text(content)
    with pytest.raises(FormatError, match=message):
        via.read(tmp_path / "via.json")
