"""Inception-V3 pool3 against torchvision's own network, in both checkpoint layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import inception_v3

from kloc.errors import FormatError, KlocError
from kloc.features import inception
from kloc.features.backbone import make_backbone

#: The normalisation of torchvision's classification models, per channel of RGB in 0..1.
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    small = np.random.default_rng(2).integers(0, 256, (2, 23, 23, 3), dtype=np.uint8)
    return np.ascontiguousarray(small.repeat(13, 1).repeat(13, 2))


def random_network(seed: int, aux: bool) -> nn.Module:
    """torchvision's network with weights and statistics that keep the signal alive to the end."""
    torch.manual_seed(seed)
    network: nn.Module = inception_v3(weights=None, aux_logits=aux, transform_input=True, init_weights=False)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.8, 1.2)
            module.bias.data.normal_(0, 0.2)
            module.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.7, 1.5)  # type: ignore[union-attr]
    return network.eval()


def close(found: NDArray[np.float32], expected: Tensor) -> bool:
    reference = expected.numpy()
    assert np.abs(reference).max() > 1e-3
    return bool(np.abs(found - reference).max() < 1e-4 * np.abs(reference).max())


@pytest.mark.parametrize("aux", [True, False])
def test_it_equals_torchvisions_network_and_transforms(tmp_path: Path, frames: NDArray[np.uint8], aux: bool) -> None:
    network = random_network(1, aux)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    network.fc = nn.Identity()
    pixels = torch.from_numpy(frames).float() / 255
    with torch.inference_mode():
        expected = network(((pixels - MEAN) / STD).permute(0, 3, 1, 2))
    backbone = make_backbone("inception-v3", tmp_path / "weights.pth", "cpu")
    assert close(backbone(frames), expected)
    assert (backbone.dim, backbone.input_size, backbone.short_side) == (2048, 299, 342)
    assert backbone.weights_source == "weights.pth"


