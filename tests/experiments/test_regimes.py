"""Other annotations of the same videos: one clip each as the spec says, and a control that says nothing true."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from kloc.experiments.regimes import CLIP_S, MAKERS, clips, full, shuffled
from kloc.formats import activitynet
from kloc.records import Annotation, Instance, Item
from kloc.report.benchmark import REGIMES
from tests.experiments.experiment_helpers import small_dataset

VIDEO = Item("v", 5.0, 105.0)


def clip_of(*instances: Instance, item: Item = VIDEO, seed: int = 0) -> Instance:
    (found,) = clips({item.video_id: Annotation(item, instances, frozenset({"a", "b"}))}, seed)[item.video_id].instances
    return found


def test_a_clip_lies_inside_a_longer_instance_anywhere() -> None:
    starts = [clip_of(Instance(20.0, 50.0, "a"), seed=seed) for seed in range(200)]
    assert all(c.end - c.start == pytest.approx(CLIP_S) and c.start >= 20 and c.end <= 50 for c in starts)
    places = np.sort([(c.start - 20) / 20 for c in starts])
    assert np.abs(places - np.linspace(0, 1, 200)).max() < 0.12  # Kolmogorov-Smirnov, 1 %


def test_a_clip_contains_a_shorter_instance_at_a_random_offset() -> None:
    found = [clip_of(Instance(40.0, 44.0, "a"), seed=seed) for seed in range(200)]
    assert all(c.end - c.start == pytest.approx(CLIP_S) and c.start <= 40 and c.end >= 44 for c in found)
    places = np.sort([(c.start - 34) / 6 for c in found])
    assert np.abs(places - np.linspace(0, 1, 200)).max() < 0.12


def test_a_clip_is_cut_to_the_video() -> None:
    early = [clip_of(Instance(5.0, 7.0, "a"), seed=seed) for seed in range(50)]
    assert min(c.start for c in early) == 5.0
    assert min(c.end - c.start for c in early) < 7
    assert all(c.start == 5.0 or c.end - c.start == pytest.approx(CLIP_S) for c in early)
    short = Item("v", 0.0, 6.0)
    assert clip_of(Instance(1.0, 5.0, "a"), item=short, seed=3).end <= 6.0
    assert clip_of(Instance(30.0, 40.0, "a")) == Instance(30.0, 40.0, "a")


def test_any_instance_is_chosen_and_everything_else_is_background() -> None:
    instances = (Instance(10.0, 30.0, "a"), Instance(40.0, 60.0, "b"), Instance(70.0, 90.0, "a"))
    found = [clip_of(*instances, seed=seed) for seed in range(90)]
    count = Counter(next(i for i, whole in enumerate(instances) if whole.start <= c.start < whole.end) for c in found)
    assert all(15 < count[i] < 45 for i in range(3))
    assert all(c.label == instances[int(c.start >= 40) + int(c.start >= 70)].label for c in found)
    made = clips({"v": Annotation(VIDEO, instances, frozenset({"a", "b"}))}, 0)["v"]
    assert (made.item, made.exhaustive_for) == (VIDEO, frozenset({"a", "b"}))


def test_a_video_without_instances_has_no_clip() -> None:
    truth = small_dataset(40).annotations
    assert set(clips(truth, 0)) == {v for v, a in truth.items() if a.instances} < set(truth)
    assert set(shuffled(truth, 0)) == set(full(truth, 0)) == set(truth)


@pytest.mark.parametrize("regime", REGIMES)
def test_a_regime_depends_on_the_seed_and_never_on_the_order(regime: str) -> None:
    truth = small_dataset(40).annotations
    make = MAKERS[regime]
    assert list(make(dict(reversed(truth.items())), 1).items()) == list(make(truth, 1).items())
    assert (make(truth, 1) == make(truth, 2)) == (regime == "full")
    some = {v: truth[v] for v in sorted(truth)[:9]}
    if regime != "shuffled labels":  # what happens to a video has nothing to do with the others
        assert make(some, 1).items() <= make(truth, 1).items()


def test_the_control_deals_out_every_annotation_once_and_none_where_it_belongs() -> None:
    truth = small_dataset(40).annotations
    made = shuffled(truth, 0)

    def shape(annotation: Annotation) -> tuple[tuple[str, float, float], ...]:
        item = annotation.item
        return tuple(
            (i.label, round((i.start - item.start) / item.duration, 9), round((i.end - item.start) / item.duration, 9))
            for i in annotation.instances
        )

    assert Counter(map(shape, made.values())) == Counter(map(shape, truth.values()))
    kept = [v for v in truth if truth[v].instances and shape(made[v]) == shape(truth[v])]
    assert kept == []
    for video_id, annotation in made.items():
        assert annotation.item == truth[video_id].item
        assert all(annotation.item.start <= i.start < i.end <= annotation.item.end for i in annotation.instances)


def test_clips_of_real_annotations(real_data: object) -> None:
    """ActivityNet 1.3: 28.4 % of the instances are shorter than a clip (specification, section 5)."""
    dataset = activitynet.read(real_data / "annotations" / "activitynet-1.3.json").dataset  # type: ignore[operator]
    truth = dataset.annotations
    lengths = np.array([i.duration for a in truth.values() for i in a.instances])
    assert 100 * (lengths < CLIP_S).mean() == pytest.approx(28.4, abs=0.2)
    made = clips(truth, 0)
    for video_id, annotation in made.items():
        (clip,) = annotation.instances
        item, whole = annotation.item, [i for i in truth[video_id].instances if i.label == clip.label]
        assert item.start <= clip.start < clip.end <= item.end
        assert clip.duration <= CLIP_S + 1e-9
        assert any(
            (i.start <= clip.start + 1e-9 and clip.end <= i.end + 1e-9)
            or (clip.start <= i.start + 1e-9 and min(i.end, item.end) <= clip.end + 1e-9)
            for i in whole
        )
