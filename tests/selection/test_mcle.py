"""The strategy `mcle` against a literal one-video-at-a-time, one-pick-at-a-time reading of P2 and selection.md."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kloc.errors import UsageError
from kloc.localizers.predictions import PredictionReader, PredictionWriter
from kloc.records import Annotation, Exhaustive, Instance, Item, Prediction
from kloc.selection import Context, make_policy, make_strategy, select
from kloc.selection import mcle as module

half = st.floats(0, 1, width=16)
quick = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@st.composite
def pools(draw):
    """Scores by model and by prior of up to 8 videos, with as many proposals each."""
    lengths = draw(st.lists(st.integers(0, 6), min_size=1, max_size=8))
    # Few values make ties, which is where a fast version goes wrong.
    value = draw(st.sampled_from([half, st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])]))
    return [
        [draw(st.lists(value, min_size=n, max_size=n)) for n in lengths],
        [draw(st.lists(value, min_size=n, max_size=n)) for n in lengths],
    ]


# -- the slow reference -----------------------------------------------------------------------------------------


def slow_video(now: list[float], before: list[float], top: int) -> tuple[float, bool]:
    pairs = sorted(((-(2 * p - 1) * (2 * q - 1), p) for p, q in zip(now, before, strict=True)), reverse=True)[:top]
    return sum(c for c, _ in pairs) / len(pairs), sum(2 * p - 1 for _, p in pairs) >= 0


def slow_batch(now, before, positive: int, negative: int, batch: int, top: int = 3) -> list[int]:
    left = {i for i, x in enumerate(now) if len(x)}
    facts = {i: slow_video(now[i], before[i], top) for i in left}
    picks = []
    while left and len(picks) < batch:
        wanted = positive <= negative
        side = [i for i in left if facts[i][1] == wanted] or list(left)
        pick = max(side, key=lambda i: facts[i][0])
        picks.append(pick)
        left.remove(pick)
        positive += sum(p >= 0.5 for p in now[pick])
        negative += sum(p < 0.5 for p in now[pick])
    return picks


# -- real predictions on disk -------------------------------------------------------------------------------------


def write(folder, scores: Mapping[str, object], segments: Mapping[str, object] | None = None) -> PredictionReader:
    with PredictionWriter(folder, ("a",), "softmax", replace=True) as writer:
        for video_id, values in scores.items():
            x = np.asarray(values, np.float32).reshape(-1)
            places = np.zeros((len(x), 2)) if segments is None else np.array(segments[video_id], float).reshape(-1, 2)
            writer.write(Prediction(video_id, places, x, (), "softmax", ("a",)))
    return PredictionReader(folder)


def rounded(xs):
    return [np.asarray(x, np.float16).astype(float).tolist() for x in xs]


@pytest.fixture
def sources(tmp_path):
    """Model and prior, the prior's videos written in another order."""

    def make(now, before) -> Context:
        ids = [f"v{i:04d}" for i in range(len(now))]
        ours = write(tmp_path / "now", dict(zip(ids, now, strict=True)))
        theirs = write(tmp_path / "before", dict(list(zip(ids, before, strict=True))[::-1]))
        return Context(predictions=ours, prior=theirs)

    return make


# -- scores -------------------------------------------------------------------------------------------------------


@quick
@given(both=pools(), top=st.integers(1, 4))
def test_scores_and_sides_are_the_slow_ones(sources, pool, both, top):
    now, before = map(rounded, both)
    scores = make_strategy("mcle", top=top).score(pool(len(now)), sources(now, before))
    for value, group, p, q in zip(scores.value, scores.group, now, before, strict=True):
        if not p:
            assert value == -math.inf
            continue
        expected, side = slow_video(p, q, top)
        assert value == pytest.approx(expected, abs=1e-12)
        assert -1 <= value <= 1
        assert group == side


