"""kloc evaluate: files and workspaces, presets and subsets; what is wrong is counted, what cannot be costs one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from benchmarks.predictions import generated
from kloc.cli import app
from kloc.errors import KlocError
from kloc.evaluation.detection import mean_average_precision
from kloc.formats import activitynet
from kloc.formats.common import Extra
from kloc.formats.predictions import write_predictions
from kloc.formats.registry import named
from kloc.pipeline import imports, pool, training
from kloc.pipeline.common import SIMULATED
from kloc.pipeline.evaluating import Wanted, evaluate_files, evaluate_workspace, thresholds_of
from kloc.pipeline.telling import Silent
from kloc.records import SIMULATED_WORKERS, Dataset
from kloc.report.evaluation import facts
from kloc.store import artefacts, meta
from tests.pipeline.knowledge_helpers import FPS, OFFSET, STRIDE, learn, make_truth, make_workspace, write_features

DIVE = {"label": "dive", "segment": [10, 20]}


def kloc_evaluate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": "80"})


def refusal(*arguments: str | Path) -> str:
    """The one line with which the command refuses to work (``kloc.cli.main`` prints it without a traceback)."""
    error = kloc_evaluate(*arguments).exception
    assert isinstance(error, KlocError), error
    assert "\n" not in str(error)
    return str(error)


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def a_truth(folder: Path) -> Path:
    """Three validation videos, one of another subset, one that nobody annotated; some of it wrong."""
    rows = [DIVE, {"label": "dive", "segment": ["30", "40"]}, {"label": "jump", "segment": [50, 40]}]
    database = {
        "a": {"subset": "validation", "duration": 100, "annotations": rows},
        "b": {"subset": "validation", "duration": 50, "annotations": [{"label": "jump", "segment": [10, 70]}]},
        "c": {"subset": "training", "duration": 50, "annotations": [{"label": "jump", "segment": [10, 20]}]},
        "d": {"subset": "testing", "duration": 50, "annotations": []},
        "e": {"subset": "validation", "duration": 50, "annotations": [{"label": "run", "segment": [1, 9]}]},
    }
    return write(folder / "truth.json", {"database": database})


def detection(start: Any, end: Any, label: Any = "dive", score: Any = 0.5) -> dict[str, Any]:
    return {"label": label, "segment": [start, end], "score": score}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A truth of two held-out subsets, and predictions for the validation videos."""
    folder = tmp_path_factory.mktemp("evaluate")
    names = ("swim", "throw")
    validation = make_truth(names, 8, "v", subset="validation", seed=1)
    testing = make_truth(names, 3, "t", subset="testing", seed=2)
    both = Dataset(
        names, {**validation.videos, **testing.videos}, {**validation.annotations, **testing.annotations}, "both"
    )
    truth, predictions = folder / "truth.json", folder / "predictions.json"
    activitynet.write(truth, both)
    write_predictions(predictions, generated(validation, 12, seed=3).detections())
    return truth, predictions


def test_everything_wrong_is_counted_named_and_the_rest_is_judged(tmp_path: Path) -> None:
    rows: list[Any] = [
        detection(10, 21, score=0.9),
        detection("30", "41", score="0.8"),
        detection(41, 30),
        detection(1, 3, "fly"),
        detection(90, 200),
        detection("x", 200),
        detection(9, 20, score=float("nan")),
        {"label": "dive", "score": 0.5},
        7,
    ]
    other = [detection(10, 21)]
    predictions = write(tmp_path / "made.json", {"results": {"a": rows, "zz": other, "c": other, "d": other, "b": []}})
    result = kloc_evaluate(a_truth(tmp_path), predictions)
    assert result.exit_code == 0, result.output
    told = [" ".join(line.split()) for line in result.output.split("\n! ")[1:]]
    assert told == [
        "truth.json: 1 x reversed segment, dropped (a)",
        "truth.json: 1 x end beyond the video's duration, clipped (b)",
        "made.json: 1 x detection with a time or score that is no number, dropped (a)",
        "made.json: 1 x detection without 'segment', dropped (a)",
        "made.json: 1 x detection that is no object, dropped (a)",
        "made.json: 1 x detection with a time or score that is not finite, dropped (a)",
        "made.json: 1 x zero-length or reversed detection, dropped (a)",
        "1 detection in 1 video that the truth does not know, left out (zz)",
        "1 detection in 1 video of the training subset, left out (c)",
        "1 detection in 1 video that nobody annotated, left out (d)",
        "2 annotated videos without any detection: 2 instances missed there (b, e)",
        "1 detection of 1 class that the truth does not have, left out (fly: 1)",
        "2 classes with instances and without any detection, average precision 0 (jump: 1, run: 1)",
        "1 detection beyond the start or end that the truth has of its video, judged as they are (a)",
    ]
    assert max(map(len, result.output.splitlines())) <= 80
    assert "instances   4 of 3 classes in 3 annotated videos" in result.output
    assert "detections  3 judged" in result.output


