"""The baseline of ``extraction``: how features are usually extracted, as a program of its own.

``python -m benchmarks.usual_loop VIDEOS OUT FPS {contiguous|channels_last}``: one process with torch's and
decord's default threads; decord reads the wanted frames 32 at a time, torch resizes and crops them, the plain
eager float32 network (EfficientNet-Lite0: convolution, normalisation, ReLU6) runs, numpy saves.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import decord
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kloc.features.efficientnet_lite import _BLOCKS, embedded_weights

BATCH = 32


class Unit(nn.Module):
    """Convolution with TensorFlow's SAME padding, normalisation, and ReLU6 where asked."""

    def __init__(self, state: dict[str, Tensor], conv: str, norm: str, stride: int, groups: int, act: bool) -> None:
        super().__init__()
        out, into, size, _ = state[f"{conv}.weight"].shape
        total = size - stride if stride > 1 else size - 1
        self.pad = (total // 2, total - total // 2) * 2
        even = self.pad[0] == self.pad[1]
        padding = self.pad[0] if even else 0
        self.conv = nn.Conv2d(into * groups, out, size, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out, eps=1e-3)
        self.act: nn.Module = nn.ReLU6(inplace=True) if act else nn.Identity()
        self.extra = not even
        self.conv.load_state_dict({"weight": state[f"{conv}.weight"]})
        self.norm.load_state_dict({k.rsplit(".", 1)[1]: v for k, v in state.items() if k.startswith(f"{norm}.")})

    def forward(self, x: Tensor) -> Tensor:
        if self.extra:
            x = F.pad(x, self.pad)
        out: Tensor = self.act(self.norm(self.conv(x)))
        return out


class Residual(nn.Module):
    """Expand, convolve depthwise, project; add the input where shapes allow."""

    def __init__(self, units: list[Unit], residual: bool) -> None:
        super().__init__()
        self.units, self.residual = nn.Sequential(*units), residual

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.units(x)
        return out + x if self.residual else out


def plain_network() -> nn.Module:
    """EfficientNet-Lite0 as it is usually written, up to the pooled features."""
    state = torch.load(embedded_weights(), weights_only=True)
    layers: list[nn.Module] = [Unit(state, "_conv_stem", "_bn0", 2, 1, True)]
    width = 32
    for index, block in enumerate(_BLOCKS):
        here, wide = f"_blocks.{index}.", width * block.ratio
        units = [Unit(state, f"{here}_expand_conv", f"{here}_bn0", 1, 1, True)] if block.ratio > 1 else []
        units.append(Unit(state, f"{here}_depthwise_conv", f"{here}_bn1", block.stride, wide, True))
        units.append(Unit(state, f"{here}_project_conv", f"{here}_bn2", 1, 1, False))
        layers.append(Residual(units, block.stride == 1 and width == block.width))
        width = block.width
    layers += [Unit(state, "_conv_head", "_bn1", 1, 1, True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers).eval()


def wanted_frames(reader: decord.VideoReader, fps: float) -> list[int]:
    """The frames nearest to the middle of every ``1 / fps`` seconds."""
    # decord's times are float32: the tolerance keeps rounding from adding a sample at the very end.
    spans = reader.get_frame_timestamp(list(range(len(reader))))
    duration = float(spans[-1][1])
    times = (np.arange(math.ceil(duration * fps - 0.5 - 1e-3)) + 0.5) / fps
    starts = spans[:, 0].astype(np.float64)
    return [int(np.abs(starts - time).argmin()) for time in times]


def preprocess(frames: np.ndarray, size: int = 224, short_side: int = 256) -> Tensor:
    """Resize the short side, cut the centre, scale: ``(n, H, W, 3)`` uint8 -> ``(n, 3, size, size)``."""
    x = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    scale = short_side / min(x.shape[2:])
    shape = [round(x.shape[2] * scale), round(x.shape[3] * scale)]
    x = F.interpolate(x, shape, mode="bilinear", antialias=True)
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    return (x[:, :, top : top + size, left : left + size] - 127) / 128


def main(videos: Path, out: Path, fps: float, layout: str) -> None:
    """Extract every ``.mp4`` of a folder."""
    memory_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    network = plain_network().to(memory_format=memory_format)
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(videos.glob("*.mp4")):
        reader = decord.VideoReader(str(path))
        indices = wanted_frames(reader, fps)
        parts = []
        with torch.no_grad():
            for low in range(0, len(indices), BATCH):
                x = preprocess(reader.get_batch(indices[low : low + BATCH]).asnumpy())
                parts.append(network(x.contiguous(memory_format=memory_format)))
        np.save(out / f"{path.stem}.npy", torch.cat(parts).numpy().astype(np.float16))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
