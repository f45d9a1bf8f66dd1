"""`kloc prior` and `kloc lal bootstrap`, from real features to what `kloc select` reads."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from kloc.cli import app
from kloc.errors import FormatError, KlocError, MismatchError, UsageError
from kloc.experiments.lal_bootstrap import LalSettings
from kloc.files import sha256_file
from kloc.formats import activitynet
from kloc.formats.predictions import write_predictions
from kloc.localizers import base as localizers
from kloc.localizers.predictions import PredictionReader
from kloc.localizers.stagewise import train_attention
from kloc.pipeline import imports, knowledge, pool, proposals, selecting, state, training
from kloc.pipeline.annotated import FeatureFolder
from kloc.pipeline.knowing import current_prior, gain_loader
from kloc.pipeline.telling import Silent
from kloc.records import Dataset, Detection
from kloc.segments import pairwise_tiou
from kloc.store import artefacts, rounds, videos
from kloc.store.tables import VideoRow
from kloc.workspace import Workspace
from tests.pipeline.knowledge_helpers import (
    FPS,
    OFFSET,
    STRIDE,
    learn,
    make_truth,
    make_workspace,
    write_features,
)

QUICK = LalSettings(n_splits=4, shares=(0.2, 0.5), candidates=4)


@dataclass(frozen=True)
class World:
    """A workspace with 24 videos, 6 of them annotated, trained and predicted; and a Knowledge-Source beside it."""

    root: Path
    truth: Dataset
    knowledge: Path
    features: FeatureFolder

    @property
    def workspace(self) -> Workspace:
        return Workspace.open(self.root / "w")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    truth = make_truth(("swim", "throw", "climb"), 24, "v", seed=1)
    folder = write_features(root / "own", truth, seed=1)
    workspace = make_workspace(root / "w", truth, folder, annotated=[f"v{i:03d}" for i in range(6)])
    learn(workspace)
    workspace.close()
    known = make_truth(("dive", "jump"), 16, "k", seed=2)
    activitynet.write(root / "known.json", known)
    write_features(root / "foreign", known, seed=2)
    return World(root, truth, root / "known.json", FeatureFolder(root / "foreign", FPS, STRIDE, OFFSET))


@pytest.fixture
def world(made: World, tmp_path: Path) -> World:
    shutil.copytree(made.root, tmp_path / "c")
    root = tmp_path / "c"
    return dataclasses.replace(
        made,
        root=root,
        knowledge=root / "known.json",
        features=dataclasses.replace(made.features, folder=root / "foreign"),
    )


def make_prior(world: World, workspace: Workspace):
    return knowledge.prior_of_knowledge(workspace, world.knowledge, features=world.features, reporter=Silent())


def make_gain(world: World, workspace: Workspace):
    return knowledge.bootstrap(workspace, world.knowledge, features=world.features, lal=QUICK, reporter=Silent())


def prior_folder(workspace: Workspace) -> Path:
    with workspace.store.transaction() as session:
        row = artefacts.get(session, "prior", "current")
    assert row is not None
    assert row.path is not None
    return workspace.root / row.path


# -- prior knowledge --------------------------------------------------------------------------------------------


def test_the_prior_knows_actions_of_classes_it_has_never_seen(world: World) -> None:
    workspace = world.workspace
    summary = make_prior(world, workspace)
    assert summary.facts["learned from"] == "known: 16 videos of 2 classes"
    assert summary.facts["state"] == "made"
    reader = PredictionReader(prior_folder(workspace))
    assert len(reader) == 24
    inside, outside = [], []
    for prediction in reader:
        mine = workspace_proposals(workspace, prediction.video_id)
        np.testing.assert_array_equal(prediction.segments, mine.astype(np.float32))
        truth = np.array([(i.start, i.end) for i in world.truth.annotations[prediction.video_id].instances])
        best = pairwise_tiou(mine, truth).max(axis=1)
        inside += prediction.actionness[best > 0.7].tolist()
        outside += prediction.actionness[best < 0.1].tolist()
    assert np.mean(inside) > np.mean(outside) + 0.1
    workspace.close()


def workspace_proposals(workspace: Workspace, video_id: str) -> np.ndarray:
    with workspace.store.transaction() as session:
        row = artefacts.get(session, "proposals", video_id)
    assert row is not None
    assert row.path is not None
    return np.load(workspace.root / row.path)[:, :2]


def test_made_twice_it_is_the_same_and_the_second_time_at_once(world: World) -> None:
    workspace = world.workspace
    make_prior(world, workspace)
    folder = prior_folder(workspace)
    hashes = {p.name: sha256_file(p) for p in folder.iterdir()}
    again = make_prior(world, workspace)
    assert (again.idle, again.facts["state"]) == (True, "up to date")
    shutil.rmtree(folder)
    assert not make_prior(world, workspace).idle
    assert {p.name: sha256_file(p) for p in folder.iterdir()} == hashes
    # Another feature of the Knowledge-Source is another prior, which takes the old one's place.
    np.save(world.features.folder / "k003.npy", np.ones((40, 8), np.float32))
    assert not make_prior(world, workspace).idle
    assert prior_folder(workspace) != folder
    assert not folder.exists()
    workspace.close()


def test_mcle_selects_by_it(world: World) -> None:
    workspace = world.workspace
    with pytest.raises(UsageError, match="kloc prior knowledge SOURCE"):
        selecting.select(workspace, batch=4, strategy="mcle", reporter=Silent())
    make_prior(world, workspace)
    summary = selecting.select(workspace, batch=4, strategy="mcle", reporter=Silent())
    chosen = summary.data["selected"]
    assert len(chosen) == 4
    assert all("contradict each other (conflict" in pick["reason"] for pick in chosen)
    assert not {pick["video"] for pick in chosen} & {f"v{i:03d}" for i in range(6)}
    workspace.close()


@pytest.mark.parametrize("change", ["proposals", "features", "videos"])
def test_a_stale_prior_is_refused_by_mcle_and_by_nobody_else(world: World, change: str) -> None:
    workspace = world.workspace
    make_prior(world, workspace)
    if change == "proposals":
        with workspace.store.transaction() as session:
            row = artefacts.get(session, "proposals", "v010")
            assert row is not None
            row.fingerprint = "other"
    else:
        number = 10 if change == "features" else 99
        np.save(world.root / "own" / f"v{number:03d}.npy", np.ones((40, 8), np.float32))
        imports.import_features(
            workspace, world.root / "own", name="toy", fps=FPS, stride=STRIDE, offset=OFFSET, reporter=Silent()
        )
        proposals.propose(workspace, reporter=Silent())
    learn(workspace)
    with pytest.raises(
        UsageError, match=r"made for other videos, features or proposals .*`kloc prior knowledge` again"
    ):
        selecting.select(workspace, batch=2, strategy="mcle", reporter=Silent())
    told = selecting.select(workspace, batch=2, strategy="us", reporter=Silent())
    assert any("no ranks under 'mcle'" in line for line in told.problems)
    selecting.undo(workspace)
    make_prior(world, workspace)
    assert len(selecting.select(workspace, batch=2, strategy="mcle", reporter=Silent()).data["selected"]) == 2
    workspace.close()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["shard.json", "actionness.bin", "ids.utf8"])
def test_a_damaged_prior_is_made_anew_by_the_same_command(world: World, name: str) -> None:
    workspace = world.workspace
    make_prior(world, workspace)
    folder = prior_folder(workspace)
    hashes = {p.name: sha256_file(p) for p in folder.iterdir()}
    truncate(folder / name)
    assert make_prior(world, workspace).facts["state"] == "made"
    assert {p.name: sha256_file(p) for p in folder.iterdir()} == hashes
    assert list(workspace.predictions.glob(".prior*")) == []
    workspace.close()


def test_an_unreadable_video_of_the_pool_costs_itself_only(world: World) -> None:
    workspace = world.workspace
    with workspace.store.transaction() as session:
        row = artefacts.get(session, "features:toy", "v012")
    assert row is not None
    path = workspace.root / str(row.path)
    whole = path.read_bytes()
    truncate(path)
    summary = make_prior(world, workspace)
    assert sum("the prior has nothing to say of 'v012'" in line for line in summary.problems) == 1
    reader = PredictionReader(prior_folder(workspace))
    assert len(reader) == 23
    assert "v012" not in reader
    told = selecting.select(workspace, batch=18, strategy="mcle", reporter=Silent())
    assert told.data["selected"][-1]["video"] == "v012"
    assert any("the prior has nothing to say of 'v012'" in line for line in told.problems)
    selecting.undo(workspace)
    path.write_bytes(whole)  # repaired, its mark is the one it had
    assert make_prior(world, workspace).facts["state"] == "made"
    assert len(PredictionReader(prior_folder(workspace))) == 24
    assert make_prior(world, workspace).facts["state"] == "up to date"
    workspace.close()


def test_a_pool_of_which_nothing_can_be_read_gets_no_prior(world: World) -> None:
    workspace = world.workspace
    for path in (workspace.root / "features" / "toy").rglob("*.npy"):
        truncate(path)
    with pytest.raises(KlocError, match=r"no video can be read; the first: .*damaged"):
        make_prior(world, workspace)
    assert current_prior(workspace) is None
    workspace.close()


def test_encoded_segments_of_the_source_lie_on_the_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def train(table: Any, *rest: Any) -> Any:
        assert isinstance(table.encoded, np.memmap)
        seen.append((Path(table.encoded.filename), np.array(table.encoded)))
        return train_attention(table, *rest)

    monkeypatch.setattr(knowledge, "train_attention", train)
    workspace = world.workspace
    make_prior(world, workspace)
    path, rows = seen[0]
    assert path.is_relative_to(workspace.predictions)
    assert not path.exists()
    assert np.isfinite(rows).all()
    workspace.close()


def test_what_the_prior_knows_has_to_stay_foreign(world: World) -> None:
    workspace = world.workspace
    make_prior(world, workspace)
    with workspace.store.transaction() as session:
        videos.add_classes(session, ["Jump"])
    with pytest.raises(UsageError, match=r"the prior was learned on 'jump', which is a class .*`kloc prior knowledge`"):
        selecting.select(workspace, batch=2, strategy="mcle", reporter=Silent())
    told = selecting.select(workspace, batch=2, strategy="us", reporter=Silent())
    assert any("no ranks under 'mcle': the prior was learned on 'jump'" in line for line in told.problems)
    workspace.close()


def test_what_features_are_called_is_checked_or_believed_and_told(world: World) -> None:
    workspace = world.workspace
    believed = make_prior(world, workspace)
    assert believed.problems == [
        "the features of known.json are taken to be 'toy' like this workspace's; say --name NAME to have that checked"
    ]
    named = dataclasses.replace(world.features, name="toy")
    again = knowledge.prior_of_knowledge(workspace, world.knowledge, features=named, reporter=Silent())
    assert (again.problems, again.idle) == ([], True)
    for make in (knowledge.prior_of_knowledge, knowledge.bootstrap):
        other = dataclasses.replace(world.features, name="i3d")
        with pytest.raises(MismatchError, match=r"backbone: 'i3d' and 'toy'"):
            make(workspace, world.knowledge, features=other, reporter=Silent())
    workspace.close()


def test_one_bad_video_costs_itself_only(world: World) -> None:
    np.save(world.features.folder / "k004.npy", np.full((40, 8), np.nan, np.float32))
    workspace = world.workspace
    summary = make_prior(world, workspace)
    assert summary.facts["learned from"] == "known: 15 videos of 2 classes"
    assert any("k004: 40 of 40 feature rows are NaN or infinite" in line for line in summary.problems)
    workspace.close()


def label(workspace: Workspace, world: World, video_id: str) -> None:
    part = Dataset(
        world.truth.classes, {video_id: world.truth.videos[video_id]}, {video_id: world.truth.annotations[video_id]}
    )
    activitynet.write(world.root / "part.json", part)
    pool.add(workspace, [str(world.root / "part.json")], reporter=Silent())


def spoil_predictions(workspace: Workspace, world: World, how: str) -> None:
    """Make the current predictions other ones than the newest model's of what there is."""
    if how == "model":
        label(workspace, world, "v006")
        training.train(workspace, reporter=Silent())
    elif how == "bank":
        folder = write_features(world.root / "second", world.truth, seed=7)
        imports.import_features(
            workspace, folder, name="second", fps=FPS, stride=STRIDE, offset=OFFSET, reporter=Silent()
        )
    elif how == "import":
        found = {"v010": [Detection(1.0, 5.0, "swim", 0.5)]}
        write_predictions(world.root / "predictions.json", found)
        imports.import_predictions(workspace, world.root / "predictions.json", reporter=Silent())
    else:
        with workspace.store.transaction() as session:
            row = artefacts.get(session, "proposals", "v010")
            assert row is not None
            row.fingerprint = "other"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("model", "the predictions are of an older model, not the newest model's; run `kloc predict`"),
        ("import", "the predictions are imported, not the newest model's; run `kloc predict`"),
        ("bank", "the predictions were made from the features 'toy', now there are 'second'; run `kloc train`, then"),
        ("proposals", "the predictions were made for other videos, features or proposals than there are now; run"),
    ],
)
def test_predictions_that_are_not_the_newest_models_are_told_and_refused(world: World, how: str, said: str) -> None:
    workspace = world.workspace
    make_gain(world, workspace)
    make_prior(world, workspace)
    spoil_predictions(workspace, world, how)
    if how in ("model", "import"):
        assert state.status(workspace).hint == "kloc predict"
    if how == "proposals":  # a new prior for them does not make the predictions newer
        make_prior(world, workspace)
    for strategy in ("lal", "mcle"):
        if (strategy, how) == ("lal", "bank"):
            continue  # lal is refused before: it was learned on other features itself
        with pytest.raises(UsageError) as caught:
            selecting.select(workspace, batch=2, strategy=strategy, reporter=Silent())
        assert said in str(caught.value)
    told = selecting.select(workspace, batch=2, strategy="us", reporter=Silent())
    assert any(line.startswith(said) for line in told.problems)
    selecting.undo(workspace)
    learn(workspace)
    make_prior(world, workspace)
    assert state.status(workspace).hint == "kloc select"
    for strategy in ("us", "mcle"):
        told = selecting.select(workspace, batch=2, strategy=strategy, reporter=Silent())
        assert not any("the predictions" in line for line in told.problems)
        selecting.undo(workspace)
    workspace.close()


