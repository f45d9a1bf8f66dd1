"""Splits: no two parts share a video or a class, and every set that can be split is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from experiment_helpers import CLASSES

from kloc.errors import UsageError
from kloc.experiments.lab import Lab
from kloc.experiments.protocol import make_split
from kloc.records import Instance


def labels_of(lab: Lab, index: int) -> set[str]:
    return {i.label for i in lab.annotations[index].instances} or set(lab.videos[index].labels)


@pytest.mark.parametrize("seed", range(6))
def test_parts_share_neither_videos_nor_classes(lab, seed) -> None:
    split = make_split(lab, seed)
    assert len(split.knowledge_classes) == 2
    assert set(split.knowledge_classes) | set(split.classes) == set(CLASSES)
    assert not set(split.knowledge_classes) & set(split.classes)
    parts = [split.knowledge, split.pool, split.testing]
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together) == 96
    for part in (*parts, split.initial):
        assert part.tolist() == sorted(part.tolist())
    assert set(split.initial.tolist()) <= set(split.pool.tolist())
    assert len(split.initial) == round(0.1 * len(split.pool))
    assert all(labels_of(lab, i) <= set(split.knowledge_classes) for i in split.knowledge.tolist())
    assert all(labels_of(lab, i) <= set(split.classes) for i in [*split.pool.tolist(), *split.testing.tolist()])
    assert {lab.videos[i].subset for i in split.pool.tolist()} == {"training"}
    assert {lab.videos[i].subset for i in split.testing.tolist()} == {"validation"}
    assert {lab.videos[i].subset for i in split.knowledge.tolist()} == {"training", "validation"}


def test_splits_depend_on_the_seed_alone(lab) -> None:
    one, again, other = make_split(lab, 3), make_split(lab, 3), make_split(lab, 4)
    for name in ("knowledge", "pool", "testing", "initial"):
        assert np.array_equal(getattr(one, name), getattr(again, name))
    assert one.knowledge_classes != other.knowledge_classes or not np.array_equal(one.initial, other.initial)
    assert len({make_split(lab, seed).knowledge_classes for seed in range(8)}) > 1


def test_shares_are_those_asked_for(lab) -> None:
    split = make_split(lab, 0, knowledge_share=0.5, initial_share=0.4)
    assert len(split.knowledge_classes) == 4
    assert len(split.initial) == round(0.4 * len(split.pool))


def with_subsets(lab: Lab, subset: str, *, but: int = 0) -> Lab:
    """The lab with every video in one subset, ``but`` so many of validation."""
    videos = [replace(v, subset="validation" if i < but else subset) for i, v in enumerate(lab.videos)]
    return replace(lab, videos=tuple(videos))


@pytest.mark.parametrize("n_testing", [0, 1])
def test_without_validation_videos_a_quarter_of_the_pool_is_held_out(lab, n_testing) -> None:
    only = with_subsets(lab, "training", but=n_testing)
    split = make_split(only, 1)
    assert np.intersect1d(split.pool, split.testing).size == 0
    own = [i for i in range(96) if labels_of(lab, i) <= set(split.classes)]
    assert sorted([*split.pool.tolist(), *split.testing.tolist()]) == own
    of_validation = sum(1 for i in own if only.videos[i].subset == "validation")
    assert len(split.testing) == of_validation + (len(own) - of_validation) // 4
    assert set(split.initial.tolist()) <= set(split.pool.tolist())
    assert split.testing.tolist() != make_split(only, 2).testing.tolist()


@pytest.mark.parametrize(("subset", "n_training"), [("validation", 0), ("testing", 3)])
def test_where_subsets_leave_no_pool_they_are_not_heeded(lab, subset, n_training) -> None:
    names = ["training" if i < n_training else subset for i in range(96)]
    videos = tuple(replace(v, subset=name) for v, name in zip(lab.videos, names, strict=True))
    split = make_split(replace(lab, videos=videos), 1)
    own = [i for i in range(96) if labels_of(lab, i) <= set(split.classes)]
    assert sorted([*split.pool.tolist(), *split.testing.tolist()]) == own
    assert len(split.testing) == len(own) // 4
    assert split.pool.tolist() == sorted(split.pool.tolist())
    assert set(split.initial.tolist()) <= set(split.pool.tolist())
    assert split.testing.tolist() != make_split(replace(lab, videos=videos), 2).testing.tolist()


def test_a_pool_that_is_just_large_enough_keeps_to_the_subsets(lab) -> None:
    choosing = [i for i in range(96) if labels_of(lab, i) <= set(make_split(lab, 1).classes)]
    for n_training in (9, 10):
        few = set(choosing[:n_training])
        videos = tuple(replace(v, subset="training" if i in few else "validation") for i, v in enumerate(lab.videos))
        split = make_split(replace(lab, videos=videos), 1)
        assert (set(split.pool.tolist()) == few) == (n_training == 10)


def test_videos_of_both_sides_are_in_no_part(lab) -> None:
    split = make_split(lab, 0)
    at = int(split.pool[0])
    mixed = [*lab.annotations]
    both = (Instance(1, 2, split.knowledge_classes[0]), Instance(3, 4, split.classes[0]))
    mixed[at] = replace(mixed[at], instances=both)
    again = make_split(replace(lab, annotations=tuple(mixed)), 0)
    assert at not in np.concatenate([again.knowledge, again.pool, again.testing])
    assert len(again.pool) == len(split.pool) - 1


def test_a_video_without_instances_goes_by_its_labels_or_into_the_pool(lab) -> None:
    split = make_split(lab, 0)
    knowing = [i for i in split.knowledge.tolist() if not lab.annotations[i].instances]
    choosing = [i for i in split.pool.tolist() if not lab.annotations[i].instances]
    assert knowing or choosing
    bare = replace(lab, videos=tuple(replace(v, labels=()) for v in lab.videos))
    again = make_split(bare, 0)
    for i in (*knowing, *choosing):
        assert i in (again.pool if lab.videos[i].subset == "training" else again.testing)


def few(lab: Lab, keep) -> Lab:
    at = [i for i, v in enumerate(lab.videos) if keep(i, v)]
    return replace(lab, videos=tuple(lab.videos[i] for i in at), annotations=tuple(lab.annotations[i] for i in at))


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (lambda i, v: i % 8 == 0, "small: 1 classes cannot be split"),
        (lambda i, v: i % 8 < 2, "small: 2 classes cannot be split"),
        (lambda i, v: i < 14, "too few videos"),
        (lambda i, v: v.subset == "validation" and i < 40, "too few videos"),
    ],
)
def test_sets_too_small_are_refused(lab, keep, message) -> None:
    with pytest.raises(UsageError, match=message):
        make_split(few(lab, keep), 0)
