"""What consolidation takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kloc.errors import KlocError
from kloc.records import Annotation, Instance, Item


@dataclass(frozen=True, slots=True, order=True)
class WorkerAnswer:
    """What one worker said about one item: every occurrence of ``classes`` (an empty tuple: none occurs)."""

    item: Item
    worker_id: str
    assignment_id: str
    classes: tuple[str, ...]
    segments: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class ConsolidationSettings:
    """How answers become one. What is known of the mean worker before any answer is a guess, and what it is worth in
    observations; the answers of all workers together soon outweigh it.

    sensitivity: share of the instances that are there which a worker marks; worth so many instances.
    false_alarms: share of all marks that show nothing; worth so many questions (an item and a class).
    scale: boundary error in units of :func:`kloc.crowd.consolidation.boundaries.unit`; worth so many boundaries.
    own_weight: so many observations of one worker say as much about them as all the others do.
    tails: degrees of freedom of Student's t for boundary errors: the fewer, the less a wild boundary pulls.
    tiou: segments of one occurrence overlap by this much on average. keep: confidence above which a candidate is kept.
    provisional: between these confidences one more answer would help.
    """

    method: Literal["em", "median"] = "em"
    tiou: float = 0.35
    iterations: int = 20
    keep: float = 0.5
    provisional: tuple[float, float] = (0.2, 0.8)
    sensitivity: tuple[float, float] = (0.75, 8.0)
    false_alarms: tuple[float, float] = (0.25, 20.0)
    scale: tuple[float, float] = (0.5, 20.0)
    own_weight: float = 4.0
    tails: float = 4.0

    def __post_init__(self) -> None:
        if self.method not in ("em", "median"):
            raise KlocError(f"unknown consolidation method {self.method!r}; known are 'em' and 'median'")


@dataclass(frozen=True, slots=True)
class ConsolidatedInstance:
    """One candidate. ``support`` of the ``asked`` workers marked it; spreads are mean absolute deviations, seconds."""

    start: float
    end: float
    label: str
    confidence: float
    support: int
    asked: int
    start_spread: float
    end_spread: float


@dataclass(frozen=True, slots=True)
class ConsolidatedItem:
    """One item: what is kept, what was turned down, and whether one more answer would help (``provisional``)."""

    item: Item
    classes: tuple[str, ...]
    instances: tuple[ConsolidatedInstance, ...]
    rejected: tuple[ConsolidatedInstance, ...]
    provisional: bool
    assignments: tuple[str, ...]

    @property
    def annotation(self) -> Annotation:
        """As an annotation, exhaustive for the classes that were asked about."""
        found = tuple(sorted(Instance(i.start, i.end, i.label, i.confidence) for i in self.instances))
        return Annotation(self.item, found, frozenset(self.classes))


@dataclass(frozen=True, slots=True)
class Reliability:
    """What the answers say about a worker.

    sensitivity: share of the instances that they mark. false_alarm: segments per question where nothing is.
    scale: root mean square boundary error after their habit is taken off, in units of 0.5 s + 0.1 x duration.
    """

    sensitivity: float
    false_alarm: float
    scale: float
    answers: int


@dataclass(frozen=True, slots=True)
class Consolidated:
    """The outcome for all items, and what was learned about the workers (empty for ``"median"``)."""

    items: Mapping[Item, ConsolidatedItem]
    workers: Mapping[str, Reliability]

    @property
    def annotations(self) -> dict[Item, Annotation]:
        return {item: found.annotation for item, found in self.items.items()}
