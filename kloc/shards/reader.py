"""Reading a shard: memory-mapped, only the columns asked for, one id or a stream of blocks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kloc.errors import FormatError, KlocError, UsageError
from kloc.shards.layout import CHUNK, FORMAT, VERSION, Ids, Mapped, Spec, encode_id, hash_id


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a stream: ``positions`` int64 ``(m,)`` says which of the ids asked for it holds.

    ``arrays[column]`` has the rows of all ``m`` ids, contiguous; those of the j-th are
    ``offsets[column][j]:offsets[column][j + 1]``. Copy what you keep: the memory goes back after the block.
    """

    positions: NDArray[np.int64]
    arrays: Mapping[str, NDArray[Any]]
    offsets: Mapping[str, NDArray[np.int64]]

    def lengths(self, column: str) -> NDArray[np.int64]:
        """Rows per id, int64 ``(m,)``."""
        return np.diff(self.offsets[column])

    def owner(self, column: str) -> NDArray[np.int64]:
        """For every row of ``column`` the index (in the block) of the id it belongs to."""
        return np.repeat(np.arange(len(self.positions)), self.lengths(column))


class ShardReader:
    """Reads a shard; opens only the columns that are asked for.

    Raises:
        KlocError: there is no (complete) shard at ``folder``.
        FormatError: its files do not have the size that the description says.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        try:
            description = json.loads((self.folder / "shard.json").read_text("utf-8"))
            if description["format"] != FORMAT or description["version"] != VERSION:
                raise FormatError(f"{self.folder} is not a shard this version of kloc reads; write it again")
            self._count = int(description["count"])
            self._rows: dict[str, int] = description["groups"]
            self._specs = {
                name: Spec(name, np.dtype(spec["dtype"]), tuple(spec["shape"]), spec["group"])
                for name, spec in description["columns"].items()
            }
            self.meta: dict[str, Any] = description["meta"]
            id_bytes = int(description["id_bytes"])
        except FileNotFoundError:
            raise KlocError(f"no complete shard at {self.folder}; run the stage that writes it") from None
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{self.folder / 'shard.json'} is damaged ({error}); write it again") from None
        self._ids = Ids(self.folder, self._count, id_bytes)
        self._hash = Mapped(self.folder / "ids.hash", "<u8", (self._count,))
        self._place = Mapped(self.folder / "ids.place", "<i8", (self._count,))
        self._opened: dict[str, Mapped] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(self._specs)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __contains__(self, identifier: str) -> bool:
        return bool(self.find([identifier])[0] >= 0)

    def _spec(self, column: str) -> Spec:
        try:
            return self._specs[column]
        except KeyError:
            known = ", ".join(self._specs)
            raise UsageError(f"shard {self.folder} has no column {column!r}; it has {known}") from None

    def _column(self, column: str) -> NDArray[Any]:
        if column not in self._opened:
            spec = self._spec(column)
            path = self.folder / f"{column}.bin"
            self._opened[column] = Mapped(path, spec.dtype, (self._rows[spec.group], *spec.shape))
        return self._opened[column].values

    def _index(self, column: str) -> NDArray[np.int64]:
        name = f"{self._spec(column).group}.index"
        if name not in self._opened:
            self._opened[name] = Mapped(self.folder / name, "<i8", (self._count, 2))
        values: NDArray[np.int64] = self._opened[name].values
        return values

    def _release(self) -> None:
        for mapped in (*self._opened.values(), self._hash, self._place):
            mapped.release()
        self._ids.release()

    def find(self, identifiers: Sequence[str]) -> NDArray[np.int64]:
        """Places of the ids, int64 ``(n,)``; -1 where the shard has none."""
        encoded = [encode_id(identifier) for identifier in identifiers]
        if encoded:
            start = self._find_hashed(encoded[:1])[0]
            if start >= 0 and start + len(encoded) <= self._count:
                # Usually a pool is in the shard's own order: one comparison of bytes settles the whole chunk.
                text, ends = self._ids.raw(int(start), int(start) + len(encoded))
                sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
                if np.array_equal(np.cumsum(sizes), ends) and b"".join(encoded) == text:
                    return np.arange(start, start + len(encoded), dtype=np.int64)
        return self._find_hashed(encoded)

    def _find_hashed(self, encoded: Sequence[bytes]) -> NDArray[np.int64]:
        wanted = np.fromiter(map(hash_id, encoded), np.uint64, len(encoded))
        found = np.full(len(encoded), -1, np.int64)
        low = np.searchsorted(self._hash.values, wanted)
        hit = np.flatnonzero(low < self._count)
        hit = hit[self._hash.values[low[hit]] == wanted[hit]]
        places = self._place.values[low[hit]]
        if self._ids.are(places, [encoded[i] for i in hit.tolist()]):
            found[hit] = places
            return found
        for i in hit.tolist():  # two ids share a hash: about once in 10^19 pairs
            at = int(low[i])
            while at < self._count and self._hash.values[at] == wanted[i]:
                place = int(self._place.values[at])
                if self._ids.raw(place, place + 1)[0] == encoded[i]:
                    found[i] = place
                    break
                at += 1
        return found

    def get(self, identifier: str, columns: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Copies of one id's columns; those it has none of are left out.

        Raises:
            KlocError: the shard does not hold the id.
        """
        place = int(self.find([identifier])[0])
        if place < 0:
            raise KlocError(f"shard {self.folder} holds nothing of {identifier!r}")
        result: dict[str, NDArray[Any]] = {}
        for column in self.columns if columns is None else columns:
            offset, length = self._index(column)[place].tolist()
            if length >= 0:
                result[column] = self._column(column)[offset : offset + length].copy()
        return result

    def blocks(
        self, identifiers: Iterable[str] | None, columns: Sequence[str], block_rows: int = 262_144
    ) -> Iterator[Block]:
        """Stream columns of many ids in memory that does not grow with their number.

        Ids the shard does not hold appear in no block; an id asked for twice appears twice; one without the
        column has length 0. Within a chunk of 65,536 ids the order is the shard's own, so reading is
        sequential: place what you compute by ``block.positions``.

        Args:
            identifiers: which ids, in any order; ``None`` for all, in the shard's order.
            columns: what to read.
            block_rows: rows per block at most, unless one id alone has more.
        """
        specs = [self._spec(column) for column in columns]
        for positions, places in self._chunks(identifiers):
            lengths = {spec.group: np.maximum(self._index(spec.name)[places, 1], 0).astype(np.int64) for spec in specs}
            most = np.max(np.stack(list(lengths.values())), axis=0) if lengths else np.zeros(len(places), np.int64)
            # Counting an id as at least one row bounds the block where many ids have none.
            filled = np.cumsum(np.maximum(most, 1))
            low = 0
            while low < len(places):
                before = int(filled[low - 1]) if low else 0
                high = max(low + 1, int(np.searchsorted(filled, before + block_rows, side="right")))
                part = places[low:high]
                bounds = {
                    group: np.concatenate([[0], np.cumsum(length[low:high])]).astype(np.int64)
                    for group, length in lengths.items()
                }
                yield Block(
                    positions[low:high],
                    {spec.name: self._gather(spec.name, part, bounds[spec.group]) for spec in specs},
                    {spec.name: bounds[spec.group] for spec in specs},
                )
                self._release()
                low = high

    def _chunks(self, identifiers: Iterable[str] | None) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Positions (in what was asked for) and places (in the shard), by place within a chunk."""
        if identifiers is None:
            for low in range(0, self._count, CHUNK):
                places = np.arange(low, min(low + CHUNK, self._count), dtype=np.int64)
                yield places, places
            return
        source, seen = iter(identifiers), 0
        while chunk := list(islice(source, CHUNK)):
            places = self.find(chunk)
            order = np.argsort(places, kind="stable")
            order = order[places[order] >= 0]
            yield seen + order, places[order]
            seen += len(chunk)

    def _gather(self, column: str, places: NDArray[np.int64], bounds: NDArray[np.int64]) -> NDArray[Any]:
        values, starts = self._column(column), self._index(column)[places, 0]
        lengths, total = np.diff(bounds), int(bounds[-1])
        if not total:
            return values[:0]
        rows_used = lengths > 0
        starts, lengths, begins = starts[rows_used], lengths[rows_used], bounds[:-1][rows_used]
        if np.array_equal(starts[1:], starts[:-1] + lengths[:-1]):
            return values[starts[0] : starts[0] + total]
        gathered: NDArray[Any] = values[np.repeat(starts - begins, lengths) + np.arange(total)]
        return gathered
