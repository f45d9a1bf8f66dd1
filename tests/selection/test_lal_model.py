"""LAL's regressor against scikit-learn's, and its state against plain arithmetic."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.svm import SVR

from kloc.errors import FormatError, MismatchError, UsageError
from kloc.selection.lal_model import GainModel, StateBasis, spearman

BINS = 5


def histograms(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.multinomial(20, np.full(BINS, 1 / BINS), n) / 20


def rows(seed: int = 0, n: int = 120, n_groups: int = 6, n_features: int = 4):
    """States that are equal within a group, histograms, gains that depend on both."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % n_groups
    states = rng.normal(size=(n_groups, n_features + 4))[group]
    shares = histograms(rng, n)
    gains = 1e-4 * (shares[:, -1] * 3 - shares[:, 0] + group) + 1e-6 * rng.normal(size=n)
    return states, shares, gains, group


def learned(**changes) -> GainModel:
    states, shares, gains, group = rows(**changes)
    return GainModel.fit(
        states, shares, gains, group,
        basis=StateBasis(states.shape[1] - 4), features="f", encoder="mean", classes=("a", "b"),
        facts={"rank_correlation": 0.5},
    )  # fmt: skip


def inputs(states, shares, new_states, new_shares) -> tuple[np.ndarray, np.ndarray]:
    """Standardised on the rows, cut at three deviations."""
    x, new = np.hstack([states, shares]), np.hstack([new_states, new_shares])
    mean, std = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-8)
    return np.clip((x - mean) / std, -3, 3), np.clip((new - mean) / std, -3, 3)


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), far=st.booleans())
def test_predictions_are_those_of_scikit_learns_machine(seed, far):
    machines = []

    class Kept(SVR):
        def fit(self, x, y):
            machines.append(super().fit(x, y))
            return self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sklearn.svm.SVR", Kept)
        model = learned(seed=seed)
    states, shares, *_ = rows(seed)
    asked = histograms(np.random.default_rng(seed + 1), 40)
    state = states[3] + (100 if far else 0.1)
    _, new = inputs(states, shares, np.tile(state, (40, 1)), asked)
    np.testing.assert_allclose(model.predict(state, asked), machines[0].predict(new), atol=1e-9, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_the_machine_is_the_papers(seed):
    """RBF, C = 1, gamma = "scale", epsilon a tenth of the deviation, gains standardised per state."""
    states, shares, gains, group = rows(seed)
    target = np.zeros(len(gains))
    for g in set(group.tolist()):
        own = group == g
        target[own] = (gains[own] - gains[own].mean()) / gains[own].std()
    asked = histograms(np.random.default_rng(seed + 1), 40)
    x, new = inputs(states, shares, np.tile(states[3], (40, 1)), asked)
    svr = SVR(kernel="rbf", C=1.0, gamma="scale", epsilon=0.1 * target.std(), tol=1e-8).fit(x, target)
    np.testing.assert_allclose(learned(seed=seed).predict(states[3], asked), svr.predict(new), atol=1e-4, rtol=0)


def test_chunks_change_nothing(monkeypatch):
    model, state = learned(), rows()[0][0]
    asked = histograms(np.random.default_rng(5), 300)
    whole = model.predict(state, asked)
    monkeypatch.setattr("kloc.selection.lal_model._CHUNK", 7 * len(model.vectors))
    assert model.predict(state, asked).tobytes() == whole.tobytes()
    assert model.predict(state, asked[:0]).shape == (0,)


def test_equal_histograms_get_equal_gains():
    model, state = learned(), rows()[0][0]
    asked = histograms(np.random.default_rng(5), 50)
    twice = model.predict(state, np.concatenate([asked, asked[::-1], asked[:7]]))
    assert twice[:50].tobytes() == twice[50:100][::-1].tobytes()
    assert twice[100:].tobytes() == twice[:7].tobytes()


def test_it_learns_that_the_last_bin_helps():
    """The gain is the share of the last bin, plus what differs between states alone (selection.md section 13)."""
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(30), 12)
    states = rng.normal(size=(30, 8))[group]
    shares = histograms(rng, len(group))
    gains = shares[:, -1] + 50.0 * group
    model = GainModel.fit(
        states, shares, gains, group, basis=StateBasis(4), features=None, encoder="mean", classes=("a",)
    )
    asked = histograms(rng, 200)
    assert spearman(model.predict(rng.normal(size=8), asked), asked[:, -1]) > 0.9
    assert model.rank_correlation is None
    assert not model.close_to_random


def test_a_states_offset_and_scale_of_gains_do_not_matter():
    states, shares, gains, group = rows()
    how = {"basis": StateBasis(4), "features": None, "encoder": "mean", "classes": ("a",)}
    plain = GainModel.fit(states, shares, gains, group, **how)
    other = GainModel.fit(states, shares, gains * 10.0**group + 7 * group, group, **how)
    asked = histograms(np.random.default_rng(3), 30)
    np.testing.assert_allclose(plain.predict(states[0], asked), other.predict(states[0], asked), atol=1e-5)


def test_a_state_without_spread_teaches_nothing():
    states, shares, gains, group = rows()
    how = {"basis": StateBasis(4), "features": None, "encoder": "mean", "classes": ("a",)}
    flat = np.where(group == 2, 0.1, gains)
    model = GainModel.fit(states, shares, flat, group, **how)
    assert len(model.vectors) <= int((group != 2).sum())
    with pytest.raises(UsageError, match="LAL has nothing to learn from"):
        GainModel.fit(states, shares, np.full(len(gains), 0.1), group, **how)


