"""The whole loop through the command line, on generated videos: every command, its summary, its JSON, twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kloc.config import template
from kloc.files import write_text

SETTINGS = {"general.name": "tiny", "general.seed": 5, "features.fps": 2.0, "selection.batch": 3}


def kloc(*arguments: str | Path, code: int = 0) -> str:
    """Run the command line as a user would; returns what it printed."""
    command = [sys.executable, "-m", "kloc", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == code, f"{arguments}: {result.stdout}\n{result.stderr}"
    assert "Traceback" not in result.stderr
    return result.stdout if code == 0 else result.stderr


def kloc_json(*arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kloc(*arguments, "--json"))
    return found


@pytest.fixture(scope="module")
def loop(campaign_files: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One campaign of two rounds, run once; the tests look at what it left."""
    root = tmp_path_factory.mktemp("loop") / "workspace"
    at = ("-w", root)
    said: dict[str, Any] = {"root": root, "at": at}
    said["init"] = kloc("init", root)
    write_text(root / "kloc.toml", template(**SETTINGS))
    said["add"] = kloc_json("add", campaign_files.videos, campaign_files.labels, *at)
    said["truth"] = kloc_json("add", campaign_files.validation, *at)
    said["extract"] = kloc_json("extract", *at)
    said["propose"] = kloc_json("propose", *at)
    said["train too early"] = kloc("train", *at, code=2)
    said["select"] = kloc_json("select", "--batch", "2", *at)
    said["undo"] = kloc_json("select", "--undo", *at)
    kloc("select", "--batch", "3", *at)
    said["dry run"] = kloc_json("publish-hits", "--dry-run", *at)
    said["over the cap"] = kloc("publish-hits", "--max-spend", "0.50", *at, code=1)
    said["run"] = kloc_json("run", "--rounds", "2", "--simulate", campaign_files.truth, *at)
    said["status"] = kloc_json("status", *at)
    return said


def test_the_loop_ends_where_it_should(loop: dict[str, Any]) -> None:
    assert loop["add"]["videos looked at"] == 14
    assert loop["truth"]["annotated"] >= 4
    assert loop["propose"]["proposals per video"] > 5
    assert "nothing is annotated yet" in loop["train too early"]
    assert len(loop["select"]["selected"]) == 2
    assert loop["undo"]["videos back in the pool"] == 2
    assert loop["dry run"]["round 0"].startswith("would publish 3 HITs for $0.90")
    assert "over the cap of $0.50" in loop["over the cap"] or "$0.50" in loop["over the cap"]
    assert loop["run"]["rounds"] == 2
    assert loop["status"]["round 0"].startswith("done: 3 videos by random")
    assert loop["status"]["round 1"].startswith("done: 3 videos by us")
    assert "mAP on validation" in loop["run"]
    assert loop["status"]["money"].startswith("$1.80 spent")


def test_every_stage_again_changes_nothing(loop: dict[str, Any], campaign_files: Any) -> None:
    at = loop["at"]
    assert kloc_json("add", campaign_files.videos, campaign_files.labels, *at)["unchanged"] == 14
    assert kloc_json("extract", *at)["unchanged"] == 14
    assert kloc_json("propose", *at)["unchanged"] == 14
    assert kloc_json("train", *at)["state"] == "up to date"
    assert kloc_json("predict", *at)["state"] == "up to date"
    assert kloc_json("run", "--rounds", "2", "--simulate", campaign_files.truth, *at)["rounds"] == 2
    assert kloc_json("status", *at)["annotated"] == loop["status"]["annotated"]


def _files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_publication(loop: dict[str, Any]) -> None:
    at, root = loop["at"], loop["root"]
    text = kloc("stats", *at)
    assert max(map(len, text.splitlines())) <= 80
    assert kloc_json("stats", *at)["videos"] == 14
    assert "validation" in kloc_json("split", "--keep", "validation", *at)
    kloc("card", *at)
    kloc("export", *at)
    first = _files(root / "dataset")
    kloc("card", *at)
    kloc("export", *at)
    assert _files(root / "dataset") == first
    card = first["README.md"].decode()
    assert "Simulated annotations" in card
    exported = json.loads(first["annotations.json"])
    assert {"version", "taxonomy", "database"} <= set(exported)
    assert f"{len(exported['database'])} videos" in loop["run"]["annotated"]
    kloc("report", *at)
    page = (root / "reports" / "report.html").read_text()
    assert "Simulated answers" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_detect_prints_detections(loop: dict[str, Any], campaign_files: Any, tmp_path: Path) -> None:
    video = sorted(campaign_files.videos.iterdir())[0]
    found = kloc_json("detect", video, "--out", tmp_path / "out.json", *loop["at"])
    assert found["detections"]
    assert all(d["segment"][0] < d["segment"][1] for d in found["detections"])
    written = json.loads((tmp_path / "out.json").read_text())["results"][video.stem]
    assert len(written) == len(found["detections"])


def test_detect_agrees_with_predict(loop: dict[str, Any], campaign_files: Any) -> None:
    """The same video gets the same detections through the pool and as a raw file."""
    from kloc.pipeline.training import current_predictions
    from kloc.workspace import Workspace

    video = sorted(campaign_files.videos.iterdir())[0]
    raw = kloc_json("detect", video, *loop["at"])["detections"]
    workspace = Workspace.open(loop["root"])
    reader = current_predictions(workspace)
    assert reader is not None
    pooled = reader.get(video.stem).detections
    workspace.close()
    assert [d["label"] for d in raw] == [d.label for d in pooled]
    assert [d["score"] for d in raw] == pytest.approx([d.score for d in pooled])


def test_backup_and_restore(loop: dict[str, Any], tmp_path: Path) -> None:
    kloc("backup", tmp_path / "all.tar", *loop["at"])
    kloc("restore", tmp_path / "all.tar", tmp_path / "there")
    there = kloc_json("status", "-w", tmp_path / "there")
    here = kloc_json("status", *loop["at"])
    same = [key for key in here if key != "workspace"]
    assert {k: there[k] for k in same} == {k: here[k] for k in same}
    assert kloc_json("extract", "-w", tmp_path / "there")["unchanged"] == 14
    assert "not empty" in kloc("restore", tmp_path / "all.tar", tmp_path / "there", code=2)
    assert "no kloc backup" in kloc("restore", tmp_path / "there" / "kloc.toml", tmp_path / "x", code=1)


def test_remove_takes_a_video_down_everywhere(loop: dict[str, Any], tmp_path: Path) -> None:
    kloc("backup", tmp_path / "all.tar", *loop["at"])
    kloc("restore", tmp_path / "all.tar", tmp_path / "there")
    root = tmp_path / "there"
    gone = kloc_json("select", "-w", root)["selected"][0]["video"]
    kloc("select", "--undo", "-w", root)
    kloc_json("remove", gone, "-w", root)
    # WAL pages and freed pages may hold old rows: what counts is what a reader can reach.
    dump = kloc("backup", tmp_path / "after.tar", "-w", root)
    assert dump
    assert gone.encode() not in (tmp_path / "after.tar").read_bytes().replace(str(tmp_path).encode(), b"")
    assert "nothing was removed" in kloc("remove", "no-such-video", "-w", root, code=2)
    kloc("train", "-w", root)
    kloc("predict", "-w", root)