def tsn_checkpoint(seed: int) -> dict[str, Tensor]:
    """Random weights in the TSN layout: its names, its biases, its order of 7x1 and 1x7, its 3x1 before 1x3."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    network = inception.plain_network()
    for ours, theirs in inception.tsn_names().items():
        conv = network.get_submodule(f"{ours}.conv")
        assert isinstance(conv, nn.Conv2d)
        shape = list(conv.weight.shape)
        if ".branch7x7_" in ours or "branch3x3_2" in ours or "branch3x3dbl_3" in ours:
            shape = shape[:2] + shape[:1:-1]
        fan_in = shape[1] * shape[2] * shape[3]
        state[f"{theirs}_Conv2D.weight"] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        state[f"{theirs}_Conv2D.bias"] = torch.randn(shape[0], generator=generator) * 0.1
        for part in ("weight", "bias", "running_mean", "running_var"):
            value = torch.rand(shape[0], generator=generator) * 0.4
            state[f"{theirs}_batchnorm.{part}"] = value + 0.8 if part in ("weight", "running_var") else value - 0.2
    return {**state, "top_cls_fc.weight": torch.zeros(400, 2048), "top_cls_fc.bias": torch.zeros(400)}


def tsn_features(state: dict[str, Tensor], frames: NDArray[np.uint8]) -> Tensor:
    """TSN's network written out by its own names: every unit by itself, pools and concatenations in its order."""
    bgr = torch.from_numpy(frames[..., ::-1].copy()).permute(0, 3, 1, 2).float()
    data = bgr - torch.tensor([104.0, 117.0, 128.0]).view(1, 3, 1, 1)

    def unit(x: Tensor, name: str, stride: int = 1, valid: bool = False) -> Tensor:
        weight = state[f"{name}_Conv2D.weight"]
        padding = (0, 0) if valid else (weight.shape[2] // 2, weight.shape[3] // 2)
        x = F.conv2d(x, weight, state[f"{name}_Conv2D.bias"], stride, padding)
        norm = {part: state[f"{name}_batchnorm.{part}"] for part in ("weight", "bias", "running_mean", "running_var")}
        x = F.batch_norm(x, norm["running_mean"], norm["running_var"], norm["weight"], norm["bias"], eps=1e-5)
        return F.relu(x)

    def chain(x: Tensor, tower: str, count: int, last_stride: int = 1) -> Tensor:
        for i in range(count):
            last = i == count - 1 and last_stride > 1
            x = unit(x, tower if i == 0 else f"{tower}_{i}", last_stride if last else 1, valid=last)
        return x

    x = unit(unit(unit(data, "conv", 2, True), "conv_1", 1, True), "conv_2")
    x = unit(unit(F.max_pool2d(x, 3, 2), "conv_3"), "conv_4", 1, True)
    x = F.max_pool2d(x, 3, 2)
    for m in ("mixed", "mixed_1", "mixed_2"):
        pooled = unit(F.avg_pool2d(x, 3, 1, 1), f"{m}_tower_2_conv")
        parts = [unit(x, f"{m}_conv"), chain(x, f"{m}_tower_conv", 2), chain(x, f"{m}_tower_1_conv", 3), pooled]
        x = torch.cat(parts, 1)
    parts = [unit(x, "mixed_3_conv", 2, True), chain(x, "mixed_3_tower_conv", 3, 2), F.max_pool2d(x, 3, 2)]
    x = torch.cat(parts, 1)
    for m in ("mixed_4", "mixed_5", "mixed_6", "mixed_7"):
        pooled = unit(F.avg_pool2d(x, 3, 1, 1), f"{m}_tower_2_conv")
        parts = [unit(x, f"{m}_conv"), chain(x, f"{m}_tower_conv", 3), chain(x, f"{m}_tower_1_conv", 5), pooled]
        x = torch.cat(parts, 1)
    parts = [chain(x, "mixed_8_tower_conv", 2, 2), chain(x, "mixed_8_tower_1_conv", 4, 2), F.max_pool2d(x, 3, 2)]
    x = torch.cat(parts, 1)
    for m, pool in (("mixed_9", F.avg_pool2d), ("mixed_10", F.max_pool2d)):
        one, two = unit(x, f"{m}_tower_conv"), chain(x, f"{m}_tower_1_conv", 2)
        parts = [unit(x, f"{m}_conv")]
        parts += [unit(one, f"{m}_tower_mixed_conv"), unit(one, f"{m}_tower_mixed_conv_1")]
        parts += [unit(two, f"{m}_tower_1_mixed_conv"), unit(two, f"{m}_tower_1_mixed_conv_1")]
        parts += [unit(pool(x, 3, 1, 1), f"{m}_tower_2_conv")]
        x = torch.cat(parts, 1)
    return x.mean((2, 3))


def test_the_tsn_layout_gives_tsns_features(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    state = tsn_checkpoint(7)
    torch.save({"state_dict": {f"module.base_model.{k}": v for k, v in state.items()}}, tmp_path / "kinetics.pth.tar")
    with torch.inference_mode():
        expected = tsn_features(state, frames)
    assert close(make_backbone("inception-v3", tmp_path / "kinetics.pth.tar", "cpu")(frames), expected)


def test_every_unit_has_a_tsn_name() -> None:
    table = inception.tsn_names()
    assert sorted(table) == sorted(inception.units(inception.plain_network()))
    assert len(set(table.values())) == 94


def test_incomplete_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    state = tsn_checkpoint(0)
    torch.save({k: v for k, v in state.items() if not k.startswith("mixed_9_conv_")}, path)
    with pytest.raises(FormatError, match=r"6 missing \(mixed_9_conv_Conv2D.bias"):
        make_backbone("inception-v3", path, "cpu")
    torch.save({**state, "conv_Conv2D.weight": torch.zeros(32, 10, 3, 3)}, path)
    with pytest.raises(FormatError, match="optical-flow checkpoint"):
        make_backbone("inception-v3", path, "cpu")
    theirs = random_network(0, aux=True).state_dict()
    torch.save({k: v for k, v in theirs.items() if k != "Mixed_7c.branch1x1.bn.bias"}, path)
    with pytest.raises(FormatError, match=r"1 missing \(Mixed_7c.branch1x1.bn.bias\)"):
        make_backbone("inception-v3", path, "cpu")


def test_without_the_hub_the_error_names_the_ways_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens at the discard port
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(KlocError, match="--weights PATH") as caught:
        make_backbone("inception-v3", device="cpu")
    assert "--backbone efficientnet-lite0" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "hub").rglob("*.pt*"))


def test_random_weights_only_when_asked_for_and_labelled(frames: NDArray[np.uint8]) -> None:
    backbone = make_backbone("inception-v3", device="cpu", random_seed=11)
    assert (backbone.weights_id, backbone.weights_source) == ("random-11", "random")
    torch.manual_seed(123)
    untouched = torch.rand(1)
    torch.manual_seed(123)
    make_backbone("inception-v3", device="cpu", random_seed=12)
    assert torch.equal(torch.rand(1), untouched)
