"""What a proposal generator is, and the registry of those kloc has."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from kloc.errors import UsageError
from kloc.proposals.saved import build_settings, read_model_file

if TYPE_CHECKING:
    from kloc.features.bank import VideoFeatures

#: The file of a saved generator that names it and holds its settings.
MODEL_FILE = "proposals.json"
#: Where the built-in generators live; a module is imported when its name is asked for.
_MODULES = {"sliding": "kloc.proposals.sliding", "daps": "kloc.proposals.daps"}
_REGISTRY: dict[str, type[ProposalGenerator]] = {}


@dataclass(frozen=True, slots=True)
class Proposals:
    """Candidate segments of one video, best first.

    segments: float64 ``(N, 2)``, seconds, inside the video, N >= 1.
    confidence: float32 ``(N,)`` in [0, 1]; all 1 where the generator has no opinion.
    """

    video_id: str
    segments: NDArray[np.float64]
    confidence: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.segments)


class ProposalGenerator(Protocol):
    """Proposes segments for one video at a time; equal inputs give equal proposals.

    The constructor takes one frozen dataclass, ``Settings``, with a default for every field.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Any]]

    def __init__(self, settings: Any = ...) -> None: ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the proposals may change (settings, weights): proposals of two never mix."""
        ...

    def propose(self, video: VideoFeatures) -> Proposals:
        """The proposals of a video: never none, at most the generator's cap."""
        ...

    def save(self, folder: Path) -> None:
        """Write the generator into ``folder``."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The generator saved in ``folder``; raises FormatError if it is none."""
        ...


G = TypeVar("G", bound="type[Any]")


def register_generator(name: str) -> Callable[[G], G]:
    """Class decorator: make a generator known under ``name``."""

    def enter(cls: G) -> G:
        cls.name = name
        _REGISTRY[name] = cls
        return cls

    return enter


def generator_names() -> tuple[str, ...]:
    """Names that :func:`make_generator` knows."""
    return tuple(sorted({*_MODULES, *_REGISTRY}))


def generator_class(name: str) -> type[ProposalGenerator]:
    """The class behind ``name``; raises UsageError that lists the names."""
    if name not in _REGISTRY and name in _MODULES:
        importlib.import_module(_MODULES[name])
    if name not in _REGISTRY:
        raise UsageError(f"no proposal generator is called {name!r}; there are: {', '.join(generator_names())}")
    return _REGISTRY[name]


def make_generator(name: str, **settings: Any) -> ProposalGenerator:
    """A new generator; ``settings`` are fields of its ``Settings``. Raises UsageError for an unknown one."""
    cls = generator_class(name)
    return cls(build_settings(cls.Settings, settings, f"proposal generator {name!r}"))


def load_generator(folder: Path) -> ProposalGenerator:
    """The generator saved in ``folder``, whichever it is."""
    return generator_class(read_model_file(folder / MODEL_FILE)["name"]).load(folder)
