"""ActivityNet JSON: what is read, what is counted, what is refused, and that nothing is lost on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kloc.errors import FormatError, UsageError
from kloc.formats import activitynet
from kloc.formats.common import Extra, Media
from kloc.records import Annotation, Dataset, Instance, Item, Video


def _file(tmp_path: Path, database: dict[str, Any], **more: Any) -> Path:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"version": "1.3", "taxonomy": [], "database": database, **more}), encoding="utf-8")
    return path


def _video(*segments: tuple[Any, Any], **more: Any) -> dict[str, Any]:
    rows = [{"label": "jump", "segment": list(s)} for s in segments]
    return {"subset": "training", "duration": 10.0, "annotations": rows, **more}


def _raw(tmp_path: Path, database: str) -> tuple[Dataset, list[str]]:
    path = tmp_path / "a.json"
    path.write_text('{"database": ' + database + "}", encoding="utf-8")
    return activitynet.read(path)


def _one(tmp_path: Path, *segments: tuple[Any, Any], **more: Any) -> tuple[list[tuple[float, float]], list[str]]:
    dataset, problems = activitynet.read(_file(tmp_path, {"v": _video(*segments, **more)}))
    return [(i.start, i.end) for i in dataset.annotations["v"].instances], problems


def test_times_may_be_strings_and_come_out_sorted(tmp_path: Path) -> None:
    assert _one(tmp_path, ("4.5", "6"), (1, 2.5)) == ([(1.0, 2.5), (4.5, 6.0)], [])


@pytest.mark.parametrize(
    ("segments", "kept", "sentence"),
    [
        ([(8, 12)], [(8.0, 10.0)], "1 x end beyond the video's duration, clipped (v)"),
        ([(-1, 2)], [(0.0, 2.0)], "1 x start before the video's first frame, clipped (v)"),
        ([(3, 3)], [], "1 x zero-length segment, dropped (v)"),
        ([(5, 3)], [], "1 x reversed segment, dropped (v)"),
        ([(11, 12)], [], "1 x segment wholly outside its video, dropped (v)"),
        ([(1, 2), (1, 2), (1, 2)], [(1.0, 2.0)], "2 x segment given twice, counted once (v)"),
    ],
)
def test_what_is_wrong_is_mended_and_counted(
    tmp_path: Path, segments: list[tuple[float, float]], kept: list[tuple[float, float]], sentence: str
) -> None:
    assert _one(tmp_path, *segments) == (kept, [sentence])


def test_a_video_whose_segments_were_all_dropped_stays_annotated(tmp_path: Path) -> None:
    dataset, _ = activitynet.read(_file(tmp_path, {"v": _video((3, 3))}))
    assert dataset.annotations["v"].instances == ()


def test_annotations_without_segment_are_video_level_labels(tmp_path: Path) -> None:
    entry = {"subset": "train", "duration": 5, "annotations": [{"label": "run"}, {"label": "jump"}]}
    dataset, problems = activitynet.read(_file(tmp_path, {"v": entry}))
    assert dataset.videos["v"].labels == ("jump", "run")
    assert dataset.classes == ("jump", "run")
    assert not dataset.annotations
    assert not problems


@pytest.mark.parametrize(
    ("name", "subset"),
    [("train", "training"), ("Training", "training"), ("val", "validation"), ("test", "testing"), ("TEST", "testing")],
)
def test_subset_names_are_mapped(tmp_path: Path, name: str, subset: str) -> None:
    dataset, _ = activitynet.read(_file(tmp_path, {"v": _video((1, 2), subset=name)}))
    assert dataset.videos["v"].subset == subset


def test_an_empty_list_says_none_occurs_but_is_withheld_in_testing(tmp_path: Path) -> None:
    path = _file(tmp_path, {"a": _video(), "b": _video(subset="testing")})
    assert set(activitynet.read(path).dataset.annotations) == {"a"}


def test_without_a_duration_the_last_end_is_taken(tmp_path: Path) -> None:
    dataset, problems = activitynet.read(_file(tmp_path, {"v": _video((1, 7.5), duration=None)}))
    assert dataset.videos["v"].end == 7.5
    assert problems == ["1 x video without a duration (the last annotated end is taken; probe the video) (v)"]


def test_the_taxonomys_leaves_are_the_classes_in_its_order(tmp_path: Path) -> None:
    nodes = [("Root", None), ("Sport", "Root"), ("swim", "Sport"), ("jump", "Sport")]
    taxonomy = [{"nodeName": n, "parentName": p} for n, p in nodes]
    dataset, _ = activitynet.read(_file(tmp_path, {"v": _video((1, 2))}, taxonomy=taxonomy))
    assert dataset.classes == ("swim", "jump")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"database": {"v": {]}}', r"a.json: broken JSON at line 1, column 21"),
        (b'{\n"database": {\n"v": \xff}}', r"a.json: not UTF-8 at byte 21 \(line 3\)"),
        (b'{"database": []}', r"database: expected an object"),
        (b'{"results": {}}', r"no 'database'.*has results"),
        (b"[]", r"expected an object"),
        (b"[" * 100_000, r"a.json: not a JSON file that can be read"),
        (b'{"database": {"v": {"duration": ' + b"1" * 5000 + b"}}}", r"a.json: not a JSON file that can be read"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name_and_place(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message) as caught:
        activitynet.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("[]", "video that cannot be read, left out (a.json: video 'v': expected an object, found [])"),
        ("7", "video that cannot be read, left out (a.json: video 'v': expected an object, found 7)"),
    ],
)
def test_a_video_that_cannot_be_read_is_left_out(tmp_path: Path, entry: str, sentence: str) -> None:
    dataset, problems = _raw(tmp_path, '{"v": ' + entry + ', "w": {"subset": "training", "duration": 5}}')
    assert set(dataset.videos) == {"w"}
    assert len(problems) == 1
    assert problems[0].endswith(sentence)


@pytest.mark.parametrize(
    ("subset", "sentence"),
    [
        ('"holdout"', "unknown subset 'holdout'; use training, validation or testing)"),
        ('["train"]', "subset: expected a name, found ['train'])"),
    ],
)
def test_an_odd_subset_costs_no_video(tmp_path: Path, subset: str, sentence: str) -> None:
    rows = '"duration": 5, "annotations": [{"label": "jump", "segment": [1, 2]}]'
    dataset, problems = _raw(tmp_path, '{"v": {"subset": ' + subset + ", " + rows + "}}")
    assert dataset.annotations["v"].instances == (Instance(1, 2, "jump"),)
    assert dataset.videos["v"].subset == "training"
    assert len(problems) == 1
    assert problems[0].startswith("1 x subset that is not known, taken as training (")
    assert problems[0].endswith(sentence)


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ('"duration": NaN', "duration that cannot be read, taken as unknown (a.json: video 'v', duration: nan is not"),
        ('"duration": "nan"', "duration that cannot be read, taken as unknown"),
        ('"duration": 1e999', "duration: inf is not a finite number"),
        ('"duration": true', "True is not a number"),
        ('"duration": -4', "duration of 0 or less, taken as unknown (v)"),
        (
            '"annotations": {}',
            "annotations that cannot be read, left out (a.json: video 'v', annotations: expected a list",
        ),
        ('"annotations": [{"label": ""}]', "annotation 0, label: expected a name, found ''"),
        ('"annotations": [{"label": "\\ud800", "segment": [1, 2]}]', "holds half of a surrogate pair"),
        ('"annotations": [7]', "annotation 0, row: expected an object, found 7"),
        ('"annotations": [{"label": "x", "segment": [1]}]', "annotation 0, segment: a segment has a start and an end"),
        ('"annotations": [{"label": "x", "segment": "1-2"}]', "segment: expected a list, found '1-2'"),
        ('"annotations": [{"label": "x", "segment": [1, NaN]}]', "segment: nan is not a finite number"),
        ('"annotations": [{"label": 3, "segment": [1, 2]}]', "label: expected a name, found 3"),
        ('"annotations": [{"label": "x", "segment": [1, 2], "confidence": {}}]', "confidence: {} is not a number"),
        ('"url": 7', "url that cannot be read, left out"),
        ('"start": null', "start of a video that cannot be read, taken as 0"),
        ('"labels": "run"', "labels that cannot be read, left out"),
        ('"exhaustive_for": 3', "exhaustive_for that cannot be read, taken as no class"),
        ('"annotated": [1]', "searched stretch that cannot be read, taken as the whole video"),
    ],
)
def test_what_is_wrong_in_one_row_is_counted_and_the_rest_is_used(tmp_path: Path, field: str, sentence: str) -> None:
    good = '"w": {"subset": "training", "duration": 5, "annotations": [{"label": "jump", "segment": [1, 2]}]}'
    dataset, problems = _raw(tmp_path, '{"v": {"subset": "training", ' + field + "}, " + good + "}")
    assert dataset.annotations["w"].instances == (Instance(1, 2, "jump"),)
    assert set(dataset.videos) == {"v", "w"}
    said = [p for p in problems if sentence in p]
    assert len(said) == 1
    assert said[0].startswith("1 x ")
    assert not any("\n" in p for p in problems)


def test_a_video_whose_rows_cannot_be_read_is_not_taken_as_empty_of_all(tmp_path: Path) -> None:
    dataset, _ = _raw(tmp_path, '{"v": {"subset": "training", "duration": 5, "annotations": "none"}}')
    assert "v" not in dataset.annotations


def test_a_broken_taxonomy_costs_its_nodes_only(tmp_path: Path) -> None:
    taxonomy = [{"nodeName": "swim", "parentName": ["Sport"]}, 7, {"nodeName": {}}, {"nodeName": "jump"}]
    dataset, problems = activitynet.read(_file(tmp_path, {"v": _video((1, 2))}, taxonomy=taxonomy))
    assert dataset.classes == ("swim", "jump")
    assert [p.split(" (")[0] for p in problems] == ["2 x node of the taxonomy that cannot be read, left out"]


def test_mmaction2_lists_without_database(tmp_path: Path) -> None:
    rows = [{"label": "run", "segment": [0.5, 9.5], "label_id": 3}, {"segment": [2, 3], "label_id": 3}]
    path = tmp_path / "anet_anno_val.json"
    path.write_text(json.dumps({"v_a": {"duration_second": 10, "duration_frame": 300, "fps": 30, "annotations": rows}}))
    dataset, problems = activitynet.read(path)
    assert dataset.videos["v_a"] == Video("v_a", 0, 10, labels=("run",), subset="validation")
    assert dataset.annotations["v_a"].instances == (Instance(0.5, 9.5, "run"), Instance(2, 3, "run"))
    assert problems == ["1 x video without a subset, taken as validation (v_a)"]


def test_many_bad_rows_are_told_in_one_sentence(tmp_path: Path) -> None:
    rows = [{"label": "x", "segment": [n, "?"]} for n in range(2000)]
    _, problems = activitynet.read(_file(tmp_path, {"v": _video(annotations=rows)}))
    assert len(problems) == 1
    assert problems[0].startswith("2,000 x annotation that cannot be read, left out (a.json: video 'v', annotation 0,")
    assert len(problems[0]) < 400


def test_a_missing_file_and_a_repeated_key_are_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"nothere\.json: cannot be read"):
        activitynet.read(tmp_path / "nothere.json")
    path = tmp_path / "twice.json"
    path.write_text('{"database": {"v": {"subset": "val", "duration": 1}, "v": {"subset": "val", "duration": 2}}}')
    dataset, problems = activitynet.read(path)
    assert dataset.videos["v"].end == 2
    assert problems == ["1 x key given twice in one JSON object, the last one holds (v)"]


_micro = st.integers(0, 200_000_000).map(lambda n: n / 1_000_000)
_label = st.sampled_from(["jump", "run", 'say "hi"', "größer"])


@st.composite
def _datasets(draw: st.DrawFn) -> Dataset:
    classes = ("jump", "run", 'say "hi"', "größer", "unused")
    videos: dict[str, Video] = {}
    annotations: dict[str, Annotation] = {}
    for video_id in draw(st.lists(st.text(min_size=1, max_size=5).filter(str.strip), max_size=4, unique=True)):
        start = draw(st.sampled_from([0.0, 2.0, 0.04]))
        end = start + 250
        found = draw(st.sets(st.tuples(_micro, _micro, _label), max_size=4))
        instances = sorted(Instance(start + a, start + b, c) for a, b, c in found if b - a > 1e-3)
        instances = [Instance(round(i.start, 6), round(i.end, 6), i.label, 0.75) for i in instances]
        silent = draw(st.sets(_label))
        labels = tuple(sorted({i.label for i in instances} | silent))
        subset = draw(st.sampled_from(["training", "validation", "testing"]))
        videos[video_id] = Video(video_id, start, end, labels=labels, subset=subset, url=draw(st.none() | st.just("u")))
        exhaustive = draw(st.none() | st.frozensets(_label))
        if draw(st.booleans()):
            annotations[video_id] = Annotation(Item(video_id, start, end), tuple(instances), exhaustive)
    return Dataset(classes, videos, annotations, "round")


@given(_datasets())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> None:
    path = tmp_path_factory.mktemp("round") / "round.json"
    activitynet.write(path, dataset)
    first = path.read_bytes()
    activitynet.write(path, dataset)
    assert path.read_bytes() == first
    again, problems = activitynet.read(path)
    assert problems == []
    assert again == dataset


def test_first_frame_origin_moves_every_video_to_zero(tmp_path: Path) -> None:
    video = Video("v", 2.0, 12.0, labels=("jump",))
    dataset = Dataset(("jump",), {"v": video}, {"v": Annotation(video.item, (Instance(3.5, 12.0, "jump"),))})
    path = tmp_path / "a.json"
    media = {"v": Media(width=320, height=240)}
    activitynet.write(path, dataset, Extra(origin="first-frame", media=media))
    content = json.loads(path.read_text())
    assert content["time_origin"] == "first-frame"
    entry = content["database"]["v"]
    assert entry["annotations"] == [{"label": "jump", "segment": [1.5, 10.0]}]
    assert (entry["duration"], entry["resolution"], "start" in entry) == (10.0, "320x240", False)
    activitynet.write(path, dataset)
    assert json.loads(path.read_text())["database"]["v"]["start"] == 2.0
    assert activitynet.read(path).dataset.annotations == dataset.annotations
    with pytest.raises(UsageError, match="unknown time origin 'zero'"):
        activitynet.write(path, dataset, Extra(origin="zero"))  # type: ignore[arg-type]


@pytest.mark.realdata
def test_the_real_activitynet_file(real_data: Path, tmp_path: Path) -> None:
    dataset, problems = activitynet.read(real_data / "annotations" / "activitynet-1.3.json")
    assert (len(dataset.videos), len(dataset.annotations), len(dataset.classes)) == (19_994, 14_950, 200)
    counts = {" ".join(p.split(" (")[0].split()[2:]): int(p.split()[0].replace(",", "")) for p in problems}
    assert counts["end beyond the video's duration, clipped"] == 183
    assert counts["segment given twice, counted once"] == 52
    assert counts["zero-length segment, dropped"] == 12
    assert sum(len(a.instances) for a in dataset.annotations.values()) == 23_064 - 52 - 12
    activitynet.write(tmp_path / "again.json", dataset)
    again, left = activitynet.read(tmp_path / "again.json", name=dataset.name)
    assert left == []
    assert again.annotations == dataset.annotations
    assert again.videos == dataset.videos


@pytest.mark.realdata
def test_the_real_thumos_file_with_its_strings(real_data: Path) -> None:
    dataset, problems = activitynet.read(real_data / "annotations" / "thumos14-test.json")
    assert (len(dataset.of("training").videos), len(dataset.of("testing").videos)) == (200, 210)
    assert sum(len(a.instances) for a in dataset.annotations.values()) == 6_318
    assert problems[0].startswith("410 x video without a duration")
