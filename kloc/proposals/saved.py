"""Settings checked by name, and models on disk: JSON beside safetensors, never pickle.

Generators and localizers keep their state in the same way, so that a folder says what it holds.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import load, save

from kloc.errors import FormatError, UsageError
from kloc.files import atomic_write

S = TypeVar("S")
Tensors = dict[str, NDArray[Any]]


def build_settings(cls: type[S], values: Mapping[str, Any], owner: str) -> S:
    """``cls(**values)`` for a settings dataclass.

    Raises UsageError for a field that does not exist (naming the likely one) and for a value that
    the dataclass refuses; ``owner`` is named in the message.
    """
    known = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(known)}"
            raise UsageError(f"{owner} has no setting {key!r}; {hint}")
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{owner}: {error}") from error


def read_model_file(path: Path) -> dict[str, Any]:
    """A saved model's JSON object; raises FormatError if it is missing or does not name its model."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no saved model here; train one first") from error
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: not readable as a saved model ({error}); train it again") from error
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise FormatError(f"{path}: not a saved model of kloc; train it again")
    return value


def saved_settings(cls: type[S], saved: Mapping[str, Any], path: Path) -> S:
    """The settings a model was saved with; raises FormatError where this kloc does not know them."""
    try:
        return build_settings(cls, saved["settings"], str(path))
    except (KeyError, TypeError, UsageError) as error:
        raise FormatError(f"{path}: saved by another version of kloc ({error}); train it again") from error


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as safetensors, whole or not at all; equal arrays give equal bytes."""
    content = save({name: np.ascontiguousarray(value) for name, value in sorted(tensors.items())})
    with atomic_write(path) as stream:
        stream.write(content)


def read_tensors(path: Path, names: tuple[str, ...]) -> Tensors:
    """The arrays of a safetensors file; raises FormatError if it is damaged or one of ``names`` is missing."""
    try:
        tensors = load(path.read_bytes())
    except (OSError, safetensors.SafetensorError) as error:
        raise FormatError(f"{path}: weights not readable ({error}); train the model again") from error
    missing = [name for name in names if name not in tensors]
    if missing:
        raise FormatError(f"{path}: weights lack {', '.join(missing)}; train the model again")
    return tensors
