"""CVAT: what Datumaro sees of ours, the structure that CVAT's documentation asks for, and exports of CVAT."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from kloc.errors import FormatError
from kloc.formats import cvat
from kloc.formats.common import Extra, Media
from kloc.records import Instance
from tests.formats.interchange_helpers import one_video, opened

MEDIA = {"v": Media("clips/v.mkv", 25.0, 250, 320, 240)}


def test_datumaro_sees_every_track(tmp_path: Path) -> None:
    opened("datumaro", tmp_path)


def _write(folder: Path, *instances: Instance) -> ElementTree.Element:
    cvat.write(folder, one_video(*instances, start=0.4, end=10.4), Extra(media=MEDIA))
    return ElementTree.parse(folder / "v.xml").getroot()


def test_the_structure_is_that_of_cvat_for_video_1_1(tmp_path: Path) -> None:
    """Every attribute that CVAT's loader reads without asking; frames count from 0, `outside` is the frame after."""
    root = _write(tmp_path, Instance(1.01, 1.99, "run", 0.5), Instance(5, 10.4, "jump"))
    assert root.tag == "annotations"
    assert root.findtext("version") == "1.1"
    assert [child.tag for child in root] == ["version", "meta", "track", "track"]
    task = root.find("meta/task")
    assert task is not None
    assert {key: task.findtext(key) for key in ("name", "size", "mode", "start_frame", "stop_frame")} == {
        "name": "v", "size": "250", "mode": "interpolation", "start_frame": "0", "stop_frame": "249",
    }  # fmt: skip
    assert [label.findtext("name") for label in task.iterfind("labels/label")] == ["jump", "run"]
    assert (task.findtext("original_size/width"), task.findtext("original_size/height")) == ("320", "240")
    run, jump = root.findall("track")
    assert (run.get("label"), jump.get("label")) == ("run", "jump")
    shape = {"keyframe": "1", "occluded": "0", "xtl": "0.00", "ytl": "0.00", "xbr": "320.00", "ybr": "240.00"}
    for box in root.iter("box"):
        assert shape.items() <= box.attrib.items()
    assert [(box.get("frame"), box.get("outside")) for box in run] == [("15", "0"), ("40", "1")]
    assert [(box.get("frame"), box.get("outside")) for box in jump] == [("115", "0")], "it stays to the last frame"
    assert {a.get("name"): a.text for a in run[0]} == {"start": "1.01", "end": "1.99", "confidence": "0.5"}


def test_the_seconds_beside_the_frames_hold_until_the_track_is_moved(tmp_path: Path) -> None:
    root = _write(tmp_path, Instance(1.01, 1.99, "run", 0.5))
    assert cvat.read(tmp_path).dataset.annotations["v"].instances == (Instance(1.01, 1.99, "run", 0.5),)
    root.findall("track")[0][1].set("frame", "41")
    (tmp_path / "v.xml").write_bytes(ElementTree.tostring(root))
    (found,) = cvat.read(tmp_path).dataset.annotations["v"].instances
    assert (found.start, found.end) == (pytest.approx(1.0), pytest.approx(2.04))


def _track(label: str, *keys: tuple[str, int]) -> str:
    """As CVAT exports one: a box for every frame, key frames among them."""
    box = '<box frame="{}" keyframe="1" outside="{}" occluded="0" xtl="1" ytl="1" xbr="9" ybr="9" z_order="0"/>'
    return f'<track id="0" label="{label}" source="manual">{"".join(box.format(*key) for key in keys)}</track>'


def test_an_export_of_cvat(tmp_path: Path) -> None:
    meta = (
        "<meta><task><name>My task</name><size>100</size><labels><label><name>run</name></label>"
        "<label><name>jump</name></label></labels></task><source>upload/clip.mp4</source></meta>"
    )
    twice = _track("jump", ("0", 0), ("5", 0), ("25", 1), ("50", 0), ("75", 1))
    to_the_end = _track("run", ("50", 0), ("60", 0))
    odd = _track("run", ("-3", 0), ("99999999999", 0)) + _track("run", ("3", 1))
    path = tmp_path / "annotations.xml"
    path.write_text(f"<annotations><version>1.1</version>{meta}{twice}{to_the_end}{odd}</annotations>")
    dataset, problems = cvat.read(path)
    assert dataset.classes == ("run", "jump")
    assert dataset.annotations["clip"].instances == (
        Instance(0, 1, "jump"), Instance(2, 3, "jump"), Instance(2, 4, "run"),
    )  # fmt: skip
    assert [p.split(" (")[0] for p in problems] == [
        "1 x video without a frame rate, taken as 25 frames per second",
        "2 x frame that is no whole number, left out",
        "1 x video without a duration",
    ]


def test_unknown_rates_are_told(tmp_path: Path) -> None:
    said = cvat.write(tmp_path, one_video(Instance(1, 2, "run")), Extra())
    assert said[0] == (
        "the frame rates of 1 videos are not known: their frames are counted at 25 a second, "
        "which is wrong for a video that has another rate"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('<annotations><meta/><image id="0" name="a"/></annotations>', "export the task as 'CVAT for video 1.1'"),
        ("<annotations/>", "has no meta or no tracks"),
        ("<annotation/>", "the document is 'annotation'"),
        ('<!DOCTYPE a [<!ENTITY x "ha">]><annotations>&x;</annotations>', "defines entities"),
    ],
)
def test_what_is_no_video_task_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(FormatError, match=message):
        cvat.read(tmp_path)
