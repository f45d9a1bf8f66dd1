"""Exports in versions, what they never let out, and that a failed one leaves the old one whole."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kloc.cli import app
from kloc.errors import FormatError, KlocError, UsageError
from kloc.formats import activitynet, coco
from kloc.formats.difference import compare
from kloc.formats.guessing import load
from kloc.pipeline import differing, exporting, pool, versions
from kloc.pipeline.common import SIMULATED
from kloc.pipeline.telling import Silent
from kloc.records import Annotation, Dataset, Instance, Item, Video
from kloc.store import meta, revisions, videos
from kloc.store.tables import AssignmentRow, GuidelineRow, HitRow, VideoRow
from kloc.workspace import Workspace

WORKERS = ["A2SUAM1J3GNN3B", "AMT-worker-7", "A2SUAM1J3GNN3B"]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two annotated videos and one that is not, with three answers of two workers behind them."""
    pool.init(tmp_path / "w", **{"general.name": "small"})
    made = Workspace.open(tmp_path / "w")
    with made.store.transaction() as session:
        videos.add_classes(session, ["jump", "run"])
        for name in ("a", "b", "../c"):
            probe = {"width": 64, "height": 48, "fps": 25.0, "n_frames": 750}
            path = f"/somewhere/{name}.mp4"
            row = VideoRow(id=name, state="ok", start=1.0, end=31.0, labels=["jump"], path=path, probe=probe)
            session.add(row)
        session.add(GuidelineRow(version="g", content={}))
        session.flush()
        for name, end in (("a", 8.0), ("../c", 9.0)):
            known = Annotation(Item(name, 1.0, 31.0), (Instance(3.0, end, "jump"),), frozenset({"jump"}))
            revisions.append(session, known, "crowd")
        hit = {"payload_hash": "p", "state": "done", "intended_at": 0.0, "endpoint": "e", "guideline": "g"}
        money = {"reward_mills": 1, "max_assignments": 3, "cost_mills": 1, "wanted": 3}
        session.add(HitRow(token="t", video_id="a", start=1.0, end=31.0, classes=["jump"], round=None, **hit, **money))
        session.flush()
        for i, worker in enumerate(WORKERS):
            said = {"segments": [{"start": 3.0, "end": 8.0, "label": "jump"}], "none": False, "seconds_spent": 4.5}
            more = {"watched": [[1.0, 31.0]], "comment": f"I am {worker}"}
            row_ = {"status": "Approved", "raw": worker, "answer": {**said, **more}, "submitted_at": 1.7e9}
            session.add(AssignmentRow(assignment_id=f"as{i}", token="t", worker_id=worker, **row_))
    return made


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _annotate(workspace: Workspace, end: float) -> None:
    with workspace.store.transaction() as session:
        known = Annotation(Item("a", 1.0, 31.0), (Instance(3.0, end, "jump"),), frozenset({"jump"}))
        revisions.append(session, known, "crowd")


def test_the_same_content_is_the_same_version_with_the_same_bytes(workspace: Workspace) -> None:
    done = exporting.export(workspace, formats=["coco", "thumos"])
    assert done.facts["version"] == "1"
    first = _bytes(workspace.dataset)
    assert {"coco.json", "thumos/detclasslist.txt", "VERSION.json"} <= set(first)
    assert "annotations.json" not in first
    again = exporting.export(workspace)
    assert again.facts["version"] == "1 (nothing changed)"
    assert _bytes(workspace.dataset) == first
    assert not any(b"/somewhere" in content for content in first.values())


def test_other_content_is_the_next_version_and_says_what_changed(workspace: Workspace) -> None:
    exporting.export(workspace)
    _annotate(workspace, 8.5)
    done = exporting.export(workspace)
    assert done.facts["version"] == "2 (since 1: instances moved 1, mean boundary shift (s) 0.25)"
    told = json.loads((workspace.dataset / "VERSION.json").read_text())
    assert [entry["version"] for entry in told["history"]] == [1, 2]
    assert told["history"][1]["changes"] == {"instances moved": 1, "mean boundary shift (s)": 0.25}
    assert json.loads((workspace.dataset / "annotations.json").read_text())["version"] == "2"
    _annotate(workspace, 8.0)
    assert exporting.export(workspace).data["version number"] == 3  # an earlier opinion is a version of its own
    assert exporting.export(workspace, origin="first-frame").data["version number"] == 4


