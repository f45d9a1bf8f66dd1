"""Networks that turn frames into features, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kloc.errors import UsageError
from kloc.registry import Registry

#: Frames that go through the network together. Fixed, so that features never depend on how much is at hand;
#: small, so that what one layer writes is still in the cache when the next one reads it.
BATCH = 4


@runtime_checkable
class Backbone(Protocol):
    """Frames in, one feature vector per frame out."""

    name: str
    dim: int
    #: Pixels of the square that the network sees, and of the frame's short side it is cut from.
    input_size: int
    short_side: int
    #: First 16 hex digits of the weights' SHA-256, or "random-SEED".
    weights_id: str
    #: Where the weights come from, for people: "imagenet", a file's name, "random".
    weights_source: str

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 RGB ``(n, H, W, 3)`` -> float32 ``(n, dim)``."""
        ...


Factory = Callable[[Path | None, torch.device, int | None], Backbone]
#: Each is a factory ``(weights, device, random_seed) -> Backbone``; ours are imported only when somebody asks for one,
#: other people's plug in by the entry-point group ``kloc.backbones``.
BACKBONES: Registry[Factory] = Registry(
    "backbone",
    ("__call__",),
    "kloc.backbones",
    {"efficientnet-lite0": "kloc.features.efficientnet_lite", "inception-v3": "kloc.features.inception"},
)

register = BACKBONES.register


def backbone_names() -> tuple[str, ...]:
    """All backbones, plug-ins included."""
    return BACKBONES.names()


def make_backbone(
    name: str, weights: Path | None = None, device: str = "auto", *, random_seed: int | None = None
) -> Backbone:
    """The backbone ``name`` on ``device`` ("auto", "cpu", "cuda", "cuda:1").

    ``weights`` is a checkpoint file; without one the backbone's own default weights are used. ``random_seed``
    asks for random weights instead, which only tests of shapes and speed want. Raises :class:`UsageError` for an
    unknown name or device, :class:`FormatError` for a checkpoint of another network, :class:`KlocError` where
    default weights cannot be had or a plug-in cannot be loaded.
    """
    factory = BACKBONES.get(name)
    if weights is not None and random_seed is not None:
        raise UsageError("give either a weights file or a random seed, not both")
    return factory(weights, _device(device), random_seed)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"no device {name!r}; use auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device on this machine; use --device cpu")
    return device


class TorchBackbone:
    """A backbone around a torch module that maps normalised ``(n, 3, S, S)`` to ``(n, dim)``.

    Pixels become ``(value - mean) / std`` per channel, in RGB order, or in BGR order where ``bgr``.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        dim: int,
        input_size: int,
        short_side: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        weights_id: str,
        weights_source: str,
        device: torch.device,
        bgr: bool = False,
    ) -> None:
        self.network = network.eval().to(device)
        self.name, self.dim, self.input_size, self.short_side = name, dim, input_size, short_side
        self.weights_id, self.weights_source = weights_id, weights_source
        self.device, self.bgr = device, bgr
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, 3, 1, 1)

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 RGB ``(n, H, W, 3)`` -> float32 ``(n, dim)``; frames of another size are fitted first."""
        out = np.empty((len(frames), self.dim), dtype=np.float32)
        with torch.inference_mode():
            for low in range(0, len(frames), BATCH):
                batch = fit(frames[low : low + BATCH], self.input_size, self.short_side)
                out[low : low + BATCH] = self.network(self.normalised(batch)).float().cpu().numpy()
        return out

    def normalised(self, frames: NDArray[np.uint8]) -> Tensor:
        """uint8 RGB ``(n, S, S, 3)`` -> what the network sees, float32 ``(n, 3, S, S)``, channels last."""
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device).permute(0, 3, 1, 2)
        if self.bgr:
            pixels = pixels.flip(1)
        values = pixels.to(torch.float32, memory_format=torch.channels_last)
        return values.sub_(self._mean).div_(self._std)


def fit(frames: NDArray[np.uint8], size: int, short_side: int) -> NDArray[np.uint8]:
    """Frames as ``(n, size, size, 3)``: short side resized to ``short_side`` if need be, then the centre cut out.

    A decoder that already delivered the right short side costs nothing but the crop.
    """
    height, width = frames.shape[1:3]
    if (height, width) == (size, size):
        return frames
    if min(height, width) != short_side:
        scale = short_side / min(height, width)
        shape = (max(short_side, round(height * scale)), max(short_side, round(width * scale)))
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
        pixels = torch.nn.functional.interpolate(pixels, shape, mode="bilinear", antialias=True)
        frames = pixels.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        height, width = frames.shape[1:3]
    top, left = (height - size) // 2, (width - size) // 2
    return frames[:, top : top + size, left : left + size]
