"""The encoded training set, packed: all videos' proposals and instances in one set of arrays."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from kloc.errors import MismatchError
from kloc.localizers.stagewise.settings import StageWiseSettings
from kloc.proposals.hygiene import NoInstancesError
from kloc.segments import Segments, above

#: Encoded rows beyond this many bytes lie in a temporary file instead of the memory.
MEMORY_BYTES = 2 << 30
#: The file of encoded rows, raw float32, in a folder that holds a saved table.
ROWS_FILE = "encoded.f32"
#: Fields with one row per proposal and per instance, in the order of the class.
_OF_PROPOSALS = ("segments", "encoded", "best", "matched", "inside", "usable")
_OF_INSTANCES = ("truth", "truth_segments", "truth_labels", "truth_seen")
#: A segment that lies in an instance by more than this looks like it to a mean (see StageWiseSettings).
CONTAINED = 0.7


@dataclass(frozen=True)
class EncodedTable:
    """V training videos as the models see them: N proposals and G instances in all, video by video.

    video_ids: ``(V,)``. keys: ``(V,)``, name a video and its annotated stretch (random draws depend on it, not on
    the order). offsets, truth_offsets: int64 ``(V + 1,)``, the proposals and instances of each video.
    segments: float64 ``(N, 2)``. encoded: float32 ``(N, E)``, an array or a memmap.
    best, matched: largest tIoU with an instance ``(N,)``, and the class of that instance (-1 without one).
    inside: how much of a proposal lies in an instance ``(N,)``. usable: proposals inside the annotated stretch.
    truth: float32 ``(G, E)``. truth_segments ``(G, 2)``, truth_labels ``(G,)``; truth_seen ``(G,)``: whether an
    instance spans a feature sample.
    asked: classes whose absence the annotation states, bool ``(V, C)``.
    """

    video_ids: tuple[str, ...]
    keys: tuple[str, ...]
    offsets: NDArray[np.int64]
    truth_offsets: NDArray[np.int64]
    segments: Segments
    encoded: NDArray[np.float32]
    best: NDArray[np.float64]
    matched: NDArray[np.int64]
    inside: NDArray[np.float64]
    usable: NDArray[np.bool_]
    truth: NDArray[np.float32]
    truth_segments: Segments
    truth_labels: NDArray[np.int64]
    truth_seen: NDArray[np.bool_]
    asked: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.video_ids)

    @cached_property
    def everything(self) -> NDArray[np.int64]:
        """Indices of all videos."""
        return np.arange(len(self), dtype=np.int64)

    @cached_property
    def owner(self) -> NDArray[np.int64]:
        """Which video a proposal belongs to, ``(N,)``."""
        return np.repeat(self.everything, np.diff(self.offsets))

    @cached_property
    def truth_owner(self) -> NDArray[np.int64]:
        """Which video an instance belongs to, ``(G,)``."""
        return np.repeat(self.everything, np.diff(self.truth_offsets))

    @cached_property
    def _asked_any(self) -> NDArray[np.bool_]:
        return np.asarray(self.asked.any(axis=1))[self.owner]

    def rows(self, videos: NDArray[np.int64]) -> NDArray[np.int64]:
        """Indices of all proposals of some videos, in the order of ``videos``."""
        return ranges(self.offsets[videos], self.offsets[videos + 1])

    def truth_rows(self, videos: NDArray[np.int64]) -> NDArray[np.int64]:
        """Indices of all instances of some videos, in the order of ``videos``."""
        return ranges(self.truth_offsets[videos], self.truth_offsets[videos + 1])

    def positive(self, settings: StageWiseSettings, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some proposals count as an action."""
        return self.usable[rows] & above(self.best[rows], settings.positive_tiou)

    def negative(self, settings: StageWiseSettings, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some proposals count as background for attention.

        What an annotation leaves unmarked is background for the classes it was asked about. Attention knows no
        classes: any annotation that asked about one gives background (P2 section 5.2: each video is annotated
        for its own class); one that asked about none gives none.
        """
        return self._asked_any[rows] & self.clear(settings, rows)

    def clear(self, settings: StageWiseSettings, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some proposals are far enough from every instance to look like none."""
        chosen = self.usable[rows] & (self.best[rows] < settings.background_below - 1e-9)
        return chosen & ~above(self.inside[rows], CONTAINED) if settings.spares_contained else chosen

    def loose_negative(self, settings: StageWiseSettings, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some proposals match no instance, however near: background where there is no other."""
        return self.usable[rows] & self._asked_any[rows] & ~above(self.best[rows], settings.positive_tiou)

    def part(self, index: int) -> Self:
        """The table of one video."""
        rows = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        truth = slice(int(self.truth_offsets[index]), int(self.truth_offsets[index + 1]))
        arrays: dict[str, Any] = {name: getattr(self, name)[rows] for name in _OF_PROPOSALS}
        arrays |= {name: getattr(self, name)[truth] for name in _OF_INSTANCES}
        return type(self)(
            video_ids=(self.video_ids[index],),
            keys=(self.keys[index],),
            offsets=self.offsets[index : index + 2] - self.offsets[index],
            truth_offsets=self.truth_offsets[index : index + 2] - self.truth_offsets[index],
            asked=self.asked[index : index + 1],
            **arrays,
        )

    def save(self, folder: Path) -> None:
        """Write everything into an existing folder, but rows that :meth:`join` has written there already."""
        arrays = {name: getattr(self, name) for name in ("offsets", "truth_offsets", "asked", *_OF_INSTANCES)}
        arrays |= {name: getattr(self, name) for name in _OF_PROPOSALS if name != "encoded"}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        if not (folder / ROWS_FILE).exists():
            np.ascontiguousarray(self.encoded).tofile(folder / ROWS_FILE)
        names = {"video_ids": self.video_ids, "keys": self.keys, "width": self.encoded.shape[1]}
        (folder / "names.json").write_text(json.dumps(names), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The table that :meth:`save` wrote; encoded rows stay on the disk, shared by all processes that read them."""
        names = json.loads((folder / "names.json").read_text("utf-8"))
        arrays = {
            name: np.load(folder / f"{name}.npy", allow_pickle=False)
            for name in ("offsets", "truth_offsets", "asked", *_OF_PROPOSALS, *_OF_INSTANCES)
            if name != "encoded"
        }
        shape = (int(arrays["offsets"][-1]), int(names["width"]))
        rows = np.memmap(folder / ROWS_FILE, np.float32, "r", shape=shape)
        return cls(tuple(names["video_ids"]), tuple(names["keys"]), encoded=rows, **arrays)

    @classmethod
    def join(cls, parts: Iterable[Self], file: Path | None = None) -> Self:
        """One table of the videos of many; rows that do not fit the memory go into a temporary file, or into ``file``.

        Raises MismatchError where their encodings have several widths, NoInstancesError where there is no video.
        """
        encoded, small = _Spool(file), []
        widths = set()
        for part in parts:
            widths.add(part.encoded.shape[1])
            if len(widths) > 1:
                raise MismatchError("training features have several widths; extract them all with one backbone")
            encoded.append(part.encoded)
            small.append(replace(part, encoded=part.encoded[:0].copy()))  # the spool has them now
        if not small:
            raise NoInstancesError(
                "the stage-wise localizer cannot be trained: none of 0 labelled videos holds an "
                "instance; label videos that do"
            )

        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in small])
            for name in ("asked", *_OF_PROPOSALS, *_OF_INSTANCES)
            if name != "encoded"
        }
        return cls(
            video_ids=tuple(name for part in small for name in part.video_ids),
            keys=tuple(key for part in small for key in part.keys),
            offsets=_joined_offsets([part.offsets for part in small]),
            truth_offsets=_joined_offsets([part.truth_offsets for part in small]),
            encoded=encoded.whole(),
            **arrays,
        )


