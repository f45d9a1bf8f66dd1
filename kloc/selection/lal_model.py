"""What LAL has learned: which gain to expect of annotating a video, given the model's state and the video's scores.

The regressor of P2 (section 3.3): a support vector machine with an RBF kernel, from (model state, histogram of the
video's actionness) to the gain. It is learned once, on a Knowledge-Source of other classes, and then frozen.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kloc.errors import FormatError, MismatchError, UsageError
from kloc.files import fingerprint, write_json
from kloc.proposals.saved import read_model_file, read_tensors, write_tensors

MODEL_FILE = "gain.json"
WEIGHTS_FILE = "gain.safetensors"
#: The key of `GainModel.facts` with the rank correlation on held-out splits at deployment size.
RANK_CORRELATION = "rank_correlation"
#: Below this rank correlation the ranking is hardly better than a draw.
CLOSE_TO_RANDOM = 0.05
#: A standardised input beyond this many deviations is cut: far from its data an RBF machine predicts a constant.
LIMIT = 3.0
#: Columns of a state behind those of the weights.
SCALARS = ("length of the weights", "intercept", "log10 of labelled videos", "labelled share")

#: Standard deviations below this are taken as this.
_FLOOR = 1e-8
#: Rows of one chunk times support vectors, at most: 64 MB of float64.
_CHUNK = 8_000_000
_TENSORS = ("mean", "std", "vectors", "dual", "low", "high", "scalars")

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class StateBasis:
    """How the attention module's weights become the first columns of a state. Frozen: the same for ever.

    n_features: length E of the weights it knows.
    components: float64 ``(P, E)``, orthonormal rows; ``None`` keeps all E weights as they are ("full").
    """

    n_features: int
    components: Vector | None = None

    @classmethod
    def fit(cls, rows: NDArray[np.floating], dim: int = 32) -> Self:
        """The first ``min(dim, n, E)`` principal directions of encoded segments ``(n, E)`` of the Knowledge-Source.

        Raises:
            UsageError: fewer than two rows.
        """
        from sklearn.decomposition import PCA

        if rows.ndim != 2 or len(rows) < 2:
            raise UsageError("the state of the model needs at least two encoded segments to be described by")
        count = min(dim, *rows.shape)
        pca = PCA(count, random_state=0).fit(np.asarray(rows, np.float64))
        return cls(rows.shape[1], np.ascontiguousarray(pca.components_, np.float64))

    @property
    def width(self) -> int:
        """Columns S of a state."""
        return (self.n_features if self.components is None else len(self.components)) + len(SCALARS)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all columns, for people."""
        kind = "weight" if self.components is None else "direction"
        return (*(f"{kind} {i + 1}" for i in range(self.width - len(SCALARS))), *SCALARS)

    def vector(self, weights: Vector, intercept: float, n_labelled: int, n_pool: int) -> Vector:
        """The state of a model, float64 ``(S,)``.

        Args:
            weights: of the attention module, ``(E,)``.
            intercept: of the same.
            n_labelled: videos it was trained on.
            n_pool: all videos it could have been trained on, the labelled ones included.

        Raises:
            MismatchError: weights of another length than the basis knows.
        """
        weights = np.asarray(weights, np.float64)
        if weights.shape != (self.n_features,):
            raise MismatchError(
                f"the model has {weights.size} weights, the Knowledge-Source had {self.n_features} features per "
                "segment; use the same features and encoder for both"
            )
        length = float(np.linalg.norm(weights))
        unit = weights / length if length > 0 else weights
        columns = unit if self.components is None else self.components @ unit
        share = n_labelled / max(n_pool, n_labelled, 1)
        return np.concatenate([columns, [length, float(intercept), math.log10(max(n_labelled, 1)), share]])