@pytest.mark.parametrize("spoil", ["state", "histogram", "gain", "group"])
def test_rows_that_cannot_be_learned_from(spoil):
    states, shares, gains, group = (x.copy() for x in rows())
    how = {"basis": StateBasis(4), "features": None, "encoder": "mean", "classes": ("a",)}
    if spoil == "state":
        states[3, 1] = np.nan
    elif spoil == "histogram":
        shares = shares[:-1]
    elif spoil == "gain":
        gains[0] = np.inf
    else:
        group = group[:, None]
    with pytest.raises(UsageError, match="LAL: "):
        GainModel.fit(states, shares, gains, group, **how)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path):
    model = learned()
    basis = StateBasis.fit(np.random.default_rng(0).normal(size=(50, 9)), 4)
    projected = replace(model, basis=basis)
    for number, one in enumerate((model, projected)):
        one.save(tmp_path / str(number))
        back = GainModel.load(tmp_path / str(number))
        assert back.fingerprint == one.fingerprint
        assert (back.classes, back.features, back.encoder, back.rank_correlation) == (("a", "b"), "f", "mean", 0.5)
        asked = histograms(np.random.default_rng(5), 9)
        assert back.predict(back.low, asked).tobytes() == one.predict(one.low, asked).tobytes()
        one.save(tmp_path / "again")
        for file in ("gain.json", "gain.safetensors"):
            assert (tmp_path / "again" / file).read_bytes() == (tmp_path / str(number) / file).read_bytes()
    marks = {model.fingerprint, projected.fingerprint, replace(model, gamma=2.0).fingerprint}
    assert len(marks | {replace(model, dual=model.dual + 1e-9).fingerprint}) == 4


@pytest.mark.parametrize("damage", ["json", "weights", "bins", "classes", "nothing"])
def test_a_damaged_folder_says_so(tmp_path: Path, damage: str):
    learned().save(tmp_path)
    path = tmp_path / "gain.json"
    if damage == "json":
        path.write_text("{")
    elif damage == "weights":
        (tmp_path / "gain.safetensors").write_bytes(b"no")
    elif damage == "nothing":
        path.unlink()
    else:
        saved = json.loads(path.read_text())
        saved["bins"] = 7
        if damage == "classes":
            del saved["classes"]
        path.write_text(json.dumps(saved))
    with pytest.raises(FormatError) as caught:
        GainModel.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_state_is_what_it_says():
    data = np.random.default_rng(1).normal(size=(60, 6)) * [5, 3, 1, 1, 1, 1]
    basis = StateBasis.fit(data, 2)
    weights = np.array([3.0, 0.0, 4.0, 0.0, 0.0, 0.0])
    directions = PCA(2, svd_solver="full").fit(data).components_
    np.testing.assert_allclose(basis.vector(weights, -0.5, 100, 400)[2:], [5.0, -0.5, 2.0, 0.25])
    np.testing.assert_allclose(np.abs(basis.vector(weights, 0, 1, 1)[:2]), np.abs(directions @ (weights / 5)))
    assert basis.width == len(basis.names) == 6
    full = StateBasis(6)
    np.testing.assert_allclose(full.vector(weights, 1.0, 0, 0), [0.6, 0, 0.8, 0, 0, 0, 5, 1, 0, 0])
    assert full.names[0] == "weight 1"
    # A constant attention has no direction; its state is still numbers.
    assert np.isfinite(basis.vector(np.zeros(6), 0.0, 3, 9)).all()
    assert StateBasis.fit(data[:3], 32).components.shape == (3, 6)


def test_widths_that_do_not_fit():
    with pytest.raises(MismatchError, match="the model has 3 weights, the Knowledge-Source had 6 features"):
        StateBasis(6).vector(np.zeros(3), 0.0, 1, 2)
    with pytest.raises(UsageError, match="at least two encoded segments"):
        StateBasis.fit(np.zeros((1, 3)))
    model = learned()
    with pytest.raises(MismatchError, match="histograms of 5 bins"):
        model.predict(np.zeros(8), np.zeros((2, 4)))
    with pytest.raises(MismatchError, match="a state of 8 numbers"):
        model.predict(np.zeros(9), np.zeros((2, 5)))


def test_what_lies_outside_is_named():
    model = learned()
    inside = (model.low + model.high) / 2
    assert model.outside(inside) == ()
    assert model.outside(model.low) == model.outside(model.high) == ()
    beyond = inside.copy()
    beyond[[1, -2]] = model.low[1] - 1, model.high[-2] + 1
    assert model.outside(beyond) == ("weight 2", "log10 of labelled videos")


def test_rank_correlation():
    up = np.arange(6.0)
    assert spearman(up, np.exp(up)) == pytest.approx(1.0)
    assert spearman(up, -up) == pytest.approx(-1.0)
    assert spearman(np.array([1, 2, 3, 4.0]), np.array([2, 1, 4, 3.0])) == pytest.approx(0.6)
    assert spearman(up, np.ones(6)) == 0.0
    assert spearman(up[:1], up[:1]) == 0.0
    assert math.isfinite(spearman(np.zeros(0), np.zeros(0)))
    with pytest.raises(ValueError, match="cannot be correlated"):
        spearman(up, up[:2])
    assert replace(learned(), facts={"rank_correlation": 0.049}).close_to_random
