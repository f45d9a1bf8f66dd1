"""Labs, splits and sources: encoded once, split without any overlap, relabelled as the oracle says."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from experiment_helpers import CLASSES, LOUD, SETTINGS, Spoilt, changed, small_dataset, small_set, tree

from kloc.errors import KlocError, UsageError
from kloc.experiments.lab import FACTS_FILE, Lab, oracle_file
from kloc.experiments.oracle import NoisyOracle
from kloc.experiments.protocol import make_split
from kloc.experiments.simulated_features import SimulatedFeatures
from kloc.experiments.source import SimulatedSet, fingerprint_of, part_of
from kloc.localizers.base import TrainingSet, TrainingVideo
from kloc.localizers.stagewise.encoder import encode_training
from kloc.records import Annotation, Dataset, Instance, Video

ARRAYS = (
    "offsets", "truth_offsets", "segments", "encoded", "best", "matched", "inside", "usable", "truth",
    "truth_segments", "truth_labels", "truth_seen", "asked",
)  # fmt: skip


def ended_process() -> int:
    """The id of a process that ran and is gone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


# -- preparing --------------------------------------------------------------------------------------------------


def test_a_lab_is_what_its_set_says(lab, source) -> None:
    assert [v.id for v in lab.videos] == list(source.ids) == list(lab.table.video_ids)
    for video, annotation in zip(lab.videos, lab.annotations, strict=True):
        known = source.dataset.videos[video.id]
        assert (video.start, video.end, video.labels, video.subset) == (
            known.start, known.end, known.labels, known.subset,
        )  # fmt: skip
        assert annotation == source.dataset.annotations[video.id]
    training = [
        TrainingVideo(source.features(v), source.proposals(v), source.dataset.annotations[v]) for v in source.ids
    ]
    expected = encode_training(TrainingSet(CLASSES, training), SETTINGS)
    assert lab.table.keys == expected.keys
    for name in ARRAYS:
        assert np.array_equal(getattr(lab.table, name), getattr(expected, name)), name
    assert np.allclose(lab.pooled, [source.features(v).features.mean(axis=0) for v in source.ids])
    assert lab.settings == SETTINGS
    assert lab.facts["features"] == source.feature_fingerprint
    assert lab.facts["simulated"] is True


def test_preparing_again_does_nothing_and_elsewhere_gives_the_same_bytes(tmp_path) -> None:
    source = Spoilt(small_set(30))
    first = Lab.prepare(tmp_path / "a", source, SETTINGS)
    reads, stamps = dict(source.read), {p: p.stat().st_mtime_ns for p in first.folder.iterdir()}
    again = Lab.prepare(tmp_path / "a", source, SETTINGS)
    assert again.folder == first.folder
    assert source.read == reads
    assert {p: p.stat().st_mtime_ns for p in again.folder.iterdir()} == stamps
    assert [p.name for p in (tmp_path / "a").iterdir()] == [first.folder.name]
    other = Lab.prepare(tmp_path / "b", Spoilt(small_set(30)), SETTINGS)
    assert tree(other.folder) == tree(first.folder)
    with_others = Lab.prepare(tmp_path / "a", source, replace(SETTINGS, top_k=3))
    assert with_others.folder != first.folder


def test_videos_that_cannot_be_used_are_left_out_and_told(tmp_path) -> None:
    whole = small_set(30)
    source = Spoilt(whole, nan=frozenset({"v003"}), lost=frozenset({"v010"}))
    told = []
    lab = Lab.prepare(tmp_path, source, SETTINGS, lambda: told.append(1))
    assert len(told) == 30
    assert {v.id for v in lab.videos} == set(whole.ids) - {"v003", "v010"}
    assert len(lab.annotations) == len(lab.pooled) == len(lab.table) == 28
    assert np.isfinite(lab.pooled).all()
    first, second = lab.facts["problems"]
    assert "v003" in first
    assert "not finite" in first
    assert second == "v010: its features are gone"


def test_nothing_usable_is_an_error_that_says_why(tmp_path) -> None:
    whole = small_set(12)
    with pytest.raises(UsageError, match="v000: its features are gone"):
        Lab.prepare(tmp_path, Spoilt(whole, lost=frozenset(whole.ids)), SETTINGS)
    assert list(tmp_path.iterdir()) == []
    nothing = SimulatedSet(Dataset(CLASSES, {}, {}, "bare"), SimulatedFeatures(CLASSES, appearance=LOUD))
    with pytest.raises(UsageError, match="bare: no video has annotation"):
        Lab.prepare(tmp_path, nothing, SETTINGS)


