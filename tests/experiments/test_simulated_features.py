"""Simulated features: frozen, reproducible, and about as hard as said."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from kloc.experiments import simulated_features
from kloc.experiments.simulated_features import Appearance, SimulatedFeatures
from kloc.records import Annotation, Instance, Video

CLASSES = ("dive", "jump", "run")
#: Of the generator's source, committed before any strategy that learns was run on its features. It may never change
#: again: a new generator is a new file.
FROZEN = "ba10faaec84e00bde7d4fb0e642a2af02c56269f80e7f2efa20f61e94ed00226"


def marked(name: str, *spans: tuple[float, float], label: str = "dive", duration: float = 60.0):
    video = Video(name, 0.0, duration, labels=(label,))
    return video, Annotation(video.item, tuple(Instance(s, e, label) for s, e in spans))


def test_the_generator_is_frozen() -> None:
    source = Path(simulated_features.__file__).read_bytes()
    assert hashlib.sha256(source).hexdigest() == FROZEN


def test_features_depend_on_the_video_and_the_seed_alone() -> None:
    a, b = marked("a", (10, 20)), marked("b", (10, 20))
    one = SimulatedFeatures(CLASSES)
    first = one.features(*a).features
    one.features(*b)
    again = SimulatedFeatures(CLASSES[::-1]).features(*a).features
    assert np.array_equal(first, again)
    assert not np.array_equal(first, one.features(*b).features)
    assert not np.array_equal(first, SimulatedFeatures(CLASSES, seed=1).features(*a).features)


def test_fingerprints_name_seed_and_settings() -> None:
    base = SimulatedFeatures(CLASSES).fingerprint
    assert base == SimulatedFeatures(CLASSES).fingerprint
    assert base != SimulatedFeatures(CLASSES, seed=1).fingerprint
    assert base != SimulatedFeatures(CLASSES, appearance=Appearance(noise=1.0)).fingerprint


@pytest.mark.parametrize(("duration", "count"), [(0.3, 1), (1.0, 1), (60.0, 60), (255.7, 256), (1000.0, 256)])
def test_the_grid_covers_the_video(duration: float, count: int) -> None:
    found = SimulatedFeatures(CLASSES).features(*marked("a", duration=duration))
    assert found.features.shape == (count, 256)
    assert found.features.dtype == np.float32
    assert found.grid.times[0] > 0
    assert found.grid.times[-1] <= duration + found.grid.step / 2
    assert np.isfinite(found.features).all()


def test_noise_is_correlated_in_time_and_keeps_its_size() -> None:
    look = Appearance(place=0, context=0, distractors=0)
    rows = SimulatedFeatures(CLASSES, appearance=look).features(*marked("a", duration=256.0)).features
    power = (rows**2).sum(axis=1)
    assert power.mean() == pytest.approx(look.noise**2, rel=0.1)
    assert (rows[1:] * rows[:-1]).sum(axis=1).mean() / power.mean() == pytest.approx(np.exp(-1 / 3), abs=0.05)


def test_an_action_shows_only_where_it_is() -> None:
    look = Appearance(noise=0, place=0, context=0, distractors=0)
    rows = SimulatedFeatures(CLASSES, appearance=look).features(*marked("a", (20, 40))).features
    size = np.linalg.norm(rows, axis=1)
    assert (size[:18] == 0).all()
    assert (size[42:] == 0).all()
    assert size[22:38].min() > 0.2
    assert size[22:38] == pytest.approx(size[30], rel=1e-3)


def test_classes_share_a_part_of_their_actionness_and_differ_in_strength() -> None:
    world = SimulatedFeatures([f"c{i}" for i in range(40)])._world
    directions = np.stack([kind.actionness for kind in world.values()])
    alike = (directions @ directions.T)[np.triu_indices(40, 1)]
    assert 0.2 < alike.mean() < 0.7
    strengths = np.log([kind.strength for kind in world.values()])
    assert strengths.std() == pytest.approx(0.35, abs=0.12)


def test_a_class_looks_the_same_whatever_other_classes_there_are() -> None:
    few, many = SimulatedFeatures(("dive",))._world, SimulatedFeatures(CLASSES)._world
    for part in ("actionness", "context", "modes", "strength"):
        assert np.array_equal(getattr(few["dive"], part), getattr(many["dive"], part))