# -- what a Knowledge-Source must not be ------------------------------------------------------------------------


def _bad(world: World, kind: str) -> tuple[Path, FeatureFolder | None]:
    features: FeatureFolder = world.features
    if kind == "class":
        known = make_truth(("dive", "SWIM"), 16, "k", seed=2)
    elif kind == "video":
        known = make_truth(("dive", "jump"), 16, "v", seed=2)
        write_features(world.features.folder, known)
    elif kind == "small":
        known = make_truth(("dive", "jump"), 7, "k", seed=2)
    elif kind == "one class":
        known = make_truth(("dive",), 16, "k", seed=2)
    else:
        known = make_truth(("dive", "jump"), 16, "k", seed=2)
    if kind == "itself":
        return world.root / "w", None
    if kind == "fps":
        features = dataclasses.replace(features, fps=FPS * 2)
    if kind == "width":
        features = dataclasses.replace(features, folder=write_features(world.root / "wide", known, dim=9))
    path = world.root / "bad.json"
    activitynet.write(path, known)
    return path, features


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        ("class", UsageError, "shares the class 'SWIM' with this workspace"),
        ("video", UsageError, "shares 16 videos ('v000', 'v001', 'v002', ...) with this workspace"),
        ("itself", UsageError, "shares 3 classes ('climb', 'swim', 'throw') with this workspace"),
        ("small", UsageError, "7 usable videos of 2 classes are too few"),
        ("one class", UsageError, "16 usable videos of 1 classes are too few"),
        ("fps", MismatchError, "(fps: 50.0 and 25.0)"),
        ("width", MismatchError, "(dim: 9 and 8)"),
    ],
)
def test_a_wrong_source_is_refused_by_both(world: World, kind: str, error: type[KlocError], said: str) -> None:
    source, features = _bad(world, kind)
    workspace = world.workspace
    for attempt in (
        lambda: knowledge.prior_of_knowledge(workspace, source, features=features, reporter=Silent()),
        lambda: knowledge.bootstrap(workspace, source, features=features, lal=QUICK, reporter=Silent()),
    ):
        with pytest.raises(error) as caught:
            attempt()
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    assert current_prior(workspace) is None
    assert gain_loader(workspace) is None
    assert not (workspace.models / "lal").exists()
    workspace.close()