def test_what_a_killed_run_left_is_swept(tmp_path) -> None:
    mine = tmp_path / f".lab-0123.{os.getppid()}.abc.part"  # of a process that lives
    left = tmp_path / f".lab-0123.{ended_process()}.abc.part"
    for folder in (left, mine):
        (folder / "new").mkdir(parents=True)
        (folder / "new" / "encoded.f32").write_bytes(b"half")
    lab = Lab.prepare(tmp_path, small_set(12), SETTINGS)
    assert not left.exists()
    assert mine.exists()
    assert (lab.folder / FACTS_FILE).exists()


def test_opening_what_is_none_is_told(tmp_path) -> None:
    with pytest.raises(KlocError, match="no prepared set"):
        Lab.open(tmp_path)


# -- sources ----------------------------------------------------------------------------------------------------


def moved(dataset: Dataset, video_id: str, **more) -> Dataset:
    videos = {**dataset.videos, video_id: replace(dataset.videos[video_id], **more)}
    return Dataset(dataset.classes, videos, dataset.annotations, dataset.name)


def test_the_fingerprint_changes_with_all_that_experiments_read() -> None:
    source = small_set(12)
    base, known = fingerprint_of(source), source.dataset
    assert fingerprint_of(small_set(12)) == base
    annotation = known.annotations["v003"]
    first = annotation.instances[0]
    others = [
        small_set(12, cap=19),
        small_set(13),
        replace(source, generator=SimulatedFeatures(CLASSES, seed=1, appearance=LOUD)),
        replace(source, dataset=replace(known, name="other")),
        replace(source, dataset=replace(known, classes=(*CLASSES, "more"))),
        replace(source, dataset=moved(known, "v003", subset="testing")),
        replace(source, dataset=moved(known, "v003", labels=("class 0",))),
        replace(source, dataset=moved(known, "v003", end=known.videos["v003"].end + 1)),
        changed(source, {"v003": replace(annotation, instances=())}),
        changed(source, {"v003": replace(annotation, instances=(replace(first, end=first.end + 0.5),))}),
        changed(source, {"v003": replace(annotation, exhaustive_for=frozenset({first.label}))}),
    ]
    prints = [fingerprint_of(other) for other in others]
    assert base not in prints
    assert len(set(prints)) == len(prints)


def test_videos_without_a_duration_are_left_out_and_told() -> None:
    known = moved(small_dataset(12), "v004", end=0.0)
    source = SimulatedSet(known, SimulatedFeatures(CLASSES, appearance=LOUD), 20)
    assert "v004" not in source.ids
    assert len(source.ids) == 11
    assert source.problems == ["1 videos without a duration are left out"]


def test_a_part_of_a_set_is_always_the_same_and_shows_nothing_else() -> None:
    known = small_dataset(96)
    part = part_of(known, 3, 20)
    assert part == part_of(known, 3, 20)
    assert len(part.classes) == 3
    assert len(part.videos) == len(part.annotations) == 20
    for annotation in part.annotations.values():
        assert annotation.instances
        assert {i.label for i in annotation.instances} <= set(part.classes)
    whole = part_of(known)
    assert set(whole.annotations) == {v for v, a in known.annotations.items() if a.instances}
    assert set(part_of(known, 3).annotations) > set(part.annotations)


def test_proposals_and_features_of_a_video_do_not_depend_on_the_part() -> None:
    known = small_dataset(48)
    whole = SimulatedSet(known, SimulatedFeatures(CLASSES, appearance=LOUD), 20)
    part = SimulatedSet(part_of(known, 4), SimulatedFeatures(CLASSES, appearance=LOUD), 20)
    some = part.ids[3]
    assert np.array_equal(whole.features(some).features, part.features(some).features)
    assert np.array_equal(whole.proposals(some).segments, part.proposals(some).segments)
    assert len(part.proposals(some)) <= 20


# -- splits -----------------------------------------------------------------------------------------------------


def labels_of(lab: Lab, index: int) -> set[str]:
    return {i.label for i in lab.annotations[index].instances} or set(lab.videos[index].labels)


