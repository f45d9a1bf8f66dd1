"""`kloc split`: groups of every kind stay whole, equal seeds give equal splits, `--check` names what leaks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from kloc.cli import app
from kloc.errors import FormatError, UsageError
from kloc.formats import activitynet
from kloc.pipeline import imports, pool, splitting
from kloc.pipeline.publication import current_dataset
from kloc.pipeline.telling import Silent
from kloc.records import Dataset
from kloc.report.groups import ALIKE
from kloc.store import videos
from kloc.store.tables import VideoRow
from kloc.workspace import Workspace
from tests.pipeline.knowledge_helpers import FPS, OFFSET, STRIDE, make_truth, make_workspace, write_features

CLASSES = ("dive", "jump", "run")
SHARES: dict[str, Any] = {"training": 0.6, "validation": 0.2, "keep": None, "groups": None}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Thirty annotated videos and six that nobody has annotated; the copy of a video has its features."""
    truth = make_truth(CLASSES, 36, "v")
    features = write_features(tmp_path / "features", truth, dim=64)  # in 8 dimensions many videos look alike
    np.save(features / "v035.npy", np.load(features / "v000.npy"))
    np.save(features / "v007.npy", np.load(features / "v004.npy"))
    made = make_workspace(tmp_path / "w", truth, features, annotated=sorted(truth.videos)[:30], propose=False)
    with made.store.transaction() as session:
        assert len(videos.usable(session)) == 36
    return made


def subsets(workspace: Workspace) -> dict[str, str]:
    with workspace.store.transaction() as session:
        return {v: video.subset for v, video in videos.usable(session).items()}


def put(workspace: Workspace, video_id: str, **columns: str) -> None:
    with workspace.store.transaction() as session:
        row = session.get_one(VideoRow, video_id)
        for name, value in columns.items():
            setattr(row, name, value)


def test_every_kind_of_group_stays_whole(workspace: Workspace, tmp_path: Path) -> None:
    put(workspace, "v001", sha256="ab" * 32)
    put(workspace, "v002", sha256="ab" * 32)
    put(workspace, "v010", url="https://youtu.be/QOlSCBRmfWY")
    put(workspace, "v011", url="https://www.youtube.com/watch?v=QOlSCBRmfWY&t=9")
    put(workspace, "v012", url="https://www.tiktok.com/@me/video/1")
    put(workspace, "v013", url="https://www.tiktok.com/@me/video/2")
    for i in (14, 15):
        put(workspace, f"v{i:03d}", url=f"https://tiny.example/{i}.mp4")
    table = tmp_path / "groups.csv"
    table.write_text("video,group\nv020,pool side\nv021,pool side\nv001,pool side\nv099,x\nv022,\nv023\nv020,other\n")
    summary = splitting.split(workspace, **{**SHARES, "groups": table})
    placed = subsets(workspace)
    together = [
        ("v001", "v002", "v020", "v021"), ("v010", "v011"), ("v012", "v013"), ("v014", "v015"), ("v004", "v007"),
        ("v000", "v035"),
    ]  # fmt: skip
    assert all(len({placed[v] for v in group}) == 1 for group in together)
    assert {tuple(g["videos"]) for g in summary.data["groups"]} == set(together)
    reasons = {g["videos"][0]: g["because"] for g in summary.data["groups"]}
    assert reasons["v001"] == ["same file", "same group in the CSV"]
    assert reasons["v004"] == ["near-duplicate features"]
    assert (reasons["v010"], reasons["v012"], reasons["v014"]) == (["same source"], ["same channel"], ["same host"])
    assert summary.facts["leaks"].startswith("none")
    assert summary.problems == [
        "groups.csv: 1 x no video of this workspace, the row is left out (v099)",
        "groups.csv: 2 x no group, the row is left out (v022, v023)",
        "groups.csv: 1 x two groups, the first is taken (v020)",
    ]
    count = Counter(placed[f"v{i:03d}"] for i in range(30))
    assert count["training"] == pytest.approx(18, abs=2)
    assert count["testing"] == pytest.approx(6, abs=2)


def test_the_same_seed_gives_the_same_split_and_check_changes_nothing(workspace: Workspace) -> None:
    first = splitting.split(workspace, **SHARES).to_json()
    assert splitting.split(workspace, **SHARES).to_json() == first
    before = subsets(workspace)
    checked = splitting.check(workspace, groups=None, reporter=Silent())
    assert checked.data["n_leaks"] == 0
    assert subsets(workspace) == before


