"""Streams, anchors and matching of DAPs against what the definition says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloc.proposals import streams as ps
from kloc.records import Grid
from kloc.segments import pairwise_tiou


@given(st.integers(1, 700), st.sampled_from([4, 32]), st.sampled_from([0.125, 0.3, 1.0]))
def test_streams_cover_the_video_to_its_end_at_every_rate(count: int, n_steps: int, stride: float) -> None:
    grid = Grid(5.1, 0.2, 0.2, count)
    end = 5.0 + count * 0.2
    streams = ps.video_streams(grid, 5.0, end, n_steps, stride)
    assert streams[-1].tolist() == [5.0, end]
    lengths = ((streams[:, 1] - streams[:, 0]) / 0.2).round().astype(int)
    rates = [n_steps * 2**k for k in range(20) if n_steps * 2**k < count]
    assert sorted(set(lengths[:-1].tolist())) == rates
    for frames in rates:
        mine = streams[:-1][lengths[:-1] == frames]
        assert mine[0, 0] == pytest.approx(5.0)
        assert mine[-1, 1] == pytest.approx(end)
        hops = np.diff(mine[:, 0]) / 0.2
        assert (hops > 0).all()
        assert (hops <= max(1, round(stride * frames)) + 1e-6).all()


def test_steps_cut_a_stream_evenly() -> None:
    steps = ps.stream_steps(np.array([[0.0, 8.0], [10.0, 12.0]]), 4)
    assert steps.tolist()[:2] == [[0.0, 2.0], [2.0, 4.0]]
    assert steps.tolist()[4:] == [[10.0, 10.5], [10.5, 11.0], [11.0, 11.5], [11.5, 12.0]]


def test_a_stream_owns_what_it_shows_to_ninety_percent() -> None:
    instances = np.array([[0.0, 5.0], [9.1, 19.1], [8.9, 18.9], [19.5, 20.5]])
    shown = ps.instances_in(np.array([10.0, 20.0]), instances)
    assert shown == pytest.approx(np.array([[0.0, 0.91]]))


def test_few_instances_become_anchors_and_a_grid_fills_up() -> None:
    instances = np.array([[0.2, 0.4], [0.2, 0.4], [0.25, 0.75], [0.1, 0.2]])
    anchors = ps.make_anchors(instances, 16, seed=0)
    assert anchors.shape == (16, 2)
    rows = {tuple(r) for r in anchors.round(6).tolist()}
    assert len(rows) == 16
    assert {(0.3, 0.2), (0.5, 0.5), (0.15, 0.1), (0.5, 1.0), (0.25, 0.5), (0.125, 0.25)} <= rows
    assert (np.diff(anchors[:, 1]) <= 0).all()


def test_many_instances_are_clustered_the_same_way_every_time() -> None:
    rng = np.random.default_rng(3)
    start = rng.uniform(0, 0.7, 400)
    instances = np.stack([start, start + rng.uniform(0.02, 0.3, 400)], axis=1)
    anchors = ps.make_anchors(instances, 12, seed=4)
    assert anchors.tolist() == ps.make_anchors(instances, 12, seed=4).tolist()
    fewer = ps.make_anchors(instances, 4, seed=4)
    best = [pairwise_tiou(instances, ps.anchor_segments(a)).max(axis=1).mean() for a in (anchors, fewer)]
    assert best[0] > best[1] > 0.3


boxes = st.lists(
    st.tuples(st.floats(0, 0.9), st.floats(0.05, 1)).map(lambda p: (p[0], min(1.0, p[0] + p[1]))), max_size=5
)


@given(boxes)
def test_matching_follows_its_two_rules(instances: list[tuple[float, float]]) -> None:
    anchors = ps.make_anchors(np.array([[0.1, 0.3]]), 24, seed=0)
    wanted = np.array(instances).reshape(-1, 2)
    taken = ps.match(anchors, wanted)
    if not instances:
        assert (taken == -1).all()
        return
    tiou = pairwise_tiou(ps.anchor_segments(anchors), wanted)
    best = tiou.argmax(axis=0)
    for i, j in enumerate(taken):
        claims = [k for k in range(len(wanted)) if best[k] == i and tiou[i, k] > 0]
        if claims:
            assert tiou[i, j] == max(tiou[i, k] for k in claims)
        elif tiou[i].max() > 0.5 + 1e-9:
            assert tiou[i, j] == tiou[i].max()
        else:
            assert j == -1


def test_decoding_undoes_encoding() -> None:
    anchors = ps.make_anchors(np.array([[0.1, 0.3], [0.4, 0.9]]), 8, seed=0)
    instances = np.array([[0.12, 0.28], [0.3, 0.95]])
    taken = ps.match(anchors, instances)
    targets = ps.offsets(anchors, instances, taken)
    decoded = ps.decode(anchors, targets[None], np.array([[100.0, 300.0]]))
    for k in np.flatnonzero(taken >= 0):
        assert decoded[k] == pytest.approx(100 + 200 * instances[taken[k]])
    anchored = 100 + 200 * np.clip(ps.anchor_segments(anchors), 0, 1)
    free = taken < 0
    assert free.any()
    assert decoded[free] == pytest.approx(anchored[free])
