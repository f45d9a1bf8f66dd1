"""Annotated sets from outside: what is read of them, and what is said of bad ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kloc.errors import FormatError, UsageError
from kloc.features.bank import FeatureBank
from kloc.features.imports import import_features, load_array
from kloc.formats import activitynet
from kloc.pipeline import imports, pool
from kloc.pipeline.annotated import FeatureFolder, classes_of, open_annotated
from kloc.pipeline.telling import Silent
from kloc.records import Dataset
from kloc.workspace import Workspace
from tests.pipeline.knowledge_helpers import (
    DIM,
    FPS,
    OFFSET,
    SECONDS,
    STRIDE,
    make_truth,
    make_workspace,
    write_features,
)

CLASSES = ("dive", "jump", "run")


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, FeatureFolder]:
    truth = make_truth(CLASSES, 6, "k")
    path = tmp_path / "truth.json"
    activitynet.write(path, truth)
    folder = write_features(tmp_path / "features", truth)
    return path, FeatureFolder(folder, FPS, STRIDE, OFFSET)


def test_a_json_with_features(parts: tuple[Path, FeatureFolder]) -> None:
    path, folder = parts
    found = open_annotated(path, folder, cap=20)
    assert (found.name, found.simulated, found.problems) == ("truth", False, [])
    assert found.ids == tuple(f"k{i:03d}" for i in range(6))
    assert classes_of(found) == CLASSES
    for video_id in found.ids:
        video, proposals = found.features(video_id), found.proposals(video_id)
        assert video.features.shape == (SECONDS, DIM)
        assert (video.start, video.end, video.video_id) == (0.0, SECONDS, video_id)
        assert 1 <= len(proposals) <= 20
        assert proposals.segments[0].tolist() == [0.0, SECONDS]
    assert len(open_annotated(path, folder).proposals("k000")) > len(found.proposals("k000"))


def test_features_are_those_that_a_bank_would_give(parts: tuple[Path, FeatureFolder], tmp_path: Path) -> None:
    path, folder = parts
    array = load_array(folder.folder / "k001.npy")
    array[3, 2] = np.nan  # one row of forty: 0 there, as in a bank
    np.save(folder.folder / "k001.npy", array)
    found = open_annotated(path, folder)
    bank = FeatureBank(tmp_path / "bank", found.feature_settings)
    info = import_features(bank, "k001", array, end=float(SECONDS))
    there, here = bank.read("k001", info), found.features("k001")
    assert here.features.tobytes() == there.features.tobytes()
    assert (here.grid, here.start, here.end) == (there.grid, there.start, there.end)
    assert found.feature_fingerprint == bank.settings.fingerprint


@pytest.mark.parametrize("name", ["v_{}", "sub/{}", "{}"])
def test_files_may_be_named_as_activitynet_does(tmp_path: Path, name: str) -> None:
    truth = make_truth(CLASSES, 3, "k")
    activitynet.write(tmp_path / "t.json", truth)
    (tmp_path / "f" / "sub").mkdir(parents=True)
    write_features(tmp_path / "f", truth, name=name)
    assert open_annotated(tmp_path / "t.json", FeatureFolder(tmp_path / "f", FPS, STRIDE)).ids == tuple(truth.videos)


def test_the_file_of_the_very_name_is_taken(tmp_path: Path) -> None:
    truth = make_truth(CLASSES, 4, "k")
    activitynet.write(tmp_path / "t.json", truth)
    folder = write_features(tmp_path / "f", truth)
    right = load_array(folder / "k000.npy")
    for name in ("k000.flow", "k000.a", "v_k000"):  # all of them come before or after k000.npy in the alphabet
        np.save(folder / f"{name}.npy", np.zeros((SECONDS, DIM), np.float32))
    (folder / "k001.npy").rename(folder / "k001.flow.npy")
    (folder / "A").mkdir()
    (folder / "k002.npy").rename(folder / "A" / "k002.npy")
    (folder / "k003.npy").rename(folder / "v_k003.npy")
    found = open_annotated(tmp_path / "t.json", FeatureFolder(folder, FPS, STRIDE, OFFSET))
    assert found.ids == ("k000", "k002", "k003")
    np.testing.assert_array_equal(found.features("k000").features, right.astype(np.float16))
    told = "\n".join(found.problems)
    assert "3 (k000.a.npy, k000.flow.npy, k001.flow.npy) files belong to no video of t" in told
    assert "1 (k001) annotated videos have no ID.npy in" in told
    assert f"k000: two files hold its features, {folder / 'k000.npy'} is taken and not {folder / 'v_k000.npy'}" in told


def test_an_import_takes_the_file_of_the_very_name_too(tmp_path: Path) -> None:
    truth = make_truth(CLASSES, 3, "k")
    folder = write_features(tmp_path / "f", truth)
    workspace = make_workspace(tmp_path / "w", truth, folder, annotated=["k001"])
    before = open_annotated(tmp_path / "w").features("k001").features
    np.save(folder / "k001.rgb.npy", np.zeros((SECONDS, DIM), np.float32))  # behind k001.npy in the alphabet
    told = imports.import_features(
        workspace, folder, name="toy", fps=FPS, stride=STRIDE, offset=OFFSET, reporter=Silent()
    )
    workspace.close()
    assert told.problems == [
        f"k001: two files hold its features, {folder / 'k001.npy'} is taken and not {folder / 'k001.rgb.npy'}"
    ]
    assert told.facts["imported"] == 0
    np.testing.assert_array_equal(open_annotated(tmp_path / "w").features("k001").features, before)


def test_a_video_whose_name_holds_a_dot(tmp_path: Path) -> None:
    truth = make_truth(CLASSES, 2, "k.")
    activitynet.write(tmp_path / "t.json", truth)
    found = open_annotated(
        tmp_path / "t.json", FeatureFolder(write_features(tmp_path / "f", truth), FPS, STRIDE, OFFSET)
    )
    assert found.ids == ("k.000", "k.001")


def test_without_a_duration_a_video_ends_with_its_features(parts: tuple[Path, FeatureFolder]) -> None:
    path, folder = parts
    content = json.loads(path.read_text())
    del content["database"]["k001"]["duration"]
    content["database"]["k002"] = {"subset": "training", "annotations": []}  # says: nothing happens in it
    np.save(folder.folder / "k003.npy", np.ones((2, DIM), np.float32))
    del content["database"]["k003"]["duration"]
    path.write_text(json.dumps(content))
    found = open_annotated(path, folder)
    last = max(i.end for i in found.dataset.annotations["k003"].instances)
    assert last > 2  # these features end before the last instance does
    for video_id, end in {"k000": SECONDS, "k001": SECONDS, "k002": SECONDS, "k003": last}.items():
        assert (found.features(video_id).start, found.features(video_id).end) == (0.0, end)
        assert found.dataset.videos[video_id].end == end
        assert found.dataset.annotations[video_id].item == found.dataset.videos[video_id].item
        assert found.proposals(video_id).segments[0].tolist() == [0.0, end]
    assert any("3 x video without a duration (the end of its features is taken)" in line for line in found.problems)


def test_a_workspace(tmp_path: Path) -> None:
    truth = make_truth(CLASSES, 8, "k")
    folder = write_features(tmp_path / "features", truth)
    workspace = make_workspace(tmp_path / "w", truth, folder, annotated=["k001", "k004"])
    found = open_annotated(tmp_path / "w")
    assert (found.name, found.ids, found.problems) == ("w", ("k001", "k004"), [])
    assert classes_of(found) == ("jump",)
    assert found.features("k004").features.shape == (SECONDS, DIM)
    assert len(found.proposals("k004")) > 10
    # The same features with the same settings: the same fingerprint, wherever they lie.
    activitynet.write(tmp_path / "t.json", truth)
    other = open_annotated(tmp_path / "t.json", FeatureFolder(folder, FPS, STRIDE, OFFSET, "toy"))
    assert other.feature_fingerprint == found.feature_fingerprint
    assert other.features("k004").features.tobytes() == found.features("k004").features.tobytes()
    workspace.close()


def test_content_changes_with_any_feature(parts: tuple[Path, FeatureFolder]) -> None:
    path, folder = parts
    before = open_annotated(path, folder).content
    assert open_annotated(path, folder).content == before
    assert open_annotated(path, folder, cap=9).content != before
    array = load_array(folder.folder / "k005.npy")
    array[0, 0] += 1
    np.save(folder.folder / "k005.npy", array)
    assert open_annotated(path, folder).content != before


def test_what_cannot_be_used_is_left_out_and_told(parts: tuple[Path, FeatureFolder]) -> None:
    path, folder = parts
    features = folder.folder
    np.save(features / "k000.npy", np.full((SECONDS, DIM), np.nan, np.float32))
    (features / "k001.npy").write_bytes(b"no array")
    (features / "k002.npy").unlink()
    np.save(features / "stranger.npy", np.zeros((4, DIM), np.float32))
    (features / "more").mkdir()
    np.save(features / "more" / "k003.npy", np.zeros((SECONDS, DIM), np.float32))
    np.save(features / "k004.npy", np.ones((SECONDS // 2, DIM), np.float32))
    found = open_annotated(path, folder)
    assert found.ids == ("k003", "k004", "k005")
    told = "\n".join(found.problems)
    assert "k000: 40 of 40 feature rows are NaN or infinite" in told
    assert "k001.npy: not a plain .npy array" in told
    assert "1 (k002) annotated videos have no ID.npy in" in told
    assert "1 (stranger.npy) files belong to no video of truth" in told
    assert "k003: two files hold its features" in told
    assert "1 x features and video differ in length; check fps and stride (k004)" in told
    assert found.features("k003").features.any()  # the file whose path comes first in the alphabet would be zeros


def test_one_class_is_a_set_too(tmp_path: Path) -> None:
    truth = make_truth(("dive",), 3, "k")
    activitynet.write(tmp_path / "t.json", truth)
    found = open_annotated(
        tmp_path / "t.json", FeatureFolder(write_features(tmp_path / "f", truth), FPS, STRIDE, OFFSET)
    )
    assert classes_of(found) == ("dive",)


def _spoil(kind: str, path: Path, folder: FeatureFolder) -> tuple[Path, FeatureFolder | None, int]:
    content = json.loads(path.read_text())
    features: FeatureFolder | None = folder
    cap = 200
    if kind == "empty":
        content["database"] = {}
    elif kind == "labels only":
        for entry in content["database"].values():
            entry["annotations"] = [{"label": "dive"}]
    elif kind == "no action":
        for entry in content["database"].values():
            entry["annotations"] = []
    elif kind == "no features":
        features = None
    elif kind == "other ids":
        content["database"] = {f"x{k}": v for k, v in content["database"].items()}
    elif kind == "all NaN":
        for file in folder.folder.glob("*.npy"):
            np.save(file, np.full((SECONDS, DIM), np.inf, np.float32))
    elif kind == "two widths":
        np.save(folder.folder / "k003.npy", np.zeros((SECONDS - 1, DIM + 1), np.float32))
    elif kind == "pickles":
        for file in folder.folder.glob("*.npy"):
            np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    elif kind == "fps":
        features = replace(folder, fps=0.0)
    elif kind == "cap":
        cap = 0
    elif kind == "empty folder":
        (folder.folder / "sub").mkdir()
        features = replace(folder, folder=folder.folder / "sub")
    elif kind == "absent":
        return path.parent / "absent.json", features, cap
    elif kind == "plain folder":
        return folder.folder, features, cap
    path.write_text(json.dumps(content))
    return path, features, cap


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        ("empty", UsageError, "no video has an annotated instance"),
        ("labels only", UsageError, "no video has an annotated instance"),
        ("no action", UsageError, "there is nothing to learn from"),
        ("no features", UsageError, "--features DIR --fps FPS --stride N"),
        ("other ids", UsageError, "none of its 6 files is named like an annotated video (xk000.npy)"),
        ("all NaN", UsageError, "no video with usable features has an annotated instance"),
        ("two widths", FormatError, "arrays of different widths"),
        ("pickles", FormatError, "none of its 6 files holds features; the first:"),
        ("fps", UsageError, "fps must be a number greater than 0"),
        ("cap", UsageError, "a cap of 0 proposals"),
        ("empty folder", UsageError, "no .npy files here"),
        ("absent", UsageError, "no such file or folder"),
        ("plain folder", UsageError, "no kloc workspace"),
    ],
)
def test_sets_that_are_none(parts: tuple[Path, FeatureFolder], kind: str, error: type[Exception], said: str) -> None:
    path, features, cap = _spoil(kind, *parts)
    with pytest.raises(error) as caught:
        open_annotated(path, features, cap=cap)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_workspaces_that_are_none(tmp_path: Path) -> None:
    truth = make_truth(CLASSES, 4, "k")
    folder = write_features(tmp_path / "features", truth)
    make_workspace(tmp_path / "raw", truth, folder, annotated=["k001"], propose=False).close()
    with pytest.raises(UsageError, match="raw: no usable video has been through `kloc propose` yet"):
        open_annotated(tmp_path / "raw")
    make_workspace(tmp_path / "blank", truth, folder).close()
    with pytest.raises(UsageError, match="blank: no video has an annotated instance"):
        open_annotated(tmp_path / "blank")
    with pytest.raises(UsageError, match="leave out --features"):
        open_annotated(tmp_path / "blank", FeatureFolder(folder, FPS, STRIDE))


def test_annotated_videos_without_features_are_told(tmp_path: Path) -> None:
    truth = make_truth(CLASSES, 4, "k")
    folder = write_features(tmp_path / "features", truth)
    (folder / "k002.npy").unlink()
    make_workspace(tmp_path / "w", truth, folder, annotated=["k001", "k003"]).close()
    activitynet.write(
        tmp_path / "more.json",
        Dataset(truth.classes, {"k002": truth.videos["k002"]}, {"k002": truth.annotations["k002"]}),
    )
    workspace = Workspace.open(tmp_path / "w")
    pool.add(workspace, [str(tmp_path / "more.json")], reporter=Silent())
    workspace.close()
    assert open_annotated(tmp_path / "w").problems == [
        "w: 1 (k002) of its annotated videos have no features or no proposals"
    ]
