"""Writing a shard, whole or not at all."""

from __future__ import annotations

import os
import shutil
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from kloc.errors import KlocError, MismatchError, UsageError
from kloc.files import sync_folder, write_json
from kloc.shards.layout import CHUNK, FORMAT, VERSION, Column, Ids, Spec, encode_id, hash_id


class ShardWriter:
    """Writes a shard id by id; the folder takes its name only once it is whole and on the disk.

    Use it as a context manager: an exception inside leaves nothing. Killed, it leaves a hidden ``.part`` folder
    that no reader looks at and that the next writer of the same folder removes. One writer per folder at a time.

    Args:
        folder: the shard to make.
        columns: per name :class:`Column` (or a plain tuple of its fields); more may follow by `add_column`.
        meta: JSON-able facts to keep with the shard (provenance).
        replace: whether a shard that is already there gives way when this one is whole.

    Raises:
        UsageError: the folder exists and ``replace`` is false, or a column is ill-named.
    """

    def __init__(
        self,
        folder: Path,
        columns: Mapping[str, Column | tuple[DTypeLike, tuple[int, ...]]],
        meta: Mapping[str, Any] | None = None,
        *,
        replace: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.meta: dict[str, Any] = dict(meta or {})
        self._replace = replace
        if self.folder.exists() and not replace:
            raise UsageError(f"{self.folder} exists already; remove it or write with replace=True")
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        for left in self.folder.parent.glob(f".{self.folder.name}.*.part"):
            shutil.rmtree(left)
        self._part = self.folder.with_name(f".{self.folder.name}.{os.getpid()}.part")
        self._part.mkdir()
        self._specs: dict[str, Spec] = {}
        self._streams: dict[str, IO[bytes]] = {}
        self._rows: dict[str, int] = {}
        self._hashes = array("Q")
        self._id_bytes = 0
        self._open = True
        try:
            for name in ("ids.utf8", "ids.ends"):
                self._stream(name)
            for name, column in columns.items():
                self.add_column(name, Column(*column))
        except BaseException:
            self.abort()
            raise

    def __len__(self) -> int:
        return len(self._hashes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _stream(self, name: str) -> IO[bytes]:
        stream = (self._part / name).open("wb", buffering=1 << 18)
        self._streams[name] = stream
        return stream

    def add_column(self, name: str, column: Column) -> None:
        """Add a column; where its group is new, the ids written so far have none of it.

        Raises:
            UsageError: the name is taken or ill-formed, or its group already has rows.
        """
        spec = Spec.of(name, column)
        if name in self._specs:
            raise UsageError(f"shard column {name!r} is declared twice")
        if self._rows.get(spec.group):
            raise UsageError(f"shard column {name!r} comes too late: its group {spec.group!r} already has rows")
        self._specs[name] = spec
        self._stream(f"{name}.bin")
        if spec.group not in self._rows:
            self._rows[spec.group] = 0
            index = self._stream(f"{spec.group}.index")
            for start in range(0, len(self), CHUNK):
                index.write(np.tile(np.array([0, -1], "<i8"), (min(CHUNK, len(self) - start), 1)).tobytes())

    def append(self, identifier: str, columns: Mapping[str, ArrayLike]) -> None:
        """Append one id with its columns, arrays ``(rows, *shape)``.

        Columns of one group come together or not at all, with equally many rows; an absent group is remembered
        as absent.

        Raises:
            MismatchError: an unknown column, a wrong shape, or columns of one group that disagree.
        """
        arrays = self._checked(identifier, columns)
        lengths = {self._specs[name].group: len(values) for name, values in arrays.items()}
        for name, values in arrays.items():
            self._streams[f"{name}.bin"].write(values.tobytes())
        for group, rows in self._rows.items():
            length = lengths.get(group, -1)
            self._streams[f"{group}.index"].write(np.array([rows, length], "<i8").tobytes())
            self._rows[group] = rows + max(length, 0)
        self._add_ids([encode_id(identifier)])

    def append_many(
        self, identifiers: Sequence[str], columns: Mapping[str, ArrayLike], lengths: Mapping[str, ArrayLike]
    ) -> None:
        """Append many ids at once: columns hold the rows of all of them, ``lengths`` per group the rows of each.

        Raises:
            MismatchError: as `append`, or the lengths do not add up to the rows.
        """
        where = f"{identifiers[0] if identifiers else ''} and following"
        arrays = self._checked(where, columns)
        counts = {group: np.asarray(values, "<i8") for group, values in lengths.items()}
        for name, values in arrays.items():
            length = counts.get(self._specs[name].group)
            if length is None or length.shape != (len(identifiers),) or length.sum() != len(values):
                raise MismatchError(f"shard {self.folder}, ids {where}: lengths do not add up to column {name!r}")
        for name, values in arrays.items():
            self._streams[f"{name}.bin"].write(values.tobytes())
        for group, rows in self._rows.items():
            length = counts.get(group, np.full(len(identifiers), -1, "<i8"))
            ends = rows + np.cumsum(np.maximum(length, 0))
            starts = ends - np.maximum(length, 0)
            self._streams[f"{group}.index"].write(np.stack([starts, length], axis=1).astype("<i8").tobytes())
            self._rows[group] = int(ends[-1]) if len(ends) else rows
        self._add_ids([encode_id(identifier) for identifier in identifiers])

    def _add_ids(self, encoded: Sequence[bytes]) -> None:
        ends = array("q")
        for text in encoded:
            self._id_bytes += len(text)
            ends.append(self._id_bytes)
            self._hashes.append(hash_id(text))
        self._streams["ids.utf8"].write(b"".join(encoded))
        self._streams["ids.ends"].write(np.asarray(ends, "<i8").tobytes())

    def _checked(self, where: str, columns: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        if not self._open:
            raise UsageError(f"shard {self.folder} is closed; open another writer")
        arrays: dict[str, NDArray[Any]] = {}
        rows: dict[str, int] = {}
        for name, values in columns.items():
            spec = self._specs.get(name)
            if spec is None:
                raise MismatchError(f"shard {self.folder}, id {where}: unknown column {name!r}")
            made = np.ascontiguousarray(values, spec.dtype)
            if made.ndim != 1 + len(spec.shape) or made.shape[1:] != spec.shape:
                raise MismatchError(
                    f"shard {self.folder}, id {where}: column {name!r} has shape "
                    f"{made.shape}, not (rows, *{spec.shape})"
                )
            if rows.setdefault(spec.group, len(made)) != len(made):
                raise MismatchError(f"shard {self.folder}, id {where}: columns of group {spec.group!r} differ in rows")
            arrays[name] = made
        for spec in self._specs.values():
            if spec.group in rows and spec.name not in arrays:
                raise MismatchError(f"shard {self.folder}, id {where}: column {spec.name!r} is missing")
        return arrays

    def close(self) -> None:
        """Finish the shard and give it its name.

        Raises:
            KlocError: an id was written twice (nothing is left then).
        """
        if not self._open:
            return
        try:
            for stream in self._streams.values():
                stream.flush()
            self._write_lookup()
            for stream in self._streams.values():
                stream.flush()
                os.fsync(stream.fileno())
                stream.close()
            write_json(self._part / "shard.json", self._description())
        except BaseException:
            self.abort()
            raise
        self._open = False
        if self._replace and self.folder.exists():
            old = self.folder.with_name(f".{self.folder.name}.old.part")
            self.folder.rename(old)
            self._part.rename(self.folder)
            shutil.rmtree(old)
        else:
            self._part.rename(self.folder)
        sync_folder(self.folder.parent)

    def _write_lookup(self) -> None:
        hashes = np.frombuffer(self._hashes, np.uint64) if len(self) else np.zeros(0, np.uint64)
        place = np.argsort(hashes, kind="stable").astype("<i8")
        ordered = hashes[place]
        ids = Ids(self._part, len(self))
        for twin in np.flatnonzero(ordered[1:] == ordered[:-1]):
            first, second = ids[int(place[twin])], ids[int(place[twin + 1])]
            if first == second:
                raise KlocError(f"shard {self.folder}: id {first!r} was written twice; write every id once")
        self._stream("ids.hash").write(ordered.astype("<u8").tobytes())
        self._stream("ids.place").write(place.tobytes())

    def _description(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "count": len(self),
            "id_bytes": self._id_bytes,
            "groups": self._rows,
            "columns": {
                spec.name: {"dtype": spec.dtype.str, "shape": list(spec.shape), "group": spec.group}
                for spec in self._specs.values()
            },
            "meta": self.meta,
        }

    def abort(self) -> None:
        """Drop everything written so far; the folder's old content, if any, stays."""
        if not self._open:
            return
        self._open = False
        for stream in self._streams.values():
            with suppress(OSError):  # a full disk must not hide the error that led here
                stream.close()
        shutil.rmtree(self._part, ignore_errors=True)
