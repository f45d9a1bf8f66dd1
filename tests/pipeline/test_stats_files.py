"""kloc stats on other people's files: what is wrong is counted and said, what cannot be read costs one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kloc.cli import app
from kloc.errors import KlocError
from kloc.formats.common import Extra
from kloc.formats.registry import FORMATS
from kloc.pipeline.file_statistics import file_stats
from kloc.records import SIMULATED_WORKERS, Annotation, Dataset, Instance, Video

ROWS = [{"label": "run", "segment": [1, 3]}, {"label": "jump", "segment": [4, 8.5]}]


def kloc_stats(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["stats", *map(str, arguments)], env={"COLUMNS": "80"})


def refusal(*arguments: str | Path) -> str:
    """The one line with which `kloc stats` refuses to work (``kloc.cli.main`` prints it without a traceback)."""
    error = kloc_stats(*arguments).exception
    assert isinstance(error, KlocError)
    assert "\n" not in str(error)
    return str(error)


def _file(folder: Path, content: Any, name: str = "wild.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


WILD: dict[str, Any] = {
    "official": {
        "version": "1.3",
        "taxonomy": [],
        "database": {"v": {"duration": 10, "subset": "training", "annotations": ROWS}},
    },
    "HACS": {
        "database": {"v": {"duration": 10.0, "url": "https://youtu.be/v", "subset": "Train", "annotations": ROWS}}
    },
    "OpenTAD": {
        "version": "MultiTHUMOS",
        "database": {
            "v": {
                "subset": "train_val",
                "duration": 10,
                "frame": 300,
                "fps": 30,
                "annotations": [{**row, "label_id": i, "segment(frames)": [0, 1]} for i, row in enumerate(ROWS)],
            }
        },
    },
    "frames alone": {"database": {"v": {"subset": "train", "frame": 250, "fps": "25", "annotations": ROWS}}},
    "mmaction2": {"v": {"duration_second": 10.0, "duration_frame": 300, "feature_frame": 290, "annotations": ROWS}},
    "strings": {
        "database": {
            "v": {
                "duration": "10",
                "subset": "training",
                "annotations": [{"label": r["label"], "segment": [str(t) for t in r["segment"]]} for r in ROWS],  # type: ignore[attr-defined]
            }
        }
    },
    "label ids": {
        "database": {
            "v": {
                "duration": 10,
                "subset": "training",
                "annotations": [{**ROWS[0], "label_id": 4}, {**ROWS[1], "label_id": 7}],
            },
            "w": {"duration": 10, "subset": "training", "annotations": []},
        }
    },
}


@pytest.mark.parametrize("name", WILD)
def test_annotations_as_they_are_found_in_the_wild(tmp_path: Path, name: str) -> None:
    statistics, _ = file_stats(_file(tmp_path, WILD[name]))
    assert statistics.instances == 2
    assert [row.label for row in statistics.per_class] == ["jump", "run"]
    assert [(row.subset, row.instances) for row in statistics.subsets] == [("training", 2)]
    coverage = statistics.attributes[0]
    assert (coverage.attribute, coverage.counts) == ("coverage", (1, 0, 1, 0, 0))
    assert statistics.label_problems == ()


def test_a_name_beside_a_number_is_the_class(tmp_path: Path) -> None:
    rows = [{"label": 3, "segment": [0, 1]}, {"label": 3, "label_name": "run", "segment": [1, 2]}]
    statistics, told = file_stats(_file(tmp_path, {"database": {"v": {"duration": 9, "annotations": rows}}}))
    assert {row.label: row.instances for row in statistics.per_class} == {"run": 1}
    assert any("annotation that cannot be read, left out" in line for line in told.problems)


HOSTILE = {
    "annotations": [
        {"label": "run", "segment": [8, 2]},
        {"label": "run", "segment": [5, 50]},
        {"label": "run", "segment": [60, 70]},
        {"label": "run", "segment": [float("nan"), 3]},
        {"label": "run", "segment": [1, float("inf")]},
        {"label": "run", "segment": ["x", 3]},
        {"label": "run", "segment": [1]},
        {"label": "run", "segment": {"a": 1}},
        {"label": "", "segment": [1, 2]},
        {"segment": [1, 2]},
        {"label": "evil\u001b[31m\nname", "segment": [2, 4]},
        "nothing",
        None,
    ],
    "duration": 10,
    "subset": "training",
}


def test_bad_rows_are_counted_and_the_rest_is_used(tmp_path: Path) -> None:
    text = json.dumps({"database": {"v": HOSTILE, "no object": 7, "odd": {"subset": "nonsense", "duration": 3}}})
    twice = text[:-2] + ', "v": ' + json.dumps({"duration": -1, "subset": "VAL", "annotations": ROWS}) + "}}"
    statistics, told = file_stats(_file(tmp_path, text))
    assert statistics.instances == 2
    assert {p.kind: p.count for p in statistics.label_problems} == {
        "ends before or where it starts (left out)": 1,
        "outside its video (left out)": 1,
        "reaches beyond its video (cut)": 1,
    }
    assert sum(int(line.split(" x ")[0]) for line in told.problems) == 9 + 2
    data = json.loads(kloc_stats(_file(tmp_path, text), "--json").stdout)
    assert (len(data["label_problems"]), data["problems"]) == (3, told.problems)
    repeated, told = file_stats(_file(tmp_path, twice))
    assert repeated.instances == 2
    assert any("given twice" in line for line in told.problems)
    assert any("duration of 0 or less" in line for line in told.problems)
    assert [h.attribute for h in repeated.attributes] == ["length", "instances"]
    shown = kloc_stats(_file(tmp_path, text))
    assert shown.exit_code == 0
    assert "\x1b" not in shown.output
    assert max(map(len, shown.output.splitlines())) <= 80


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"database": {"v": ', "broken JSON at line 1"),
        (b'{"database": {"\xff\xfe": {}}}', "not UTF-8 at byte 15"),
        (b"[1, 2]", "the first entry is no task"),
        (b'{"results": {}}', "it has results"),
        (b'{"database": []}', "expected an object"),
        (b"", "broken JSON"),
        (b"[" * 100_000, "not a JSON file"),
        (b"\x00\x01\x02", "broken JSON"),
    ],
)
def test_a_file_that_cannot_be_read_costs_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    assert said in refusal(path)


def test_what_is_not_there_or_not_asked_for_costs_one_line(tmp_path: Path) -> None:
    good = _file(tmp_path, WILD["official"])
    for arguments, said in (
        ((tmp_path / "nope.json",), "cannot be read"),
        ((tmp_path,), "looks like no format of annotations"),
        ((good, "--bins", "mine"), "unknown bins 'mine'"),
        ((good, "--format", "mine"), "mine"),
        ((good, "--classes", good), "--classes"),
        (("--format", "coco"), "name one"),
        ((good, "--html", good / "page.html"), "cannot be written"),
        ((good, "--plots", good), "cannot be written"),
    ):
        assert said in refusal(*arguments)


def test_a_file_without_videos_is_no_accident(tmp_path: Path) -> None:
    result = kloc_stats(_file(tmp_path, {"database": {}}), "--html", tmp_path / "p.html", "--plots", tmp_path / "plots")
    assert result.exit_code == 0
    assert "No label problems" in result.output


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_file_of_any_format_works_too(tmp_path: Path, name: str) -> None:
    video = Video("v", 0.0, 10.0)
    notes = {"v": Annotation(video.item, (Instance(1.0, 3.0, "run"), Instance(4.0, 8.5, "jump")))}
    path = tmp_path / (FORMATS[name].file if FORMATS[name].file != "." else "folder")
    FORMATS[name].module.write(path, Dataset(("jump", "run"), {"v": video}, notes), Extra())
    statistics, _ = file_stats(path, format_name=name)
    assert file_stats(path)[0] == statistics  # which format it is may be seen
    assert (statistics.videos, statistics.instances) == (1, 2)
    assert statistics.attributes[-2].counts == (2, 0, 0, 0, 0)
    # THUMOS and Kinetics files say of no video how long it is.
    assert (len(statistics.attributes) == 3) == (statistics.untimed == 0) == (name not in ("kinetics", "thumos"))


@pytest.mark.parametrize("origin", ["", SIMULATED_WORKERS, "<b>Flickr</b>"])
def test_where_the_annotations_come_from_is_said_first(tmp_path: Path, origin: str) -> None:
    video = Video("v", 0.0, 10.0)
    dataset = Dataset(("run",), {"v": video}, {"v": Annotation(video.item, (Instance(1.0, 3.0, "run"),))}, "x", origin)
    source = tmp_path / "coco.json"
    FORMATS["coco"].module.write(source, dataset, Extra(header={"origin": origin} if origin else {}))
    first = kloc_stats(source, "--format", "coco", "--html", tmp_path / "page.html").output.splitlines()[1]
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    simulated = origin == SIMULATED_WORKERS
    assert ("Simulated answers: no person" in first) == ("Simulated answers: no person" in page) == simulated
    told = bool(origin) and not simulated
    assert first.startswith("origin      <b>Flickr</b>") == ("Origin: &lt;b&gt;Flickr&lt;/b&gt;" in page) == told
    assert json.loads(kloc_stats(source, "--format", "coco", "--json").stdout)["origin"] == origin


def test_a_list_of_segments_names_its_classes_by_number(tmp_path: Path) -> None:
    listed = _file(
        tmp_path, "a\t1\t9\t0\nb\t0\t30.5\t1\nb\t40\t2\t1\n\nc\t0\tx\t1\nd\t1\t2\t9\n", "some-val-segments.txt"
    )
    names = _file(tmp_path, "high jump\nrun\n", "classes.txt")
    statistics, told = file_stats(listed, classes=names)
    assert {row.label: row.instances for row in statistics.per_class} == {"high jump": 1, "run": 1}
    assert [row.subset for row in statistics.subsets] == ["validation"]
    assert [h.attribute for h in statistics.attributes] == ["length", "instances"]
    assert next(p.kind for p in statistics.label_problems) == "ends before or where it starts (left out)"
    assert any(line.startswith("2 x row that cannot be read") for line in told.problems)
    bare, _ = file_stats(listed)
    assert [row.label for row in bare.per_class] == ["0", "1", "9"]


def test_the_pictures_and_the_page_are_written_alike_twice(tmp_path: Path) -> None:
    source = _file(tmp_path, WILD["official"])
    for name in ("one", "two"):
        result = kloc_stats(source, "--html", tmp_path / name / "page.html", "--plots", tmp_path / name)
        assert result.exit_code == 0
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert first == second
    assert {"coverage-by-length.png", "coverage-by-length.svg", "instances-per-class.svg", "page.html"} <= set(first)
    assert first["length.png"].startswith(b"\x89PNG")


def test_json_is_for_programs_and_long_tables_are_cut_for_people(tmp_path: Path) -> None:
    rows = [{"label": f"class {i:02d}", "segment": [i, i + 1]} for i in range(20)]
    source = _file(tmp_path, {"database": {"v": {"duration": 100, "subset": "training", "annotations": rows}}})
    data = json.loads(kloc_stats(source, "--json").stdout)
    assert sum(map(sum, data["pairwise"][0]["percent"])) == pytest.approx(100, abs=1e-6)
    assert data["facts"] == {"relatively_small": 100.0, "hardest": 100.0, "single_of_xl": None}
    short, whole = kloc_stats(source).output, kloc_stats(source, "--all").output
    assert "... and 5 more classes with 5 instances; --all shows them" in short
    assert "class 19" not in short
    assert "class 19" in whole
