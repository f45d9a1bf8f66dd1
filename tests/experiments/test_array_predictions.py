"""Predictions of a simulation are read as those on disk are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from experiment_helpers import CLASSES, SETTINGS, small_set

from kloc.errors import UsageError
from kloc.experiments.predictions import ArrayPredictions, Classes
from kloc.localizers.predictions import PredictionReader, PredictionWriter
from kloc.localizers.stagewise.attention import train_attention
from kloc.localizers.stagewise.classifier import Classifier, train_classifier
from kloc.localizers.stagewise.localizer import StageWise
from kloc.localizers.stagewise.table import EncodedTable
from kloc.records import Item, Prediction
from kloc.selection.base import Context, make_strategy
from kloc.selection.probabilities import class_distribution


def without_proposals(table: EncodedTable, index: int) -> EncodedTable:
    """The first twelve videos, one of them robbed of its proposals."""
    parts = [table.part(i) for i in range(12)]
    one, names = parts[index], ("segments", "encoded", "best", "matched", "inside", "usable")
    parts[index] = replace(one, offsets=np.array([0, 0]), **{name: getattr(one, name)[:0] for name in names})
    return EncodedTable.join(parts)


@pytest.fixture(scope="module")
def both(lab, tmp_path_factory):
    """The same predictions (and a prior) as arrays and on disk; video 5 has no proposals."""
    table = without_proposals(lab.table, 5)
    rng = np.random.default_rng(0)
    made = []
    for name in ("now", "before"):
        actionness = rng.random(len(table.segments)).astype(np.float32)
        folder = tmp_path_factory.mktemp("predictions") / name
        with PredictionWriter(folder, CLASSES, "softmax") as writer:
            for i in rng.permutation(12):  # a shard keeps the order of writing
                rows = table.rows(np.array([i]))
                scores = actionness[rows]
                writer.write(Prediction(table.video_ids[i], table.segments[rows], scores, (), "softmax", CLASSES))
        made.append((ArrayPredictions(table, actionness), PredictionReader(folder)))
    return table, made[0], made[1]


def by_position(source, wanted, heads, block_rows):
    found = {}
    for block in source.blocks(wanted, heads, block_rows):
        for at, position in enumerate(block.positions.tolist()):
            for head in heads:
                low, high = block.offsets[head][at : at + 2]
                found[position, head] = block.arrays[head][low:high]
    return found


@pytest.mark.parametrize("block_rows", [1, 7, 45, 100_000])
@pytest.mark.parametrize("heads", [["actionness"], ["segments"], ["actionness", "segments"]])
def test_blocks_equal_those_of_a_reader(both, heads, block_rows) -> None:
    table, (arrays, reader), _ = both
    wanted = [*table.video_ids[::-1], "nobody", table.video_ids[3], table.video_ids[3]]
    found, expected = (by_position(s, wanted, heads, block_rows) for s in (arrays, reader))
    assert found.keys() == expected.keys()
    assert len(found) == 14 * len(heads)
    for key, values in expected.items():
        assert found[key].dtype == values.dtype
        assert np.array_equal(found[key], values)
    sizes = [len(b.arrays[heads[0]]) for b in arrays.blocks(wanted, heads, block_rows)]
    assert max(sizes) <= max(block_rows, 20)


def test_all_videos_without_asking_for_any(both) -> None:
    table, (arrays, _), _ = both
    found = by_position(arrays, None, ["actionness"], 45)
    assert [len(found[i, "actionness"]) for i in range(12)] == np.diff(table.offsets).tolist()
    assert len(arrays) == 12
    assert "v003" in arrays
    assert "nobody" not in arrays
    assert list(arrays.blocks([], ["actionness"])) == []


@pytest.mark.parametrize(("name", "params"), [("us", {}), ("us", {"mode": "binary"}), ("mcle", {})])
def test_strategies_score_both_alike(both, lab, name, params) -> None:
    table, now, before = both
    items = [Item(video_id, 0.0, 60.0) for video_id in (*table.video_ids, "nobody")]
    known = {lab.videos[i].id: lab.annotations[i] for i in range(4)}
    scores = []
    for source, prior in zip(now, before, strict=True):
        strategy = make_strategy(name, **params)
        scores.append(
            strategy.score(items, Context(predictions=source, prior=prior, annotations=known, classes=CLASSES))
        )
    assert np.array_equal(scores[0].value, scores[1].value)
    assert np.isneginf(scores[0].value).tolist() == [i in (5, 12) for i in range(13)]
    if scores[0].group is not None:
        assert np.array_equal(scores[0].group, scores[1].group)


def test_heads_a_simulation_lacks_are_told(both) -> None:
    _, (arrays, _), _ = both
    with pytest.raises(UsageError, match="predicts no levels"):
        list(arrays.blocks(None, ["actionness", "levels"]))


# -- class probabilities ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[False, True], ids=["no background", "background"])
def classified(request, lab, tmp_path_factory):
    """A trained localizer's predictions of some videos, as arrays and as the predict stage writes them."""
    settings = replace(lab.settings, background=request.param)
    source, labelled = small_set(), np.arange(0, 60, 2)
    attention = train_attention(lab.table, settings, 0, videos=labelled)
    classifier = train_classifier(lab.table, attention, len(CLASSES), settings, videos=labelled)
    localizer = StageWise.of(attention, classifier, lab.classes, settings)
    actionness = attention.actionness(lab.table.encoded)
    arrays = ArrayPredictions(lab.table, actionness, Classes(lab.classes, settings, lambda: classifier))
    folder = tmp_path_factory.mktemp("classified") / "shard"
    with PredictionWriter(folder, CLASSES, "softmax") as writer:
        for video_id in lab.table.video_ids:
            writer.write(localizer.predict(source.features(video_id), source.proposals(video_id)))
    return arrays, PredictionReader(folder)


