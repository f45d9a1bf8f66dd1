"""The strategy `lal`, with a real localizer, a real regressor and predictions on disk."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from kloc.errors import UsageError
from kloc.localizers.stagewise import Attention, StageWise, StageWiseSettings
from kloc.records import Annotation
from kloc.selection import Context, make_policy, make_strategy, select
from kloc.selection.lal_model import GainModel, StateBasis

E, BINS = 6, 10


def gain_model(seed: int = 0, **facts: float) -> GainModel:
    """Learned that the share of scores in the highest bin helps."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(20), 10)
    basis = StateBasis(E, np.linalg.qr(rng.normal(size=(E, 3)))[0].T.copy())
    states = np.stack([basis.vector(rng.normal(size=E), rng.normal(), 5 + int(g), 40) for g in range(20)])
    shares = rng.multinomial(30, np.full(BINS, 0.1), len(group)) / 30
    how = {"basis": basis, "features": "f1", "encoder": "mean", "classes": ("k",), "facts": facts}
    return GainModel.fit(states[group], shares, shares[:, -1], group, **how)


def localizer(dim: int = E, features: str | None = "f1", encoder: str = "mean", weights=None) -> StageWise:
    model = StageWise(StageWiseSettings(encoder=encoder))  # type: ignore[arg-type]
    rng = np.random.default_rng(3)
    model._attention = Attention(rng.normal(size=dim) if weights is None else weights, 0.1, -1.0, 0.0)
    model.feature_fingerprint = features
    return model


def context(reader, gain=None, model=None, n_labelled: int = 9, **more) -> Context:
    gain = gain_model() if gain is None else gain
    model = localizer() if model is None else model
    done = {f"x{i}": Annotation(None, ()) for i in range(n_labelled)}  # type: ignore[arg-type]
    return Context(predictions=reader, annotations=done, gain=lambda: gain, model=lambda: model, **more)


def some_scores(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"v{i:04d}": rng.beta(0.6, 0.6, int(rng.integers(1, 40))) for i in range(n)}


def test_scores_are_the_regressors_one_video_at_a_time(predicted, pool):
    scores = some_scores(30)
    gain, items = gain_model(), pool(31)
    value = make_strategy("lal").score(items, context(predicted(scores), gain)).value
    attention = localizer().attention
    state = gain.basis.vector(attention.weights, attention.intercept, 9, 9 + 31)
    for item, got in zip(items[:30], value[:30], strict=True):
        x = np.asarray(scores[item.video_id], np.float16).astype(float)
        share = np.histogram(x, bins=BINS, range=(0, 1))[0] / len(x)
        assert got == pytest.approx(gain.predict(state, share[None])[0], abs=1e-9)
    assert value[30] == -math.inf
    assert len(set(value[:30])) > 20


def test_small_blocks_give_the_same_bits(predicted, pool, monkeypatch):
    reader, items = predicted(some_scores(60)), pool(60)
    whole = make_strategy("lal").score(items, context(reader)).value
    blocks = reader.blocks
    monkeypatch.setattr(reader, "blocks", lambda ids, heads, rows: blocks(ids, heads, 50))
    assert make_strategy("lal").score(items[::-1], context(reader)).value[::-1].tobytes() == whole.tobytes()


def test_it_picks_what_helps_and_says_why(predicted, pool):
    scores = {"v0000": [0.95] * 9 + [0.1], "v0001": [0.5] * 10, "v0002": [0.97] * 4 + [0.3] * 6, "v0003": []}
    chosen = select(pool(4), make_strategy("lal"), make_policy("top"), 4, context(predicted(scores)))
    assert [pick.item.video_id for pick in chosen.picks] == ["v0000", "v0002", "v0001", "v0003"]
    assert chosen.picks[0].reason.startswith("expected to help ")
    assert " deviations more than a typical video" in chosen.picks[0].reason
    assert " deviations less than a typical video" in chosen.picks[2].reason
    assert "nothing to judge it by" in chosen.picks[3].reason
    assert chosen.n_unscored == 1


def test_a_broken_score_makes_its_video_nan_alone(predicted, pool):
    value = make_strategy("lal").score(pool(2), context(predicted({"v0000": [0.5, math.nan], "v0001": [0.5]}))).value
    assert np.isnan(value).tolist() == [True, False]


def test_doubts_are_told(predicted, pool, caplog):
    reader = predicted(some_scores(5))
    weak = gain_model(rank_correlation=0.031)
    strategy, told = make_strategy("lal"), context(reader, weak)
    strategy.score(pool(5), told)
    assert "lal is close to random: on held-out videos its rank correlation with the true gain was 0.031" in caplog.text
    assert strategy.reason(0, 1.0).endswith("; close to random: rank correlation 0.03 when it was learned")
    assert any("close to random" in note for note in told.heard)
    sure = make_strategy("lal")
    far = context(reader, gain_model(rank_correlation=0.4), localizer(weights=np.full(E, 1e3)), n_labelled=2000)
    sure.score(pool(5), far)
    (note,) = far.heard
    assert "log10 of labelled videos" in note
    assert "its ranking may mean little" in note
    assert "random" not in sure.reason(0, 1.0)


def test_within_what_it_learned_nothing_is_told(predicted, pool):
    gain = gain_model(rank_correlation=0.4)
    inside = replace(gain, low=np.full(gain.basis.width, -1e9), high=np.full(gain.basis.width, 1e9))
    quiet = context(predicted(some_scores(5)), inside)
    make_strategy("lal").score(pool(5), quiet)
    assert quiet.heard == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gain": None}, "run `kloc lal bootstrap SOURCE` on an annotated set of other classes first"),
        ({"model": None}, "none is trained yet; run `kloc train` first"),
        ({"model": lambda: SimpleNamespace(name="afsd")}, "and 'afsd' has none; set localizer.model = \"stagewise\""),
        ({"model": lambda: localizer(dim=7)}, "segments of 6 numbers .* the model sees 7"),
        ({"model": lambda: localizer(encoder="context")}, "the model sees 6 .encoder 'context'.; run `kloc lal boot"),
        ({"model": lambda: localizer(features="f2")}, "learned on features f1, the model on f2"),
        ({"predictions": None}, "needs predictions"),
        ({"model": StageWise}, "this stage-wise localizer is not trained"),
    ],
)
def test_what_is_missing_is_named(predicted, pool, change, said):
    asked = replace(context(predicted(some_scores(3))), **change)
    with pytest.raises(UsageError, match=said) as caught:
        make_strategy("lal").score(pool(3), asked)
    assert "\n" not in str(caught.value)


def test_features_that_nobody_named_are_not_compared(predicted, pool):
    reader = predicted(some_scores(3))
    value = make_strategy("lal").score(pool(3), context(reader, model=localizer(features=None))).value
    assert np.isfinite(value).all()
