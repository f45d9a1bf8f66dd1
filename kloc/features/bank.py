"""The feature bank on disk: one ``.npy`` of float16 ``(T, D)`` per video, and the settings all of them share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kloc.errors import FormatError, KlocError, MismatchError, UsageError, VideoError
from kloc.features.settings import FeatureSettings
from kloc.files import atomic_write, safe_name, write_json
from kloc.records import Grid

SETTINGS_FILE = "bank.json"
#: A video in which more of its feature rows are NaN or infinite is not used at all.
MAX_BAD_ROWS = 0.05
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class VideoFeatures:
    """Features of one video: float32 ``(T, D)``, where in time their rows lie, and the video's range in seconds."""

    video_id: str
    features: NDArray[np.float32]
    grid: Grid
    start: float
    end: float

    @property
    def duration(self) -> float:
        return self.end - self.start


class FeatureBank:
    """A folder of features that were all made with the same settings.

    ``FeatureBank(folder, settings)`` makes the bank, or opens the one that is there and raises
    :class:`MismatchError`, naming the setting, where it was made with others. ``FeatureBank(folder)`` opens
    an existing bank as it is and raises :class:`UsageError` where there is none.
    """

    def __init__(self, folder: Path, settings: FeatureSettings | None = None) -> None:
        self.folder = Path(folder)
        stored = self._stored()
        if stored is None:
            if settings is None:
                raise UsageError(f"{self.folder}: no feature bank here (no {SETTINGS_FILE}); run `kloc extract` first")
            write_json(self.folder / SETTINGS_FILE, settings.to_json())
            stored = settings
        elif settings is not None and (different := settings.differences(stored)):
            raise MismatchError(
                f"{self.folder}: these features were made with other settings ({'; '.join(different)}); "
                "name another feature folder or go back to its settings"
            )
        self.settings: FeatureSettings = stored

    def _stored(self) -> FeatureSettings | None:
        path = self.folder / SETTINGS_FILE
        try:
            return FeatureSettings.from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, AttributeError, FormatError, UsageError) as error:
            raise FormatError(f"{path}: not the settings of a feature bank: {error}") from None

    def path(self, video_id: str) -> Path:
        """Where the features of a video lie: ``<first two letters>/<safe id>.npy``."""
        name = safe_name(video_id)
        return self.folder / name[:2] / f"{name}.npy"

    def write(
        self,
        video_id: str,
        features: NDArray[np.floating[Any]],
        grid: Grid,
        *,
        start: float,
        end: float,
        provenance: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write ``(T, D)`` features of a video whose frames span ``[start, end)`` seconds; returns the manifest's info.

        NaN and infinite numbers become 0 and their rows are counted. Raises :class:`VideoError` where more than
        5 % of the rows have one, :class:`MismatchError` for another width or length than settings and grid say.
        ``provenance`` (``video_sha256``, ``decoder``, ``n_frames``...) goes into the info as it is.
        """
        if features.ndim != 2 or features.shape != (grid.count, self.settings.dim):
            raise MismatchError(
                f"{video_id}: features have shape {features.shape}, expected ({grid.count}, {self.settings.dim})"
            )
        clean, bad_rows = cleaned(video_id, features)
        path = self.path(video_id)
        with atomic_write(path) as stream:
            np.save(stream, clean, allow_pickle=False)
        used = self.settings
        return {
            "video_id": video_id,
            "file": path.relative_to(self.folder).as_posix(),
            "settings": used.fingerprint,
            "backbone": used.backbone,
            "weights_id": used.weights_id,
            "fps": used.fps,
            "window": used.window,
            "stride": used.stride,
            "offset": used.offset,
            "dim": used.dim,
            "dtype": "float16",
            "grid": asdict(grid),
            "start": float(start),
            "end": float(end),
            "duration": float(end) - float(start),
            "bad_rows": bad_rows,
            "status": "ok",
            **(provenance or {}),
        }

    def read(self, video_id: str, info: Mapping[str, Any]) -> VideoFeatures:
        """Features of a video as ``info``, the manifest's row, describes them.

        Raises :class:`MismatchError` where they were made with other settings or the file has another shape,
        :class:`KlocError` where the file is missing or damaged.
        """
        if info["settings"] != self.settings.fingerprint:
            raise MismatchError(
                f"{video_id}: its features were made with other settings than {self.folder}; run `kloc extract` again"
            )
        path = self.path(video_id)
        try:
            array = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise KlocError(f"{video_id}: no features at {path}; run `kloc extract` again") from None
        except (ValueError, EOFError, OSError) as error:
            raise KlocError(f"{path}: damaged ({error}); delete it and run `kloc extract` again") from None
        grid = Grid(**info["grid"])
        if array.shape != (grid.count, self.settings.dim):
            raise MismatchError(
                f"{path}: shape {array.shape}, the manifest says ({grid.count}, {self.settings.dim}); extract it again"
            )
        return VideoFeatures(video_id, array.astype(np.float32), grid, float(info["start"]), float(info["end"]))


def cleaned(video_id: str, features: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float16], int]:
    """Features as float16 without NaN or infinity, and how many rows had one.

    Numbers beyond float16's range (65504) are clipped to it. Raises :class:`VideoError` where more than 5 % of
    the rows are bad, or there is no row.
    """
    if len(features) == 0:
        raise VideoError(f"{video_id}: no features; the video has no readable frame")
    finite = np.isfinite(features)
    bad_rows = int(np.count_nonzero(~finite.all(axis=1)))
    if bad_rows > MAX_BAD_ROWS * len(features):
        raise VideoError(
            f"{video_id}: {bad_rows} of {len(features)} feature rows are NaN or infinite; check the backbone's weights"
        )
    filled = features if bad_rows == 0 else np.where(finite, features, 0)
    return np.clip(filled, -_LARGEST, _LARGEST).astype(np.float16), bad_rows
