"""What a selection strategy is, what it gets to see, and how it is found by name.

A strategy gives every item of the pool a score; turning scores into a batch is a policy's work
(`kloc.selection.policies`), which every strategy can use.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kloc.errors import UsageError
from kloc.records import Annotation, Item
from kloc.seeds import generator
from kloc.selection.registry import Constructors
from kloc.shards import Block

if TYPE_CHECKING:
    from kloc.localizers.base import Localizer
    from kloc.selection.cost import CostModel
    from kloc.selection.lal_model import GainModel


class Scores(NamedTuple):
    """What a strategy says of ``n`` items.

    value: float64 ``(n,)``, higher is annotated first; ``-inf`` where nothing can be said (picked last).
    group: int64 ``(n,)``, where a batch is to be drawn from several sides in turn (MCLE), else ``None``.
    """

    value: NDArray[np.float64]
    group: NDArray[np.int64] | None = None


class PredictionSource(Protocol):
    """Where prediction heads are read from: a `PredictionReader` on disk, or a simulation's arrays."""

    def __len__(self) -> int: ...

    def blocks(
        self, identifiers: Iterable[str] | None, heads: Iterable[str], block_rows: int = 262_144
    ) -> Iterator[Block]:
        """Stream heads of many ids; see `kloc.shards.ShardReader.blocks`."""
        ...


def video_of(item: Item) -> str:
    """The id under which an item's prediction lies, unless a protocol says otherwise: its video's."""
    return item.video_id


@dataclass(frozen=True)
class Context:
    """All that a strategy or a policy may look at.

    predictions: of the newest model, ``None`` before the first one.
    classes: of the dataset.
    annotations: what is labelled so far, by video id.
    labels: video-level labels by video id, where there are any.
    seed: of the round; see `rng`.
    batch: how many items are about to be chosen.
    model: loads the newest localizer, ``None`` before the first one.
    pooled: mean features of the videos of many items, float32 ``(n, D)``; ``None`` where there are no features.
    prior: actionness that the prior of MCLE gives the same proposals, ``None`` where no prior was made.
    gain: loads the regressor that LAL learned on a Knowledge-Source, ``None`` where none was bootstrapped.
    cost: what annotating an item takes, ``None`` for the default of `kloc.selection.cost`.
    prediction_id: under which id an item's prediction lies. By default the video's; a protocol whose items are
        clips stores one prediction per clip and says here under which id.
    heard: what strategies and policies had to tell the user, see `note`; `kloc.selection.select` makes a fresh list.
    """

    predictions: PredictionSource | None = None
    classes: tuple[str, ...] = ()
    annotations: Mapping[str, Annotation] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    seed: int = 0
    batch: int = 1
    model: Callable[[], Localizer] | None = None
    pooled: Callable[[Sequence[Item]], NDArray[np.float32]] | None = None
    prior: PredictionSource | None = None
    gain: Callable[[], GainModel] | None = None
    cost: CostModel | None = None
    prediction_id: Callable[[Item], str] = video_of
    heard: list[str] = field(default_factory=list, repr=False, compare=False)

    def note(self, sentence: str) -> None:
        """Tell the user something plain about this selection, once."""
        if sentence not in self.heard:
            self.heard.append(sentence)

    def rng(self, *names: str | int) -> np.random.Generator:
        """The generator of one purpose: equal names, equal stream, whatever was drawn before."""
        return generator(self.seed, "selection", *names)

    def blocks(self, items: Sequence[Item], heads: frozenset[str], block_rows: int = 262_144) -> Iterator[Block]:
        """Stream prediction heads of many items in memory that does not grow with the pool.

        ``block.positions`` index ``items``; items without a prediction appear in no block.

        Raises:
            UsageError: there are no predictions.
        """
        if self.predictions is None:
            raise UsageError("this strategy needs predictions; train and predict first, or select at random")
        return self.predictions.blocks(map(self.prediction_id, items), sorted(heads), block_rows)


class Strategy(Protocol):
    """Decides which items are worth annotating. Parameters go into the constructor, data into the call.

    Two methods more are optional, for strategies with state: `Watching.picked` and `Steering.next_group`.
    """

    #: Set by the registry's decorator.
    name: ClassVar[str]
    #: The prediction heads it reads; empty if it needs no predictions.
    heads: ClassVar[frozenset[str]]

    def score(self, items: Sequence[Item], context: Context) -> Scores:
        """Score all items, reading heads by ``context.blocks``; a pool of a million must fit."""
        ...

    def reason(self, index: int, score: float) -> str:
        """A plain sentence: why the item at ``index`` of the last `score` call was worth picking."""
        ...


@runtime_checkable
class Watching(Protocol):
    """A strategy that is told of every pick, with the item's index."""

    def picked(self, index: int) -> None: ...


@runtime_checkable
class Steering(Protocol):
    """A strategy that says from which of its groups the next pick should come (``None``: from any).

    ``open_groups``: those that still have items to offer. A budget refuses items without the strategy being told, so a
    group may be closed before all its items are picked. A wish for a closed group is as good as ``None``.
    """

    def next_group(self, open_groups: Collection[int]) -> int | None: ...


#: All strategies: built-in ones, and plug-ins by the entry-point group ``kloc.strategies``.
STRATEGIES: Constructors[Strategy] = Constructors("strategy", ("heads", "score", "reason"), "kloc.strategies")

strategy = STRATEGIES.register


def make_strategy(name: str, **params: Any) -> Strategy:
    """A strategy by name.

    Raises:
        UsageError: an unknown name or parameter.
        KlocError: a plug-in that cannot be loaded.
    """
    return STRATEGIES.make(name, **params)


def available() -> tuple[str, ...]:
    """Names of all strategies, plug-ins included."""
    return STRATEGIES.names()
