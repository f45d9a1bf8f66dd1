"""EfficientNet-Lite0 against the plain chain of operations, and on real videos: does it see?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kloc.errors import FormatError, KlocError, UsageError
from kloc.features import efficientnet_lite
from kloc.features.backbone import TorchBackbone, make_backbone
from kloc.features.weights import load_state
from kloc.video.source import open_video

#: kernel, stride of every block, from the paper's table of EfficientNet-B0.
STAGES = [(3, 1), (3, 2), (3, 1), (5, 2), (5, 1), (3, 2), (3, 1), (3, 1)]
STAGES += [(5, 1), (5, 1), (5, 1), (5, 2), (5, 1), (5, 1), (5, 1), (3, 1)]


@pytest.fixture(scope="module")
def embedded() -> TorchBackbone:
    backbone = make_backbone("efficientnet-lite0", device="cpu")
    assert isinstance(backbone, TorchBackbone)
    return backbone


def plain_features(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network as the paper describes it: every operation by itself, in float32."""

    def unit(x: Tensor, conv: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = state[f"{conv}.weight"]
        size, kernel = x.shape[-1], weight.shape[-1]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        x = F.pad(x, (total // 2, total - total // 2) * 2)
        x = F.conv2d(x, weight, None, stride, groups=groups)
        mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        return F.batch_norm(x, mean, variance, state[f"{norm}.weight"], state[f"{norm}.bias"], eps=1e-3)

    x = F.relu6(unit(x, "_conv_stem", "_bn0", 2))
    for index, (kernel, stride) in enumerate(STAGES):
        here, before = f"_blocks.{index}.", x
        if index > 0:
            x = F.relu6(unit(x, f"{here}_expand_conv", f"{here}_bn0"))
        assert state[f"{here}_depthwise_conv.weight"].shape[-1] == kernel
        x = F.relu6(unit(x, f"{here}_depthwise_conv", f"{here}_bn1", stride, groups=x.shape[1]))
        x = unit(x, f"{here}_project_conv", f"{here}_bn2")
        x = x + before if x.shape == before.shape else x
    return F.relu6(unit(x, "_conv_head", "_bn1")).mean((2, 3))


def test_it_equals_the_plain_network(embedded: TorchBackbone) -> None:
    state = load_state(efficientnet_lite.embedded_weights())
    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (5, 14, 14, 3), dtype=np.uint8)
    frames = small.repeat(16, 1).repeat(16, 2)
    pixels = (torch.from_numpy(frames).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.inference_mode():
        expected = plain_features(state, pixels).numpy()
    found = embedded(frames)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.abs(expected).max() > 1


def test_the_checkpoint_has_the_tensors_of_the_table() -> None:
    state = load_state(efficientnet_lite.embedded_weights())
    assert {name: tuple(t.shape) for name, t in state.items()} == efficientnet_lite.shapes()
    assert sum(t.numel() for name, t in state.items() if "running" not in name) == 4_652_008


def test_features_name_their_weights(embedded: TorchBackbone) -> None:
    assert embedded.weights_id == efficientnet_lite._SHA256[:16]
    assert embedded.weights_source == "imagenet"
    assert (embedded.dim, embedded.input_size, embedded.short_side) == (1280, 224, 256)


def test_random_weights_are_seeded_and_say_so() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    one, again, other = (make_backbone("efficientnet-lite0", device="cpu", random_seed=s) for s in (1, 1, 2))
    assert one.weights_id == "random-1"
    assert np.isfinite(one(frames)).all()
    assert np.array_equal(one(frames), again(frames))
    assert not np.array_equal(one(frames), other(frames))


def test_a_tampered_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / efficientnet_lite._PACKAGE
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / efficientnet_lite._FILE).write_bytes(b"something else")
    monkeypatch.setattr(efficientnet_lite, "files", lambda name: package)
    with pytest.raises(KlocError, match=r"not the weights that kloc knows.*force-reinstall"):
        make_backbone("efficientnet-lite0", device="cpu")


def test_checkpoints_of_other_networks_are_refused(tmp_path: Path) -> None:
    state = efficientnet_lite.random_state(0)
    path = tmp_path / "weights.pth"

    def refused(changed: dict[str, Tensor], says: str) -> None:
        torch.save(changed, path)
        with pytest.raises(FormatError, match=says) as caught:
            make_backbone("efficientnet-lite0", path, "cpu")
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)

    refused({k: v for k, v in state.items() if k != "_bn0.bias"}, r"1 missing \(_bn0.bias\)")
    refused({**state, "extra.weight": torch.zeros(1)}, r"1 unexpected \(extra.weight\)")
    refused({**state, "_bn0.bias": torch.zeros(5)}, r"_bn0.bias has shape \(5,\), expected \(32,\)")
    refused({"a": torch.zeros(1)}, r"missing .*\.\.\.\); 1 unexpected")


def test_wrapped_checkpoints_load(tmp_path: Path) -> None:
    state = efficientnet_lite.random_state(4)
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "w.pth.tar")
    frames = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    loaded = make_backbone("efficientnet-lite0", tmp_path / "w.pth.tar", "cpu")
    assert loaded.weights_source == "w.pth.tar"
    assert np.array_equal(loaded(frames), make_backbone("efficientnet-lite0", device="cpu", random_seed=4)(frames))


class _Runs:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path, ("/",))


@pytest.mark.parametrize("content", [b"no checkpoint", b"", None])
def test_files_that_are_no_plain_checkpoint_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "weights.pth"
    if content is None:
        torch.save({"state_dict": _Runs()}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(FormatError, match="not a checkpoint of plain tensors"):
        load_state(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such weights file"):
        load_state(tmp_path / "nothing.pth")


def _frames(folder: Path, clips: int, each: int) -> list[NDArray[np.uint8]]:
    """A few frames of a few clips of every third recording in a class's folder."""
    found = []
    for path in sorted(folder.glob("*.avi"))[::3][:clips]:
        with open_video(path, short_side=256) as source:
            found.append(source.frames(np.linspace(5, source.n_frames - 6, each).astype(int).tolist()))
    return found


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "expected"),
    [("PlayingViolin", {"violin"}), ("Archery", {"bow"}), ("PlayingPiano", {"grand piano", "upright"})],
)
def test_it_recognises_what_imagenet_has(ucf101: Path, embedded: TorchBackbone, name: str, expected: set[str]) -> None:
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    frames = np.concatenate(_frames(ucf101 / name, 5, 3))
    logits = embedded.network.logits(torch.from_numpy(embedded(frames)))  # type: ignore[operator]
    named = [{_IMAGENET_CATEGORIES[int(i)] for i in row.topk(5).indices} & expected for row in logits]
    assert sum(bool(hit) for hit in named) >= 0.6 * len(frames)


@pytest.mark.realdata
def test_clips_of_one_class_lie_together(ucf101: Path, embedded: TorchBackbone) -> None:
    labels, features = [], []
    for folder in sorted(p for p in ucf101.iterdir() if p.is_dir()):
        for frames in _frames(folder, 4, 2):
            labels.append(folder.name)
            features.append(embedded(frames).mean(0))
    names, vectors = np.array(labels), np.stack(features)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = vectors @ vectors.T
    same = names[:, None] == names[None]
    off_diagonal = ~np.eye(len(names), dtype=bool)
    assert alike[same & off_diagonal].mean() > alike[~same].mean() + 0.15
    nearest = np.where(off_diagonal, alike, -1).argmax(1)
    assert (names[nearest] == names).mean() >= 0.85
