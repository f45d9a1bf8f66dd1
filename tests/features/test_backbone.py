"""The registry, the device names and the fitting of frames."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kloc.errors import UsageError
from kloc.features.backbone import BACKBONES, BATCH, Backbone, backbone_names, fit, make_backbone, register


def test_built_in_backbones_are_known_by_name() -> None:
    assert {"efficientnet-lite0", "inception-v3"} <= set(backbone_names())


@pytest.mark.parametrize(
    ("name", "says"), [("inception-v4", "did you mean 'inception-v3'"), ("zzz", "known: .*efficientnet-lite0")]
)
def test_an_unknown_name_names_the_fix(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_backbone(name)


def test_a_name_is_registered_once() -> None:
    BACKBONES.get("inception-v3")
    with pytest.raises(UsageError, match="two parts want to be the backbone 'inception-v3'"):
        register("inception-v3")(lambda weights, device, seed: make_backbone("efficientnet-lite0"))


def test_devices_that_are_not_there_are_refused() -> None:
    with pytest.raises(UsageError, match="no device 'gpu'"):
        make_backbone("efficientnet-lite0", device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="--device cpu"):
            make_backbone("efficientnet-lite0", device="cuda")


def test_weights_and_a_random_seed_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not both"):
        make_backbone("efficientnet-lite0", tmp_path / "weights.pth", random_seed=1)


def test_features_do_not_depend_on_how_many_frames_come_along() -> None:
    backbone = make_backbone("efficientnet-lite0", device="cpu")
    assert isinstance(backbone, Backbone)
    frames = np.random.default_rng(0).integers(0, 256, (2 * BATCH + 1, 224, 224, 3), dtype=np.uint8)
    whole = backbone(frames)
    parts = [backbone(frames[low : low + BATCH]) for low in range(0, len(frames), BATCH)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert whole.dtype == np.float32
    assert whole.shape == (2 * BATCH + 1, 1280)
    assert backbone(frames[:0]).shape == (0, 1280)


@pytest.mark.parametrize(("height", "width"), [(240, 320), (256, 341), (720, 1280), (320, 240), (100, 90)])
def test_frames_are_fitted_by_short_side_and_centre_crop(height: int, width: int) -> None:
    frames = np.zeros((2, height, width, 3), dtype=np.uint8)
    frames[:, :, width // 2 :] = 200
    fitted = fit(frames, 224, 256)
    assert fitted.shape == (2, 224, 224, 3)
    assert fitted.dtype == np.uint8
    assert fitted[:, :, :100].max() == 0
    assert fitted[:, :, 124:].min() == 200


def test_a_frame_of_the_right_short_side_is_only_cropped() -> None:
    frames = np.random.default_rng(1).integers(0, 256, (1, 256, 341, 3), dtype=np.uint8)
    assert np.array_equal(fit(frames, 224, 256), frames[:, 16:240, 58:282])


def test_the_bank_is_read_without_torch() -> None:
    """Whoever only reads features must not pay for loading the network's library."""
    code = "import sys, kloc.features.bank, kloc.features.imports; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
