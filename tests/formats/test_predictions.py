"""Prediction files become columns: what is wrong in a row is counted, what is wrong with the file is one line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kloc.errors import FormatError
from kloc.formats import predictions
from kloc.formats.predictions import PredictionTable, read_predictions, read_table, write_predictions
from kloc.records import Detection


def test_read_best_first_and_written_the_same(tmp_path: Path) -> None:
    detections = {"b": [Detection(1, 2, "run", 0.2), Detection(0, 3, "jump", 0.9)], "a": []}
    path = tmp_path / "p.json"
    write_predictions(path, detections, external_data={"used": False})
    read, problems = read_predictions(path)
    assert read == {"a": (), "b": (Detection(0, 3, "jump", 0.9), Detection(1, 2, "run", 0.2))}
    assert not problems
    content = json.loads(path.read_text())
    assert list(content) == ["version", "results", "external_data"]
    assert list(content["results"]) == ["a", "b"]
    again = tmp_path / "again.json"
    write_predictions(again, read, external_data={"used": False})
    assert again.read_bytes() == path.read_bytes()


good = {"label": "run", "score": 0.5, "segment": [1, 2.5]}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (None, "detection that is no object"),
        ([1, 2], "detection that is no object"),
        ({"score": 1, "segment": [1, 2]}, "detection without 'label'"),
        ({"label": "x", "segment": [1, 2]}, "detection without 'score'"),
        ({"label": "x", "score": 1}, "detection without 'segment'"),
        ({**good, "label": 7}, "detection whose label is no name"),
        ({**good, "label": " "}, "detection whose label is no name"),
        ({**good, "label": ["x"]}, "detection whose label is no name"),
        ({**good, "segment": [1]}, "detection whose segment is not a start and an end"),
        ({**good, "segment": [1, 2, 3]}, "detection whose segment is not a start and an end"),
        ({**good, "segment": "12"}, "detection whose segment is not a start and an end"),
        ({**good, "segment": {"1": 0, "2": 0}}, "detection whose segment is not a start and an end"),
        ({**good, "segment": [1, "two"]}, "detection with a time or score that is no number"),
        ({**good, "segment": [True, 2]}, "detection with a time or score that is no number"),
        ({**good, "score": None}, "detection with a time or score that is no number"),
        ({**good, "score": "nan"}, "detection with a time or score that is not finite"),
        ({**good, "score": math.nan}, "detection with a time or score that is not finite"),
        ({**good, "segment": [0, math.inf]}, "detection with a time or score that is not finite"),
        ({**good, "segment": [0, 10**400]}, "detection with a time or score that is not finite"),
        ({**good, "segment": [2, 1]}, "zero-length or reversed detection"),
        ({**good, "segment": [2, 2]}, "zero-length or reversed detection"),
    ],
)
def test_a_wrong_row_is_counted_and_the_rest_used(tmp_path: Path, row: Any, said: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"results": {"v 1": [good, row, {**good, "score": "0.25"}], "w": [row, row]}}))
    read, problems = read_predictions(path)
    assert read == {"v 1": (Detection(1, 2.5, "run", 0.5), Detection(1, 2.5, "run", 0.25)), "w": ()}
    assert problems == [f"3 x {said}, dropped (v 1, w)"]


def test_videos_given_twice_and_lists_that_are_none_are_said(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    row = json.dumps(good)
    path.write_text(f'{{"results": {{"v": [{row}, {row}], "w": {{"a": 1}}, "x": null, "v": [{row}]}}}}')
    read, problems = read_predictions(path)
    assert read == {"v": (Detection(1, 2.5, "run", 0.5),), "w": (), "x": ()}
    assert problems == [
        "2 x video whose detections are no list, taken as none (w, x)",
        "1 x video given twice, the last list holds (v)",
    ]
    path.write_text(f'{{"results": {{"v": [{row}]}}, "results": {{"w": [{row}]}}}}')
    read, problems = read_predictions(path)
    assert list(read) == ["w"]
    assert problems == ["1 x key given twice in one JSON object, the last one holds (results)"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"results": {"v": [{"label": "x", "score": 1, "segment": [1, 2}]}}', "line 1, column 63"),
        (b'{"results":\n {"v": []', "line 2, column 10: Expecting ',' delimiter"),
        (b'{"results":\n {"v": [],}}', "line 2, column 11: Expecting property name"),
        (b'{"results": {"v" []}}', "column 18: Expecting ':' delimiter"),
        (b'{"results": {"v": ]}}', "column 19: Expecting value"),
        (b'{"results": {v: []}}', "column 14: Expecting property name"),
        (b'{"results": {}} {}', "column 17: Extra data"),
        (b'{"results": []}', "column 13: 'results', which lists detections by video id, must be an object"),
        (b"[1, 2]", "column 1: a predictions file must be an object"),
        (b"", "line 1, column 1"),
        (b'{"database": {}}', "no 'results'; is this an ActivityNet predictions file?"),
        (b'{"results":\n {"v\xff": []}}', r"not UTF-8 at byte 16 \(line 2\)"),
        (b'{"version": ' + b"[" * 200_000, "cannot|recursion"),
    ],
)
def test_a_broken_file_is_one_line_that_names_the_place(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=said) as caught:
        read_table(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(FormatError, match="cannot be read"):
        read_table(tmp_path / "nowhere.json")


numbers = st.one_of(
    st.floats(0, 50), st.integers(0, 50), st.integers(0, 50).map(str), st.sampled_from([True, None, math.nan, "x", []])
)
rows = st.one_of(
    st.fixed_dictionaries({"label": st.sampled_from(["a", "b", ""]), "score": numbers},
                          optional={"segment": st.lists(numbers, min_size=1, max_size=3)}),
    st.sampled_from([None, 3, "row", []]),
)  # fmt: skip
results = st.dictionaries(st.text(max_size=4), st.one_of(st.lists(rows, max_size=6), st.none()), max_size=4)


@settings(max_examples=150, deadline=None)
@given(results=results, blanks=st.sampled_from([None, 2]))
def test_equals_reading_row_by_row(results: dict[str, Any], blanks: int | None, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "predictions.json"
    path.write_text(json.dumps({"version": {"results": 1}, "results": results, "more": [1]}, indent=blanks))
    expected: dict[str, list[tuple[float, float, str, float]]] = {}
    for video_id, found in json.loads(path.read_text())["results"].items():
        expected[video_id] = []
        for row in found or []:
            try:
                start, end = row["segment"]
                values = [float(x) for x in (start, end, row["score"]) if not isinstance(x, bool)]
                assert len(values) == 3
                assert np.isfinite(values).all()
                assert values[1] > values[0]
                assert row["label"]
            except (KeyError, TypeError, ValueError, AssertionError, IndexError):
                continue
            expected[video_id].append((values[0], values[1], row["label"], values[2]))
    table, problems = read_table(path)
    names = [(table.videos[v], table.classes[c]) for v, c in zip(table.video, table.label, strict=True)]
    got = [
        (v, (float(s), float(e), c, float(p)))
        for (v, c), s, e, p in zip(names, table.start, table.end, table.score, strict=True)
    ]
    assert got == [(v, row) for v, found in expected.items() for row in found]
    assert table.videos == tuple(expected)
    assert bool(problems) == (
        sum(map(len, expected.values())) < sum(len(r or []) for r in results.values()) or None in results.values()
    )


def test_a_table_of_detections_and_back() -> None:
    detections = {"b": (Detection(0.0, 3.0, "jump", 0.9), Detection(1.0, 2.0, "run", 0.2)), "a": ()}
    table = PredictionTable.of(detections)
    assert len(table) == 2
    assert table.videos == ("b", "a")
    assert table.classes == ("jump", "run")
    assert table.detections() == detections
    assert len(PredictionTable.of({})) == 0


def test_regular_rows_never_take_the_slow_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("row by row")

    monkeypatch.setattr(predictions, "_careful_columns", never)
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"results": {"v": [good] * 3, "w": []}}))
    assert len(read_table(path).table) == 3
