"""What the files of a shard look like, for the writer and the reader alike."""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kloc.errors import FormatError, UsageError

FORMAT = "kloc-shard"
VERSION = 1
_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")
#: Ids looked up at a time: bounds what a stream over a million ids holds.
CHUNK = 65_536


class Column(NamedTuple):
    """What one row of a column is. ``group``: whose index it uses; by default its own."""

    dtype: DTypeLike
    shape: tuple[int, ...] = ()
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    group: str

    @classmethod
    def of(cls, name: str, column: Column) -> Spec:
        dtype, shape, group = column
        group = name if group is None else group
        for text in (name, group):
            if not _NAME.fullmatch(text) or text.split(".")[0] in ("ids", "shard"):
                raise UsageError(f"shard column or group {text!r}: use lower-case letters, digits, '_' and '.'")
        plain = np.dtype(dtype).newbyteorder("<")
        if plain.kind not in "iufb":
            raise UsageError(f"shard column {name!r}: dtype {plain} is neither a number nor a boolean")
        return cls(name, plain, tuple(int(size) for size in shape), group)


def encode_id(identifier: str) -> bytes:
    return identifier.encode("utf-8", "surrogatepass")


def hash_id(identifier: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(identifier, digest_size=8).digest(), "little")


class Mapped:
    """A read-only memory-mapped array whose pages can be handed back, so that streams stay flat in memory."""

    def __init__(self, path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> None:
        dtype = np.dtype(dtype)
        expected = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        try:
            actual = path.stat().st_size
        except FileNotFoundError:
            raise FormatError(f"{path} is missing; write the shard again") from None
        if actual != expected:
            raise FormatError(f"{path} has {actual} bytes, not {expected}; write the shard again")
        self._map: mmap.mmap | None = None
        if expected:
            with path.open("rb") as stream:
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            self.values: NDArray[Any] = np.frombuffer(self._map, dtype).reshape(shape)
        else:
            self.values = np.zeros(shape, dtype)

    def release(self) -> None:
        """Let the system take the pages back; the next access reads them again."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


class Ids:
    """The ids of a shard by their place."""

    def __init__(self, folder: Path, count: int, size: int | None = None) -> None:
        size = (folder / "ids.utf8").stat().st_size if size is None else size
        self._ends = Mapped(folder / "ids.ends", "<i8", (count,))
        self._text = Mapped(folder / "ids.utf8", np.uint8, (size,))
        self._count = count

    def raw(self, low: int, high: int) -> tuple[bytes, NDArray[np.int64]]:
        """The joined bytes of the ids at places ``low:high`` and where each ends in them."""
        begin = int(self._ends.values[low - 1]) if low else 0
        ends = self._ends.values[low:high].astype(np.int64)
        final = int(ends[-1]) if len(ends) else begin
        return self._text.values[begin:final].tobytes(), ends - begin

    def are(self, places: NDArray[np.int64], expected: Sequence[bytes]) -> bool:
        """Whether the ids at ``places`` are exactly ``expected``, compared in one go."""
        ends = self._ends.values[places]
        begins = np.where(places > 0, self._ends.values[np.maximum(places - 1, 0)], 0)
        sizes = np.fromiter(map(len, expected), np.int64, len(expected))
        if not np.array_equal(ends - begins, sizes):
            return False
        bounds = np.cumsum(sizes) - sizes
        text = self._text.values[np.repeat(begins - bounds, sizes) + np.arange(int(sizes.sum()))]
        return text.tobytes() == b"".join(expected)

    def __getitem__(self, place: int) -> str:
        return self.raw(place, place + 1)[0].decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        for low in range(0, self._count, CHUNK):
            text, ends = self.raw(low, min(low + CHUNK, self._count))
            begin = 0
            for end in ends.tolist():
                yield text[begin:end].decode("utf-8", "surrogatepass")
                begin = end
            self.release()

    def release(self) -> None:
        self._ends.release()
        self._text.release()
