"""Checkpoints: read without running anything in them, checked key by key, known by their hash."""

from __future__ import annotations

import pickle
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from kloc.errors import FormatError, UsageError
from kloc.files import sha256_file

#: Wrappers that training scripts leave around a network's own names.
_PREFIXES = ("module.", "base_model.", "model.")


def load_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.pth``/``.pt``/``.pth.tar`` or ``.safetensors`` file by name, wrappers removed.

    Pickled code never runs (``weights_only=True``). Raises :class:`UsageError` where there is no such file and
    :class:`FormatError` where it is no checkpoint of plain tensors.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            value: object = load_file(path)
        else:
            value = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(
            f"{path}: not a checkpoint of plain tensors ({reason[:120]}); save the network's state_dict()"
        ) from None
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(value, dict) and isinstance(value.get(wrapper), dict):
            value = value[wrapper]
    if not isinstance(value, dict):
        raise FormatError(f"{path}: holds a {type(value).__name__}; save the network's state_dict()")
    state = {str(name): tensor for name, tensor in value.items() if isinstance(tensor, Tensor)}
    for prefix in _PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def check_keys(
    path: Path | str, found: Collection[str], wanted: Collection[str], ignored: Collection[str] = ()
) -> None:
    """Raise :class:`FormatError` naming what is missing and what is unexpected, unless ``found`` is ``wanted``.

    Names in ``ignored`` may be there or not.
    """
    parts = []
    for what, names in (("missing", set(wanted) - set(found)), ("unexpected", set(found) - set(wanted))):
        if some := sorted(names - set(ignored)):
            parts.append(f"{len(some)} {what} ({', '.join(some[:3])}{', ...' if len(some) > 3 else ''})")
    if parts:
        raise FormatError(f"{path}: weights of another network: {'; '.join(parts)}")


def weights_id(path: Path) -> str:
    """What features say of the weights they were made with: the first 16 digits of the file's SHA-256."""
    return sha256_file(path)[:16]
