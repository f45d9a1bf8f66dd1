"""Predictions on disk: packed shards that selection streams head by head.

========================  =================  ============================================================
column                    dtype              per row
========================  =================  ============================================================
``segments``              float32 ``(2,)``   start, end of a proposal (float16 is off by 1/16 s after 64 s)
``actionness``            float16            of the same proposal
``levels.I``              float16 ``(C,)``   class scores at one position of the I-th level
``detections.label``      int32              index into the classes
``detections.start``      float64            ``detections.end``, ``detections.score`` likewise: exact
========================  =================  ============================================================

Written in the pool's order the files are the same bytes whatever made the predictions in parallel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from kloc.errors import KlocError, MismatchError
from kloc.records import Detection, Level, Prediction
from kloc.shards import Block, Column, ShardReader, ShardWriter

Activation = Literal["softmax", "sigmoid"]
#: What a strategy may declare to read.
HEADS: frozenset[str] = frozenset({"segments", "actionness", "levels", "detections"})

_DETECTIONS = {"label": "<i4", "start": "<f8", "end": "<f8", "score": "<f8"}
_COLUMNS: dict[str, Column] = {
    "segments": Column("<f4", (2,), "proposals"),
    "actionness": Column("<f2", (), "proposals"),
    **{f"detections.{name}": Column(dtype, (), "detections") for name, dtype in _DETECTIONS.items()},
}


class LevelInfo(NamedTuple):
    """One level all predictions of a shard share: its column, name, number of scores, background column."""

    column: str
    name: str
    width: int
    background: int | None


class PredictionWriter:
    """Writes the predictions of one model; the folder appears once all are written (see `ShardWriter`).

    Args:
        folder: the shard to make.
        classes: the model's classes, in the order of its scores.
        activation: how class scores came about.
        meta: JSON-able provenance: round, model fingerprint, features' fingerprint...
        replace: whether predictions already there give way.

    Raises:
        UsageError: the folder exists and ``replace`` is false.
    """

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        activation: Activation,
        meta: Mapping[str, Any] | None = None,
        *,
        replace: bool = False,
    ) -> None:
        self.classes = tuple(classes)
        self.activation = activation
        self.meta = dict(meta or {})
        self._label = {name: index for index, name in enumerate(self.classes)}
        self._levels: dict[str, LevelInfo] = {}
        self._shard = ShardWriter(folder, _COLUMNS, replace=replace)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._shard.abort()

    def __len__(self) -> int:
        return len(self._shard)

    def write(self, prediction: Prediction, identifier: str | None = None) -> None:
        """Append one prediction, under its video id or another (a clip's).

        Raises:
            MismatchError: its classes, activation or levels are not those of the shard, or a head has a wrong shape.
        """
        key = prediction.video_id if identifier is None else identifier
        if prediction.classes != self.classes or prediction.activation != self.activation:
            raise MismatchError(
                f"the prediction of {key!r} has other classes or another activation than {self._shard.folder}; "
                "predict all videos with one model"
            )
        columns: dict[str, NDArray[Any]] = {
            "segments": np.asarray(prediction.segments, np.float64).reshape(-1, 2),
            "actionness": np.asarray(prediction.actionness),
        }
        for level in prediction.levels:
            columns[self._level(key, level).column] = level.scores
        columns |= self._detections(key, prediction.detections)
        self._shard.append(key, columns)

    def _level(self, key: str, level: Level) -> LevelInfo:
        if level.scores.ndim != 2:
            raise MismatchError(f"level {level.name!r} of {key!r} has shape {level.scores.shape}, not (T, C)")
        width = level.scores.shape[1]
        info = self._levels.get(level.name)
        if info is None:
            info = LevelInfo(f"levels.{len(self._levels)}", level.name, width, level.background)
            self._shard.add_column(info.column, Column("<f2", (width,)))
            self._levels[level.name] = info
        if (info.width, info.background) != (width, level.background):
            raise MismatchError(
                f"level {level.name!r} of {key!r} has {width} scores and background {level.background}, others "
                f"{info.width} and {info.background}; predict all videos with one model"
            )
        return info

    def _detections(self, key: str, detections: Sequence[Detection]) -> dict[str, NDArray[Any]]:
        try:
            label = [self._label[detection.label] for detection in detections]
        except KeyError as error:
            raise MismatchError(f"a detection in {key!r} has the unknown class {error.args[0]!r}") from None
        return {
            "detections.label": np.array(label, "<i4"),
            "detections.start": np.array([detection.start for detection in detections], "<f8"),
            "detections.end": np.array([detection.end for detection in detections], "<f8"),
            "detections.score": np.array([detection.score for detection in detections], "<f8"),
        }

    def close(self) -> None:
        """Finish the shard and give it its name.

        Raises:
            KlocError: a video was written twice.
        """
        self._shard.meta = {
            "kind": "predictions",
            "classes": list(self.classes),
            "activation": self.activation,
            "levels": [info._asdict() for info in self._levels.values()],
            "meta": self.meta,
        }
        self._shard.close()


class PredictionReader:
    """Reads predictions by id, one after the other, or head by head in blocks.

    Raises:
        KlocError: there are no (complete) predictions at ``folder``.
    """

    def __init__(self, folder: Path) -> None:
        self.shard = ShardReader(folder)
        facts = self.shard.meta
        if facts.get("kind") != "predictions":
            raise KlocError(f"{folder} holds no predictions; point to what the predict stage wrote")
        self.classes: tuple[str, ...] = tuple(facts["classes"])
        self.activation: Activation = facts["activation"]
        self.meta: dict[str, Any] = facts["meta"]
        self.levels: tuple[LevelInfo, ...] = tuple(LevelInfo(**level) for level in facts["levels"])

    def __len__(self) -> int:
        return len(self.shard)

    def __contains__(self, identifier: str) -> bool:
        return identifier in self.shard

    def ids(self) -> Iterator[str]:
        """All ids in the order of writing."""
        return iter(self.shard)

    def columns(self, heads: Iterable[str]) -> tuple[str, ...]:
        """The columns behind some of :data:`HEADS`.

        Raises:
            KlocError: there is no such head.
        """
        result: list[str] = []
        for head in heads:
            if head == "levels":
                result += [info.column for info in self.levels]
            elif head == "detections":
                result += [f"detections.{name}" for name in _DETECTIONS]
            elif head in HEADS:
                result.append(head)
            else:
                raise KlocError(f"predictions have no head {head!r}; they have {', '.join(sorted(HEADS))}")
        return tuple(result)

    def get(self, identifier: str) -> Prediction:
        """The whole prediction of one video.

        Raises:
            KlocError: there is none.
        """
        columns = self.shard.get(identifier)
        levels = tuple(
            Level(info.name, columns[info.column].astype(np.float32), info.background)
            for info in self.levels
            if info.column in columns
        )
        rows = zip(*(columns[f"detections.{name}"].tolist() for name in _DETECTIONS), strict=True)
        return Prediction(
            video_id=identifier,
            segments=columns["segments"].astype(np.float64),
            actionness=columns["actionness"].astype(np.float32),
            levels=levels,
            activation=self.activation,
            classes=self.classes,
            detections=tuple(Detection(start, end, self.classes[label], score) for label, start, end, score in rows),
        )

    def __iter__(self) -> Iterator[Prediction]:
        return map(self.get, self.ids())

    def blocks(
        self, identifiers: Iterable[str] | None, heads: Iterable[str], block_rows: int = 262_144
    ) -> Iterator[Block]:
        """Stream heads in bounded memory; the blocks' columns are named as in the table above."""
        return self.shard.blocks(identifiers, self.columns(heads), block_rows)

    def detections(self, identifiers: Iterable[str] | None = None) -> dict[str, tuple[Detection, ...]]:
        """Detections by video, as evaluation takes them; by default of all videos."""
        keys = list(self.ids() if identifiers is None else identifiers)
        result: dict[str, tuple[Detection, ...]] = {}
        for block in self.blocks(keys, ["detections"]):
            label, start, end, score = (block.arrays[f"detections.{name}"].tolist() for name in _DETECTIONS)
            bounds = block.offsets["detections.label"].tolist()
            for position, low, high in zip(block.positions.tolist(), bounds[:-1], bounds[1:], strict=True):
                result[keys[position]] = tuple(
                    Detection(start[i], end[i], self.classes[label[i]], score[i]) for i in range(low, high)
                )
        return result
