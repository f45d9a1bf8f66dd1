"""Shared by the features room's tests: small videos, and the real ones where they lie beside the checkout."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kloc.video.write import write_video

sys.path.insert(0, str(Path(__file__).parent))  # for counted_frames
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def ucf101(real_data: Path) -> Path:
    """Folder of real UCF101 clips, one folder per class."""
    folder = real_data / "videos" / "ucf101"
    if not folder.is_dir():
        pytest.skip(f"the real UCF101 videos are not in {folder}")
    return folder


@pytest.fixture(scope="session")
def textured_videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three short videos of moving texture, of different sizes and lengths."""
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(5)
    paths = []
    for index, (width, height, count) in enumerate([(320, 240, 50), (340, 256, 31), (240, 320, 12)]):
        big = rng.integers(0, 256, (height // 8 + 8, width // 8 + 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        frames = [np.ascontiguousarray(big[i : i + height, i : i + width]) for i in range(count)]
        path = folder / f"clip{index}.mp4"
        write_video(path, frames, 25)
        paths.append(path)
    return paths
