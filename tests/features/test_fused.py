"""Fused convolutions against the plain chain of convolution, normalisation and activation."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kloc.features.fused import FusedConv, fold, same_padding


def tensorflow_same(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """SAME padding as TensorFlow's documentation states it, for one spatial size."""
    size = x.shape[-1]
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    front = total // 2
    return F.pad(x, (front, total - front, front, total - front))


@given(
    kernel=st.sampled_from([1, 3, 5, 7]),
    stride=st.sampled_from([1, 2]),
    half=st.integers(4, 9),
    channels=st.integers(1, 5),
    depthwise=st.booleans(),
    biased=st.booleans(),
    activation=st.sampled_from(["none", "relu", "relu6"]),
    fused=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_fused_units_equal_the_plain_chain(
    kernel: int,
    stride: int,
    half: int,
    channels: int,
    depthwise: bool,
    biased: bool,
    activation: str,
    fused: bool,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    out, groups = (channels, channels) if depthwise else (4, 1)
    x = draw(2, channels, 2 * half, 2 * half) * 3
    weight, bias = draw(out, channels // groups, kernel, kernel), draw(out) if biased else None
    gamma, beta, mean, variance = draw(out), draw(out), draw(out), draw(out).square() + 0.1
    plain = F.conv2d(tensorflow_same(x, kernel, stride), weight, bias, stride, groups=groups)
    plain = F.batch_norm(plain, mean, variance, gamma, beta, training=False, eps=1e-3)
    plain = {"none": plain, "relu": plain.relu(), "relu6": F.relu6(plain)}[activation]

    folded, shift = fold(weight, gamma, beta, mean, variance, 1e-3, bias)
    if kernel < stride:  # a 1x1 with stride 2 needs no padding at all; no network here has one
        return
    padded, padding = same_padding(folded, stride)
    unit = FusedConv(padded, shift, stride=stride, padding=padding, groups=groups, activation=activation)  # type: ignore[arg-type]
    unit.fused = unit.fused and fused
    with torch.inference_mode():
        ours = unit(x.contiguous(memory_format=torch.channels_last))
    assert ours.shape == plain.shape
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


def test_this_torch_has_the_fused_convolution() -> None:
    """A torch without it works and is slower; this test says so when an upgrade drops it."""
    assert FusedConv(torch.zeros(1, 1, 1, 1), torch.zeros(1)).fused == torch.backends.mkldnn.is_available()


@pytest.mark.parametrize(("kernel", "stride", "expected"), [(1, 1, 0), (3, 1, 1), (5, 1, 2), (3, 2, 1), (5, 2, 2)])
def test_padding(kernel: int, stride: int, expected: int) -> None:
    assert same_padding(torch.zeros(1, 1, kernel, kernel), stride)[1] == expected
