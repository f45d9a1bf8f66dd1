"""What a proposal generator is, and the registry of those kloc has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from kloc.proposals.saved import build_settings, read_model_file
from kloc.registry import Registry

if TYPE_CHECKING:
    from kloc.features.bank import VideoFeatures

#: The file of a saved generator that names it and holds its settings.
MODEL_FILE = "proposals.json"


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


GENERATORS: Registry[type[ProposalGenerator]] = Registry(
    "proposal generator",
    ("Settings", "propose", "save", "load"),
    built_in={"sliding": "kloc.proposals.sliding", "daps": "kloc.proposals.daps"},
)

register_generator = GENERATORS.register


def generator_names() -> tuple[str, ...]:
    """Names that :func:`make_generator` knows."""
    return GENERATORS.names()


def make_generator(name: str, **settings: Any) -> ProposalGenerator:
    """A new generator; ``settings`` are fields of its ``Settings``. Raises UsageError for an unknown one."""
    cls = GENERATORS.get(name)
    return cls(build_settings(cls.Settings, settings, f"proposal generator {name!r}"))


def load_generator(folder: Path) -> ProposalGenerator:
    """The generator saved in ``folder``, whichever it is."""
    return GENERATORS.get(read_model_file(folder / MODEL_FILE)["name"]).load(folder)
