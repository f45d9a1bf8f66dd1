"""Every setting of the stage-wise localizer, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class StageWiseSettings:
    """Defaults are the system of P2 section 3.1 where it says, kloc's choice where it does not."""

    #: "mean" is P2's encoder; "context" adds what lies before and after a segment, and its length.
    encoder: Literal["mean", "context"] = "mean"

    # Attention: a linear SVM, action against background.
    #: A proposal is an action if its tIoU with an instance is strictly above this.
    positive_tiou: float = 0.7
    #: A proposal is background below this tIoU; None: .3 for "mean", .5 for "context". The band is ignored.
    negative_tiou: float | None = None
    #: The instances themselves are positives too: few proposals exceed .7 early on.
    include_truth: bool = True
    #: Rounds of hard-negative mining; 0 is the system P2 describes.
    hard_negative_rounds: int = 2
    #: Background proposals per video: this many times max(positives, 10).
    negatives_per_positive: int = 3
    c: float = 1.0
    tolerance: float = 1e-4
    max_iterations: int = 5000
    #: Both minimise the same function; "newton" is about ten times faster, "liblinear" is scikit-learn's.
    solver: Literal["newton", "liblinear"] = "newton"
    #: Folds, by video, whose held-out scores calibrate the probabilities.
    platt_folds: int = 3

    # Classification: linear softmax over the proposals that attention picks.
    top_k: int = 10
    #: Adds a background class (column 0 of the class scores).
    background: bool = False
    classifier_decay: float = 1e-4
    classifier_iterations: int = 300

    # Detections.
    #: "product" of actionness and class probability, the class probability "class", or the "geometric" mean.
    score: Literal["product", "class", "geometric"] = "product"
    min_score: float = 1e-4
    max_detections: int = 100
    #: Class-wise NMS of the detections; None: off, the proposals have had theirs.
    nms_tiou: float | None = None

    def __post_init__(self) -> None:
        choices = {
            "encoder": ("mean", "context"),
            "solver": ("newton", "liblinear"),
            "score": ("product", "class", "geometric"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        if not 0 <= self.background_below <= self.positive_tiou < 1:
            raise ValueError("thresholds must satisfy 0 <= negative_tiou <= positive_tiou < 1")
        if min(self.top_k, self.platt_folds, self.max_detections, self.negatives_per_positive) < 1:
            raise ValueError("top_k, platt_folds, max_detections and negatives_per_positive must be at least 1")
        if self.hard_negative_rounds < 0 or self.c <= 0:
            raise ValueError("hard_negative_rounds must not be negative and c must be above 0")

    @property
    def background_below(self) -> float:
        """The tIoU below which a proposal is background."""
        if self.negative_tiou is not None:
            return self.negative_tiou
        return 0.3 if self.encoder == "mean" else 0.5

    @property
    def spares_contained(self) -> bool:
        """Whether a short segment inside a long instance is no negative: to a mean it looks like a positive."""
        return self.encoder == "mean"
