"""What a command draws, written where it was told to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kloc.errors import KlocError
from kloc.files import atomic_write, write_text
from kloc.report.plots import Drawing, to_png


def write_drawings(folder: Path, drawings: Mapping[str, Drawing]) -> None:
    """Write each drawing as ``NAME.svg`` and ``NAME.png``. Raises KlocError where that cannot be done."""
    try:
        for name, drawing in drawings.items():
            write_text(folder / f"{name}.svg", drawing)
            with atomic_write(folder / f"{name}.png") as stream:
                stream.write(to_png(drawing))
    except OSError as error:
        raise KlocError(f"{folder}: cannot be written: {error.strerror}") from None


def write_page(path: Path, page: str) -> None:
    """Write a page. Raises KlocError where that cannot be done."""
    try:
        write_text(path, page)
    except OSError as error:
        raise KlocError(f"{path}: cannot be written: {error.strerror}") from None
