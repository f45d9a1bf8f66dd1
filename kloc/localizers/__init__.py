"""Localizers: models that find action instances in videos and name them."""

from kloc.localizers.base import (
    Localizer,
    TrainingSet,
    TrainingVideo,
    load_localizer,
    localizer_names,
    make_localizer,
    register_localizer,
)
from kloc.proposals.hygiene import NoInstancesError

__all__ = [
    "Localizer",
    "NoInstancesError",
    "TrainingSet",
    "TrainingVideo",
    "load_localizer",
    "localizer_names",
    "make_localizer",
    "register_localizer",
]