def test_check_names_what_lies_in_two_subsets(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(app, ["split", "-w", str(workspace.root)])
    assert done.exit_code == 0, done.output
    assert f"cosine above {ALIKE:g}" in done.output
    put(workspace, "v007", subset="testing")
    put(workspace, "v004", subset="training")
    found = CliRunner().invoke(app, ["split", "--check", "-w", str(workspace.root)])
    assert found.exit_code == 1
    assert "near-duplicate features in 2 subsets (testing: v007; training: v004)" in " ".join(found.output.split())
    assert max(map(len, found.output.splitlines())) <= 80
    blind = CliRunner().invoke(app, ["split", "--check", "--similar", "1", "-w", str(workspace.root)])
    assert blind.exit_code == 0


def test_what_belongs_to_a_kept_video_joins_it(workspace: Workspace) -> None:
    put(workspace, "v004", subset="validation")
    put(workspace, "v005", subset="validation")
    summary = splitting.split(workspace, **{**SHARES, "keep": "validation"})
    placed = subsets(workspace)
    assert {v for v, s in placed.items() if s == "validation"} == {"v004", "v005", "v007"}
    assert summary.facts["validation"].endswith("(kept)")


def test_what_nobody_annotated_follows_its_group_and_else_stays(workspace: Workspace) -> None:
    table = workspace.root.parent / "groups.csv"
    table.write_text("video,group\n" + "".join(f"v{i:03d},big\n" for i in range(15)) + "v034,big\n")
    for share in (0.6, 0.4):  # the group of 15 is training's, then testing's
        splitting.split(workspace, training=share, validation=0.0, keep=None, groups=table)
        placed = subsets(workspace)
        assert placed["v034"] == placed["v035"] == placed["v000"]
        assert [placed[f"v{i:03d}"] for i in range(30, 34)] == ["training"] * 4
    assert placed["v034"] == "testing"


def test_groups_too_large_for_a_subset_are_told(workspace: Workspace) -> None:
    for i in range(20):
        put(workspace, f"v{i:03d}", url=f"https://all.example/{i}.mp4")
    summary = splitting.split(workspace, **SHARES)
    assert summary.problems == [
        "all.example: more videos than the smallest subset has; the same host is not taken for the same source"
    ]
    table = workspace.root.parent / "groups.csv"
    table.write_text("video,group\n" + "".join(f"v{i:03d},big\n" for i in range(25)))
    told = splitting.split(workspace, **{**SHARES, "groups": table}).problems[-1]
    assert told.startswith("26 videos belong together (same group in the CSV, near-duplicate features; v000, ...)")


def test_bad_input_is_one_line(workspace: Workspace, tmp_path: Path) -> None:
    for text, told in (
        ("id,group\nv001,a\n", "expected a header"),
        ("", "expected a header"),
        ("video,group\n", "expected"),
    ):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(FormatError, match=told):
            splitting.split(workspace, **{**SHARES, "groups": tmp_path / "bad.csv"})
    (tmp_path / "bad.csv").write_bytes(b"video,group\nv001,\xff\n")
    with pytest.raises(FormatError, match="not UTF-8"):
        splitting.split(workspace, **{**SHARES, "groups": tmp_path / "bad.csv"})
    with pytest.raises(FormatError, match=r"nowhere\.csv: cannot be read"):
        splitting.split(workspace, **{**SHARES, "groups": tmp_path / "nowhere.csv"})
    for v in subsets(workspace):
        put(workspace, v, subset="testing")
    with pytest.raises(UsageError, match="every annotated video is in testing"):
        splitting.split(workspace, **{**SHARES, "keep": "testing"})


def test_features_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    truth = make_truth(CLASSES, 12, "v")
    json = tmp_path / "truth.json"
    activitynet.write(json, Dataset(truth.classes, truth.videos, truth.annotations))
    pool.init(tmp_path / "w")
    workspace = Workspace.open(tmp_path / "w")
    with pytest.raises(UsageError, match="nothing is annotated yet"):
        splitting.split(workspace, **SHARES)
    features = write_features(tmp_path / "features", truth, dim=64)
    imports.import_features(workspace, features, name="toy", fps=FPS, stride=STRIDE, offset=OFFSET, reporter=Silent())
    pool.add(workspace, [str(json)], reporter=Silent())
    next((workspace.features).rglob("v003.npy")).write_bytes(b"torn")
    summary = splitting.split(workspace, **SHARES)
    assert summary.problems == ["1 x features that cannot be read, not looked at for near-duplicates (v003)"]
    assert summary.facts["  near-duplicate features"] == "none (cosine above 0.8)"


def test_classes_that_a_subset_lacks_are_named(workspace: Workspace) -> None:
    for number in range(30):
        put(workspace, f"v{number:03d}", subset="training")
    told = splitting.check(workspace, groups=None, reporter=Silent())
    assert "validation and testing hold no instance: nothing is left to judge a model on" in told.problems
    only = next(
        v for v, a in current_dataset(workspace).annotations.items() if {i.label for i in a.instances} == {"dive"}
    )
    put(workspace, only, subset="testing")
    told = splitting.check(workspace, groups=None, reporter=Silent())
    assert "testing has no instance of 2 of 3 classes (jump, run)" in told.problems
    assert splitting.split(workspace, **SHARES).hint == "kloc propose, then kloc benchmark"


@pytest.mark.parametrize("training", [float("nan"), 0.0, -0.5, 1.5])
def test_shares_that_are_none_are_refused(workspace: Workspace, training: float) -> None:
    with pytest.raises(UsageError, match="are shares"):
        splitting.split(workspace, **{**SHARES, "training": training})
