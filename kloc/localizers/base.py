"""What a localizer is, what it learns from, and the registry of those kloc has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from kloc.errors import MismatchError, UsageError
from kloc.proposals.saved import build_settings, read_model_file
from kloc.registry import Registry

if TYPE_CHECKING:
    from kloc.features.bank import VideoFeatures
    from kloc.proposals import Proposals
    from kloc.records import Annotation, Prediction

#: The file of a saved localizer that names it, its classes, its settings and the features it was trained on.
MODEL_FILE = "localizer.json"


@dataclass(frozen=True, slots=True)
class TrainingVideo:
    """One annotated video: its features, its proposals, and what people said about it.

    Of a video with several annotated stretches there are several training videos with the same features.
    """

    features: VideoFeatures
    proposals: Proposals
    annotation: Annotation


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What a localizer learns from.

    classes: names in the order of every score column; a class without instances keeps its column.
    videos: a sequence, or anything that can be gone through several times and may load lazily.
    seed: the only source of randomness.
    feature_fingerprint: names the feature settings; saved with the model and compared on loading.
    """

    classes: tuple[str, ...]
    videos: Iterable[TrainingVideo]
    seed: int = 0
    feature_fingerprint: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.videos, Iterator):
            raise UsageError("a training set is gone through several times; give it a list, not a generator")
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise UsageError("a training set needs at least one class and no class twice; check the class list")


class Localizer(Protocol):
    """Finds and names action instances. Equal inputs and seeds give equal predictions, bit for bit.

    The constructor takes one frozen dataclass, ``Settings``, with a default for every field.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Any]]

    def __init__(self, settings: Any = ...) -> None: ...

    def fit(self, training: TrainingSet) -> None:
        """Learn from scratch; raises NoInstancesError where no video holds an instance."""
        ...

    def predict(self, video: VideoFeatures, proposals: Proposals) -> Prediction:
        """Actionness of all proposals, class distributions and detections of one video."""
        ...

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and ``localizer.json`` into ``folder``."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The localizer saved in ``folder``; raises FormatError if it is none."""
        ...


#: Every package in this folder is a localizer of that name, which registers itself when it is imported; other people's
#: plug in by the entry-point group ``kloc.localizers``.
LOCALIZERS: Registry[type[Localizer]] = Registry(
    "localizer",
    ("Settings", "fit", "predict", "save", "load"),
    "kloc.localizers",
    {
        found.name: f"kloc.localizers.{found.name}"
        for found in iter_modules([str(Path(__file__).parent)])
        if found.ispkg
    },
)

register_localizer = LOCALIZERS.register


def localizer_names() -> tuple[str, ...]:
    """Names that :func:`make_localizer` knows, plug-ins included."""
    return LOCALIZERS.names()


def make_localizer(name: str, **settings: Any) -> Localizer:
    """A new, untrained localizer; ``settings`` are fields of its ``Settings``.

    Raises UsageError for an unknown name or setting, naming the likely one; KlocError for a plug-in that cannot be
    loaded.
    """
    cls = LOCALIZERS.get(name)
    return cls(build_settings(cls.Settings, settings, f"localizer {name!r}"))


def load_localizer(folder: Path, feature_fingerprint: str | None = None) -> Localizer:
    """The localizer saved in ``folder``, whichever it is.

    Raises FormatError if there is none, MismatchError if it was trained on features other than
    ``feature_fingerprint`` (where both are known).
    """
    saved = read_model_file(folder / MODEL_FILE)
    trained_on = saved.get("features")
    if feature_fingerprint is not None and trained_on is not None and trained_on != feature_fingerprint:
        raise MismatchError(
            f"{folder}: this model was trained on features {trained_on}, these are {feature_fingerprint}; "
            "train it again or use the features it knows"
        )
    return LOCALIZERS.get(saved["name"]).load(folder)