def ranges(begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """``begin[0], ..., end[0] - 1, begin[1], ...``: many index ranges in a row."""
    count = end - begin
    return np.repeat(begin - np.cumsum(count) + count, count) + np.arange(int(count.sum()))


def place_in_group(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """For sorted ``group`` ``(n,)``: how many of the same group come before, ``(n,)``."""
    if not len(group):
        return np.zeros(0, np.int64)
    first = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
    return np.arange(len(group)) - np.repeat(first, np.diff(np.append(first, len(group))))


def gather(table: EncodedTable, *chosen: tuple[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    """Rows of ``("encoded" or "truth", indices)`` one after the other, float32 ``(n, E)``, a memmap if too large."""
    total = sum(len(rows) for _, rows in chosen)
    result = _allocate(total, table.encoded.shape[1])
    at = 0
    for name, rows in chosen:
        source = getattr(table, name)
        for low in range(0, len(rows), 65_536):
            part = rows[low : low + 65_536]
            result[at : at + len(part)] = source[part]
            at += len(part)
    return result


def _allocate(n_rows: int, width: int) -> NDArray[np.float32]:
    if 4 * n_rows * width <= MEMORY_BYTES:
        return np.empty((n_rows, width), np.float32)
    return np.memmap(tempfile.TemporaryFile(prefix="kloc-rows-"), np.float32, "w+", shape=(n_rows, width))


def _joined_offsets(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.concatenate([np.diff(part) for part in parts]))]).astype(np.int64)


class _Spool:
    """Rows that come bit by bit, kept in memory while they fit there, or in ``path`` from the start."""

    def __init__(self, path: Path | None = None) -> None:
        self._parts: list[NDArray[np.float32]] = []
        self._bytes = 0
        self._limit = MEMORY_BYTES if path is None else 64 << 20
        self._file: IO[bytes] | None = None if path is None else path.open("w+b")
        self._n_rows = self._width = 0

    def append(self, rows: NDArray[np.float32]) -> None:
        self._n_rows, self._width = self._n_rows + len(rows), rows.shape[1]
        self._parts.append(rows)
        self._bytes += rows.nbytes
        if self._bytes > self._limit:
            self._spill()

    def _spill(self) -> None:
        self._file = self._file or tempfile.TemporaryFile(prefix="kloc-rows-")  # noqa: SIM115 - the map keeps it
        for part in self._parts:
            self._file.write(np.ascontiguousarray(part).data)
        self._parts, self._bytes = [], 0

    def whole(self) -> NDArray[np.float32]:
        if self._file is None:
            return np.concatenate(self._parts)
        self._spill()
        self._file.flush()
        return np.memmap(self._file, np.float32, "r", shape=(self._n_rows, self._width))
