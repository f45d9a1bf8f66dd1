"""Where the shipped pages and templates are: inside the wheel, or in the checkout for an editable install."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from kloc.errors import KlocError


def folder(name: str) -> Path:
    """The folder ``hits`` or ``dataset_cards``.

    Hatchling's force-include puts them into a wheel as ``kloc/_hits`` and ``kloc/_dataset_cards``, but not into
    the editable install that ``uv run`` makes; there the checkout's own folder beside the package is used.
    """
    package = Path(str(files("kloc")))
    for candidate in (package / f"_{name}", package.parent / name):
        if candidate.is_dir():
            return candidate
    raise KlocError(
        f"this installation of kloc lacks its folder {name!r}; reinstall it (pip install --force-reinstall kloc)"
    )
