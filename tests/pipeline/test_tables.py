"""Labels and annotations as users have them, right and wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kloc.errors import FormatError
from kloc.pipeline import exporting, imports, pool, proposals, training
from kloc.pipeline.selecting import pool_items, select, undo
from kloc.pipeline.telling import Silent, Summary
from kloc.records import Annotation, Instance, Item
from kloc.store import revisions, videos
from kloc.store.tables import VideoRow
from kloc.video.write import write_video
from kloc.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    pool.init(tmp_path / "workspace", **{"general.workers": 1})
    made = Workspace.open(tmp_path / "workspace")
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a", "b", "v_c"):
        write_video(folder / f"{name}.mp4", np.zeros((20, 32, 32, 3), np.uint8), 10)
    add(made, folder)
    return made


def add(workspace: Workspace, *sources: Path, **options: object) -> Summary:
    return pool.add(workspace, [str(s) for s in sources], reporter=Silent(), **options)  # type: ignore[arg-type]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def labels(workspace: Workspace) -> dict[str, list[str]]:
    with workspace.store.transaction() as session:
        return {row.id: row.labels for row in videos.rows(session)}


def test_labels_for_known_and_unknown_videos(workspace: Workspace, tmp_path: Path) -> None:
    table = write(tmp_path / "labels.csv", "video,label\na.mp4,jump\nb,run;jump\nnobody,run\n")
    summary = add(workspace, table)
    assert labels(workspace) == {"a": ["jump"], "b": ["jump", "run"], "v_c": [], "nobody": ["run"]}
    assert any("known by name only (nobody)" in line for line in summary.problems)
    assert len(pool_items(workspace)) == 3  # a video known by name only is nothing to annotate
    # Its file comes later: the label is already there.
    write_video(tmp_path / "nobody.mp4", np.zeros((5, 32, 32, 3), np.uint8), 10)
    add(workspace, tmp_path / "nobody.mp4")
    assert len(pool_items(workspace)) == 4
    assert labels(workspace)["nobody"] == ["run"]


def test_annotations_before_or_after_their_file_are_the_same(workspace: Workspace, tmp_path: Path) -> None:
    def segments(*found: tuple[float, float]) -> list[dict[str, object]]:
        return [{"label": "jump", "segment": list(one)} for one in found]

    database = {
        "long": {"subset": "training", "annotations": segments((0.25, 0.75), (1.0, 8.0), (5.0, 8.0)), "duration": 9.0},
        "short": {"subset": "training", "annotations": segments((0.25, 0.75))},
    }
    truth = write(tmp_path / "truth.json", json.dumps({"version": "1", "database": database}))
    folder = tmp_path / "late"
    folder.mkdir()
    for name in database:
        write_video(folder / f"{name}.mp4", np.zeros((20, 32, 32, 3), np.uint8), 10)
    pool.init(tmp_path / "other", **{"general.workers": 1})
    other = Workspace.open(tmp_path / "other")
    add(other, folder)
    cuts = {line for line in add(other, truth).problems if "lies outside" in line or "cut there" in line}
    assert cuts == {
        "long: 'jump' ends at 8 s, the video at 2 s; cut there",
        "long: 'jump' 5-8 s lies outside the video",
    }
    add(workspace, truth)
    assert cuts <= set(add(workspace, folder).problems)
    found = []
    for one in (workspace, other):
        with one.store.transaction() as session:
            found.append({v: a for v, a in revisions.current(session).items() if v in database})
    assert found[0] == found[1]
    assert found[0]["short"].item.end == 2.0
    add(workspace, folder, truth)  # again: nothing new
    with workspace.store.transaction() as session:
        assert len(revisions.current_rows(session, "long")) == 1
        assert {row.video_id for row in revisions.current_rows(session)} == set(database)
    other.close()


def test_peoples_annotations_beyond_another_file_are_told(workspace: Workspace, tmp_path: Path) -> None:
    with workspace.store.transaction() as session:
        whole = Annotation(Item("a", 0.0, 2.0), (Instance(0.5, 1.9, "jump"),), None)
        revisions.append(session, whole, "crowd")
    write_video(tmp_path / "videos" / "a.mp4", np.zeros((10, 32, 32, 3), np.uint8), 10)
    told = add(workspace, tmp_path / "videos").problems
    assert "a: its annotation reaches to 2 s, the video to 1 s; is it another file?" in told
    with workspace.store.transaction() as session:
        assert revisions.current(session)["a"] == whole


def test_a_table_without_header(workspace: Workspace, tmp_path: Path) -> None:
    add(workspace, write(tmp_path / "plain.csv", "a,jump\nb,run\n"))
    assert labels(workspace)["a"] == ["jump"]
    with pytest.raises(FormatError, match="header"):
        add(workspace, write(tmp_path / "unclear.csv", "x,y\nz,w\n"))


def test_a_kinetics_list(workspace: Workspace, tmp_path: Path) -> None:
    text = "label,youtube_id,time_start,time_end,split\nhigh jump,a,0,10,train\nrunning,c,3,13,val\n"
    add(workspace, write(tmp_path / "kinetics.csv", text))
    assert labels(workspace)["a"] == ["high jump"]
    assert labels(workspace)["v_c"] == ["running"]
    with workspace.store.transaction() as session:
        assert session.get_one(VideoRow, "v_c").subset == "validation"


def test_segments_beyond_the_video_are_cut_and_said(workspace: Workspace, tmp_path: Path) -> None:
    rows = {
        "a": {"duration": 9.0, "subset": "training", "annotations": [{"label": "jump", "segment": [0.5, 8.0]}]},
        "b": {"duration": 9.0, "subset": "training", "annotations": [{"label": "jump", "segment": [5.0, 8.0]}]},
        "c": {"duration": 2.0, "subset": "validation", "annotations": [{"label": "run", "segment": ["0.5", "1"]}]},
    }
    summary = add(workspace, write(tmp_path / "truth.json", json.dumps({"version": "x", "database": rows})))
    said = "\n".join(summary.problems)
    assert "a: 'jump' ends at 8 s, the video at 2 s; cut there" in said
    assert "b: 'jump' 5-8 s lies outside the video" in said
    with workspace.store.transaction() as session:
        known = revisions.current(session)
    assert [(i.start, i.end) for i in known["a"].instances] == [(0.5, 2.0)]
    assert known["b"].instances == ()
    assert known["v_c"].item.video_id == "v_c"
    assert {item.video_id for item in pool_items(workspace)} == set()


def test_adding_annotations_twice_makes_one_revision(workspace: Workspace, tmp_path: Path) -> None:
    entry = {"duration": 2.0, "subset": "training", "annotations": [{"label": "jump", "segment": [0.5, 1.0]}]}
    path = write(tmp_path / "truth.json", json.dumps({"version": "x", "database": {"a": entry}}))
    assert "1 annotations" in add(workspace, path).facts["from truth.json"]
    assert "0 annotations" in add(workspace, path).facts["from truth.json"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("broken.json", b'{"database": {'),
        ("latin.json", b'{"database": {"\xff": {}}}'),
        ("list.json", b"[]"),
        ("empty.csv", b""),
    ],
)
def test_broken_tables_stop_with_one_line_and_change_nothing(
    workspace: Workspace, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError) as caught:
        add(workspace, tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert set(labels(workspace)) == {"a", "b", "v_c"}


def test_unlabelled_videos_can_be_selected(workspace: Workspace) -> None:
    summary = select(workspace, batch=2, reporter=Silent())
    assert summary.facts["strategy"].startswith("random")
    again = select(workspace, batch=2, reporter=Silent())
    assert again.data["selected"] == summary.data["selected"]
    undo(workspace)
    assert len(pool_items(workspace)) == 3


def test_imported_features_and_predictions_need_no_video(tmp_path: Path) -> None:
    pool.init(tmp_path / "w")
    workspace = Workspace.open(tmp_path / "w")
    rng = np.random.default_rng(0)
    folder = tmp_path / "npy"
    folder.mkdir()
    database = {}
    for index in range(6):
        # 4 features a second, 20 s; class 1 shows from 5 to 10 s.
        features = rng.normal(0, 0.3, (80, 16)).astype(np.float32)
        features[20:40, index % 2] += 4
        np.save(folder / f"clip{index}.npy", features)
        annotation = {"label": f"class {index % 2}", "segment": [5.0, 10.0]}
        subset = "training" if index < 4 else "validation"
        database[f"clip{index}"] = {"duration": 20.0, "subset": subset, "annotations": [annotation]}
    (folder / "broken.npy").write_bytes(b"not an array")
    truth = write(tmp_path / "truth.json", json.dumps({"version": "x", "database": database}))
    add(workspace, truth)
    summary = imports.import_features(workspace, folder, name="mine", fps=4, stride=1, offset=0.5, reporter=Silent())
    assert summary.facts["imported"] == 6
    assert any("broken.npy" in line for line in summary.problems)
    proposals.propose(workspace, reporter=Silent())
    training.train(workspace, reporter=Silent())
    learned = training.predict(workspace, reporter=Silent())
    assert learned.data["metrics"]["validation"]["mAP@0.5"] > 0.4

    results = {"clip4": [{"label": "class 0", "score": 0.9, "segment": [5.0, 10.0]}], "elsewhere": []}
    path = write(tmp_path / "predictions.json", json.dumps({"version": "x", "results": results, "external_data": {}}))
    taken = imports.import_predictions(workspace, path, reporter=Silent())
    assert taken.facts == {"videos": 1, "detections": 1}
    assert any("'elsewhere' is no usable video" in line for line in taken.problems)


def test_export_keeps_what_was_not_asked_unknown(workspace: Workspace, tmp_path: Path) -> None:
    entry = {
        "duration": 2.0,
        "subset": "training",
        "exhaustive_for": ["jump"],
        "annotations": [{"label": "jump", "segment": [0.5, 1.0]}],
    }
    other = {"duration": 2.0, "subset": "training", "annotations": [{"label": "run", "segment": [0.0, 1.0]}]}
    path = write(tmp_path / "truth.json", json.dumps({"version": "x", "database": {"a": entry, "b": other}}))
    add(workspace, path)
    exporting.export(workspace, out=tmp_path / "out", origin="stream")
    exported = json.loads((tmp_path / "out" / "annotations.json").read_text())["database"]
    assert exported["a"]["exhaustive_for"] == ["jump"]
    lines = (tmp_path / "out" / "videos.csv").read_text().splitlines()
    assert lines[1].startswith("a,training,2.000000,jump,jump,")
    assert lines[2].startswith("b,training,2.000000,run,jump;run,")
