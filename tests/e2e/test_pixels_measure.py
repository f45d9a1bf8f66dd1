"""What the measure on real pixels joins: pool and Testing share no scene, a video shows one action. Needs no video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.joined import FPS, Cut, join
from benchmarks.measures.pixels import ACTIONS, BACKGROUND, GROUPS, Clips, Plan, Take, plans
from kloc.records import Instance


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """Empty files with the names of UCF101's clips."""
    for label in (*ACTIONS, BACKGROUND):
        folder = tmp_path / "ucf101" / label
        folder.mkdir(parents=True)
        for group in range(1, 6):
            for clip in range(1, 4):
                (folder / f"v_{label}_g{group:02d}_c{clip:02d}.avi").touch()
    return tmp_path


def sources(made: list[Plan], subset: str) -> set[Path]:
    return {take.path for plan in made if plan.subset == subset for take in plan.takes}


def test_pool_and_testing_share_no_scene(named: Path) -> None:
    made = plans(named, {"training": 26, "validation": 9}, seed=0)
    training, validation = sources(made, "training"), sources(made, "validation")
    assert not training & validation
    for subset, paths in (("training", training), ("validation", validation)):
        groups = {int(path.stem.split("_g")[1][:2]) for path in paths if path.parent.parent.name == "ucf101"}
        assert groups == set(GROUPS[subset])  # type: ignore[index]
    assert len({plan.name for plan in made}) == 5 * 35
    for plan in made:
        shown = [take.label for take in plan.takes if take.label]
        assert len(set(shown)) == 1
        assert 1 <= len(shown) <= 2 <= len(plan.takes) - len(shown) <= 3
        assert all(take.path.parent.name == take.label for take in plan.takes if take.label)
        assert not any(take.path.parent.name in ACTIONS for take in plan.takes if take.label is None)


def test_a_video_does_not_depend_on_how_many_there_are(named: Path) -> None:
    few = {plan.name: plan for plan in plans(named, {"training": 4, "validation": 1}, seed=1)}
    many = {plan.name: plan for plan in plans(named, {"training": 9, "validation": 3}, seed=1)}
    assert few.items() <= many.items()
    assert few != {plan.name: plan for plan in plans(named, {"training": 4, "validation": 1}, seed=2)}


def test_cuts_stay_inside_of_their_clip() -> None:
    clips, path = Clips(), Path("clip.avi")
    numbers = np.arange(80, dtype=np.uint8)
    clips._known[path] = numbers
    for place in (0.0, 0.4, 0.999999):
        assert len(clips.cut(Take(path, "a", 3.0, place)).frames) == 3 * FPS
    assert clips.cut(Take(path, "a", 3.0, 0.999999)).frames[-1] == 79
    assert clips.cut(Take(path, "a", 20.0, 0.5)).frames.tolist() == numbers.tolist()
    assert clips.cut(Take(path, None, 20.0, 0.5, until=5.8)).frames[-1] == 57


def test_neighbours_of_one_class_are_one_instance(tmp_path: Path) -> None:
    def cut(n: int, label: str | None) -> Cut:
        return Cut(np.zeros((n, 32, 32, 3), np.uint8), label)

    cuts = [cut(10, None), cut(20, "a"), cut(5, "a"), cut(10, None), cut(10, "a"), cut(10, "b")]
    assert join(cuts, tmp_path / "joined.mp4") == [
        Instance(1.0, 3.5, "a"),
        Instance(4.5, 5.5, "a"),
        Instance(5.5, 6.5, "b"),
    ]
