"""The registry of localizers and what a training set insists on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kloc.errors import FormatError, MismatchError, UsageError
from kloc.localizers import (
    TrainingSet,
    TrainingVideo,
    load_localizer,
    localizer_names,
    make_localizer,
)
from kloc.localizers.stagewise import StageWise


def test_names_and_settings_are_checked() -> None:
    assert "stagewise" in localizer_names()
    localizer = make_localizer("stagewise", top_k=3)
    assert isinstance(localizer, StageWise)
    assert localizer.name == "stagewise"
    assert localizer.settings.top_k == 3
    with pytest.raises(
        UsageError, match=r"unknown localizer 'stage_wise'; did you mean 'stagewise'\? known: .*stagewise"
    ):
        make_localizer("stage_wise")
    with pytest.raises(UsageError, match="did you mean 'top_k'"):
        make_localizer("stagewise", topk=3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"encoder": "max"}, "encoder must be one of mean, context"),
        ({"solver": "sgd"}, "solver must be one of"),
        ({"score": "sum"}, "score must be one of"),
        ({"negative_tiou": 0.8}, "negative_tiou <= positive_tiou"),
        ({"top_k": 0}, "at least 1"),
        ({"c": 0.0}, "c must be above 0"),
    ],
)
def test_impossible_values_are_told(setting: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_localizer("stagewise", **setting)


def test_a_training_set_can_be_gone_through_again(perfect_videos: list[TrainingVideo]) -> None:
    with pytest.raises(UsageError, match="not a generator"):
        TrainingSet(("a",), (v for v in perfect_videos))
    for classes in ((), ("a", "a")):
        with pytest.raises(UsageError, match="at least one class and no class twice"):
            TrainingSet(classes, perfect_videos)


def test_a_model_is_not_used_on_other_features(perfect_videos: list[TrainingVideo], tmp_path: Path) -> None:
    localizer = make_localizer("stagewise")
    localizer.fit(TrainingSet(("dive", "jump", "run"), perfect_videos[:6], 0, feature_fingerprint="one"))
    localizer.save(tmp_path)
    assert load_localizer(tmp_path, "one").name == load_localizer(tmp_path).name == "stagewise"
    with pytest.raises(MismatchError, match=r"trained on features one, these are two") as caught:
        load_localizer(tmp_path, "two")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_folder_is_told(perfect_videos: list[TrainingVideo], tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no saved model"):
        load_localizer(tmp_path)
    localizer = make_localizer("stagewise")
    localizer.fit(TrainingSet(("dive", "jump", "run"), perfect_videos[:6]))
    localizer.save(tmp_path)
    model = tmp_path / "localizer.json"
    whole = json.loads(model.read_text())
    for change, error, message in (
        ({"name": "nobody"}, UsageError, "unknown localizer"),
        ({"classes": ["dive"]}, FormatError, "do not fit each other"),
        ({"settings": {"depth": 1}}, FormatError, "another version"),
    ):
        model.write_text(json.dumps(whole | change))
        with pytest.raises(error, match=message):
            load_localizer(tmp_path)
    model.write_text(json.dumps(whole))
    (tmp_path / "localizer.safetensors").unlink()
    with pytest.raises(FormatError, match=r"localizer\.safetensors: weights not readable"):
        load_localizer(tmp_path)
