"""The feature bank: what goes in comes out, settings never mix, bad numbers never pass."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloc.errors import FormatError, KlocError, MismatchError, UsageError, VideoError
from kloc.features.bank import FeatureBank, cleaned
from kloc.features.settings import FeatureSettings
from kloc.records import Grid

SETTINGS = FeatureSettings(
    backbone="efficientnet-lite0", weights_id="0123456789abcdef", dim=6, fps=5, short_side=256, input_size=224
)
GRID = Grid(0.1, 0.2, 0.2, 40)


def some_features(rows: int = 40) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, 6)).astype(np.float32)


@pytest.mark.parametrize("video_id", ["plain", "v_-Ab/../c d", "Ω" * 80, "..", "a"])
def test_what_is_written_is_read(tmp_path: Path, video_id: str) -> None:
    bank, features = FeatureBank(tmp_path / "bank", SETTINGS), some_features()
    info = bank.write(
        video_id, features, GRID, start=0.0, end=8.0, provenance={"video_sha256": "ab", "decoder": "pyav"}
    )
    assert json.loads(json.dumps(info, allow_nan=False)) == info
    found = FeatureBank(tmp_path / "bank").read(video_id, info)
    assert found.video_id == video_id
    assert found.features.dtype == np.float32
    assert np.array_equal(found.features, features.astype(np.float16).astype(np.float32))
    assert (found.grid, found.start, found.end, found.duration) == (GRID, 0.0, 8.0, 8.0)
    path = tmp_path / "bank" / info["file"]
    assert path.is_file()
    assert path.resolve().is_relative_to((tmp_path / "bank").resolve())
    assert path.parent.name == path.name[:2] or len(path.stem) < 2


def test_the_manifest_says_all_that_makes_features_comparable(tmp_path: Path) -> None:
    bank = FeatureBank(tmp_path, SETTINGS)
    provenance = {"video_sha256": "ab" * 32, "decoder": "decord", "n_frames": 240}
    info = bank.write("v", some_features(), GRID, start=0.0, end=8.0, provenance=provenance)
    wanted = {"video_id", "video_sha256", "backbone", "weights_id", "window", "stride", "offset", "fps"}
    assert wanted | {"n_frames", "duration", "dtype", "decoder", "status"} <= set(info)
    assert (info["status"], info["dtype"], info["duration"]) == ("ok", "float16", 8.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("fps", 4.0), ("backbone", "x"), ("weights_id", "random-0"), ("max_frames", 9), ("input_size", 299)],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, name: str, value: object) -> None:
    FeatureBank(tmp_path, SETTINGS)
    other = dataclasses.replace(SETTINGS, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(MismatchError, match=f"{name}: {value!r} and {getattr(SETTINGS, name)!r}") as e:
        FeatureBank(tmp_path, other)
    assert str(tmp_path) in str(e.value)
    assert other.fingerprint != SETTINGS.fingerprint


def test_equal_settings_open_the_bank_again(tmp_path: Path) -> None:
    FeatureBank(tmp_path, SETTINGS)
    assert FeatureBank(tmp_path, dataclasses.replace(SETTINGS, fps=5.0)).settings == SETTINGS
    assert FeatureSettings.from_json(SETTINGS.to_json()) == SETTINGS


def test_a_folder_without_a_bank_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="kloc extract"):
        FeatureBank(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", '{"backbone": "x"}', '{"colour": 1}'])
def test_damaged_settings_are_a_format_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "bank.json").write_text(text)
    with pytest.raises(FormatError, match=r"bank\.json"):
        FeatureBank(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fps", 0),
        ("dim", -1),
        ("max_frames", 0),
        ("offset", -0.5),
        *((name, bad) for name in ("fps", "stride", "window", "offset") for bad in (math.nan, math.inf)),
    ],
)
def test_impossible_settings_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name):
        dataclasses.replace(SETTINGS, **{name: value})  # type: ignore[arg-type]


@given(bad=st.sets(st.integers(0, 39), max_size=5), kind=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_bad_rows_are_zeroed_and_counted_up_to_five_per_cent(bad: set[int], kind: float) -> None:
    features = some_features()
    for row in bad:
        features[row, row % 6] = kind
    if len(bad) > 2:  # 5 % of 40
        with pytest.raises(VideoError, match=f"{len(bad)} of 40 feature rows"):
            cleaned("v", features)
        return
    found, count = cleaned("v", features)
    assert count == len(bad)
    assert np.isfinite(found).all()
    expected = some_features().astype(np.float16)
    for row in bad:
        expected[row, row % 6] = 0
    assert np.array_equal(found, expected)


def test_numbers_beyond_float16_are_clipped_not_infinite() -> None:
    found, bad = cleaned("v", np.array([[1e6, -1e9, 1.0]], dtype=np.float32))
    assert found.tolist() == [[65504.0, -65504.0, 1.0]]
    assert bad == 0


def test_a_video_without_a_row_is_refused() -> None:
    with pytest.raises(VideoError, match="no readable frame"):
        cleaned("v", np.empty((0, 6), dtype=np.float32))


def test_wrong_shapes_are_refused(tmp_path: Path) -> None:
    bank = FeatureBank(tmp_path, SETTINGS)
    for features in (some_features(39), some_features()[:, :5], some_features()[0]):
        with pytest.raises(MismatchError, match="expected \\(40, 6\\)"):
            bank.write("v", features, GRID, start=0.0, end=8.0)


def test_missing_damaged_and_foreign_files_are_told_apart(tmp_path: Path) -> None:
    bank = FeatureBank(tmp_path, SETTINGS)
    info = bank.write("video", some_features(), GRID, start=0.0, end=8.0)
    with pytest.raises(MismatchError, match="other settings"):
        bank.read("video", {**info, "settings": "0" * 16})
    path = bank.path("video")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(KlocError, match="damaged"):
        bank.read("video", info)
    np.save(path, some_features(12))
    with pytest.raises(MismatchError, match="manifest says"):
        bank.read("video", info)
    path.unlink()
    with pytest.raises(KlocError, match="no features at"):
        bank.read("video", info)