@pytest.mark.parametrize("block_rows", [1, 45, 100_000])
def test_levels_are_those_the_localizer_predicts(classified, lab, block_rows) -> None:
    arrays, reader = classified
    assert (arrays.levels, arrays.classes) == (reader.levels, reader.classes)
    wanted = [*lab.table.video_ids[::-1], "nobody", lab.table.video_ids[3]]
    column = reader.levels[0].column
    found, expected = (levels_of(s, wanted, column, block_rows) for s in (arrays, reader))
    assert found.keys() == expected.keys()
    for position, scores in expected.items():
        assert found[position].dtype == scores.dtype == np.float16
        assert found[position].shape == scores.shape == (SETTINGS.top_k, reader.levels[0].width)
        np.testing.assert_allclose(found[position], scores, rtol=2e-3, atol=1e-6)


def levels_of(source, wanted, column, block_rows):
    found = {}
    for block in source.blocks(wanted, ["actionness", "levels"], block_rows):
        assert set(block.arrays) == {"actionness", column}
        for at, position in enumerate(block.positions.tolist()):
            low, high = block.offsets[column][at : at + 2]
            found[position] = block.arrays[column][low:high]
    return found


def test_class_distributions_equal_those_of_written_predictions(classified, lab) -> None:
    arrays, reader = classified
    items = [*lab.items, Item("nobody", 0.0, 9.0)]
    mine, theirs = (class_distribution(items, Context(predictions=s, classes=("other",))) for s in (arrays, reader))
    assert mine.classes == theirs.classes == CLASSES
    assert mine.p.shape == (97, len(CLASSES) + 1)
    assert np.isnan(mine.p[-1]).all()
    np.testing.assert_allclose(mine.p, theirs.p, atol=2e-4)
    assert (mine.p[:-1, -1] > 0).all() == bool(reader.levels[0].background is not None)


def test_nothing_is_classified_before_somebody_asks(lab) -> None:
    def never():
        raise AssertionError("nobody has asked for classes")

    arrays = ArrayPredictions(lab.table, np.ones(len(lab.table.segments)), Classes(CLASSES, SETTINGS, never))
    assert len(list(arrays.blocks(None, ["actionness", "segments"]))) == 1
    with pytest.raises(AssertionError, match="nobody has asked"):
        list(arrays.blocks(None, ["levels"]))


def test_a_video_without_proposals_has_no_class(lab) -> None:
    table = without_proposals(lab.table, 5)
    classifier = Classifier(np.zeros((table.encoded.shape[1], 8)), np.zeros(8), np.ones(8, np.bool_), False)
    arrays = ArrayPredictions(table, np.ones(len(table.segments)), Classes(CLASSES, SETTINGS, lambda: classifier))
    lengths = [len(rows) for rows in levels_of(arrays, table.video_ids, "levels.0", 45).values()]
    assert lengths == [0 if i == 5 else SETTINGS.top_k for i in range(12)]
