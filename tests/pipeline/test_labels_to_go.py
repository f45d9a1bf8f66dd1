"""`kloc status` tells how many labels are still to come: nothing, what is missing, or the forecast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kloc.cli import app
from kloc.evaluation.forecast import forecast
from kloc.formats import activitynet
from kloc.pipeline import pool
from kloc.pipeline.telling import Silent
from kloc.records import Dataset
from kloc.store import artefacts
from kloc.workspace import Workspace
from tests.pipeline.knowledge_helpers import learn, make_truth, make_workspace, write_features


def status(root: Path) -> str:
    """What `kloc status` prints on a terminal of 80 columns."""
    result = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1"}).invoke(app, ["status", "-w", str(root)])
    assert result.exit_code == 0, result.output
    return result.output


def line(shown: str) -> str:
    """The forecast's line without its name; empty where there is none."""
    found = [x.removeprefix("labels to go").strip() for x in shown.splitlines() if x.startswith("labels to go")]
    assert len(found) <= 1
    return found[0] if found else ""


def as_json(root: Path) -> dict:
    return json.loads(CliRunner().invoke(app, ["status", "-w", str(root), "--json"]).output)


def test_a_campaign_from_its_first_labels_to_a_forecast(tmp_path: Path) -> None:
    """Real features, training and evaluation; only the answers come from the truth instead of from workers."""
    names = ("swim", "throw")
    training = make_truth(names, 16, "t", seed=1)
    judged = make_truth(names, 6, "v", subset="validation", seed=2)
    truth = Dataset(names, {**training.videos, **judged.videos}, {**training.annotations, **judged.annotations})
    root = tmp_path / "w"
    workspace = make_workspace(root, truth, write_features(tmp_path / "npy", truth), annotated=sorted(judged.videos))
    assert line(status(root)) == ""
    said = []
    for number in (4, 8, 12, 16):
        ids = sorted(training.videos)[:number]
        known = Dataset(names, {v: truth.videos[v] for v in ids}, {v: truth.annotations[v] for v in ids})
        activitynet.write(tmp_path / f"{number}.json", known)
        pool.add(workspace, [str(tmp_path / f"{number}.json")], reporter=Silent())
        learn(workspace)
        said.append(line(status(root)))
    assert said[:3] == [f"a forecast needs {left}" for left in ("3 more rounds", "2 more rounds", "1 more round")]
    with workspace.store.transaction() as session:
        rows = [row.info for row in artefacts.of_stage(session, "evaluate").values()]
    assert len({info["settings"] for info in rows}) == len({info["judged_on"]["validation"] for info in rows}) == 1
    points = sorted((info["videos"], info["validation"]["mAP@0.5"]) for info in rows)
    assert [labelled for labelled, _ in points] == [4, 8, 12, 16]
    expected = forecast(*zip(*points, strict=True))
    assert said[3] == str(expected)
    data = as_json(root)
    assert data["forecast"] == {"subset": "validation", "metric": "mAP@0.5", **expected.to_json()}
    assert data["labels to go"] == said[3]


@pytest.fixture
def evaluated(tmp_path: Path) -> Workspace:
    """An empty workspace with ten rounds' evaluations, written as predicting writes them."""
    pool.init(tmp_path / "w")
    workspace = Workspace.open(tmp_path / "w")
    for number in range(1, 11):
        labelled = 900 * number
        put(workspace, number, labelled, validation=0.5 * (1 - 0.6 * number**-0.8))
    return workspace


def put(
    workspace: Workspace,
    number: int,
    labelled: int,
    bank: str = "b",
    settings: str = "",
    on: str = "",
    key: str = "",
    **reached: float,
) -> dict[str, Any]:
    """One evaluation; as an older kloc wrote it without ``settings`` and ``on``."""
    model: dict[str, Any] = {"round": number, "videos": labelled, "instances": 1, "bank": bank}
    model |= {"settings": settings} if settings else {}
    info = model | {s: {"mAP@0.5": value, "average_mAP": value, "videos": 9} for s, value in reached.items()}
    info |= {"judged_on": dict.fromkeys(reached, on)} if on else {}
    key = key or f"{bank}{settings}{on}{number}{labelled}{sorted(reached)}"
    with workspace.store.transaction() as session:
        artefacts.put(session, "evaluate", key, "model", info=info)
    return model


