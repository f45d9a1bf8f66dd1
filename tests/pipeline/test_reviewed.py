"""Scenarios that a review found broken once."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from kloc.errors import KlocError
from kloc.files import atomic_write, sweep
from kloc.pipeline import features, pool, selecting
from kloc.pipeline.removal import remove
from kloc.pipeline.telling import Silent, Summary
from kloc.store import artefacts, revisions, videos
from kloc.store.database import Store, sqlite_url
from kloc.video.write import write_video
from kloc.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    pool.init(tmp_path / "workspace", **{"general.workers": 1, "features.fps": 2.0})
    return Workspace.open(tmp_path / "workspace")


def add(workspace: Workspace, *sources: Path) -> Summary:
    return pool.add(workspace, [str(s) for s in sources], reporter=Silent())


def film(path: Path, count: int = 20) -> Path:
    write_video(path, np.zeros((count, 32, 32, 3), np.uint8), 10)
    return path


def truth(path: Path, name: str, label: str, end: float = 1.0) -> Path:
    entry = {"duration": 2.0, "subset": "training", "annotations": [{"label": label, "segment": [0.5, end]}]}
    path.write_text(json.dumps({"version": "1", "database": {name: entry}}))
    return path


def put_many(url: str, name: str) -> None:
    store = Store(url)
    for index in range(60):
        with store.transaction() as session:
            artefacts.put(session, name, str(index), "x")
    store.close()


def test_two_stages_write_side_by_side(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "s.sqlite")
    store = Store(url)
    store.migrate()
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=put_many, args=(url, name)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with store.transaction() as session:
        assert [len(artefacts.of_stage(session, name)) for name in ("a", "b")] == [60, 60]
    assert [writer.exitcode for writer in writers] == [0, 0]


@pytest.mark.parametrize("video_first", [True, False])
def test_activitynet_names_in_either_order(workspace: Workspace, tmp_path: Path, video_first: bool) -> None:
    video, table = film(tmp_path / "v_AAA.mp4"), truth(tmp_path / "t.json", "AAA", "jump")
    for source in (video, table) if video_first else (table, video):
        add(workspace, source)
    add(workspace, video, table)
    with workspace.store.transaction() as session:
        rows = videos.rows(session)
        known = revisions.current(session)
    assert [(row.state, row.labels) for row in rows] == [("ok", ["jump"])]
    assert [len(a.instances) for a in known.values()] == [1]


def test_labels_by_file_name_before_the_files(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("video,label\na.mp4,jump\n")
    add(workspace, tmp_path / "labels.csv")
    add(workspace, film(tmp_path / "a.mp4"))
    with workspace.store.transaction() as session:
        assert [(row.id, row.state, row.labels) for row in videos.rows(session)] == [("a", "ok", ["jump"])]


def test_a_later_look_at_a_stretch_stands_for_an_earlier_one(workspace: Workspace, tmp_path: Path) -> None:
    add(workspace, truth(tmp_path / "t.json", "a", "jump", end=1.5))
    add(workspace, film(tmp_path / "a.mp4", 14))
    add(workspace, truth(tmp_path / "t.json", "a", "jump", end=1.3))
    with workspace.store.transaction() as session:
        assert [(i.start, i.end) for i in revisions.current(session)["a"].instances] == [(0.5, 1.3)]


def test_an_annotation_does_not_cover_classes_that_came_later(workspace: Workspace, tmp_path: Path) -> None:
    add(workspace, film(tmp_path / "a.mp4"), truth(tmp_path / "t.json", "a", "jump"))
    add(workspace, film(tmp_path / "b.mp4"), truth(tmp_path / "u.json", "b", "run"))
    with workspace.store.transaction() as session:
        known = revisions.current(session)
    assert known["a"].covers("jump")
    assert not known["a"].covers("run")


def test_a_disk_that_comes_back_brings_its_videos(workspace: Workspace, tmp_path: Path) -> None:
    video = film(tmp_path / "a.mp4")
    add(workspace, video)
    video.rename(tmp_path / "away")
    assert "left for the next" in features.extract(workspace, reporter=Silent()).problems[0]
    (tmp_path / "away").rename(video)
    assert features.extract(workspace, reporter=Silent()).problems == []


def test_a_killed_removal_can_be_finished(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(workspace, film(tmp_path / "a.mp4"))
    features.extract(workspace, reporter=Silent())
    with monkeypatch.context() as patched:
        patched.setattr(videos, "forget", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            remove(workspace, ["a"], Silent())
    assert remove(workspace, ["a"], Silent())["videos"] == 1
    assert list(workspace.features.rglob("*.npy")) == []


def test_removing_a_name_spares_the_models(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("video,label\ntypo,jump\n")
    add(workspace, film(tmp_path / "a.mp4"), tmp_path / "labels.csv")
    (workspace.models / "m").mkdir(parents=True)
    remove(workspace, ["typo"], Silent())
    assert (workspace.models / "m").exists()


def test_sweeping_spares_what_is_being_written(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "x") as stream:
        stream.write(b"1")
        other = next(tmp_path.glob(".*.part"))
        other.rename(other.with_name(".y.1.abc.part"))  # process 1 is alive
        (tmp_path / ".z.999999999.abc.part").write_bytes(b"")
        assert sweep(tmp_path) == 1
        other.with_name(".y.1.abc.part").rename(other)
    assert (tmp_path / "x").read_bytes() == b"1"


def test_a_path_with_a_question_mark(tmp_path: Path) -> None:
    pool.init(tmp_path / "what?now")
    Workspace.open(tmp_path / "what?now").close()
    assert (tmp_path / "what?now" / "store.sqlite").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["what?now"]


def test_no_database_url(tmp_path: Path) -> None:
    with pytest.raises(KlocError, match="no database URL"):
        pool.init(tmp_path / "w", **{"general.store": "foo"})


def test_an_empty_workspace_has_no_empty_pool(workspace: Workspace) -> None:
    with pytest.raises(KlocError, match="no videos yet"):
        selecting.select(workspace, batch=1, reporter=Silent())
