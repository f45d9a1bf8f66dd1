"""Files as other people write them: what they mean, and what is wrong in one row costs that row only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kloc.errors import FormatError, UsageError
from kloc.formats import charades, coco, csv, hacs, kinetics, thumos
from kloc.formats.common import Extra, Reading
from kloc.formats.guessing import guess, load
from kloc.records import Annotation, Dataset, Instance, Video


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def _found(reading: Reading) -> dict[str, list[tuple[float, float, str]]]:
    return {v: [(i.start, i.end, i.label) for i in a.instances] for v, a in reading.dataset.annotations.items()}


def test_the_thumos_folder_with_its_ambiguous_stretches(tmp_path: Path) -> None:
    rows = "video_validation_0000266 72.8 76.4\n\nvideo_validation_0000266  77.8   78\r\nbad 1\nbad x 2\nv 5 4\n"
    _write(tmp_path / "thumos", detclasslist__txt="7 BaseballPitch\n9 BasketballDunk\n")
    _write(
        tmp_path / "thumos" / "annotation",
        BaseballPitch_val__txt=rows,
        BasketballDunk_test__txt="video_test_0000793 0.1 9.9\n",
        Ambiguous_val__txt="video_validation_0000266 80.0 81.0\n",
    )
    reading = thumos.read(tmp_path / "thumos")
    assert reading.dataset.classes == ("BaseballPitch", "BasketballDunk", "Ambiguous")
    assert _found(reading) == {
        "video_validation_0000266": [
            (72.8, 76.4, "BaseballPitch"),
            (77.8, 78.0, "BaseballPitch"),
            (80.0, 81.0, "Ambiguous"),
        ],
        "v": [],
        "video_test_0000793": [(0.1, 9.9, "BasketballDunk")],
    }
    assert {v.subset for v in reading.dataset.videos.values()} == {"validation", "testing"}
    assert any(
        p.startswith("2 x row that cannot be read, left out (BaseballPitch_val.txt: line 4: 2") for p in reading[1]
    )
    assert any(p.startswith("1 x reversed segment, dropped (v)") for p in reading.problems)
    one = thumos.read(tmp_path / "thumos" / "annotation" / "BasketballDunk_test.txt")
    assert set(one.dataset.videos) == {"video_test_0000793"}


def test_thumos_scores_no_ambiguous_class(tmp_path: Path) -> None:
    video = Video("v", 0, 9, labels=("Ambiguous", "Dive"))
    found = (Instance(1, 2, "Ambiguous"), Instance(3, 4, "Dive"))
    dataset = Dataset(("Dive", "Ambiguous"), {"v": video}, {"v": Annotation(video.item, found)}, "t")
    said = thumos.write(tmp_path / "t", dataset, Extra())
    assert (tmp_path / "t" / "detclasslist.txt").read_text() == "1 Dive\n"
    assert (tmp_path / "t" / "Ambiguous_train.txt").read_text() == "v 1.0 2.0\n"
    assert not any("Ambiguous" in line for line in said)


def test_charades_actions_with_their_classes(tmp_path: Path) -> None:
    header = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"
    train = (
        header + '46GP8,HR43,Kitchen,6,7,Yes,"A person, cooking",food,words,c092 11.90 21.20;c147 0.00 45.00,24.83\n'
    )
    test = header + "N11GT,0KZ7,Stairs,6,6,Yes,x,y,z,,18.33\nBAD,,,,,,,,,c092 1;c000 1 2 3;c092 nan 2,long\n"
    classes = "c092 Watching a laptop\nc147 Washing dishes\n"
    _write(tmp_path / "c", Charades_v1_train__csv=train, Charades_v1_test__csv=test, Charades_v1_classes__txt=classes)
    reading = charades.read(tmp_path / "c")
    assert reading.dataset.classes == ("Watching a laptop", "Washing dishes")
    assert _found(reading) == {
        "46GP8": [(0.0, 24.83, "Washing dishes"), (11.9, 21.2, "Watching a laptop")],
        "N11GT": [],
        "BAD": [],
    }
    assert (reading.dataset.videos["N11GT"].end, reading.dataset.videos["N11GT"].subset) == (18.33, "testing")
    told = " | ".join(reading.problems)
    assert "3 x action that cannot be read, left out" in told
    assert "1 x length that cannot be read, taken as unknown" in told
    assert "1 x end beyond the video's duration, clipped (46GP8)" in told


def test_coco_like_files_with_frames_and_other_names(tmp_path: Path) -> None:
    content = {
        "videos": [
            {"id": 7, "file_name": "clips/a.mp4", "fps": 25, "duration": 40, "split": "val"},
            {"id": 7, "name": "twice"},
            {"id": None},
            {"id": "b", "duration": 9},
        ],
        "categories": [{"id": 1, "name": "run"}, {"id": 2}],
        "annotations": [
            {"video_id": 7, "category_id": 1, "start_frame": 25, "end_frame": 49},
            {"video_id": "b", "category_id": 1, "start": "1.5", "end": 2},
            {"video_id": "b", "category_id": 1, "timestamp": [3, 4]},
            {"video_id": "c", "category_id": 1, "segment": [3, 4]},
            {"video_id": "b", "category_id": 9, "segment": [3, 4]},
            {"video_id": "b", "category_id": 1, "segment": [3, None]},
            {"video_id": "b", "category_id": [1], "segment": [3, 4]},
            3,
        ],
    }
    path = tmp_path / "instances_val.json"
    path.write_text(json.dumps(content))
    reading = coco.read(path)
    assert _found(reading) == {"a": [(1.0, 2.0, "run")], "b": [(1.5, 2.0, "run"), (3.0, 4.0, "run")]}
    assert reading.dataset.videos["a"].subset == "validation"
    told = " | ".join(reading.problems)
    assert "5 x annotation that cannot be read, left out (instances_val.json: annotation 3: video 'c' is not in" in told
    assert "1 x video given twice, the first one holds (twice)" in told
    assert "1 x category that cannot be read" in told
    assert guess(path).name == "coco"
    path.write_text('{"images": []}')
    with pytest.raises(FormatError, match="no 'videos'"):
        coco.read(path)


def test_hacs_clips_say_what_occurs_in_them_and_nothing_of_the_rest(tmp_path: Path) -> None:
    lines = [
        "classname,youtube_id,subset,start,end,label",
        "Archery,a,training,50.2,52.2,1",
        "Archery,a,training,9,11,-1",
    ]
    path = tmp_path / "HACS_clips.csv"
    path.write_text("\n".join([*lines, "Archery,b,training,1,3,-1", "Archery,c,training,x,3,1"]))
    reading = load(path)
    assert reading.dataset.annotations["a"].instances == (Instance(50.2, 52.2, "Archery"),)
    assert reading.dataset.annotations["a"].exhaustive_for == frozenset()
    assert "b" not in reading.dataset.annotations
    assert "2 x clip in which its class does not occur, passed over (a, b)" in reading.problems
    assert hacs.read(path) == reading


def test_one_table_of_instances_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("video,label,start,end\nv,jump,1,2\nv,,1,2\nv,jump,two,3\nw,run,5,4,extra\n")
    reading = load(path)
    assert _found(reading) == {"v": [(1.0, 2.0, "jump")], "w": []}
    told = " | ".join(reading.problems)
    assert "2 x instance that cannot be read, left out (mine.csv: line 3, label" in told
    assert "1 x row with more cells than the header has" in told
    with pytest.raises(FormatError, match=r"no column label, start, end"):
        csv.read(_write(tmp_path / "f", instances__csv="video,when\n") / "instances.csv")


def test_kinetics_clips_as_annotations(tmp_path: Path) -> None:
    path = tmp_path / "k.csv"
    path.write_text("label,youtube_id,time_start,time_end,split\nrun,a,3,13,train\n,b,3,13,test\nrun,a,20,30,val\n")
    reading = kinetics.read(path)
    assert _found(reading) == {"a": [(3.0, 13.0, "run"), (20.0, 30.0, "run")]}
    assert set(reading.dataset.videos) == {"a", "b"}
    assert reading.dataset.annotations["a"].exhaustive_for == frozenset()
    assert any("several subsets" in line for line in reading.problems)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{}", "looks like no format of annotations; say which with --format"),
        ("a.csv", "x,y\n", "looks like no format of annotations"),
        ("a.txt", "words\n", "looks like no format of annotations"),
    ],
)
def test_what_looks_like_nothing_is_asked_about(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message):
        load(tmp_path / name)
    with pytest.raises(UsageError, match="unknown format 'nope'"):
        load(tmp_path / name, "nope")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a folder, but ActivityNet JSON is one file"):
        load(tmp_path, "activitynet")
    with pytest.raises(UsageError, match="looks like no format"):
        load(tmp_path)
    with pytest.raises(FormatError, match=r"nothere: cannot be read"):
        load(tmp_path / "nothere")
