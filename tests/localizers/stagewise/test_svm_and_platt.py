"""The SVM against scikit-learn's, Platt scaling against a general optimiser."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.svm import LinearSVC

from kloc.localizers.stagewise.platt import FALLBACK, fit_platt, platt_probability
from kloc.localizers.stagewise.svm import balanced_weights, fit_svm


def problem(seed: int, n: int = 300, dim: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.2
    positive[:2] = [True, False]
    rows = rng.normal(size=(n, dim)) + positive[:, None] * rng.normal(size=dim) * 0.5 + 0.5
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), positive


def objective(w: np.ndarray, rows: np.ndarray, positive: np.ndarray, c: float) -> float:
    sign = np.where(positive, 1, -1)
    miss = np.maximum(0, 1 - sign * (rows.astype(float) @ w[:-1] + w[-1]))
    return float(0.5 * w @ w + c * (balanced_weights(positive) * miss**2).sum())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("c", [0.1, 1.0, 30.0])
def test_newton_finds_the_minimum_of_liblinear(seed: int, c: float) -> None:
    rows, positive = problem(seed)
    reference = LinearSVC(C=c, dual=False, tol=1e-9, max_iter=10_000, class_weight="balanced").fit(rows, positive)
    best = objective(np.append(reference.coef_[0], reference.intercept_[0]), rows, positive, c)
    w = fit_svm(rows, positive, c=c)
    assert objective(w, rows, positive, c) == pytest.approx(best, rel=1e-5)
    assert objective(fit_svm(rows, positive, c=c, solver="liblinear"), rows, positive, c) == pytest.approx(
        best, rel=1e-4
    )
    warm = fit_svm(rows, positive, c=c, start=w + 0.1)
    assert objective(warm, rows, positive, c) == pytest.approx(best, rel=1e-5)


def test_balanced_weights_make_classes_equal() -> None:
    positive = np.array([True, False, False, False])
    assert balanced_weights(positive).tolist() == pytest.approx([2, 2 / 3, 2 / 3, 2 / 3])


@pytest.mark.parametrize("solver", ["newton", "liblinear"])
def test_stopping_early_is_told(solver: str, caplog: pytest.LogCaptureFixture) -> None:
    rows, positive = problem(0)
    with caplog.at_level(logging.WARNING):
        fit_svm(rows, positive, max_iterations=1, tolerance=1e-12, solver=solver)  # type: ignore[arg-type]
    assert "without converging" in caplog.text


def margins(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.3
    positive[:2] = [True, False]
    return rng.normal(size=n) + 1.5 * positive, positive


@pytest.mark.parametrize("seed", range(5))
def test_platt_minimises_its_cross_entropy(seed: int) -> None:
    f, positive = margins(seed)
    n_positive, n_negative = positive.sum(), (~positive).sum()
    target = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))

    def loss(ab: np.ndarray) -> float:
        p = 1 / (1 + np.exp(ab[0] * f + ab[1]))
        return float(-(target * np.log(p) + (1 - target) * np.log(1 - p)).sum())

    reference = minimize(loss, [-1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
    assert fit_platt(f, positive) == pytest.approx(tuple(reference.x), abs=1e-4)


@given(st.integers(0, 50), st.floats(-100, 100), st.floats(0.01, 100))
@settings(max_examples=40)
def test_platt_ignores_shift_and_scale_and_is_monotone(seed: int, shift: float, scale: float) -> None:
    f, positive = margins(seed)
    p = platt_probability(f, *fit_platt(f, positive))
    moved = scale * f + shift
    assert platt_probability(moved, *fit_platt(moved, positive)) == pytest.approx(p, abs=1e-6)
    assert ((p > 0) & (p < 1)).all()
    assert (np.diff(p[np.argsort(f)]) >= 0).all()


@pytest.mark.parametrize(
    ("f", "positive"),
    [
        ([], []),
        ([1.0, 2.0], [True, True]),
        ([1.0, 2.0], [False, False]),
        ([1.0, 1.0], [True, False]),
        ([1.0, 2.0, 3.0, 4.0], [True, True, False, False]),
        ([np.nan, 1.0], [True, False]),
    ],
)
def test_platt_falls_back_and_says_so(f: list[float], positive: list[bool], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert fit_platt(np.array(f), np.array(positive, dtype=bool)) == FALLBACK
    assert "no Platt scaling" in caplog.text


def test_separable_margins_stay_finite() -> None:
    f = np.concatenate([np.full(50, -1.0), np.full(50, 1.0)])
    a, b = fit_platt(f, f > 0)
    assert a < 0
    p = platt_probability(f, a, b)
    assert p[0] == pytest.approx(1 / 52, abs=1e-4)
    assert p[-1] == pytest.approx(51 / 52, abs=1e-4)
    assert platt_probability(np.array([-1e9, 1e9]), a, b).tolist() == [0.0, 1.0]
