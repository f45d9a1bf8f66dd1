"""Features that somebody else extracted: checked, given a place in time, and put into a bank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kloc.errors import FormatError, UsageError
from kloc.features.bank import FeatureBank, VideoFeatures, cleaned
from kloc.features.settings import FeatureSettings
from kloc.records import Grid

#: Widths that backbones have; a first dimension of such a size is suspicious, a second one is not.
_USUAL_WIDTHS = frozenset({400, 500, 512, 768, 1024, 1280, 1408, 1536, 2048, 2304, 3072, 4096})


def load_array(path: Path, *, mapped: bool = False) -> NDArray[np.floating[Any]]:
    """A feature array from a ``.npy`` file, float16/32/64 ``(T, D)``. Raises :class:`FormatError` otherwise.

    ``mapped``: its numbers are not read before somebody looks at them.
    """
    try:
        array = np.load(path, "r" if mapped else None, allow_pickle=False)
    except FileNotFoundError:
        raise FormatError(f"{path}: no such file") from None
    except (ValueError, EOFError, OSError) as error:
        raise FormatError(f"{path}: not a plain .npy array ({error}); save it with numpy.save") from None
    if not isinstance(array, np.ndarray):
        raise FormatError(f"{path}: holds several arrays; save the features alone with numpy.save")
    if array.ndim != 2 or array.dtype not in (np.float16, np.float32, np.float64):
        raise FormatError(f"{path}: {array.dtype} of shape {array.shape}; features are float (T, D), time first")
    return array


def import_settings(
    dim: int, *, fps: float, stride: float, window: float | None = None, offset: float | None = None, name: str
) -> FeatureSettings:
    """Settings of imported features: ``fps`` of the decoded video; ``stride``, ``window`` and ``offset`` in its frames.

    ``window`` is the clip one feature has seen (default: the stride), ``offset`` the frames from the video's start
    to the centre of feature 0 (default: half the window, as in ``(i * stride + window / 2) / fps``).
    """
    window = stride if window is None else window
    offset = window / 2 if offset is None else offset
    return FeatureSettings(
        backbone=name, weights_id="unknown", dim=dim, fps=fps, stride=stride, window=window, offset=offset
    )


def import_features(
    bank: FeatureBank,
    video_id: str,
    array: NDArray[np.floating[Any]],
    *,
    start: float = 0.0,
    end: float | None = None,
    source: str = "array",
) -> dict[str, Any]:
    """Put a ``(T, D)`` array into a bank of imported features; no video has to be at hand.

    ``start`` and ``end`` are the video's range in seconds; without ``end`` it is where the last window ends.
    Returns the manifest's info; its ``warning`` says so where features and video differ in length by more than
    5 % and 2 s. Raises :class:`FormatError` for an array that is transposed or of another width, and
    :class:`UsageError` for a bank whose features kloc extracted itself.
    """
    settings = bank.settings
    if not settings.imported:
        raise UsageError(f"{bank.folder}: holds features that kloc extracted; import into another feature folder")
    grid, end, warning = place(video_id, array.shape, settings, start=start, end=end, source=source)
    provenance = {"decoder": "imported", "source": source, "video_sha256": None, "n_frames": None}
    info = bank.write(video_id, array, grid, start=start, end=end, provenance=provenance)
    return {**info, "warning": warning} if warning else info


def place(
    video_id: str,
    shape: tuple[int, ...],
    settings: FeatureSettings,
    *,
    start: float = 0.0,
    end: float | None = None,
    source: str = "array",
) -> tuple[Grid, float, str]:
    """Where in time the rows of an imported array lie, where its video ends, and a warning or "".

    Arguments and errors as of :func:`import_features`.
    """
    if len(shape) != 2:
        raise FormatError(f"{video_id} ({source}): shape {shape}; features are (T, D), time first")
    _refuse_transposed(video_id, shape, settings, None if end is None else end - start, source)
    step, window = settings.stride / settings.fps, settings.window / settings.fps
    grid = Grid(start + settings.offset / settings.fps, step, window, shape[0])
    covered = grid.start + (grid.count - 1) * step + window / 2
    if end is None:
        return grid, covered, ""
    if abs(covered - end) > max(2.0, 0.05 * (end - start)):
        return grid, end, f"features end at {covered:.1f} s, the video at {end:.1f} s; check fps and stride"
    return grid, end, ""


def read_features(
    path: Path, video_id: str, settings: FeatureSettings, *, start: float = 0.0, end: float | None = None
) -> tuple[VideoFeatures, str]:
    """Features of a ``.npy`` file as a bank would give them back, without a bank, and a warning or "".

    Arguments and errors as of :func:`import_features`, :class:`VideoError` where too many rows are NaN or infinite.
    """
    array = load_array(path)
    grid, end, warning = place(video_id, array.shape, settings, start=start, end=end, source=path.name)
    clean, _ = cleaned(video_id, array)
    return VideoFeatures(video_id, clean.astype(np.float32), grid, start, end), warning


def _refuse_transposed(
    video_id: str, shape: tuple[int, ...], settings: FeatureSettings, duration: float | None, source: str
) -> None:
    rows, columns = shape
    hint = f"{video_id} ({source}): shape {shape} looks transposed; features are (T, D), time first: save array.T"
    if columns != settings.dim:
        if rows == settings.dim:
            raise FormatError(hint)
        raise FormatError(f"{video_id} ({source}): features are {columns} wide, this bank's are {settings.dim}")
    if rows in _USUAL_WIDTHS and columns not in _USUAL_WIDTHS and duration is not None:
        expected = duration * settings.fps / settings.stride
        if abs(columns - expected) < 0.1 * expected < abs(rows - expected):
            raise FormatError(hint)


def guess_width(shapes: list[tuple[int, int]], source: str) -> int:
    """The width that a set of ``(T, D)`` arrays shares.

    Raises :class:`FormatError` where they share none; where they share their first dimension instead, the
    message says that they are transposed.
    """
    widths = {columns for _, columns in shapes}
    if len(widths) == 1:
        width = widths.pop()
        heights = {rows for rows, _ in shapes}
        if len(heights) == 1 and heights <= _USUAL_WIDTHS and width not in _USUAL_WIDTHS:
            raise FormatError(
                f"{source}: arrays of shape {shapes[0]} look transposed; features are (T, D), time first: save array.T"
            )
        return width
    if len({rows for rows, _ in shapes}) == 1:
        raise FormatError(
            f"{source}: all arrays have {shapes[0][0]} rows and differ in columns: they look transposed; "
            "features are (T, D), time first: save array.T"
        )
    raise FormatError(f"{source}: arrays of different widths ({sorted(widths)[:4]}); import one kind of feature only")