@pytest.mark.parametrize("seed", range(6))
def test_parts_share_neither_videos_nor_classes(lab, seed) -> None:
    split = make_split(lab, seed)
    assert len(split.knowledge_classes) == 2
    assert set(split.knowledge_classes) | set(split.classes) == set(CLASSES)
    assert not set(split.knowledge_classes) & set(split.classes)
    parts = [split.knowledge, split.pool, split.testing]
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together) == 96
    for part in (*parts, split.initial):
        assert part.tolist() == sorted(part.tolist())
    assert set(split.initial.tolist()) <= set(split.pool.tolist())
    assert len(split.initial) == round(0.1 * len(split.pool))
    assert all(labels_of(lab, i) <= set(split.knowledge_classes) for i in split.knowledge.tolist())
    assert all(labels_of(lab, i) <= set(split.classes) for i in [*split.pool.tolist(), *split.testing.tolist()])
    assert {lab.videos[i].subset for i in split.pool.tolist()} == {"training"}
    assert {lab.videos[i].subset for i in split.testing.tolist()} == {"validation"}
    assert {lab.videos[i].subset for i in split.knowledge.tolist()} == {"training", "validation"}


def test_splits_depend_on_the_seed_alone(lab) -> None:
    one, again, other = make_split(lab, 3), make_split(lab, 3), make_split(lab, 4)
    for name in ("knowledge", "pool", "testing", "initial"):
        assert np.array_equal(getattr(one, name), getattr(again, name))
    assert one.knowledge_classes != other.knowledge_classes or not np.array_equal(one.initial, other.initial)
    assert len({make_split(lab, seed).knowledge_classes for seed in range(8)}) > 1


def test_shares_are_those_asked_for(lab) -> None:
    split = make_split(lab, 0, knowledge_share=0.5, initial_share=0.4)
    assert len(split.knowledge_classes) == 4
    assert len(split.initial) == round(0.4 * len(split.pool))


def with_subsets(lab: Lab, subset: str, *, but: int = 0) -> Lab:
    """The lab with every video in one subset, ``but`` so many of validation."""
    videos = [replace(v, subset="validation" if i < but else subset) for i, v in enumerate(lab.videos)]
    return replace(lab, videos=tuple(videos))


@pytest.mark.parametrize("n_testing", [0, 1])
def test_without_validation_videos_a_quarter_of_the_pool_is_held_out(lab, n_testing) -> None:
    only = with_subsets(lab, "training", but=n_testing)
    split = make_split(only, 1)
    assert np.intersect1d(split.pool, split.testing).size == 0
    own = [i for i in range(96) if labels_of(lab, i) <= set(split.classes)]
    assert sorted([*split.pool.tolist(), *split.testing.tolist()]) == own
    of_validation = sum(1 for i in own if only.videos[i].subset == "validation")
    assert len(split.testing) == of_validation + (len(own) - of_validation) // 4
    assert set(split.initial.tolist()) <= set(split.pool.tolist())
    assert split.testing.tolist() != make_split(only, 2).testing.tolist()


def test_videos_of_both_sides_are_in_no_part(lab) -> None:
    split = make_split(lab, 0)
    at = int(split.pool[0])
    mixed = [*lab.annotations]
    both = (Instance(1, 2, split.knowledge_classes[0]), Instance(3, 4, split.classes[0]))
    mixed[at] = replace(mixed[at], instances=both)
    again = make_split(replace(lab, annotations=tuple(mixed)), 0)
    assert at not in np.concatenate([again.knowledge, again.pool, again.testing])
    assert len(again.pool) == len(split.pool) - 1


def test_a_video_without_instances_goes_by_its_labels_or_into_the_pool(lab) -> None:
    split = make_split(lab, 0)
    knowing = [i for i in split.knowledge.tolist() if not lab.annotations[i].instances]
    choosing = [i for i in split.pool.tolist() if not lab.annotations[i].instances]
    assert knowing or choosing
    bare = replace(lab, videos=tuple(replace(v, labels=()) for v in lab.videos))
    again = make_split(bare, 0)
    for i in (*knowing, *choosing):
        assert i in (again.pool if lab.videos[i].subset == "training" else again.testing)


def few(lab: Lab, keep) -> Lab:
    at = [i for i, v in enumerate(lab.videos) if keep(i, v)]
    return replace(lab, videos=tuple(lab.videos[i] for i in at), annotations=tuple(lab.annotations[i] for i in at))


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (lambda i, v: i % 8 == 0, "small: 1 classes cannot be split"),
        (lambda i, v: i % 8 < 2, "small: 2 classes cannot be split"),
        (lambda i, v: i < 14, "too few videos"),
        (lambda i, v: v.subset == "validation" and i < 40, "too few videos"),
    ],
)
def test_sets_too_small_are_refused(lab, keep, message) -> None:
    with pytest.raises(UsageError, match=message):
        make_split(few(lab, keep), 0)