@quick
@given(both=pools(), data=st.data())
def test_neither_the_order_of_videos_nor_that_of_proposals_matters(sources, pool, both, data):
    now, before = map(rounded, both)
    order = [data.draw(st.permutations(range(len(x)))) for x in now]
    mixed = [[[x[i] for i in o] for x, o in zip(xs, order, strict=True)] for xs in (now, before)]
    one = make_strategy("mcle").score(pool(len(now)), sources(now, before))
    other = make_strategy("mcle").score(pool(len(now))[::-1], sources(*mixed))
    assert one.value.tobytes() == other.value[::-1].tobytes()
    assert one.group.tolist() == other.group[::-1].tolist()


def test_chunks_and_blocks_of_two_sizes_meet(sources, pool, monkeypatch):
    rng = np.random.default_rng(0)
    now, before = ([rng.random(1 + i % 7).tolist() for i in range(90)] for _ in range(2))
    context, items = sources(now, before), pool(92)
    whole = make_strategy("mcle").score(items, context)
    monkeypatch.setattr(module, "CHUNK", 13)
    for source, rows in ((context.predictions, 9), (context.prior, 17)):
        blocks = source.blocks
        monkeypatch.setattr(
            source, "blocks", lambda ids, heads, _=0, blocks=blocks, rows=rows: blocks(ids, heads, rows)
        )
    parts = make_strategy("mcle").score(items, context)
    assert parts.value.tobytes() == whole.value.tobytes()
    assert parts.group.tolist() == whole.group.tolist()
    assert np.isneginf(whole.value).tolist() == [False] * 90 + [True] * 2


def test_extremes(sources, pool):
    now = [[1.0] * 4, [0.0] * 4, [1.0] * 4, [0.5] * 4, [0.0] * 4, [1.0, 0.0]]
    before = [[0.0] * 4, [1.0] * 4, [1.0] * 4, [0.9] * 4, [0.0] * 4, [0.0, 0.0]]
    scores = make_strategy("mcle").score(pool(6), sources(now, before))
    np.testing.assert_allclose(scores.value, [1, 1, -1, 0, -1, 0], atol=1e-12)
    assert scores.group.tolist() == [1, 0, 1, 1, 0, 1]
    assert not np.signbit(scores.value[3])


def test_a_broken_score_makes_its_video_nan_alone(sources, pool):
    scores = make_strategy("mcle").score(
        pool(3), sources([[0.5, math.nan], [0.9], [0.9]], [[0.5, 0.5], [0.1], [math.nan]])
    )
    assert np.isnan(scores.value).tolist() == [True, False, True]


# -- batches ------------------------------------------------------------------------------------------------------


