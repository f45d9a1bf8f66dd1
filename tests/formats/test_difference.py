"""What changed between two datasets, each kind of change alone and all at once."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kloc.formats.difference import MOVED_TIOU, compare
from kloc.records import Annotation, Dataset, Instance, Video


def _dataset(rows: dict[str, list[tuple[float, float, str]]], classes: tuple[str, ...] = ("jump", "run")) -> Dataset:
    videos = {v: Video(v, 0.0, 100.0, labels=tuple(sorted({c for *_, c in found}))) for v, found in rows.items()}
    annotations = {
        v: Annotation(videos[v].item, tuple(sorted(Instance(*one) for one in found))) for v, found in rows.items()
    }
    return Dataset(classes, videos, annotations, "d")


BASE = _dataset({"a": [(1, 5, "jump"), (10, 20, "run")], "b": [(0, 50, "run")], "c": []})


def test_a_dataset_does_not_differ_from_itself() -> None:
    found = compare(BASE, BASE)
    assert found.same
    assert found.kept == 3
    assert found.counts() == {}


def test_rounding_to_the_microsecond_is_no_change() -> None:
    moved = _dataset({"a": [(1 + 4e-7, 5, "jump"), (10, 20 - 9e-7, "run")], "b": [(0, 50, "run")], "c": []})
    assert compare(BASE, moved).same


def test_instances_are_added_removed_moved_and_relabelled() -> None:
    after = _dataset({"a": [(1.5, 5.5, "jump"), (10, 20, "jump")], "b": [(60, 70, "run")], "c": [(3, 4, "run")]})
    found = compare(BASE, after)
    assert [(m.video_id, m.before.start, m.after.start, m.shift) for m in found.moved] == [("a", 1, 1.5, 0.5)]
    assert [(v, i.label, label) for v, i, label in found.relabelled] == [("a", "run", "jump")]
    assert [(v, i.start) for v, i in found.removed] == [("b", 0)]
    assert [(v, i.start) for v, i in found.added] == [("b", 60), ("c", 3)]
    assert found.counts()["mean boundary shift (s)"] == 0.5
    assert not found.same


def test_videos_come_go_and_change() -> None:
    rest = {v: video for v, video in BASE.videos.items() if v != "b"}
    rest["a"] = replace(rest["a"], subset="testing", end=99.0, url="u", labels=("extra", *rest["a"].labels))
    rest["d"] = Video("d", 0, 5)
    annotations = {"a": replace(BASE.annotations["a"], exhaustive_for=frozenset({"run"}))}
    found = compare(BASE, replace(BASE, videos=rest, annotations=annotations))
    assert found.videos == {
        "added": ("d",),
        "removed": ("b",),
        "no longer annotated": ("c",),
        "searched for other classes": ("a",),
        "with other labels": ("a",),
        "with another duration or start": ("a",),
        "with another URL": ("a",),
    }
    assert found.subsets == (("a", "training", "testing"),)


def test_a_renamed_class_is_no_new_class() -> None:
    after = _dataset({"a": [(1, 5, "leap"), (10, 20, "run")], "b": [(0, 50, "run")], "c": []}, ("leap", "run", "swim"))
    found = compare(BASE, after)
    assert found.classes_renamed == (("jump", "leap"),)
    assert (found.classes_added, found.classes_removed) == (("swim",), ())
    assert found.kept == 3
    assert not found.videos


def test_the_order_of_classes_and_the_origin_count() -> None:
    assert compare(BASE, replace(BASE, classes=("run", "jump"))).classes_reordered
    assert not compare(BASE, replace(BASE, origin="simulated workers")).same


_segments = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 10)).map(lambda p: (float(p[0]), float(p[0] + p[1]), "run")),
    max_size=4,
    unique=True,
)


@given(_segments, _segments)
@settings(max_examples=60, deadline=None)
def test_matching_is_one_to_one_and_the_best_there_is(
    old: list[tuple[float, float, str]], new: list[tuple[float, float, str]]
) -> None:
    """Against trying every way to pair what is not equal."""
    found = compare(_dataset({"a": old}), _dataset({"a": new}))
    assert found.kept + len(found.moved) + len(found.removed) == len(old)
    assert found.kept + len(found.moved) + len(found.added) == len(new)
    assert found.kept == len(set(old) & set(new))
    left, right = sorted(set(old) - set(new)), sorted(set(new) - set(old))

    def tiou(a: tuple[float, float, str], b: tuple[float, float, str]) -> float:
        shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
        value = shared / (a[1] - a[0] + b[1] - b[0] - shared)
        return value if value >= MOVED_TIOU else 0.0

    few, many = (left, right) if len(left) <= len(right) else (right, left)
    best = max(sum(map(tiou, few, chosen)) for chosen in itertools.permutations(many, len(few)))
    mine = sum(tiou((m.before.start, m.before.end, "run"), (m.after.start, m.after.end, "run")) for m in found.moved)
    assert mine == pytest.approx(best)


def test_many_instances_of_one_class_in_one_video_are_matched_in_bounded_memory() -> None:
    old = _dataset({"a": [(i * 0.02, i * 0.02 + 0.01, "run") for i in range(3000)]})
    new = _dataset({"a": [(i * 0.02 + 0.002, i * 0.02 + 0.012, "run") for i in range(3000)]})
    found = compare(old, new)
    assert len(found.moved) == 3000
    assert found.counts()["mean boundary shift (s)"] == 0.002
