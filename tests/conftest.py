"""Shared by all tests: a small campaign's files, made once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser

from benchmarks import annotator
from benchmarks.postgres import AbsentError, cluster
from kloc.formats import activitynet, labels_csv
from kloc.video.synthetic import Difficulty, make_demo_videos

# Tests never judge time: on a loaded machine a slow draw is no fault.
settings.register_profile("kloc", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kloc")

#: Short and easy: what is tested is the house, not the learning.
QUICK = Difficulty(seconds=(6.0, 9.0), action_seconds=(1.5, 3.0), passers=2.0, second_class=0.0, empty=0.0)


@dataclass(frozen=True)
class CampaignFiles:
    """A folder of generated videos with their label table and their truth."""

    folder: Path
    videos: Path
    labels: Path
    validation: Path
    truth: Path


def make_campaign(folder: Path, n_videos: int = 14, seed: int = 3) -> CampaignFiles:
    """Generate the files of a small campaign."""
    files = CampaignFiles(
        folder, folder / "videos", folder / "labels.csv", folder / "validation.json", folder / "truth.json"
    )
    _, truth = make_demo_videos(files.videos, n_videos=n_videos, seed=seed, workers=2, difficulty=QUICK)
    everything = truth.videos.values()
    labels_csv.write(files.labels, {v.id: v.labels for v in everything}, {v.id: v.subset for v in everything})
    activitynet.write(files.validation, truth.of("validation"))
    activitynet.write(files.truth, truth)
    return files


@pytest.fixture(scope="session")
def campaign_files(tmp_path_factory: pytest.TempPathFactory) -> CampaignFiles:
    """Fourteen short videos of six classes."""
    return make_campaign(tmp_path_factory.mktemp("campaign"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real videos and annotations beside the checkout; a test that needs them skips where they are absent."""
    folder = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real videos are not here (shared/data beside the checkout)")
    return folder


def lacks(reason: str) -> NoReturn:
    """Skip a test whose server or browser is absent, saying so; in CI, where .ci/run installs both, fail it."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; .ci/run must install it")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One headless Chromium for the whole session (playwright allows one driver per process)."""
    program = annotator.chromium()
    if program is None:
        lacks("Chromium is not installed (looked for chromium, chromium-browser, google-chrome)")
    with annotator.browser(program) as browser:
        yield browser


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """A fresh PostgreSQL cluster on a socket in its own folder; each call makes a database and gives its URL."""
    try:
        with cluster() as database:
            yield database
    except AbsentError as absent:
        lacks(str(absent))