@dataclass(frozen=True)
class GainModel:
    """The regressor, all of it. Make it by `fit` or `load`.

    basis, bins: what its inputs are made of; ``mean``, ``std``: ``(S + bins,)``, standardise them.
    vectors ``(V, S + bins)``, dual ``(V,)``, gamma, intercept: the machine,
    ``sum_v dual_v exp(-gamma |x - vectors_v|^2) + intercept``.
    low, high: ``(S,)``, the range of the states it was trained on.
    features: fingerprint of the feature settings. encoder: how segments were encoded.
    classes: of the Knowledge-Source.
    facts: JSON-able; ``rank_correlation`` on held-out splits at deployment size, and whatever else is to be kept.
    """

    basis: StateBasis
    bins: int
    mean: Vector
    std: Vector
    vectors: Vector
    dual: Vector
    gamma: float
    intercept: float
    low: Vector
    high: Vector
    features: str | None
    encoder: str
    classes: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        rows_state: Vector,
        rows_hist: Vector,
        gains: Vector,
        group: NDArray[np.int64],
        *,
        basis: StateBasis,
        features: str | None,
        encoder: str,
        classes: Sequence[str],
        facts: Mapping[str, Any] | None = None,
    ) -> Self:
        """Learn from Monte-Carlo rows (P2 section 3.3, selection.md section 5).

        Args:
            rows_state: states before adding a video, ``(n, S)``.
            rows_hist: shares of that video's scores per bin, ``(n, bins)``.
            gains: what adding it brought, ``(n,)``, in any unit.
            group: which state a row belongs to, ``(n,)``: gains are standardised within a state, because only the
                order within one is used and differences between states would swamp it.
            basis: that made the states.
            features, encoder, classes, facts: see the class.

        Raises:
            UsageError: rows of wrong shapes or with NaN, or in no state any two gains differ.
        """
        from sklearn.svm import SVR

        n = len(gains)
        shapes_fit = rows_state.shape == (n, basis.width) and rows_hist.ndim == 2 and len(rows_hist) == n
        if not shapes_fit or np.shape(group) != (n,):
            raise UsageError(
                f"LAL: {n} gains need states ({n}, {basis.width}), histograms ({n}, bins) and groups ({n},), not "
                f"{rows_state.shape}, {rows_hist.shape} and {np.shape(group)}"
            )
        x = np.hstack([rows_state, rows_hist]).astype(np.float64)
        if not (np.isfinite(x).all() and np.isfinite(gains).all()):
            raise UsageError("LAL: a state, histogram or gain is not a finite number; leave such rows out")
        target, told = _standardised(np.asarray(gains, np.float64), np.asarray(group))
        if not told.any():
            raise UsageError(
                "LAL has nothing to learn from: whichever video was added, the model got equally good; take a larger "
                "Knowledge-Source or a smoother target"
            )
        mean, std = x.mean(axis=0), np.maximum(x.std(axis=0), _FLOOR)
        inputs = np.clip((x[told] - mean) / std, -LIMIT, LIMIT)
        target = target[told]
        spread = float(inputs.var())
        gamma = 1.0 / (inputs.shape[1] * spread) if spread > 0 else 1.0  # gamma="scale", written out to be kept
        # Solved more exactly than by default: a last bit in the inputs must not show in the ranking.
        machine = SVR(kernel="rbf", C=1.0, epsilon=0.1 * float(target.std()), gamma=gamma, tol=1e-6)
        machine.fit(inputs, target)
        return cls(
            basis,
            rows_hist.shape[1],
            mean,
            std,
            np.ascontiguousarray(machine.support_vectors_, np.float64),
            np.array(machine.dual_coef_[0], np.float64),
            gamma,
            float(machine.intercept_[0]),
            np.asarray(rows_state, np.float64).min(axis=0),
            np.asarray(rows_state, np.float64).max(axis=0),
            features,
            encoder,
            tuple(classes),
            dict(facts or {}),
        )

    def predict(self, state: Vector, histograms: NDArray[np.floating]) -> Vector:
        """Expected gains of many videos under one state, float64 ``(n,)``, in deviations from a typical video's.

        Memory does not grow with ``n`` beyond the result. Rounded to 10 decimals, so that equal histograms get equal
        gains wherever they stand.

        Args:
            state: of the model now, ``(S,)``.
            histograms: shares of each video's scores per bin, ``(n, bins)``.

        Raises:
            MismatchError: arrays of other widths.
        """
        n_state = self.basis.width
        if state.shape != (n_state,) or histograms.ndim != 2 or histograms.shape[1] != self.bins:
            raise MismatchError(
                f"the gain model takes a state of {n_state} numbers and histograms of {self.bins} bins, not "
                f"{state.shape} and {histograms.shape}"
            )
        x = self._standardise(state, slice(0, n_state))
        ahead = self.vectors[:, n_state:]
        # The state is the same for all videos: its part of the kernel is a weight of the support vector.
        apart = self.vectors[:, :n_state] - x
        weight = self.dual * np.exp(-self.gamma * np.einsum("vs,vs->v", apart, apart))
        square = np.einsum("vb,vb->v", ahead, ahead)
        result = np.empty(len(histograms))
        size = max(1, _CHUNK // max(1, len(self.vectors)))
        for begin in range(0, len(histograms), size):
            own = self._standardise(np.asarray(histograms[begin : begin + size], np.float64), slice(n_state, None))
            distance = own @ ahead.T
            distance *= -2.0
            distance += np.einsum("nb,nb->n", own, own)[:, None]
            distance += square
            np.maximum(distance, 0.0, out=distance)
            distance *= -self.gamma
            result[begin : begin + size] = np.exp(distance, out=distance) @ weight
        return np.asarray(np.round(result + self.intercept, 10))

    def _standardise(self, values: Vector, columns: slice) -> Vector:
        return np.clip((values - self.mean[columns]) / self.std[columns], -LIMIT, LIMIT)

    def outside(self, state: Vector) -> tuple[str, ...]:
        """Names of the columns in which a state lies well outside all states it was trained on.

        Well: by more than a tenth of their range. Of some thirty directions one or the other is always a little out.
        """
        slack = 1e-9 + 0.1 * (self.high - self.low)
        beyond = (state < self.low - slack) | (state > self.high + slack)
        return tuple(name for name, out in zip(self.basis.names, beyond.tolist(), strict=True) if out)

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's, on held-out splits at deployment size; ``None`` where nobody measured it."""
        value = self.facts.get(RANK_CORRELATION)
        return None if value is None else float(value)

    @property
    def close_to_random(self) -> bool:
        """Whether its ranking on held-out splits was hardly better than a draw."""
        return self.rank_correlation is not None and self.rank_correlation < CLOSE_TO_RANDOM

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {name: getattr(self, name) for name in _TENSORS if name != "scalars"}
        arrays["scalars"] = np.array([self.gamma, self.intercept])
        if self.basis.components is not None:
            arrays["components"] = self.basis.components
        return arrays

    def _description(self) -> dict[str, Any]:
        return {
            "name": "gain",
            "bins": self.bins,
            "n_features": self.basis.n_features,
            "features": self.features,
            "encoder": self.encoder,
            "classes": list(self.classes),
            "facts": dict(self.facts),
        }

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever anything in it does."""
        arrays = self._arrays()
        hashes = {name: hashlib.sha256(arrays[name].tobytes()).hexdigest() for name in sorted(arrays)}
        return fingerprint([self._description(), hashes])

    def save(self, folder: Path) -> None:
        """Write weights, then ``gain.json``; equal models give equal bytes."""
        write_tensors(folder / WEIGHTS_FILE, self._arrays())
        write_json(folder / MODEL_FILE, self._description())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The gain model saved in ``folder``; raises FormatError if it is damaged or none."""
        path = folder / MODEL_FILE
        saved = read_model_file(path)
        tensors = read_tensors(folder / WEIGHTS_FILE, _TENSORS)
        try:
            basis = StateBasis(int(saved["n_features"]), tensors.get("components"))
            bins, classes, facts = int(saved["bins"]), tuple(map(str, saved["classes"])), dict(saved["facts"])
            encoder, features = str(saved["encoder"]), saved["features"]
            gamma, intercept = tensors["scalars"].tolist()
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(
                f"{path}: not a gain model of this kloc ({error}); run `kloc lal bootstrap` again"
            ) from None
        mean, std, vectors, dual, low, high = (tensors[name] for name in _TENSORS[:-1])
        width = basis.width + bins
        shapes = (mean.shape, std.shape, vectors.shape, dual.shape, low.shape, high.shape)
        if shapes != ((width,), (width,), (len(dual), width), (len(dual),), (basis.width,), (basis.width,)):
            raise FormatError(f"{path}: weights and description do not fit each other; run `kloc lal bootstrap` again")
        return cls(
            basis, bins, mean, std, vectors, dual, gamma, intercept, low, high, features, encoder, classes, facts
        )  # fmt: skip


def _standardised(gains: Vector, group: NDArray[np.int64]) -> tuple[Vector, NDArray[np.bool_]]:
    """Gains less their state's mean, in the state's deviations; and which rows' state has any spread."""
    _, owner = np.unique(group, return_inverse=True)
    count = np.bincount(owner)
    mean = np.bincount(owner, gains) / count
    centred = gains - mean[owner]
    std = np.sqrt(np.bincount(owner, centred**2) / count)
    # Equal gains differ by rounding alone: a spread below that is none.
    told = std > 1e-12 * np.maximum(1.0, np.abs(mean))
    return np.divide(centred, std[owner], out=np.zeros_like(centred), where=told[owner]), told[owner]


def spearman(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Spearman's rank correlation of two ``(n,)`` arrays; 0 where one of them says nothing (constant, or n < 2)."""
    from scipy.stats import spearmanr

    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} numbers cannot be correlated")
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(spearmanr(a, b).statistic)