def test_every_format_in_the_folder_is_of_one_version(workspace: Workspace) -> None:
    exporting.export(workspace, formats=["coco"])
    _annotate(workspace, 8.5)
    exporting.export(workspace, formats=["activitynet"])
    for file in ("coco.json", "annotations.json"):
        assert load(workspace.dataset / file).dataset.annotations["a"].instances == (Instance(3.0, 8.5, "jump"),)


def test_videos_that_nobody_annotated_stay_at_home(workspace: Workspace) -> None:
    exporting.export(workspace)
    assert set(load(workspace.dataset).dataset.videos) == {"a", "../c"}


def test_worker_ids_are_hashed_with_the_workspaces_own_salt(workspace: Workspace, tmp_path: Path) -> None:
    done = exporting.export(workspace, answers=True)
    assert done.facts["answers"].startswith("answers.jsonl (3 answers")
    text = (workspace.dataset / "answers.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert sorted(row["worker"] for row in rows)[1] in [row["worker"] for row in rows]
    assert len({row["worker"] for row in rows}) == 2
    assert all(len(row["worker"]) == 16 for row in rows)
    assert rows[0]["segments"] == [{"start": 3.0, "end": 8.0, "label": "jump"}]
    for content in _bytes(workspace.dataset).values():
        assert not any(worker.encode() in content for worker in WORKERS)
        assert b"as0" not in content
    # Whoever knows all worker ids and how kloc hashes cannot find them without the salt: another one, other hashes.
    with workspace.store.transaction() as session:
        meta.put(session, "worker_salt", "another")
    exporting.export(workspace)  # answers that are there are kept up to date
    other = {json.loads(line)["worker"] for line in (workspace.dataset / "answers.jsonl").read_text().splitlines()}
    assert not other & {row["worker"] for row in rows}


def test_simulated_answers_are_said_in_every_file_that_can(workspace: Workspace, tmp_path: Path) -> None:
    with workspace.store.transaction() as session:
        meta.put(session, SIMULATED, "yes")
    done = exporting.export(workspace, formats=["activitynet", "csv", "coco", "thumos"], answers=True)
    assert done.facts["origin"] == "simulated workers"
    for name in ("annotations.json", "coco.json", "instances-training.csv", "videos.csv", "answers.jsonl"):
        assert "simulated workers" in (workspace.dataset / name).read_text()
    assert any(line.startswith("thumos: not held") and "simulated workers" in line for line in done.problems)
    # Whoever exports the export says it again.
    again = exporting.export_file(workspace.dataset / "annotations.json", out=tmp_path / "x", formats=["coco"])
    assert again.facts["origin"] == "simulated workers"
    assert coco.read(tmp_path / "x" / "coco.json").dataset.origin == "simulated workers"


@pytest.mark.parametrize("name", ["thumos", "charades", "kinetics"])
def test_an_export_in_any_format_says_on_the_disk_that_it_is_simulated(workspace: Workspace, name: str) -> None:
    exporting.export(workspace, formats=[name])
    real = versions.read(workspace.dataset)
    assert real is not None
    assert real.origin == ""
    assert '"origin"' not in (workspace.dataset / "VERSION.json").read_text()
    with workspace.store.transaction() as session:
        meta.put(session, SIMULATED, "yes")
    exporting.export(workspace)
    assert json.loads((workspace.dataset / "VERSION.json").read_text())["origin"] == "simulated workers"
    known = versions.read(workspace.dataset)
    assert known is not None
    assert known.origin == "simulated workers"


def test_a_failed_export_leaves_the_old_one_whole(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    exporting.export(workspace, formats=["activitynet", "thumos", "coco"])
    first = _bytes(workspace.dataset)
    _annotate(workspace, 8.5)

    def full(*_: Any) -> list[str]:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(coco, "write", full)  # while it writes
        with pytest.raises(KlocError, match=r"cannot be written \(No space left on device\); the export"):
            exporting.export(workspace)
    assert _bytes(workspace.dataset) == first
    rename = Path.rename

    def stuck(self: Path, target: Any) -> Path:
        if self.name == "thumos" and self.parent.name == "new":
            raise OSError(13, "Permission denied")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stuck)  # while the files change places
        with pytest.raises(KlocError, match="Permission denied"):
            exporting.export(workspace)
    assert _bytes(workspace.dataset) == first
    assert exporting.export(workspace).data["version number"] == 2


def test_nothing_is_replaced_that_no_export_wrote(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "mine" / "thumos").mkdir(parents=True)
    (tmp_path / "mine" / "thumos" / "notes.txt").write_text("years of work")
    with pytest.raises(UsageError, match="already holds thumos, which no export wrote; name another folder"):
        exporting.export(workspace, out=tmp_path / "mine", formats=["thumos"])
    assert _bytes(tmp_path / "mine") == {"thumos/notes.txt": b"years of work"}
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file; name a folder"):
        exporting.export(workspace, out=tmp_path / "file")
    with pytest.raises(UsageError, match="unknown format 'nope'"):
        exporting.export(workspace, formats=["nope"])
    with pytest.raises(KlocError, match="cannot be written"):
        exporting.export(workspace, out=tmp_path / "file" / "below")
    (workspace.dataset).mkdir(exist_ok=True)
    (workspace.dataset / "VERSION.json").write_text('{"version": "x"}')
    with pytest.raises(FormatError, match=r"VERSION.json: no version of an export"):
        exporting.export(workspace)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(KlocError, match="closed: cannot be written"):
        exporting.export(workspace, out=tmp_path / "closed")


def test_the_hugging_face_folder_has_its_card(workspace: Workspace, tmp_path: Path) -> None:
    exporting.export(workspace, out=tmp_path / "hub", formats=["huggingface"])
    assert {"data/train.parquet", "README.md", "croissant.json"} <= set(_bytes(tmp_path / "hub"))
    assert versions.dataset_of(tmp_path / "hub").annotations["a"].instances == (Instance(3.0, 8.0, "jump"),)


def test_diff_of_exports_files_and_the_workspace(workspace: Workspace, tmp_path: Path) -> None:
    exporting.export(workspace, out=tmp_path / "v1", formats=["csv", "thumos"])
    assert differing.diff(tmp_path / "v1", None, workspace.root)[0].same
    _annotate(workspace, 8.5)
    found, summary = differing.diff(tmp_path / "v1", workspace.root, None)
    assert found.counts() == {"instances moved": 1, "mean boundary shift (s)": 0.25}
    assert summary.facts["instances moved"] == (
        "1, their boundaries by 0.250 s on average; most: a jump 3.00-8.00 -> 3.00-8.50"
    )
    assert differing.diff(tmp_path / "v1" / "thumos", tmp_path / "v1" / "thumos", None)[0].same


def test_a_move_of_a_millisecond_is_seen() -> None:
    video = Video("v", 0, 40, labels=("jump",))
    before = Dataset(("jump",), {"v": video}, {"v": Annotation(video.item, (Instance(24.59, 28.02, "jump"),))}, "one")
    moved = Annotation(video.item, (Instance(24.59, 28.0204, "jump"),))
    told = differing.facts_of(compare(before, replace(before, annotations={"v": moved})))["instances moved"]
    assert told == ("1, their boundaries by 0.0002 s on average; most: v jump 24.5900-28.0200 -> 24.5900-28.0204")


def test_losses_come_before_what_is_wrong_with_the_source(tmp_path: Path) -> None:
    rows = [{"label": "jump", "segment": [1, 2], "confidence": 0.5}]
    odd = {"duration": "x", "start": None, "url": 7, "labels": 3, "exhaustive_for": 3, "subset": "weird"}
    database = {"v": {**odd, "annotations": rows}}
    source = tmp_path / "a.json"
    source.write_text(json.dumps({"database": database}), encoding="utf-8")
    wanted = ["export", "--source", str(source), "--out", str(tmp_path / "out"), "--format", "thumos"]
    lines = CliRunner().invoke(app, wanted, env={"COLUMNS": "80"}).stdout
    said = [line for line in lines.splitlines() if line.startswith("! ")]
    assert said[0].startswith("! thumos: ")
    assert "(all of them with --json)" in said[-1]
    assert "kloc status" not in lines


def test_the_command_line_of_diff_and_export(tmp_path: Path) -> None:
    video = Video("v", 0, 20, labels=("jump",))
    one = Dataset(("jump",), {"v": video}, {"v": Annotation(video.item, (Instance(1, 2, "jump"),))}, "one")
    activitynet.write(tmp_path / "a.json", one)
    run = CliRunner()
    out = ["--out", str(tmp_path / "out")]
    assert run.invoke(app, ["export", "--source", str(tmp_path / "a.json"), *out, "--format", "csv,via"]).exit_code == 0
    assert run.invoke(app, ["diff", str(tmp_path / "a.json"), str(tmp_path / "out")]).exit_code == 0
    moved = replace(one, annotations={"v": Annotation(video.item, (Instance(1, 3, "jump"),))})
    activitynet.write(tmp_path / "b.json", moved)
    told = run.invoke(app, ["diff", str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--json"])
    assert told.exit_code == 1
    assert json.loads(told.stdout)["difference"]["instances"]["moved"][0]["shift"] == 0.5
    lines = run.invoke(app, ["diff", str(tmp_path / "a.json"), str(tmp_path / "b.json")], env={"COLUMNS": "80"})
    assert max(map(len, lines.stdout.splitlines())) <= 80
    bad = run.invoke(app, ["diff", str(tmp_path / "a.json"), str(tmp_path / "nothere.json")])
    assert isinstance(bad.exception, UsageError)
    assert bad.exception.exit_code == 2
    for wrong in (["--answers", *out], []):
        refused = run.invoke(app, ["export", "--source", str(tmp_path / "a.json"), *wrong])
        assert isinstance(refused.exception, UsageError)


def test_annotations_of_any_format_are_imported_once(workspace: Workspace, tmp_path: Path) -> None:
    video = Video("b", 1.0, 31.0, labels=("run",), subset="validation")
    known = Annotation(video.item, (Instance(2.0, 4.0, "run"), Instance(6.0, 7.0, "run")))
    dataset = Dataset(("jump", "run"), {"b": video}, {"b": known}, "theirs")
    coco.write(tmp_path / "theirs.json", dataset, exporting.Extra())
    first = pool.import_annotations(workspace, tmp_path / "theirs.json")
    assert first.facts["read"] == "COCO-like JSON of videos: 1 videos, 1 newly labelled, 1 annotations"
    assert pool.import_annotations(workspace, tmp_path / "theirs.json").facts["read"].endswith("0 annotations")
    with workspace.store.transaction() as session:
        assert revisions.current(session)["b"].instances == known.instances
    (tmp_path / "k.csv").write_text("label,youtube_id,time_start,time_end,split\nrun,a,3,13,train\n")
    listed = pool.import_annotations(workspace, tmp_path / "k.csv")
    assert listed.facts["read"] == "Kinetics CSV: 1 videos, 1 newly labelled, 0 annotations"
    with pytest.raises(UsageError, match="say which with --format"):
        pool.import_annotations(workspace, tmp_path)
    (tmp_path / "none.json").write_text('{"database": {}}')
    with pytest.raises(UsageError, match=r"none.json: names no video"):
        pool.import_annotations(workspace, tmp_path / "none.json")


def test_a_take_down_does_not_begin_the_numbers_anew(workspace: Workspace) -> None:
    exporting.export(workspace)
    pool.remove(workspace, ["../c"], reporter=Silent())
    assert set(_bytes(workspace.dataset)) == {"VERSION.json"}
    done = exporting.export(workspace)
    assert done.facts["version"] == "2 (since 1: unknown, the earlier files cannot be read 1)"
    assert b"../c" not in b"".join(_bytes(workspace.dataset).values())


def test_the_clock_of_an_export_is_kept_and_answers_follow_it(workspace: Workspace) -> None:
    exporting.export(workspace)
    exporting.export(workspace, origin="first-frame", answers=True)
    rows = [json.loads(line) for line in (workspace.dataset / "answers.jsonl").read_text().splitlines()]
    assert rows[0]["stretch"] == [0.0, 30.0]
    assert rows[0]["segments"] == [{"start": 2.0, "end": 7.0, "label": "jump"}]
    before = _bytes(workspace.dataset)
    assert exporting.export(workspace).data["changes"] == {"time 0 (stream -> first-frame)": 1}
    assert _bytes(workspace.dataset) == before
    back = exporting.export(workspace, origin="stream")
    assert back.data["changes"] == {"time 0 (first-frame -> stream)": 1}


def test_what_is_too_short_for_six_decimals_is_said(tmp_path: Path) -> None:
    short = {"v": {"subset": "training", "duration": 9, "annotations": [{"label": "run", "segment": [5, 5.0000004]}]}}
    (tmp_path / "t.json").write_text(json.dumps({"database": short}))
    done = exporting.export_file(tmp_path / "t.json", out=tmp_path / "out")
    assert any("1 instance is shorter than a microsecond" in line for line in done.problems)
