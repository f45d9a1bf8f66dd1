"""What belongs together: joined over all reasons, near-duplicates as a plain loop finds them, URLs read with care."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from kloc.report.groups import Group, join, near_duplicates, same_channel, same_host, same_source


def test_ties_of_different_reasons_join() -> None:
    made = join({
        "same file": {"a": "1", "b": "1", "c": "2", "x": "3", "y": "3"},
        "same channel": {"b": "me", "c": "me", "d": "you"},
        "same source": {"x": "s", "y": "s"},
    })  # fmt: skip
    assert made == [
        Group(("a", "b", "c"), ("same file", "same channel")),
        Group(("x", "y"), ("same file", "same source")),
    ]
    assert join({}) == []
    assert join({"same file": {"a": "1", "b": "2"}}) == []


def test_a_key_of_one_reason_is_no_key_of_another() -> None:
    assert join({"same file": {"a": "1"}, "same channel": {"b": "1"}}) == []


def _plain(rows: np.ndarray, above: float) -> list[set[int]]:
    """Every pair, one after the other, and groups by walking from neighbour to neighbour."""
    even = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    near = {i: set() for i in range(len(rows))}
    for i, a in enumerate(even):
        for j, b in enumerate(even):
            if i != j and float(a @ b) > above * float(np.linalg.norm(a) * np.linalg.norm(b)):
                near[i].add(j)
    found, seen = [], set()
    for i in near:
        group, todo = set(), [i]
        while todo:
            at = todo.pop()
            if at not in group and at not in seen:
                group.add(at)
                todo += near[at]
        seen |= group
        if len(group) > 1:
            found.append(group)
    return found


@pytest.mark.parametrize("block", [7, 1000])
def test_near_duplicates_are_those_that_comparing_every_pair_finds(block: int) -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(40, 16)).astype(np.float32) + 3
    # Copies, copies of copies that drift away, and strangers.
    drift = [base[0] + np.float32(0.25 * i) * rng.normal(size=16).astype(np.float32) for i in range(6)]
    rows = np.concatenate([base, base[:5] + rng.normal(scale=0.05, size=(5, 16)).astype(np.float32), np.stack(drift)])
    ids = [f"v{i:02d}" for i in rng.permutation(len(rows))]
    found = near_duplicates(ids, rows, 0.9, block)
    wanted = _plain(rows.astype(np.float64), 0.9)
    assert len(wanted) >= 5
    assert found == {ids[i]: min(ids[j] for j in group) for group in wanted for i in group}


def test_the_same_features_are_always_alike_and_strangers_never() -> None:
    same = np.ones((3, 4), np.float32)
    assert near_duplicates(["a", "b", "c"], same) == dict.fromkeys("abc", "a")
    two = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    assert near_duplicates(["a", "b"], two) == {}
    assert near_duplicates(["a"], same[:1]) == {}
    twins = np.concatenate([two, two[:1]])
    assert near_duplicates(["a", "b", "c"], twins) == {"a": "a", "c": "a"}


def test_memory_grows_with_the_videos_and_not_with_their_pairs() -> None:
    rows = np.random.default_rng(0).normal(size=(4000, 32)).astype(np.float32)
    ids = [str(i) for i in range(len(rows))]
    tracemalloc.start()
    near_duplicates(ids, rows, block=256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(rows) ** 2  # one byte for each pair would be more, four bytes are what a product takes


YOUTUBE = "https://www.youtube.com/watch?v=QOlSCBRmfWY"


def test_clips_of_one_source_are_known_by_url_and_by_name() -> None:
    found = same_source({
        "a": YOUTUBE + "&t=30s", "b": "http://youtu.be/QOlSCBRmfWY?t=3", "c": "https://m.youtube.com/shorts/QOlSCBRmfWY",
        "QOlSCBRmfWY_000010_000020": None, "v_QOlSCBRmfWY_000090_000100": "", "e": "https://example.org/x.mp4",
        "f": "https://www.example.org/x.mp4#t=3", "g": "https://example.org/x.mp4?id=2", "plain": None,
    })  # fmt: skip
    assert len({found[v] for v in ("a", "b", "c", "QOlSCBRmfWY_000010_000020", "v_QOlSCBRmfWY_000090_000100")}) == 1
    assert found["e"] == found["f"] != found["g"]
    assert "plain" not in found


def test_channels_and_hosts_where_urls_name_them() -> None:
    urls = {
        "a": YOUTUBE + "&ab_channel=Me", "b": "https://www.youtube.com/@Me/shorts", "c": YOUTUBE,
        "d": "https://www.tiktok.com/@you/video/1", "e": "https://youtube.com/channel/UC1/x",
        "f": "https://cdn.example.org/1.mp4", "g": "https://cdn.example.org/2.mp4", "bad": "http://[::1", "none": None,
    }  # fmt: skip
    assert same_channel(urls) == {
        "a": "youtube.com/@Me", "b": "youtube.com/@Me", "d": "tiktok.com/@you", "e": "youtube.com/channel/UC1",
    }  # fmt: skip
    assert same_host(urls) == {"f": "cdn.example.org", "g": "cdn.example.org"}
