"""The stage-wise localizer: proposals -> attention -> classification (P2 section 3.1)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from kloc.errors import FormatError, MismatchError, UsageError
from kloc.files import write_json
from kloc.localizers.base import MODEL_FILE, TrainingSet, register_localizer
from kloc.localizers.stagewise.attention import Attention, train_attention
from kloc.localizers.stagewise.classifier import Classifier, train_classifier
from kloc.localizers.stagewise.encoder import encode, encode_training, encoded_dim
from kloc.localizers.stagewise.settings import StageWiseSettings
from kloc.proposals.saved import read_model_file, read_tensors, saved_settings, write_tensors
from kloc.records import Detection, Level, Prediction
from kloc.segments import Segments, nms, rank

if TYPE_CHECKING:
    from kloc.features.bank import VideoFeatures
    from kloc.proposals import Proposals

WEIGHTS_FILE = "localizer.safetensors"
_TENSORS = (
    "attention.weights", "attention.state", "classifier.weights", "classifier.bias", "classifier.seen",
)  # fmt: skip


@register_localizer("stagewise")
class StageWise:
    """Attention and classifier trained one after the other on given proposals.

    After :meth:`fit` or :meth:`load`: ``attention`` (weights, intercept, platt_a, platt_b), ``classifier``,
    ``classes`` and ``feature_fingerprint``.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[StageWiseSettings]] = StageWiseSettings

    def __init__(self, settings: StageWiseSettings | None = None) -> None:
        self.settings = settings or StageWiseSettings()
        self.classes: tuple[str, ...] = ()
        self.feature_fingerprint: str | None = None
        self._attention: Attention | None = None
        self._classifier: Classifier | None = None

    @classmethod
    def of(
        cls,
        attention: Attention,
        classifier: Classifier | None,
        classes: tuple[str, ...],
        settings: StageWiseSettings,
        feature_fingerprint: str | None = None,
    ) -> Self:
        """A localizer of parts that were trained elsewhere (a simulation); without a classifier it cannot predict."""
        model = cls(settings)
        model.classes, model.feature_fingerprint = classes, feature_fingerprint
        model._attention, model._classifier = attention, classifier
        return model

    @property
    def attention(self) -> Attention:
        """The trained attention module; raises UsageError before training."""
        if self._attention is None:
            raise UsageError("this stage-wise localizer is not trained; fit it on labelled videos or load one")
        return self._attention

    @property
    def classifier(self) -> Classifier:
        """The trained classifier; raises UsageError before training."""
        if self._classifier is None:
            raise UsageError("this stage-wise localizer is not trained; fit it on labelled videos or load one")
        return self._classifier

    def fit(self, training: TrainingSet) -> None:
        """Train attention, then the classifier on what attention picks.

        Raises NoInstancesError if no video holds an instance, UsageError for an instance of an unlisted class,
        MismatchError or VideoError for features that cannot be used.
        """
        table = encode_training(training, self.settings)
        attention = train_attention(table, self.settings, training.seed)
        self._classifier = train_classifier(table, attention, len(training.classes), self.settings)
        self._attention = attention
        self.classes = training.classes
        self.feature_fingerprint = training.feature_fingerprint

    def predict(self, video: VideoFeatures, proposals: Proposals) -> Prediction:
        """Actionness of all proposals, class probabilities of the top k ("topk" level, best first), detections.

        The top k are the first k of ``segments.rank(prediction.segments, prediction.actionness)``.
        Raises UsageError before training, MismatchError for features or proposals that do not belong.
        """
        attention, classifier = self.attention, self.classifier
        self._check(video, proposals)
        segments = proposals.segments
        encoded = encode(video, segments, self.settings.encoder)
        actionness = attention.actionness(encoded)
        top = rank(segments, actionness)[: self.settings.top_k]
        scores = classifier.probabilities(encoded[top])
        background = 0 if classifier.background else None
        return Prediction(
            video_id=video.video_id,
            segments=segments,
            actionness=actionness,
            levels=(Level("topk", scores, background),),
            activation="softmax",
            classes=self.classes,
            detections=self._detections(segments[top], actionness[top], scores[:, int(classifier.background) :]),
        )

    def _check(self, video: VideoFeatures, proposals: Proposals) -> None:
        if proposals.video_id != video.video_id:
            raise MismatchError(f"proposals of {proposals.video_id} do not fit the features of {video.video_id}")
        dim = video.features.shape[1] if video.features.ndim == 2 else 0
        if encoded_dim(dim, self.settings.encoder) != len(self.attention.weights):
            raise MismatchError(
                f"{video.video_id}: features have {dim} dimensions, this model was trained on others; "
                "extract them with the same backbone or train again"
            )

    def _detections(
        self, segments: Segments, actionness: NDArray[np.float32], scores: NDArray[np.float32]
    ) -> tuple[Detection, ...]:
        """What is emitted: scores of all k segments and C classes, best first, without NaN and the hopeless."""
        attention, classes = actionness.astype(np.float64)[:, None], scores.astype(np.float64)
        if self.settings.score == "product":
            values = attention * classes
        elif self.settings.score == "geometric":
            values = np.sqrt(attention * classes)
        else:
            values = classes
        places, labels = np.nonzero(np.isfinite(values) & (values >= self.settings.min_score))
        chosen = values[places, labels]
        boxes = segments[places]
        if self.settings.nms_tiou is not None:
            kept = np.concatenate(
                [np.zeros(0, np.int64)]
                + [
                    own[nms(boxes[own], chosen[own], self.settings.nms_tiou)]
                    for own in (np.flatnonzero(labels == label) for label in np.unique(labels))
                ]
            )
            labels, chosen, boxes = labels[kept], chosen[kept], boxes[kept]
        order = np.lexsort((labels, boxes[:, 1], boxes[:, 0], -chosen))[: self.settings.max_detections]
        return tuple(
            Detection(float(boxes[i, 0]), float(boxes[i, 1]), self.classes[labels[i]], float(chosen[i])) for i in order
        )

    def save(self, folder: Path) -> None:
        """Write weights, then ``localizer.json``; raises UsageError before training."""
        attention, classifier = self.attention, self.classifier
        write_tensors(
            folder / WEIGHTS_FILE,
            {
                "attention.weights": attention.weights,
                "attention.state": np.array([attention.intercept, attention.platt_a, attention.platt_b]),
                "classifier.weights": classifier.weights,
                "classifier.bias": classifier.bias,
                "classifier.seen": classifier.seen,
            },
        )
        model = {
            "name": self.name,
            "classes": list(self.classes),
            "features": self.feature_fingerprint,
            "settings": asdict(self.settings),
        }
        write_json(folder / MODEL_FILE, model)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The localizer saved in ``folder``; raises FormatError if it is damaged or none."""
        path = folder / MODEL_FILE
        saved = read_model_file(path)
        model = cls(saved_settings(StageWiseSettings, saved, path))
        tensors = read_tensors(folder / WEIGHTS_FILE, _TENSORS)
        weights, state, matrix, bias, seen = (tensors[name] for name in _TENSORS)
        classes = saved.get("classes")
        n_columns = len(classes or ()) + int(model.settings.background)
        if not isinstance(classes, list) or matrix.shape != (len(weights), n_columns) or state.shape != (3,):
            raise FormatError(f"{path}: classes and weights do not fit each other; train the model again")
        intercept, a, b = state.tolist()
        model._attention = Attention(weights, intercept, a, b)
        model._classifier = Classifier(matrix, bias, seen, model.settings.background)
        model.classes = tuple(map(str, classes))
        model.feature_fingerprint = saved.get("features")
        return model
