"""simulate as a stage: what is asked is checked at once, and no other set is encoded into a folder that has one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kloc import __version__
from kloc.config import template
from kloc.errors import FormatError, KlocError, UsageError
from kloc.experiments.arm import Pace
from kloc.experiments.curves import Arm
from kloc.experiments.folder import held
from kloc.experiments.lab import Lab
from kloc.experiments.runner import Experiment
from kloc.experiments.simulated_features import Appearance, SimulatedFeatures
from kloc.experiments.source import SimulatedSet
from kloc.localizers.stagewise import StageWiseSettings
from kloc.pipeline.simulating import Asked, Place, cost_of, simulate
from kloc.pipeline.telling import Silent
from kloc.records import Annotation, Dataset, Instance, Video
from kloc.selection.cost import DEFAULT, CostModel
from kloc.workspace import Workspace

# -- what is asked ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"strategies": ("us,foo=1",)}, "foo"),
        ({"strategies": ("random", "mcle,top=0")}, "top must be at least 1"),
        ({"strategies": ("us,mode=other",)}, "mode is"),
        ({"strategies": ("uss",)}, "did you mean 'us'"),
        ({"policy": "diverse,method=best"}, "method is"),
        ({"policy": "diverse,prefilter=-1"}, "prefilter"),
        ({"policy": "tops"}, "did you mean 'top'"),
        ({"strategies": ()}, "at least one strategy"),
    ],
)
def test_what_no_arm_could_do_is_told_before_any_begins(wrong, message) -> None:
    with pytest.raises(UsageError, match=message):
        Asked(**wrong)


def test_one_strategy_written_in_many_ways_is_one() -> None:
    asked = Asked(("us,mode=binary", " us, mode=binary", "us,k=10,mode=binary", "us,mode=binary,k=10", "random"))
    assert asked.strategies == ("us,mode=binary", "us,k=10,mode=binary", "random")
    assert len(asked.arms()) == 3
    assert Asked(policy=" diverse, prefilter=5,method=badge").policy == "diverse,method=badge,prefilter=5"


def test_no_two_arms_share_a_journal() -> None:
    strategies = ("us", "us,k=5", "us, k=5", "us,k=50", "random", "random")
    asked = Asked(strategies, "top", (1, 10, 1, 5), (0.1, 0.10, 0.0), 2)
    names = [arm.name for arm in asked.arms()]
    assert len(names) == len(set(names)) == 4 * 4 * 2  # batches 1, 5, 10 with noise .1, and batch 1 without


# -- the same set, again ----------------------------------------------------------------------------------------


def invented(n_videos: int = 48) -> SimulatedSet:
    classes = tuple(f"class {i}" for i in range(4))
    videos = {}
    for number in range(n_videos):
        subset = "validation" if number % 3 == 2 else "training"
        videos[f"v{number:02d}"] = Video(f"v{number:02d}", 0.0, 40.0, labels=(classes[number % 4],), subset=subset)
    known = {
        v: Annotation(video.item, (Instance(8.0 + i % 5, 20.0 + i % 7, video.labels[0]),))
        for i, (v, video) in enumerate(videos.items())
    }
    look = Appearance(dim=12, noise=1.0)
    return SimulatedSet(Dataset(classes, videos, known, "few"), SimulatedFeatures(classes, appearance=look), 8)


SETTINGS = StageWiseSettings(encoder="mean", hard_negative_rounds=0, top_k=4)
EXPERIMENT = Experiment((Arm(0, "random", "top", 10, 0.0),), Pace(0.5))


@pytest.fixture
def encoded(monkeypatch) -> list[str]:
    """The videos whose features were read."""
    read: list[str] = []
    features = SimulatedSet.features
    monkeypatch.setattr(SimulatedSet, "features", lambda self, v: (read.append(v), features(self, v))[1])
    return read


def begin(out: Path, source: SimulatedSet, settings: StageWiseSettings = SETTINGS, **more):
    return simulate(source, more.pop("experiment", EXPERIMENT), settings, out, workers=1, reporter=Silent(), **more)


@pytest.mark.parametrize("only_plan", [False, True])
def test_another_set_or_encoder_is_refused_before_it_is_encoded(tmp_path, encoded, only_plan) -> None:
    out, source = tmp_path / "out", invented()
    begin(out, source)
    assert len(set(encoded)) == 48
    encoded.clear()
    before = sorted(p.name for p in out.iterdir())
    other_cost = replace(EXPERIMENT, cost=CostModel(1.0, 1.0, 9.0))
    for wrong, what in (
        (lambda: begin(out, invented(60), only_plan=only_plan), "set or encoder"),
        (lambda: begin(out, source, replace(SETTINGS, encoder="context"), only_plan=only_plan), "set or encoder"),
        (lambda: begin(out, source, experiment=other_cost, only_plan=only_plan), "cost model"),
    ):
        with pytest.raises(UsageError, match=f"holds an experiment with another {what}; .*take another --out"):
            wrong()
    assert encoded == []
    assert sorted(p.name for p in out.iterdir()) == before
    begin(out, source)
    assert encoded == []


def test_a_second_simulation_in_the_same_folder_waits_for_nothing_and_encodes_nothing(tmp_path, encoded) -> None:
    with held(tmp_path), pytest.raises(KlocError, match="another kloc simulate is running"):
        begin(tmp_path, invented())
    assert encoded == []


def test_noisy_labels_are_planned_from_the_set(tmp_path) -> None:
    noisy = Experiment((Arm(0, "random", "top", 10, 0.2),), Pace(0.5))
    summary = begin(tmp_path, invented(), experiment=noisy, only_plan=True)
    assert set(summary.data["parts"]) == {"noisy labels", "all labels", "arms"}
    assert not (tmp_path / "arms").exists()


# -- what is shown ----------------------------------------------------------------------------------------------


def shown(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "report.json").read_text()))


def test_the_page_shows_what_earlier_runs_in_the_folder_were_asked_for(tmp_path) -> None:
    begin(tmp_path, invented())
    assert [s["name"] for s in shown(tmp_path)["strategies"]] == ["random"]
    begin(tmp_path, invented(), experiment=replace(EXPERIMENT, arms=(Arm(0, "us", "top", 10, 0.0),)))
    page = shown(tmp_path)
    assert [s["name"] for s in page["strategies"]] == ["us", "random"]
    assert not any("not run" in sentence for sentence in page["summary"])


def test_counts_are_those_of_all_seeds_and_provenance_says_how_it_was_made(tmp_path) -> None:
    arms = tuple(Arm(seed, "random", "top", 10, 0.0) for seed in range(4))
    experiment = Experiment(arms, Pace(0.2, 2))
    begin(tmp_path, invented(50), experiment=experiment)
    (folder,) = tmp_path.glob("lab-*")
    pools = [len(experiment.split(Lab.open(folder), seed).pool) for seed in range(4)]
    assert len(set(pools)) > 1
    page = shown(tmp_path)
    facts = page["provenance"]
    assert f"{min(pools)} to {max(pools)} pool" in facts["videos"]
    assert facts["videos"] in page["protocol"]
    assert facts["classes"] == "1 Knowledge-Source, 3 Selection"
    assert facts["proposals"] == "at most 8 a video"
    assert facts["Knowledge-Source"] == "25 % of the classes"
    assert facts["mAP measured"] == "every 2 rounds, and at the end"
    assert facts["minutes"] == str(DEFAULT)
    assert facts["made with"] == f"kloc {__version__}"
    assert "LAL's lessons" not in facts


def test_where_every_arm_failed_the_work_failed_and_not_the_user(tmp_path) -> None:
    failing = replace(EXPERIMENT, arms=(Arm(0, "us", "nope", 10, 0.0),))
    with pytest.raises(KlocError, match=r"no arm has got far enough.*us-nope.*nope") as caught:
        begin(tmp_path, invented(), experiment=failing)
    assert caught.value.exit_code == 1


# -- what labels cost -------------------------------------------------------------------------------------------


def test_the_cost_model_of_a_workspace_is_its_own(tmp_path) -> None:
    Workspace.create(tmp_path)[0].close()
    place = Place(tmp_path, tmp_path / "out", True)
    assert cost_of(place) == DEFAULT
    own = CostModel(0.1, 0.2, 3.0, 25)
    own.save(tmp_path / "own.json")
    (tmp_path / "kloc.toml").write_text(template(**{"selection.cost_model": "own.json"}))
    assert cost_of(place) == own
    assert cost_of(replace(place, workspace=False)) == DEFAULT
    (tmp_path / "own.json").write_text("{}")
    with pytest.raises(FormatError, match=r"own\.json"):
        cost_of(place)
