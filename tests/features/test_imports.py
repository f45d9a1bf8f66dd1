"""Other people's features: their place in time, and arrays that are not what they should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloc.errors import FormatError, UsageError
from kloc.features.bank import FeatureBank
from kloc.features.imports import guess_width, import_features, import_settings, load_array
from kloc.features.settings import FeatureSettings


def bank_at(folder: Path, dim: int = 16, **numbers: float) -> FeatureBank:
    numbers = {"fps": 25.0, "stride": 4.0, "window": 16.0} | numbers
    return FeatureBank(folder, import_settings(dim, name="i3d", **numbers))  # type: ignore[arg-type]


@given(
    st.integers(0, 50), st.floats(0, 100), st.sampled_from([1.0, 4.0, 8.0, 16.0]), st.sampled_from([10.0, 25.0, 29.97])
)
def test_features_lie_where_the_fields_formula_says(index: int, start: float, stride: float, fps: float) -> None:
    settings = import_settings(16, fps=fps, stride=stride, window=16, name="i3d")
    time = start + (settings.offset + index * settings.stride) / settings.fps
    assert time == pytest.approx(start + (index * stride + 0.5 * 16) / fps)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_of_any_float_come_back_with_their_grid(tmp_path: Path, dtype: type) -> None:
    array = np.random.default_rng(0).normal(size=(50, 16)).astype(dtype)
    np.save(tmp_path / "v.npy", array)
    bank = bank_at(tmp_path / "bank")
    info = import_features(bank, "v", load_array(tmp_path / "v.npy"), start=2.0, end=10.5, source="v.npy")
    found = bank.read("v", info)
    assert np.allclose(found.features, array, atol=2e-3)
    assert found.grid.times[[0, 1, 49]] == pytest.approx([2.32, 2.48, 10.16])
    assert found.grid.window == pytest.approx(0.64)
    assert (found.start, found.end) == (2.0, 10.5)
    assert (info["decoder"], info["source"]) == ("imported", "v.npy")
    assert "warning" not in info


def test_without_a_video_the_last_window_ends_it(tmp_path: Path) -> None:
    info = import_features(bank_at(tmp_path), "v", np.zeros((10, 16), dtype=np.float32))
    assert info["end"] == pytest.approx((9 * 4 + 16) / 25)


def test_a_wrong_rate_is_noticed(tmp_path: Path) -> None:
    info = import_features(bank_at(tmp_path), "v", np.zeros((100, 16), dtype=np.float32), end=120.0)
    assert "features end at 16.5 s, the video at 120.0 s" in info["warning"]


def test_transposed_arrays_are_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"looks transposed.*array\.T"):
        import_features(bank_at(tmp_path / "a"), "v", np.zeros((16, 50), dtype=np.float32))
    with pytest.raises(FormatError, match=r"looks transposed"):
        import_features(bank_at(tmp_path / "b", dim=100), "v", np.zeros((2048, 100), dtype=np.float32), end=16.5)
    with pytest.raises(FormatError, match="are 50 wide, this bank's are 16"):
        import_features(bank_at(tmp_path / "c"), "v", np.zeros((20, 50), dtype=np.float32))
    with pytest.raises(FormatError, match="time first"):
        import_features(bank_at(tmp_path / "d"), "v", np.zeros(16, dtype=np.float32))


def test_the_width_of_a_set_of_arrays() -> None:
    assert guess_width([(50, 2048), (70, 2048)], "folder") == 2048
    assert guess_width([(50, 7)], "folder") == 7
    with pytest.raises(FormatError, match="look transposed"):
        guess_width([(2048, 50), (2048, 70)], "folder")
    with pytest.raises(FormatError, match="look transposed"):
        guess_width([(2048, 50)], "folder")
    with pytest.raises(FormatError, match="different widths"):
        guess_width([(50, 400), (70, 2048)], "folder")


def test_an_own_bank_takes_no_imports(tmp_path: Path) -> None:
    own = FeatureSettings(backbone="x", weights_id="y", dim=16, fps=5, short_side=256, input_size=224)
    with pytest.raises(UsageError, match="another feature folder"):
        import_features(FeatureBank(tmp_path, own), "v", np.zeros((5, 16), dtype=np.float32))


def test_files_that_are_no_feature_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    with pytest.raises(FormatError, match="no such file"):
        load_array(path)
    for value in (np.zeros((2, 3, 4)), np.zeros((3, 4), dtype=np.int64)):
        np.save(path, value)
        with pytest.raises(FormatError, match="time first"):
            load_array(path)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match=r"plain \.npy"):
        load_array(path)
    path.write_bytes(b"\x93NUMPY")
    with pytest.raises(FormatError, match=r"plain \.npy"):
        load_array(path)
    np.savez(tmp_path / "v.npz", a=np.zeros(3))
    with pytest.raises(FormatError, match="several arrays"):
        load_array(tmp_path / "v.npz")
