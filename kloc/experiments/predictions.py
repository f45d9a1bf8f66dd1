"""A simulation's predictions as strategies read them: from arrays instead of a shard, in the same precision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kloc.errors import UsageError
from kloc.localizers.stagewise.table import EncodedTable, ranges
from kloc.shards import Block

_CHUNK = 65_536


class ArrayPredictions:
    """Heads "actionness" and "segments" of the videos of a table; a video in none of ``videos`` has no prediction.

    Args:
        table: whose proposals.
        actionness: one for every proposal of the table.
    """

    def __init__(self, table: EncodedTable, actionness: NDArray[np.floating]) -> None:
        self._table = table
        # As on disk: what a strategy sees must not depend on where it reads.
        self._columns: dict[str, NDArray[Any]] = {
            "actionness": actionness.astype(np.float16),
            "segments": table.segments.astype(np.float32),
        }
        self._place = {video_id: index for index, video_id in enumerate(table.video_ids)}

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._place

    def blocks(
        self, identifiers: Iterable[str] | None, heads: Iterable[str], block_rows: int = 262_144
    ) -> Iterator[Block]:
        """See `kloc.shards.ShardReader.blocks`; in the order asked for. Raises UsageError for another head."""
        wanted = list(heads)
        if missing := sorted(set(wanted) - set(self._columns)):
            raise UsageError(
                f"a simulation predicts no {', '.join(missing)}, only {' and '.join(self._columns)}; what reads more "
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
                own = places[positions[low:high]]
                rows = ranges(self._table.offsets[own], self._table.offsets[own + 1])
                bounds = np.concatenate([[0], np.cumsum(lengths[low:high])]).astype(np.int64)
                yield Block(
                    seen + positions[low:high],
                    {head: self._columns[head][rows] for head in wanted},
                    dict.fromkeys(wanted, bounds),
                )
                low = high
            seen += len(chunk)
