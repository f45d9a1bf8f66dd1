"""What the formats of other people's tools share: names that never meet, frames, and facts of any kind."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.interchange import FPS, Opened, compare, make_dataset
from kloc.files import safe_name
from kloc.formats import webvtt
from kloc.formats.common import Extra
from kloc.formats.interchange import Collector, Frames, file_names, from_frames, to_frames
from kloc.records import Dataset, Video


def test_ids_whose_safe_names_meet_get_names_of_their_own(tmp_path: Path) -> None:
    """An id can be made to look like what another one is turned into."""
    first = "Clip!"
    second = f"clip-{hashlib.sha256(first.encode()).hexdigest()[:10]}"
    assert safe_name(first).lower() == safe_name(second)
    names = file_names([first, second])
    assert len({name.lower() for name in names.values()}) == 2
    dataset = Dataset((), {v: Video(v, 0, 1) for v in (first, second)}, {}, "two")
    webvtt.write(tmp_path / "out", dataset, Extra())
    assert webvtt.read(tmp_path / "out", name="two").dataset == dataset


@given(st.lists(st.text(max_size=8), unique=True, max_size=8))
def test_names_are_safe_and_their_own_for_any_ids(ids: list[str]) -> None:
    names = file_names(ids)
    assert set(names) == set(ids)
    assert len({name.lower() for name in names.values()}) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name) for name in names.values())


_time = st.floats(0, 1e5)


@given(_time, st.floats(0.001, 1e4), st.sampled_from([5.0, 23.976, 25.0, FPS, 120.0]), st.sampled_from([0.0, 0.4, -2]))
def test_frames_are_the_nearest_and_seconds_come_back(start: float, length: float, fps: float, zero: float) -> None:
    end = start + length
    frames = to_frames(start, end, fps, zero)
    assert frames.stop > frames.first >= 0
    shown = from_frames(frames, fps, zero)
    half = 0.5 / fps + 1e-6
    if start >= zero:
        assert abs(shown[0] - start) <= half
        assert abs(shown[1] - end) <= (half if length > 1 / fps else 3 * half), "what is shorter than a frame takes one"
    assert from_frames(frames, fps, zero, (start, end)) == (start, end)
    moved = Frames(frames.first, frames.stop + 1)
    assert from_frames(moved, fps, zero, (start, end)) == from_frames(moved, fps, zero)


@pytest.mark.parametrize(
    "facts",
    [
        None, 3, [], "x", {"id": 3, "start": {}, "end": "nan", "labels": "jump", "subset": [], "url": 4},
        {"id": "", "start": 1e300, "end": -5, "labels": [None], "exhaustive_for": {}, "searched": [1]},
        {"annotated": "no", "searched": ["a", 2], "subset": "holdout", "exhaustive_for": 7},
    ],
)  # fmt: skip
def test_facts_of_any_kind_never_end_a_reading(facts: Any) -> None:
    collector = Collector(Path("somewhere.vtt"), None)
    collector.facts(facts)
    collector.facts({"origin": 3, "classes": [1, "jump", ""]})
    collector.video(facts, "v", collector.instance("v", 1, 2, "run"))
    dataset, problems = collector.reading()
    assert set(dataset.videos) == {"v"}
    assert dataset.videos["v"].subset == "training"
    assert dataset.classes[0] == "jump"
    assert problems


def test_the_comparison_with_what_a_tool_saw_can_fail() -> None:
    dataset = make_dataset(8, 1)
    seen = {
        v: [(i.label, i.start, i.end) for i in (dataset.annotations[v].instances if v in dataset.annotations else ())]
        for v in dataset.videos
    }
    assert compare(dataset, "1", seen, 1.0) == Opened("1", 8, sum(map(len, seen.values())), 0.0, ())
    name = max(seen, key=lambda v: len(seen[v]))
    label, start, end = seen[name][0]
    late = {**seen, name: [(label, start + 0.25, end), *seen[name][1:]]}
    assert compare(dataset, "1", late, 1.0).error_ms == pytest.approx(250)
    assert compare(dataset, "1", {**seen, name: seen[name][1:]}, 1.0).wrong == (f"video {name}: other instances",)
    assert compare(dataset, "1", {**seen, "ghost": []}, 1.0).wrong == ("video ghost is not there",)
