"""Inception-V3 up to pool3, 2048-d, the backbone of P2 (there trained on Kinetics), through torchvision's network.

Two checkpoint layouts: torchvision's own, and the one of the TSN and SSN authors, whose Inception-V3 trained on
Kinetics is the closest that is public to P2's. Theirs differs from torchvision's network in more than names:
convolutions have a bias, normalisation has eps 1e-5, some 1x7 and 7x1 convolutions stand in the other order,
the last block pools by maximum, and pixels are BGR in 0..255 minus a mean.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kloc.errors import FormatError, KlocError
from kloc.features.backbone import Backbone, TorchBackbone, register
from kloc.features.fused import FusedConv, fold
from kloc.features.weights import check_keys, load_state, weights_id

NAME = "inception-v3"
DIM = 2048
INPUT_SIZE = 299
SHORT_SIDE = 342
_TORCHVISION_EPS, _TSN_EPS = 1e-3, 1e-5
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


class MaxPoolBlock(nn.Module):
    """The last block as TSN's network has it: its pooling branch takes the maximum, torchvision's the mean."""

    branch1x1: nn.Module
    branch3x3_1: nn.Module
    branch3x3_2a: nn.Module
    branch3x3_2b: nn.Module
    branch3x3dbl_1: nn.Module
    branch3x3dbl_2: nn.Module
    branch3x3dbl_3a: nn.Module
    branch3x3dbl_3b: nn.Module
    branch_pool: nn.Module

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        for name, child in block.named_children():
            setattr(self, name, child)

    def forward(self, x: Tensor) -> Tensor:
        middle, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        parts = [
            self.branch1x1(x),
            self.branch3x3_2a(middle),
            self.branch3x3_2b(middle),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(F.max_pool2d(x, kernel_size=3, stride=1, padding=1)),
        ]
        return torch.cat(parts, 1)


def plain_network() -> nn.Module:
    """torchvision's network without weights, auxiliary classifier or input transform; its output is pool3."""
    from torchvision.models import inception_v3

    network: nn.Module = inception_v3(weights=None, aux_logits=False, transform_input=False, init_weights=False)
    network.fc = nn.Identity()
    return network.eval()


def units(network: nn.Module) -> list[str]:
    """Names of the network's convolution-normalisation-ReLU units, in order."""
    return [name.removesuffix(".conv") for name, module in network.named_modules() if name.endswith(".conv")]


def fused_network(network: nn.Module, state: dict[str, Tensor], eps: float) -> nn.Module:
    """``network`` with every unit replaced by one fused convolution made from ``state`` (torchvision's names).

    A unit's kernel comes from its weight, so that a checkpoint with 7x1 where torchvision has 1x7 works.
    """
    for name in units(network):
        plain = network.get_submodule(f"{name}.conv")
        assert isinstance(plain, nn.Conv2d)
        weight = state[f"{name}.conv.weight"]
        gamma, beta, mean, variance = (state[f"{name}.bn.{part}"] for part in _NORM_PARTS)
        folded, bias = fold(weight, gamma, beta, mean, variance, eps, state.get(f"{name}.conv.bias"))
        padding = (int(plain.padding[0]), int(plain.padding[1]))
        if tuple(weight.shape[2:]) != plain.kernel_size:
            padding = padding[::-1]
        parent, _, child = name.rpartition(".")
        stride = (int(plain.stride[0]), int(plain.stride[1]))
        unit = FusedConv(folded, bias, stride=stride, padding=padding, activation="relu")
        setattr(network.get_submodule(parent), child, unit)
    return network


def tsn_names() -> dict[str, str]:
    """torchvision's unit name -> the TSN layout's, whose tensors are ``<name>_Conv2D.*`` and ``<name>_batchnorm.*``."""
    table = {
        "Conv2d_1a_3x3": "conv",
        "Conv2d_2a_3x3": "conv_1",
        "Conv2d_2b_3x3": "conv_2",
        "Conv2d_3b_1x1": "conv_3",
        "Conv2d_4a_3x3": "conv_4",
    }
    a = {"branch1x1": "conv", "branch5x5_1": "tower_conv", "branch5x5_2": "tower_conv_1", "branch_pool": "tower_2_conv"}
    a |= _chain("branch3x3dbl", "tower_1_conv", 3)
    b = {"branch3x3": "conv", **_chain("branch3x3dbl", "tower_conv", 3)}
    c = {"branch1x1": "conv", "branch_pool": "tower_2_conv"}
    c |= _chain("branch7x7", "tower_conv", 3) | _chain("branch7x7dbl", "tower_1_conv", 5)
    d = _chain("branch3x3", "tower_conv", 2) | _chain("branch7x7x3", "tower_1_conv", 4)
    e = {"branch1x1": "conv", "branch_pool": "tower_2_conv", "branch3x3_1": "tower_conv"}
    e |= {"branch3x3_2a": "tower_mixed_conv", "branch3x3_2b": "tower_mixed_conv_1"}
    e |= {"branch3x3dbl_3a": "tower_1_mixed_conv", "branch3x3dbl_3b": "tower_1_mixed_conv_1"}
    e |= _chain("branch3x3dbl", "tower_1_conv", 2)
    blocks = [("5b", a), ("5c", a), ("5d", a), ("6a", b), ("6b", c), ("6c", c), ("6d", c), ("6e", c)]
    blocks += [("7a", d), ("7b", e), ("7c", e)]
    for index, (suffix, parts) in enumerate(blocks):
        mixed = "mixed" if index == 0 else f"mixed_{index}"
        table |= {f"Mixed_{suffix}.{ours}": f"{mixed}_{theirs}" for ours, theirs in parts.items()}
    return table