@quick
@given(both=pools(), batch=st.integers(1, 9), start=st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_batches_are_the_slow_ones(sources, pool, both, batch, start):
    now, before = map(rounded, both)
    facts = [slow_video(p, q, 3)[0] for p, q in zip(now, before, strict=True) if p]
    if len(set(np.round(facts, 9))) < len(facts):
        return  # ties are drawn by a key; the policy's tests know them
    context = sources(now, before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "labelled_segments", lambda _: start)
        chosen = select(pool(len(now)), make_strategy("mcle"), make_policy("top"), batch, context)
    picks = [int(pick.item.video_id[1:]) for pick in chosen.picks]
    expected = slow_batch(now, before, *start, batch)
    assert picks[: len(expected)] == expected
    assert len(picks) == min(batch, len(now))


def test_it_alternates_when_the_sides_are_equally_labelled(sources, pool):
    """Four videos of each side, all their segments alike: +, -, +, - until both are empty."""
    now = [[0.9], [0.8], [0.7], [0.6], [0.1], [0.2], [0.3], [0.4]]
    before = [[0.1]] * 4 + [[0.9]] * 4
    chosen = select(pool(8), make_strategy("mcle"), make_policy("top"), 8, sources(now, before))
    assert [int(pick.item.video_id[1:]) for pick in chosen.picks] == [0, 4, 1, 5, 2, 6, 3, 7]
    first, second = chosen.picks[0].reason, chosen.picks[1].reason
    assert "(conflict 0.64 of at most 1); the model says it shows an action, with 0 positive and 0 negative" in first
    assert "the model says it shows no action, with 1 positive and 0 negative segments labelled or expected" in second


def test_an_empty_side_gives_way(sources, pool):
    now, before = [[0.9], [0.6], [0.8]], [[0.1]] * 3
    chosen = select(pool(3), make_strategy("mcle"), make_policy("top"), 3, sources(now, before))
    assert [int(pick.item.video_id[1:]) for pick in chosen.picks] == [0, 2, 1]


def test_agreement_is_called_so(sources, pool):
    chosen = select(pool(1), make_strategy("mcle"), make_policy("top"), 1, sources([[0.9]], [[0.9]]))
    assert "do not contradict each other (conflict -0.64)" in chosen.picks[0].reason


# -- what is labelled so far --------------------------------------------------------------------------------------


def slow_counts(segments, annotations: Mapping[str, Annotation]) -> tuple[int, int]:
    positive = negative = 0
    for video_id, annotation in annotations.items():
        for start, end in segments[video_id]:
            if start < annotation.item.start or end > annotation.item.end:
                continue
            best = 0.0
            for one in annotation.instances:
                shared = max(0.0, min(end, one.end) - max(start, one.start))
                union = (end - start) + (one.end - one.start) - shared
                best = max(best, shared / union if union > 0 else 0.0)
            positive += best > 0.7 + 1e-9
            negative += best < 0.3 - 1e-9 and annotation.exhaustive_for != frozenset()
    return positive, negative


@pytest.mark.parametrize("seed", range(5))
def test_labelled_segments_are_the_slow_ones(tmp_path, seed):
    rng = np.random.default_rng(seed)
    segments, known = {}, {}
    for i in range(20):
        lengths = rng.integers(1, 40, 15)
        segments[f"v{i}"] = [(float(s), float(s + n)) for s, n in zip(rng.integers(0, 40, 15), lengths, strict=True)]
        own = tuple(
            Instance(float(s), float(s + n), "a") for s, n in rng.integers(1, 30, (int(rng.integers(0, 4)), 2)).tolist()
        )
        asked: Exhaustive = frozenset() if i % 7 == 3 else None
        known[f"v{i}"] = Annotation(Item(f"v{i}", 0.0, 50.0 if i % 2 else 100.0), own, asked)
    reader = write(tmp_path / "p", {v: np.full(15, 0.5) for v in segments}, segments)
    context = Context(predictions=reader, annotations=known)
    counts = module.labelled_segments(context)
    assert counts == slow_counts(segments, known)
    assert min(counts) > 0


@pytest.mark.parametrize(
    ("truth", "counts", "side"),
    [((0.0, 20.0), (0, 2), 1), ((0.0, 4.0), (1, 1), 1), ((0.0, 2.5), (0, 1), 1), ((10.0, 13.0), (1, 1), 1)],
)
def test_scoring_counts_what_is_labelled(tmp_path, pool, truth, counts, side):
    reader = write(tmp_path / "n", {"x": [0.5, 0.5], "v0000": [0.9]}, {"x": [(0, 4), (10, 14)], "v0000": [(0, 1)]})
    known = {"x": Annotation(Item("x", 0.0, 20.0), (Instance(*truth, "a"),))}
    strategy = make_strategy("mcle")
    strategy.score(pool(1), Context(predictions=reader, prior=reader, annotations=known))
    assert (strategy.n_positive, strategy.n_negative) == counts
    assert strategy.next_group((0, 1)) == side


def test_more_positive_than_negative_labels_ask_for_the_negative_side(tmp_path, pool):
    scores = {"v0000": [0.9], "v0001": [0.1], "x": [0.5]}
    before = {"v0000": [0.1], "v0001": [0.6], "x": [0.5]}
    places = {"v0000": [(0, 1)], "v0001": [(0, 1)], "x": [(0, 4)]}
    known = {"x": Annotation(Item("x", 0.0, 20.0), (Instance(0.0, 4.0, "a"),))}
    context = Context(
        predictions=write(tmp_path / "n", scores, places),
        prior=write(tmp_path / "b", before, places),
        annotations=known,
    )
    chosen = select(pool(2), make_strategy("mcle"), make_policy("top"), 2, context)
    assert [pick.item.video_id for pick in chosen.picks] == ["v0001", "v0000"]


# -- what cannot be --------------------------------------------------------------------------------------------------


def test_what_is_missing_is_named(sources, tmp_path, pool):
    context = sources([[0.5], [0.5, 0.5]], [[0.5], [0.5]])
    with pytest.raises(UsageError, match=r"the prior has 1 scores for the 2 proposals of 'v0001' \(1 such videos\)"):
        make_strategy("mcle").score(pool(2), context)
    other = write(tmp_path / "other", {"x": [0.5]})
    with pytest.raises(UsageError, match=r"the prior has nothing to say of 'v0000' \(2 such videos\)"):
        make_strategy("mcle").score(pool(2), Context(predictions=context.predictions, prior=other))
    moved = write(tmp_path / "moved", {"v0000": [0.5], "v0001": [0.5, 0.5]}, {"v0000": [(0, 0)], "v0001": [(0, 1)] * 2})
    with pytest.raises(UsageError, match=r"scores for other segments than the proposals of 'v0001' \(1 such videos\)"):
        make_strategy("mcle").score(pool(2), Context(predictions=context.predictions, prior=moved))
    with pytest.raises(UsageError, match=r"make one with `kloc prior knowledge SOURCE` or `kloc prior web LISTS.csv`"):
        make_strategy("mcle").score(pool(1), Context(predictions=context.predictions))
    with pytest.raises(UsageError, match="needs predictions"):
        make_strategy("mcle").score(pool(1), Context(prior=context.prior))
    with pytest.raises(UsageError, match="top must be at least 1"):
        make_strategy("mcle", top=0)


def test_a_video_that_only_the_prior_knows_is_picked_last(sources, tmp_path, pool):
    both = sources([[0.9], [0.2]], [[0.2], [0.2]])
    ours = write(tmp_path / "less", {"v0000": [0.9]})
    scores = make_strategy("mcle").score(pool(2), Context(predictions=ours, prior=both.prior))
    assert np.isneginf(scores.value).tolist() == [False, True]


def test_a_video_of_which_the_prior_says_nothing_is_picked_last_and_told(sources, tmp_path, pool):
    now, before = [[0.1, 0.9], [0.2], [0.7, 0.6, 0.3]], [[0.8, 0.1], [0.9], [0.1, 0.2, 0.9]]
    both = sources(now, before)
    known = write(tmp_path / "known", {"v0002": before[2], "v0000": before[0]})
    context = Context(predictions=both.predictions, prior=known)
    scores, full = (make_strategy("mcle").score(pool(3), c) for c in (context, both))
    assert scores.value[1] == -math.inf
    np.testing.assert_array_equal(scores.value[[0, 2]], full.value[[0, 2]])
    np.testing.assert_array_equal(scores.group[[0, 2]], full.group[[0, 2]])
    chosen = select(pool(3), make_strategy("mcle"), make_policy("top"), 3, context)
    assert chosen.picks[-1].item.video_id == "v0001"
    assert any("the prior has nothing to say of 'v0001'; what it cannot judge" in note for note in chosen.notes)


def test_a_pool_without_any_prediction_still_fills_the_batch(sources, pool):
    context = sources([[], []], [[], []])
    chosen = select(pool(2), make_strategy("mcle"), make_policy("top"), 5, context)
    assert len(chosen.picks) == 2
