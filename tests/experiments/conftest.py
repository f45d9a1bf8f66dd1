"""The small set and its lab, made once per file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # experiment_helpers

from experiment_helpers import EXPERIMENT, SETTINGS, small_set

from kloc.experiments.lab import Lab
from kloc.experiments.runner import Outcome, run
from kloc.experiments.source import SimulatedSet


@pytest.fixture(scope="module")
def source() -> SimulatedSet:
    return small_set()


@pytest.fixture(scope="module")
def lab(source: SimulatedSet, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab.prepare(tmp_path_factory.mktemp("lab"), source, SETTINGS)


@pytest.fixture(scope="module")
def played(source: SimulatedSet, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Lab, Outcome]:
    """`EXPERIMENT`, run in this process: its folder, lab and outcome."""
    out = tmp_path_factory.mktemp("simulation")
    lab = Lab.prepare(out, source, SETTINGS)
    return out, lab, run(EXPERIMENT, source, lab, out)