# -- noisy labels -----------------------------------------------------------------------------------------------


def test_relabelling_equals_encoding_what_the_oracle_says(source, tmp_path) -> None:
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    lab.relabel(source, 0.3, 5)
    table, annotations = lab.annotated_by(0.3, 5)
    oracle = NoisyOracle(0.3, 5)
    said = [oracle.annotate(a, v.start, v.end, CLASSES) for v, a in zip(lab.videos, lab.annotations, strict=True)]
    expected = encode_training(
        TrainingSet(CLASSES, [TrainingVideo(source.features(a.item.video_id), source.proposals(a.item.video_id), a)
                              for a in said]), SETTINGS,
    )  # fmt: skip
    assert table.keys == expected.keys
    for name in ARRAYS:
        assert np.array_equal(getattr(table, name), getattr(expected, name)), name
    assert np.array_equal(table.truth_owner, expected.truth_owner)
    assert list(annotations) == said
    assert not np.array_equal(table.best, lab.table.best)


def test_the_truth_stays_for_testing(source, tmp_path) -> None:
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    before = tree(lab.folder)
    lab.relabel(source, 0.2, 1)
    lab.relabel(source, 0.2, 2)
    after = tree(lab.folder)
    assert {k: after[k] for k in before} == before
    assert set(after) - set(before) == {oracle_file(0.2, 1), oracle_file(0.2, 2)}
    assert after[oracle_file(0.2, 1)] != after[oracle_file(0.2, 2)]
    assert Lab.open(lab.folder).annotations == lab.annotations
    assert tuple(source.dataset.annotations[v.id] for v in lab.videos) == lab.annotations


def test_relabelling_again_reads_nothing_and_no_noise_is_the_truth(tmp_path) -> None:
    source = Spoilt(small_set(24))
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    lab.relabel(source, 0.2, 1)
    reads = dict(source.read)
    lab.relabel(source, 0.2, 1)
    lab.relabel(source, 0.0, 1)
    assert source.read == reads
    assert lab.annotated_by(0.0, 9) == (lab.table, lab.annotations)
    with pytest.raises(KlocError, match="has not annotated yet"):
        lab.annotated_by(0.25, 1)


def test_noises_that_nearly_agree_are_kept_apart(tmp_path) -> None:
    source = small_set(24)
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    for noise in (0.10001, 0.10002):
        lab.relabel(source, noise, 1)
    assert lab.annotated_by(0.10001, 1)[1] != lab.annotated_by(0.10002, 1)[1]


def test_relabelling_leaves_nothing_half_written(tmp_path) -> None:
    source = small_set(24)
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    spoilt = Spoilt(source, lost=frozenset({"v020"}))
    with pytest.raises(KlocError, match="gone"):
        lab.relabel(spoilt, 0.2, 1)
    assert not (lab.folder / oracle_file(0.2, 1)).exists()
    assert not list(lab.folder.glob("*part*"))


def test_an_oracle_that_errs_everywhere_still_gives_a_table(tmp_path) -> None:
    known = small_dataset(24)
    odd = dict(known.annotations)
    odd["v001"] = Annotation(odd["v001"].item, (Instance(1e6, 1e6 + 5, CLASSES[1]),))  # beyond its video
    source = SimulatedSet(replace(known, annotations=odd), SimulatedFeatures(CLASSES, appearance=LOUD), 20)
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    lab.relabel(source, 0.9, 0)
    table, annotations = lab.annotated_by(0.9, 0)
    assert annotations[1].instances == ()
    assert np.isfinite(table.best).all()


def test_videos_keep_their_own_bounds(tmp_path) -> None:
    known = small_dataset(12)
    video = Video("v000", 5.0, 47.0, labels=("class 0",))
    dataset = Dataset(CLASSES, {**known.videos, "v000": video}, {
        **known.annotations, "v000": Annotation(video.item, (Instance(10.0, 20.0, "class 0"),), frozenset({"class 0"})),
    }, "moved")  # fmt: skip
    source = SimulatedSet(dataset, SimulatedFeatures(CLASSES, appearance=LOUD), 20)
    lab = Lab.open(Lab.prepare(tmp_path, source, SETTINGS).folder)
    assert (lab.videos[0].start, lab.videos[0].end) == (5.0, 47.0)
    assert lab.annotations[0] == dataset.annotations["v000"]
    assert lab.items[0] == video.item
