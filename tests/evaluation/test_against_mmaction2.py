"""The same figures as mmaction2's evaluator; where it is absent, the tests skip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import mmaction2
from benchmarks.measures.evaluation import made_truth, write_found
from benchmarks.predictions import generated
from kloc.evaluation.detection import mean_average_precision
from kloc.evaluation.recall import AUC_COUNTS, average_recall


@pytest.fixture(scope="module")
def theirs() -> mmaction2.Evaluator:
    found = mmaction2.evaluator()
    if found is None:
        pytest.skip(f"mmaction2 is not here (${mmaction2.FOLDER}, see benchmarks/mmaction2.py)")
    return found


def test_map(theirs: mmaction2.Evaluator, tmp_path: Path) -> None:
    truth = made_truth(40, 6, seed=1)
    found = generated(truth, 30, seed=1)
    mmaction2.write_truth(tmp_path / "truth.json", truth)
    write_found(tmp_path / "found.json", found)
    said = theirs.detection.ActivityNetLocalization(str(tmp_path / "truth.json"), str(tmp_path / "found.json"))
    result = mean_average_precision(truth, found)
    np.testing.assert_allclose(result.mean_ap, said.evaluate()[0], atol=1e-9)
    assert 0.05 < result.average < 0.9


def test_average_recall_and_its_area(theirs: mmaction2.Evaluator) -> None:
    truth = made_truth(40, 6, seed=1)
    found = generated(truth, 130, seed=1)
    recall, area = mmaction2.recall(theirs, mmaction2.recall_input(truth, found))
    result = average_recall(truth, found, AUC_COUNTS, budget="average")
    np.testing.assert_allclose(result.recall, recall, atol=1e-9)
    assert result.auc == pytest.approx(area, abs=1e-9)
    assert 0.05 < result.auc < 0.9