def _chain(ours: str, theirs: str, count: int) -> dict[str, str]:
    return {f"{ours}_{i + 1}": theirs if i == 0 else f"{theirs}_{i}" for i in range(count)}


def is_tsn(state: dict[str, Tensor]) -> bool:
    """Whether a checkpoint has the TSN layout."""
    return "conv_Conv2D.weight" in state or "top_cls_fc.weight" in state


def from_tsn(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A TSN checkpoint under torchvision's names. Raises :class:`FormatError` where a tensor is missing or too many."""
    renamed: dict[str, str] = {}
    for ours, theirs in tsn_names().items():
        renamed |= {f"{theirs}_Conv2D.{part}": f"{ours}.conv.{part}" for part in ("weight", "bias")}
        renamed |= {f"{theirs}_batchnorm.{part}": f"{ours}.bn.{part}" for part in _NORM_PARTS}
    heads = {name for name in state if name.startswith(("top_cls_fc.", "new_fc."))}
    check_keys(path, state, renamed, heads)
    return {new: state[old] for old, new in renamed.items()}


def _check_shapes(path: Path, network: nn.Module, state: dict[str, Tensor]) -> None:
    for name, tensor in network.state_dict().items():
        if name in state and sorted(state[name].shape) != sorted(tensor.shape):
            shape, expected = tuple(state[name].shape), tuple(tensor.shape)
            hint = "; an optical-flow checkpoint?" if name.startswith("Conv2d_1a") else ""
            raise FormatError(f"{path}: {name} has shape {shape}, expected {expected}{hint}")


def hub_weights() -> Path:
    """torchvision's ImageNet weights, from its cache or its hub. Raises :class:`KlocError` naming the ways on."""
    from torchvision.models import Inception_V3_Weights

    url: str = Inception_V3_Weights.IMAGENET1K_V1.url
    name = url.rsplit("/", 1)[1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    part = path.with_name(name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = name.removesuffix(".pth").rsplit("-", 1)[1]
        torch.hub.download_url_to_file(url, str(part), hash_prefix=digest, progress=False)
        shutil.move(part, path)
    except (URLError, OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        raise KlocError(
            f"{NAME}: torchvision's ImageNet weights cannot be fetched ({error}); give a checkpoint with "
            "--weights PATH, or use the embedded backbone: --backbone efficientnet-lite0"
        ) from None
    return path


@register(NAME)
def inception_v3_pool3(weights: Path | None, device: torch.device, random_seed: int | None) -> Backbone:
    """Inception-V3 pool3; without a weights file torchvision's ImageNet weights, a fallback for Kinetics ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0 if random_seed is None else random_seed)
        network = plain_network()
    if random_seed is not None:
        state = network.state_dict()
        return _wrapped(network, state, device, f"random-{random_seed}", "random", tsn=False)
    path = weights or hub_weights()
    state = load_state(path)
    tsn = is_tsn(state)
    if tsn:
        state = from_tsn(path, state)
    else:
        head = {name for name in state if name.startswith(("AuxLogits.", "fc."))}
        wanted = {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
        check_keys(path, state, wanted, head)
    _check_shapes(path, network, state)
    source = "imagenet" if weights is None else path.name
    return _wrapped(network, state, device, weights_id(path), source, tsn=tsn)


def _wrapped(
    network: nn.Module, state: dict[str, Tensor], device: torch.device, identity: str, source: str, *, tsn: bool
) -> Backbone:
    network = fused_network(network, state, _TSN_EPS if tsn else _TORCHVISION_EPS)
    if tsn:
        network.Mixed_7c = MaxPoolBlock(network.get_submodule("Mixed_7c"))
    # torchvision's own weights expect [-1, 1]: that is what `transform_input` makes of ImageNet-normalised pixels.
    # TSN's mean is (B, G, R), applied after the channels were swapped.
    return TorchBackbone(
        network,
        name=NAME,
        dim=DIM,
        input_size=INPUT_SIZE,
        short_side=SHORT_SIDE,
        mean=(104.0, 117.0, 128.0) if tsn else (127.5, 127.5, 127.5),
        std=(1.0, 1.0, 1.0) if tsn else (127.5, 127.5, 127.5),
        weights_id=identity,
        weights_source=source,
        device=device,
        bgr=tsn,
    )
