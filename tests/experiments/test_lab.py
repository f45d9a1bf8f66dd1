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
from kloc.experiments.lab import FACTS_FILE, Lab, lab_fingerprint, oracle_file
from kloc.experiments.oracle import NoisyOracle
from kloc.experiments.simulated_features import SimulatedFeatures
from kloc.experiments.source import SimulatedSet, fingerprint_of, part_of, simulated_set
from kloc.formats import activitynet
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
    assert all(part_of(known, n) == replace(known, classes=tuple(sorted(known.classes))) for n in (0, 8, 9))
    assert set(part_of(known, 3).annotations) > set(part.annotations)


def test_videos_without_instances_are_kept_or_told_of(tmp_path) -> None:
    known = small_dataset(96)
    bare = {v for v, a in known.annotations.items() if not a.instances}
    assert len(bare) == 5
    activitynet.write(tmp_path / "small.json", known)
    whole = simulated_set(tmp_path / "small.json")
    assert bare < set(whole.ids)
    assert whole.problems == []
    some = simulated_set(tmp_path / "small.json", 3)
    assert not bare & set(some.ids)
    assert len(some.problems) == 1
    assert some.problems[0].startswith("5 videos without instances are left out")
    # Some of all videos: drawn from those without instances as well.
    assert bare & set(simulated_set(tmp_path / "small.json", 0, 80).ids)


def test_proposals_and_features_of_a_video_do_not_depend_on_the_part() -> None:
    known = small_dataset(48)
    whole = SimulatedSet(known, SimulatedFeatures(CLASSES, appearance=LOUD), 20)
    part = SimulatedSet(part_of(known, 4), SimulatedFeatures(CLASSES, appearance=LOUD), 20)
    some = part.ids[3]
    assert np.array_equal(whole.features(some).features, part.features(some).features)
    assert np.array_equal(whole.proposals(some).segments, part.proposals(some).segments)
    assert len(part.proposals(some)) <= 20


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


# -- told beforehand, and on the way ----------------------------------------------------------------------------


def test_the_fingerprint_is_known_before_anything_is_encoded(lab, source) -> None:
    assert lab_fingerprint(source, SETTINGS) == lab.fingerprint
    assert lab_fingerprint(source, replace(SETTINGS, top_k=3)) != lab.fingerprint
    assert lab_fingerprint(small_set(80), SETTINGS) != lab.fingerprint


def test_relabelling_tells_of_every_video(tmp_path) -> None:
    source = small_set(24)
    lab, told = Lab.prepare(tmp_path, source, SETTINGS), []
    assert lab.is_relabelled(0.0, 1)
    assert not lab.is_relabelled(0.2, 1)
    lab.relabel(source, 0.2, 1, lambda: told.append(1))
    lab.relabel(source, 0.2, 1, lambda: told.append(1))
    assert len(told) == 24
    assert lab.is_relabelled(0.2, 1)
    assert not lab.is_relabelled(0.2, 2)