def test_the_line_is_one_line_of_eighty_columns(evaluated: Workspace) -> None:
    shown = status(evaluated.root).splitlines()
    at = next(i for i, x in enumerate(shown) if x.startswith("labels to go"))
    assert len(shown[at]) <= 80
    assert not shown[at + 1].startswith(" "), "the line was folded"
    expected = forecast([900 * i for i in range(1, 11)], [0.5 * (1 - 0.6 * i**-0.8) for i in range(1, 11)])
    assert line("\n".join(shown)) == str(expected)
    assert str(expected).endswith("to 95 % of plateau 50 %")


def test_only_one_subset_and_one_feature_bank_lie_on_a_curve(evaluated: Workspace) -> None:
    before = line(status(evaluated.root))
    put(evaluated, 2, 1700, bank="older", validation=0.9)  # other features
    put(evaluated, 3, 2600, testing=0.9)  # not the newest one's subset
    assert line(status(evaluated.root)) == before
    put(evaluated, 11, 9900, bank="newer", testing=0.4)
    assert line(status(evaluated.root)) == "a forecast needs 3 more rounds"


def test_testing_does_not_say_when_to_stop(evaluated: Workspace) -> None:
    for number in range(1, 11):
        put(evaluated, number, 900 * number, validation=0.5 * (1 - 0.6 * number**-0.8), testing=0.01 * number)
    assert as_json(evaluated.root)["forecast"]["subset"] == "validation"
    put(evaluated, 11, 9900, testing=0.2)  # no validation videos any more
    assert as_json(evaluated.root)["forecast"]["subset"] == "testing"


@pytest.mark.parametrize("other", [{"settings": "s2"}, {"on": "v2"}])
def test_other_settings_and_another_set_lie_on_another_curve(evaluated: Workspace, other: dict[str, str]) -> None:
    ours = {"settings": "s1", "on": "v1"}
    for number in range(1, 11):
        put(evaluated, number, 900 * number, **ours, validation=0.5 * (1 - 0.6 * number**-0.8))
    for number in (2, 4, 6):
        put(evaluated, number, 900 * number + 1, **(ours | other), validation=0.9)
    # What an older kloc wrote counts: the fixture's ten points once more, on the same curve.
    twice = [(900 * n, 0.5 * (1 - 0.6 * n**-0.8)) for n in range(1, 11) for _ in range(2)]
    assert as_json(evaluated.root)["labels to go"] == str(forecast(*zip(*twice, strict=True)))


@pytest.mark.parametrize("current", ["a", "z"])
def test_the_current_model_says_which_curve_counts(tmp_path: Path, current: str) -> None:
    """Two feature banks with equally many rounds and labels: not the order of their hashes."""
    pool.init(tmp_path / "w")
    workspace = Workspace.open(tmp_path / "w")
    models = {}
    for bank, count in (("a", 2), ("z", 3)):
        for number in range(5 - count, 5):
            models[bank] = put(workspace, number, 100 * number, bank, key=f"{bank}{number}", validation=0.1 * number)
    with workspace.store.transaction() as session:
        artefacts.put(session, "train", "current", f"{current}4", info=models[current])
    expected = {"a": "a forecast needs 2 more rounds", "z": "a forecast needs 1 more round"}
    assert line(status(workspace.root)) == expected[current]
    with workspace.store.transaction() as session:  # trained with other features, not predicted yet
        artefacts.put(session, "train", "current", "new", info=models["a"] | {"bank": "new"})
    assert line(status(workspace.root)) == ""