# -- prior web --------------------------------------------------------------------------------------------------


def write_lists(path: Path, lists: dict[str, list[str]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["class", "rank", "video"])
        writer.writerows([name, i, v] for name, found in lists.items() for i, v in enumerate(found, start=1))
    return path


def test_a_prior_from_ranked_lists(world: World) -> None:
    workspace = world.workspace
    # Videos of "swim" are v000, v003, ...: first in its list, the others far below.
    ids = [f"v{i:03d}" for i in range(24)]
    lists = {name: ids[k::3] + [v for v in ids if v not in ids[k::3]][:8] for k, name in enumerate(world.truth.classes)}
    lists["swim"][1] = "absent"
    path = write_lists(world.root / "lists.csv", {"swim": lists["swim"], "throw": lists["throw"][:10]})
    summary = knowledge.prior_of_web(workspace, path, top=5, reporter=Silent())
    # swim: 4 known of 5 at the top, the last 8 below; throw: 5 and 5; a video at any top is positive.
    top = set(lists["swim"][:5]) - {"absent"} | set(lists["throw"][:5])
    low = set(lists["swim"][8:] + lists["throw"][5:10]) - top
    assert summary.facts["learned from"] == f"2 lists: {len(top)} videos at the top, {len(low)} far below"
    assert summary.problems == ["1 x line of lists.csv about a video without features here, left out (line 3: absent)"]
    reader = PredictionReader(prior_folder(workspace))
    assert len(reader) == 24

    def whole(names: set[str]) -> float:
        return float(np.mean([reader.get(v).actionness[0] for v in names]))

    assert whole(top) > whole(low)
    assert knowledge.prior_of_web(workspace, path, top=5, reporter=Silent()).idle
    assert not knowledge.prior_of_web(workspace, path, top=4, reporter=Silent()).idle
    assert len(selecting.select(workspace, batch=3, strategy="mcle", reporter=Silent()).data["selected"]) == 3
    workspace.close()


def test_videos_that_are_evaluated_on_teach_nothing(world: World) -> None:
    workspace = world.workspace
    ids = [f"v{i:03d}" for i in range(24)]
    path = write_lists(world.root / "lists.csv", {"swim": ids[:16]})
    with workspace.store.transaction() as session:
        session.get_one(VideoRow, "v001").subset = "validation"  # at the top
        session.get_one(VideoRow, "v015").subset = "testing"  # far below
    summary = knowledge.prior_of_web(workspace, path, top=5, reporter=Silent())
    assert summary.facts["learned from"] == "1 lists: 4 videos at the top, 7 far below"
    assert summary.problems == [
        "2 x line of lists.csv about a video that is evaluated on, left out (line 3: v001, line 17: v015)"
    ]
    assert len(PredictionReader(prior_folder(workspace))) == 24  # asked of all, learned from some
    with workspace.store.transaction() as session:
        for video_id in ids[:5]:
            session.get_one(VideoRow, video_id).subset = "testing"
    with pytest.raises(UsageError, match="no training video with features is at rank 1 to 5"):
        knowledge.prior_of_web(workspace, path, top=5, reporter=Silent())
    workspace.close()


def test_lists_that_teach_nothing(world: World) -> None:
    workspace = world.workspace
    path = write_lists(world.root / "l.csv", {"swim": ["v000", "v001", "v002"]})
    with pytest.raises(UsageError, match="in the lower half of a list and below rank 10; give longer lists"):
        knowledge.prior_of_web(workspace, path, reporter=Silent())
    path = write_lists(world.root / "l.csv", {"swim": [f"x{i}" for i in range(30)]})
    with pytest.raises(UsageError, match="no training video with features is at rank 1 to 10"):
        knowledge.prior_of_web(workspace, path, reporter=Silent())
    with pytest.raises(UsageError, match="--top 0"):
        knowledge.prior_of_web(workspace, path, top=0, reporter=Silent())
    path.write_text("class,rank,video\nswim,one,v000\n")
    with pytest.raises(FormatError, match="line 2: rank 'one'"):
        knowledge.prior_of_web(workspace, path, reporter=Silent())
    workspace.close()


# -- lal bootstrap ------------------------------------------------------------------------------------------------


def test_lal_is_learned_once_and_selects(world: World) -> None:
    workspace = world.workspace
    with pytest.raises(UsageError, match="kloc lal bootstrap SOURCE"):
        selecting.select(workspace, batch=4, strategy="lal", reporter=Silent())
    summary = make_gain(world, workspace)
    facts = summary.facts
    assert facts["learned from"] == "known: 16 videos of 2 classes"
    assert facts["rank correlation"].endswith("with the true gain, on held-out splits")
    assert list(workspace.models.glob(".lal-lab*")) == []
    load = gain_loader(workspace)
    assert load is not None
    gain = load()
    assert gain.classes == ("dive", "jump")
    assert (gain.close_to_random) == any("about as well as a random draw" in line for line in summary.problems)
    hashes = {p.name: sha256_file(p) for p in (workspace.models / "lal").iterdir()}
    assert make_gain(world, workspace).idle
    shutil.rmtree(workspace.models / "lal")
    assert not make_gain(world, workspace).idle
    assert {p.name: sha256_file(p) for p in (workspace.models / "lal").iterdir()} == hashes
    chosen = selecting.select(workspace, batch=4, strategy="lal", reporter=Silent()).data["selected"]
    assert len(chosen) == 4
    assert all(pick["reason"].startswith("expected to help ") for pick in chosen)
    workspace.close()


@pytest.mark.parametrize("name", ["gain.json", "gain.safetensors"])
def test_what_lal_learned_is_learned_anew_where_it_is_damaged(world: World, name: str) -> None:
    workspace = world.workspace
    make_gain(world, workspace)
    hashes = {p.name: sha256_file(p) for p in (workspace.models / "lal").iterdir()}
    truncate(workspace.models / "lal" / name)
    with pytest.raises(FormatError):
        selecting.select(workspace, batch=2, strategy="lal", reporter=Silent())
    assert not make_gain(world, workspace).idle
    assert {p.name: sha256_file(p) for p in (workspace.models / "lal").iterdir()} == hashes
    workspace.close()


def test_what_has_become_known_since_is_refused(world: World) -> None:
    workspace = world.workspace
    make_gain(world, workspace)
    with workspace.store.transaction() as session:
        videos.add_classes(session, ["Jump"])
    with pytest.raises(UsageError, match="lal was learned on 'jump', which is a class of this workspace now"):
        selecting.select(workspace, batch=4, strategy="lal", reporter=Silent())
    told = selecting.select(workspace, batch=4, strategy="us", reporter=Silent())
    assert any("no ranks under 'lal'" in line for line in told.problems)
    workspace.close()


def test_other_features_are_refused(world: World) -> None:
    workspace = world.workspace
    make_gain(world, workspace)
    imports.import_features(
        workspace, world.root / "own", name="other", fps=FPS, stride=STRIDE, offset=0.0, reporter=Silent()
    )
    load = gain_loader(workspace)
    assert load is not None
    with pytest.raises(UsageError, match=r"learned on other features .* run `kloc lal bootstrap` again"):
        load()
    workspace.close()


def test_a_takedown_leaves_lal_and_takes_the_prior(world: World) -> None:
    workspace = world.workspace
    make_gain(world, workspace)
    make_prior(world, workspace)
    pool.remove(workspace, ["v020"], reporter=Silent())
    assert gain_loader(workspace) is not None
    assert current_prior(workspace) is None
    assert not list(workspace.predictions.glob("prior-*"))
    workspace.close()


def test_a_localizer_without_attention_module_has_nothing_to_learn_about(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Nothing:
        encoder: str = "context"
        nms_tiou: float = 0.4

    class Pyramid:
        Settings = Nothing

        def __init__(self, settings: Nothing) -> None:
            self.settings = settings

    monkeypatch.setitem(localizers.LOCALIZERS.own, "pyramid", Pyramid)  # type: ignore[arg-type]
    settings = world.root / "w" / "kloc.toml"
    settings.write_text(settings.read_text().replace("[localizer]", '[localizer]\nmodel = "pyramid"'))
    workspace = world.workspace
    for make in (make_gain, make_prior):
        with pytest.raises(UsageError, match=r"'pyramid' has no attention module .* set it to \"stagewise\""):
            make(world, workspace)
    workspace.close()


def test_validation_videos_do_not_count_as_labelled(world: World) -> None:
    workspace = world.workspace
    truth = make_truth(("swim",), 3, "e", subset="validation", seed=5)
    write_features(world.root / "own", truth, seed=5)
    imports.import_features(
        workspace, world.root / "own", name="toy", fps=FPS, stride=STRIDE, offset=OFFSET, reporter=Silent()
    )
    activitynet.write(world.root / "val.json", truth)
    pool.add(workspace, [str(world.root / "val.json")], reporter=Silent())
    context = selecting.selection_context(workspace, 0)
    assert sorted(context.annotations) == [f"v{i:03d}" for i in range(6)]
    workspace.close()


# -- the command line ---------------------------------------------------------------------------------------------


def cli(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_commands(world: World) -> None:
    folder = ["--features", world.features.folder, "--fps", FPS, "--stride", STRIDE, "--offset", OFFSET]
    folder += ["--name", "toy"]
    here = ["-w", world.root / "w"]
    done = cli("prior", "knowledge", world.knowledge, *folder, *here, "--json")
    assert json.loads(done.stdout)["prior"] == "knowledge"
    assert json.loads(done.stdout)["problems"] == []
    wrong = cli("lal", "bootstrap", world.knowledge, *folder[:-1], "i3d", *here)
    assert "backbone: 'i3d' and 'toy'" in str(wrong.exception)
    done = cli(
        "lal", "bootstrap", world.knowledge, *folder, *here, "--splits", 4, "--candidates", 3, "--target", "ranking"
    )
    assert done.exit_code == 0
    assert "rank correlation" in done.stdout
    assert "next: kloc select --strategy lal" in done.stdout
    done = cli("select", "--strategy", "mcle", "--batch", 3, *here)
    assert done.exit_code == 0
    workspace = world.workspace
    with workspace.store.transaction() as session:
        details = rounds.selections(session)[0].details
    assert details is not None
    assert {"lal", "mcle"} <= set(details["ranks"])
    workspace.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prior", "knowledge", "k.json", "--fps", 25], "say where they are with --features DIR"),
        (["prior", "knowledge", "k.json", "--name", "toy"], "say where they are with --features DIR"),
        (["lal", "bootstrap", "k.json", "--features", "f"], "--features needs --fps and --stride"),
        (["prior", "web", "absent.csv"], "absent.csv: cannot be read"),
        (["prior", "web", "absent.csv", "--top", 0], "--top 0"),
        (["lal", "bootstrap", "absent.json"], "absent.json: no such file or folder"),
        (["lal", "bootstrap", "absent.json", "--splits", 1], "LAL needs at least 4 splits"),
    ],
)
def test_wrong_commands_say_what_is_right(made: World, arguments: list[object], said: str) -> None:
    done = cli(*arguments, "-w", made.root / "w")
    assert isinstance(done.exception, KlocError)
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)


class Watcher(Silent):
    """Remembers every bar: what it said, how many steps it promised, how many came."""

    def __init__(self) -> None:
        self.bars: list[list[Any]] = []

    def start(self, what: str, total: int) -> None:
        self.bars.append([what, total, 0])

    def advance(self, count: int = 1) -> None:
        self.bars[-1][2] += count


@pytest.mark.parametrize("mode", ["independent", "iterative"])
def test_bars_end_where_they_said(world: World, mode: Literal["independent", "iterative"]) -> None:
    workspace, watcher = world.workspace, Watcher()
    lal = dataclasses.replace(QUICK, mode=mode)
    knowledge.bootstrap(workspace, world.knowledge, features=world.features, lal=lal, reporter=watcher)
    assert watcher.bars[0] == ["encoding", 16, 16]
    assert sum(done for what, _, done in watcher.bars if what != "encoding") == 8
    assert all(total == done for _, total, done in watcher.bars)
    workspace.close()