def test_a_video_predicted_twice_is_said_and_its_last_list_holds(tmp_path: Path) -> None:
    lists = ", ".join(f'"a": [{json.dumps(detection(10, end))}]' for end in (11, 20))
    predictions = write(tmp_path / "twice.json", f'{{"results": {{{lists}}}}}')
    evaluation = evaluate_files(a_truth(tmp_path), predictions, Wanted())
    assert "twice.json: 1 x video given twice, the last list holds (a)" in evaluation.problems
    assert evaluation.result.average_precision[0, 0] == pytest.approx(0.5)  # one of two, found


REFUSED = {
    "no results": ({"database": {}}, "no 'results'"),
    "strangers": (
        {"results": {"q": [detection(1, 2)]}},
        "videos in p.json is in truth.json (e.g. q / a)",
    ),
    "unannotated": ({"results": {"d": [detection(1, 2)]}}, "none of its 1 videos is annotated in truth.json"),
    "broken": ("{", "broken JSON at line 1"),
    "empty": ("", "broken JSON at line 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_cannot_be_judged_cost_one_line(name: str, tmp_path: Path) -> None:
    content, reason = REFUSED[name]
    assert reason in refusal(a_truth(tmp_path), write(tmp_path / "p.json", content))


def test_broken_utf8_and_missing_files_cost_one_line(tmp_path: Path) -> None:
    truth = a_truth(tmp_path)
    (tmp_path / "p.json").write_bytes(b'{"results":{"\xff":[]}}')
    assert "not UTF-8 at byte 13" in refusal(truth, tmp_path / "p.json")
    assert "cannot be read" in refusal(truth, tmp_path / "none.json")
    assert "looks like no format of annotations" in refusal(write(tmp_path / "other.json", {"other": {}}), truth)


@pytest.mark.parametrize("option", ["", "--format activitynet"])
def test_files_in_the_wrong_order_are_called_what_they_are(option: str, tmp_path: Path) -> None:
    swapped = write(tmp_path / "made.json", {"results": {"a": [detection(1, 2)]}})
    said = refusal(swapped, a_truth(tmp_path), *option.split())
    assert said.endswith("made.json: these are predictions; the annotations come first")


def test_predictions_for_another_dataset_are_told_before_its_subsets(tmp_path: Path) -> None:
    strange = write(tmp_path / "made.json", {"results": {"x1": [detection(1, 2)], "x2": []}})
    said = "none of the 2 videos in made.json is in truth.json (e.g. x1 / a): is it the right file?"
    for option in ("", "--subset testing", "--subset all"):
        assert refusal(a_truth(tmp_path), strange, *option.split()) == said


def test_no_detection_at_all_is_judged_and_said(tmp_path: Path) -> None:
    evaluation = evaluate_files(a_truth(tmp_path), write(tmp_path / "p.json", {"results": {}}), Wanted())
    assert evaluation.average == 0.0
    assert evaluation.subset == "validation"
    assert "3 annotated videos without any detection: 4 instances missed there (a, b, e)" in evaluation.problems
    assert kloc_evaluate(tmp_path / "truth.json", tmp_path / "p.json").exit_code == 0


WRONG_OPTIONS = {
    "--tiou 0": "above 0 and at most 1",
    "--tiou a": "write numbers as 0.3,0.5,0.7",
    "--tiou .5:.9": "first:last:step",
    "--tiou .5:.95:0": "first:last:step",
    "--tiou .5:.95:-1": "first:last:step",
    "--tiou .5:.95:nan": "first:last:step",
    "--tiou 0.001:1:0.001": "1 to 64 thresholds",
    "--preset mine": "activitynet, thumos, kinetics-localization",
    "--matching mine": "activitynet, thumos",
    "--duplicates mine": "keep, drop",
    "--subset mine": "training, validation, testing, all",
    "--bins mine": "paper, detad",
    "--format mine": "unknown format 'mine'",
    "--subset training": "no instance to judge by",
}


@pytest.mark.parametrize("option", WRONG_OPTIONS)
def test_wrong_options_cost_one_line(option: str, files: tuple[Path, Path]) -> None:
    assert WRONG_OPTIONS[option] in refusal(*files, *option.split())


def test_thresholds_are_read_as_people_write_them() -> None:
    assert thresholds_of("0.7,0.3,0.5,.3") == (0.3, 0.5, 0.7)
    assert thresholds_of(".5:.95:.05") == tuple(np.linspace(0.5, 0.95, 10).round(2))
    assert thresholds_of("0.1:0.3:0.1,0.75") == (0.1, 0.2, 0.3, 0.75)


def test_the_subset_is_the_one_predicted_for(files: tuple[Path, Path]) -> None:
    assert evaluate_files(*files, Wanted()).subset == "validation"
    assert evaluate_files(*files, Wanted(preset="thumos")).subset == "validation"  # none of testing was predicted for
    everything = evaluate_files(*files, Wanted(subset="all"))
    assert everything.result.n_videos == 11
    assert any(line.startswith("3 annotated videos without any detection") for line in everything.problems)


def test_what_nobody_asked_for_is_said_to_be_the_default(files: tuple[Path, Path]) -> None:
    told = facts(evaluate_files(*files, Wanted()))
    assert told["preset"] == "activitynet (default; thumos, kinetics-localization with --preset)"
    assert told["subset"] == "validation (of validation and testing; --subset)"
    told = facts(evaluate_files(*files, Wanted(preset="thumos", subset="validation")))
    assert (told["preset"], told["subset"]) == ("thumos", "validation")


def test_its_figures_are_those_of_the_library(files: tuple[Path, Path], tmp_path: Path) -> None:
    truth = activitynet.read(files[0]).dataset.of("validation")
    evaluation = evaluate_files(*files, Wanted(preset="kinetics-localization"))
    table = generated(make_truth(("swim", "throw"), 8, "v", subset="validation", seed=1), 12, seed=3)
    assert evaluation.average == pytest.approx(mean_average_precision(truth, table).average, abs=1e-6)
    assert evaluation.diagnosis.mean_ap == pytest.approx(evaluation.average, abs=1e-12)
    data = json.loads(kloc_evaluate(*files, "--preset", "kinetics-localization", "--json").output)
    assert data["average_mAP"] == evaluation.average
    assert len(data["detection"]["thresholds"]) == 14  # .1 to .9 for the columns, .5:.05:.95 for the average
    assert set(data["detection"]["classes"]) == {"swim", "throw"}
    assert [row["attribute"] for row in data["diagnosis"]["sensitivity"]] == ["coverage", "length", "instances"]


def test_options_change_a_preset_and_say_so(files: tuple[Path, Path]) -> None:
    wanted = Wanted(preset="thumos", thresholds=(0.5,), matching="activitynet", duplicates="drop", bins="detad")
    evaluation = evaluate_files(*files, wanted)
    assert evaluation.settings.name == "thumos, changed"
    assert evaluation.settings.thresholds == evaluation.settings.averaged == (0.5,)
    assert (evaluation.result.matching, evaluation.result.duplicates) == ("activitynet", "drop")
    assert [len(row.bins) for row in evaluation.diagnosis.sensitivity] == [5, 5, 4]
    assert "@0.5 " in kloc_evaluate(*files, "--tiou", "0.5").output


def test_the_truth_may_be_of_any_format(files: tuple[Path, Path], tmp_path: Path) -> None:
    truth = activitynet.read(files[0]).dataset
    named("coco").module.write(tmp_path / "coco.json", truth, Extra())
    for name in ("", "coco"):
        evaluation = evaluate_files(tmp_path / "coco.json", files[1], Wanted(), format_name=name)
        assert evaluation.average == pytest.approx(evaluate_files(*files, Wanted()).average, abs=1e-9)


@pytest.mark.parametrize(("origin", "simulated"), [(SIMULATED_WORKERS, True), ("Flickr", False)])
def test_only_simulated_workers_make_a_truth_simulated(origin: str, simulated: bool, tmp_path: Path) -> None:
    truth = a_truth(tmp_path)
    write(truth, json.loads(truth.read_text()) | {"origin": origin})
    evaluation = evaluate_files(truth, write(tmp_path / "p.json", {"results": {}}), Wanted())
    assert evaluation.simulated == simulated
    assert evaluation.truth == truth.name + ("" if simulated else " (origin: Flickr)")


def test_equal_files_give_an_equal_page_and_trouble_costs_one_line(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = kloc_evaluate(*files, "--plots", out, "--html", tmp_path / "one.html")
    assert result.exit_code == 0, result.output
    assert {p.suffix for p in out.iterdir()} == {".svg", ".png"}
    assert {"sensitivity.png", "false-negatives.svg", "false-positives.png"} < {p.name for p in out.iterdir()}
    assert kloc_evaluate(*files, "--html", tmp_path / "two.html").exit_code == 0
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    assert "cannot be written" in refusal(*files, "--html", files[0] / "page.html")
    assert "cannot be written" in refusal(*files, "--plots", files[0] / "plots")


def test_a_workspace_is_judged_by_its_own_annotations(tmp_path: Path) -> None:
    names = ("swim", "throw")
    training_part = make_truth(names, 6, "t", seed=1)
    judged = make_truth(names, 4, "v", subset="validation", seed=2)
    truth = Dataset(
        names, {**training_part.videos, **judged.videos}, {**training_part.annotations, **judged.annotations}
    )
    root = tmp_path / "w"
    workspace = make_workspace(root, truth, write_features(tmp_path / "npy", truth), annotated=sorted(truth.videos))
    assert "run `kloc predict`" in refusal("-w", root)
    learn(workspace)

    evaluation = from_own = evaluate_workspace(workspace, None, Wanted())
    with workspace.store.transaction() as session:
        (row,) = artefacts.of_stage(session, "evaluate").values()
    assert evaluation.subset == "validation"
    assert evaluation.average == pytest.approx(row.info["validation"]["average_mAP"], abs=1e-12)
    assert evaluation.problems == ()
    assert not evaluation.simulated
    learned = evaluate_workspace(workspace, None, Wanted(subset="training")).problems
    assert learned == ("the model may have learned from the training videos that it is judged on here",)

    reader = training.current_predictions(workspace)
    assert reader is not None
    write_predictions(tmp_path / "p.json", reader.detections(sorted(judged.videos)))
    from_file = evaluate_workspace(workspace, tmp_path / "p.json", Wanted())
    assert from_file.average == pytest.approx(evaluation.average, abs=1e-4)  # times and scores are rounded in the file
    said = kloc_evaluate("-w", root, tmp_path / "p.json").output
    assert "p.json against" in said
    assert "Simulated" not in said

    late = make_truth(names, 1, "z", subset="validation", seed=5)
    more = write_features(tmp_path / "more", late)
    imports.import_features(workspace, more, name="toy", fps=FPS, stride=STRIDE, offset=OFFSET, reporter=Silent())
    activitynet.write(tmp_path / "late.json", late)
    pool.add(workspace, [str(tmp_path / "late.json")], reporter=Silent())
    with workspace.store.transaction() as session:
        meta.put(session, SIMULATED, True)
    evaluation = evaluate_workspace(workspace, None, Wanted())
    assert evaluation.simulated
    assert evaluation.problems == ("1 annotated video without predictions, not judged; run `kloc predict` (z000)",)
    assert evaluation.average == pytest.approx(from_own.average)
