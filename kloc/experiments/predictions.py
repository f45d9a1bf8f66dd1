"""A simulation's predictions as strategies read them: from arrays instead of a shard, in the same precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kloc.errors import UsageError
from kloc.localizers.predictions import LevelInfo
from kloc.localizers.stagewise.classifier import Classifier, best_proposals
from kloc.localizers.stagewise.settings import StageWiseSettings
from kloc.localizers.stagewise.table import EncodedTable, ranges
from kloc.shards import Block

_CHUNK = 65_536
#: Encoded segments that are classified at a time: in float64 they take twice their place in the file.
_CLASSIFIED = 16_384


class Classes(NamedTuple):
    """Where class probabilities come from. names: the classifier's classes.

    settings: of the localizer (how many proposals are classified, and whether there is a background column).
    classifier: gives the classifier; called when probabilities are read for the first time, and only then.
    """

    names: tuple[str, ...]
    settings: StageWiseSettings
    classifier: Callable[[], Classifier]


class ArrayPredictions:
    """Heads of the videos of a table; an id that is none of its ``videos`` has no prediction.

    "actionness" and "segments" of all proposals, and with ``classes`` also "levels": one level "topk" of the class
    probabilities of each video's top proposals, as `StageWise.predict` makes it; they are worked out when asked for.
    ``classes`` and ``levels`` are as `PredictionReader` has them.

    Args:
        table: whose proposals.
        actionness: one for every proposal of the table.
        classes: where class probabilities come from; ``None``: there are none.
    """

    def __init__(self, table: EncodedTable, actionness: NDArray[np.floating], classes: Classes | None = None) -> None:
        self._table = table
        self._exact, self._source = actionness, classes
        # As on disk: what a strategy sees must not depend on where it reads.
        self._columns: dict[str, NDArray[Any]] = {
            "actionness": actionness.astype(np.float16),
            "segments": table.segments.astype(np.float32),
        }
        self._place = {video_id: index for index, video_id in enumerate(table.video_ids)}
        self.classes: tuple[str, ...] = () if classes is None else classes.names
        self.levels: tuple[LevelInfo, ...] = ()
        if classes is not None:
            own = int(classes.settings.background)
            self.levels = (LevelInfo("levels.0", "topk", len(classes.names) + own, 0 if own else None),)

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._place

    def blocks(
        self, identifiers: Iterable[str] | None, heads: Iterable[str], block_rows: int = 262_144
    ) -> Iterator[Block]:
        """See `kloc.shards.ShardReader.blocks`; in the order asked for. Raises UsageError for another head."""
        wanted = list(heads)
        known = [*self._columns, *(["levels"] if self.levels else [])]
        if missing := sorted(set(wanted) - set(known)):
            raise UsageError(
                f"a simulation predicts no {', '.join(missing)}, only {' and '.join(known)}; what reads more "
                "cannot be simulated"
            )
        source, seen = iter(self._table.video_ids if identifiers is None else identifiers), 0
        while chunk := list(islice(source, _CHUNK)):
            places = np.array([self._place.get(name, -1) for name in chunk], np.int64)
            positions = np.flatnonzero(places >= 0)
            low = 0
            lengths = np.diff(self._table.offsets)[places[positions]]
            filled = np.cumsum(np.maximum(lengths, 1))
            while low < len(positions):
                before = int(filled[low - 1]) if low else 0
                high = max(low + 1, int(np.searchsorted(filled, before + block_rows, side="right")))
                yield self._block(seen + positions[low:high], places[positions[low:high]], wanted)
                low = high
            seen += len(chunk)

    def _block(self, positions: NDArray[np.int64], own: NDArray[np.int64], heads: list[str]) -> Block:
        lengths = np.diff(self._table.offsets)[own]
        rows = ranges(self._table.offsets[own], self._table.offsets[own + 1])
        arrays: dict[str, NDArray[Any]] = {}
        offsets: dict[str, NDArray[np.int64]] = {}
        for head in heads:
            if head == "levels" and self._source is not None:
                column, kept = self.levels[0].column, np.minimum(lengths, self._source.settings.top_k)
                arrays[column], offsets[column] = self._probabilities(rows, own), _bounds(kept)
            else:
                arrays[head], offsets[head] = self._columns[head][rows], _bounds(lengths)
        return Block(positions, arrays, offsets)

    def _probabilities(self, rows: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.float16]:
        """Class probabilities ``(n, C)`` of the top proposals of the videos ``own``, whose ``rows`` these are."""
        assert self._source is not None
        classifier, encoded = self._source.classifier(), self._table.encoded
        top = best_proposals(self._table, self._exact[rows], own, self._source.settings.top_k)
        found = np.zeros((len(top), self.levels[0].width), np.float16)
        for low in range(0, len(top), _CLASSIFIED):
            part = slice(low, low + _CLASSIFIED)
            found[part] = classifier.probabilities(encoded[top[part]])
        return found


def _bounds(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
