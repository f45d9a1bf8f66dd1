"""Learning active learning: take the videos from which a regressor expects the largest gain."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kloc.errors import UsageError
from kloc.records import Item
from kloc.selection.base import Context, Scores, strategy
from kloc.selection.us import bin_counts
from kloc.shards import Block
from kloc.threads import one_thread

if TYPE_CHECKING:
    from kloc.selection.lal_model import GainModel

log = logging.getLogger(__name__)


@strategy("lal")
class LearningActiveLearning:
    """The gain that annotating a video is expected to bring (P2, section 3.3; Konyushkova et al., 2017).

    A regressor learned on a Knowledge-Source of other classes (`kloc lal bootstrap`) gets the state of the newest
    model's attention module and the histogram of the video's scores. The score is in deviations from a typical video's
    gain in this state; only its order means anything. A video without proposals scores ``-inf``.
    """

    name: ClassVar[str]
    heads: ClassVar[frozenset[str]] = frozenset({"actionness"})

    def __init__(self) -> None:
        self._doubt = ""

    def score(self, items: Sequence[Item], context: Context) -> Scores:
        """Expected gains.

        Raises:
            UsageError: no regressor was learned, no model is trained, or the two do not fit each other.
        """
        if context.gain is None:
            raise UsageError(
                "strategy 'lal' has not learned yet what helps; run `kloc lal bootstrap SOURCE` on an annotated set of "
                "other classes first"
            )
        gain = context.gain()
        state = self._state(gain, len(items), context)
        self._warn(gain, state, context)
        value = np.full(len(items), -np.inf)
        with one_thread():  # sums in one order: the same scores on any number of cores
            for block in context.blocks(items, self.heads):
                value[block.positions] = _score_block(gain, state, block)
        return Scores(value)

    @staticmethod
    def _state(gain: GainModel, n_items: int, context: Context) -> NDArray[np.float64]:
        if context.model is None:
            raise UsageError("strategy 'lal' reads the newest model, and none is trained yet; run `kloc train` first")
        model = context.model()
        attention: Any = getattr(model, "attention", None)
        if not (hasattr(attention, "weights") and hasattr(attention, "intercept")):
            raise UsageError(
                f"strategy 'lal' reads the attention module of a localizer, and {model.name!r} has none; set "
                'localizer.model = "stagewise" or take another strategy'
            )
        encoder = getattr(getattr(model, "settings", None), "encoder", gain.encoder)
        features = getattr(model, "feature_fingerprint", None) or gain.features
        if len(attention.weights) != gain.basis.n_features or encoder != gain.encoder:
            raise UsageError(
                f"strategy 'lal' learned on segments of {gain.basis.n_features} numbers (encoder {gain.encoder!r}), "
                f"the model sees {len(attention.weights)} (encoder {encoder!r}); run `kloc lal bootstrap` again with "
                "these features and settings"
            )
        if gain.features is not None and features != gain.features:
            raise UsageError(
                f"strategy 'lal' learned on features {gain.features}, the model on {features}; run "
                "`kloc lal bootstrap` again with these features"
            )
        n_labelled = len(context.annotations)
        return gain.basis.vector(attention.weights, attention.intercept, n_labelled, n_labelled + n_items)

    def _warn(self, gain: GainModel, state: NDArray[np.float64], context: Context) -> None:
        self._doubt = ""
        if gain.close_to_random:
            self._doubt = f"; close to random: rank correlation {gain.rank_correlation:.2f} when it was learned"
            _tell(
                context,
                f"lal is close to random: on held-out videos its rank correlation with the true gain was "
                f"{gain.rank_correlation:.3f}",
            )
        outside = gain.outside(state)
        if outside:
            # The scalars come last and tell a person more than a direction's number.
            some = ", ".join(outside[::-1][:3]) + (f" and {len(outside) - 3} more" if len(outside) > 3 else "")
            _tell(
                context,
                f"lal: the model is unlike all it was learned with ({some} of {gain.basis.width} columns), its ranking "
                "may mean little",
            )

    def reason(self, index: int, score: float) -> str:
        more = "more" if score >= 0 else "less"
        return f"expected to help {abs(score):.2f} deviations {more} than a typical video{self._doubt}"


def _score_block(gain: GainModel, state: NDArray[np.float64], block: Block) -> NDArray[np.float64]:
    values, owner = block.arrays["actionness"], block.owner("actionness")
    broken = owner[np.isnan(values)]
    if len(broken):
        values = np.nan_to_num(values)
    shares, total = shares_of(values, owner, len(block.positions), gain.bins)
    scores = np.full(len(total), -np.inf)
    scores[total > 0] = gain.predict(state, shares[total > 0])
    scores[broken] = np.nan
    return scores


def shares_of(
    values: NDArray[np.floating], owner: NDArray[np.int64], n_owners: int, bins: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What LAL sees of many videos' scores: shares per bin, float64 ``(n_owners, bins)``, and how many scores each has.

    Args:
        values: scores in [0, 1], ``(n,)``.
        owner: whose a score is, ``(n,)``.
        n_owners: how many videos.
        bins: of the histogram on [0, 1].
    """
    counts = bin_counts(values, owner, n_owners, bins)
    total = counts.sum(axis=1)
    return counts / np.maximum(total, 1)[:, None], total


def _tell(context: Context, sentence: str) -> None:
    log.warning(sentence)
    context.note(sentence)
