"""DAPs learn where something happens, the same way every time, and survive saving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kloc.errors import FormatError, MismatchError, UsageError
from kloc.features.bank import VideoFeatures
from kloc.proposals import Proposals, load_generator, make_generator
from kloc.proposals.daps import DAPs, DAPsSettings, fit_pca
from kloc.proposals.daps_network import StreamNetwork, balance, confidence_loss, location_loss
from kloc.proposals.hygiene import NoInstancesError
from kloc.records import Annotation, Grid, Item
from kloc.segments import pairwise_tiou

Labelled = list[tuple[VideoFeatures, Annotation]]
SMALL = DAPsSettings(n_anchors=16, hidden=32, epochs=15, pca_dim=8, max_streams=500, cap=60)


@pytest.fixture(scope="module")
def trained(made_up_videos: Labelled) -> DAPs:
    daps = DAPs(SMALL)
    daps.fit(made_up_videos[:16], seed=3, feature_fingerprint="abc")
    return daps


def recall(videos: Labelled, proposals: list[np.ndarray], n: int) -> float:
    """Average recall of the first n proposals over tIoU .5:.05:.95, the slow way."""
    hits, total = 0, 0
    for (_, annotation), segments in zip(videos, proposals, strict=True):
        for instance in annotation.instances:
            best = pairwise_tiou(segments[:n], np.array([[instance.start, instance.end]])).max()
            hits += sum(best >= t - 1e-9 for t in np.linspace(0.5, 0.95, 10))
            total += 10
    return hits / total


def test_recall_beats_random_segments_and_grows_with_n(trained: DAPs, made_up_videos: Labelled) -> None:
    held_out = made_up_videos[16:]
    mine = [trained.propose(v).segments for v, _ in held_out]
    rng = np.random.default_rng(0)
    random = [np.sort(rng.uniform(v.start, v.end, (60, 2)), axis=1) for v, _ in held_out]
    curve = [recall(held_out, mine, n) for n in (1, 5, 10, 20, 60)]
    assert curve == sorted(curve)
    assert curve[-1] > curve[0]
    for n in (5, 10, 20, 60):
        assert recall(held_out, mine, n) > recall(held_out, random, n)


def test_regression_and_confidence_are_learnt(trained: DAPs, made_up_videos: Labelled) -> None:
    assert trained.losses[-1] < 0.7 * trained.losses[0]
    untrained = DAPs(DAPsSettings(n_anchors=16, hidden=32, epochs=0, pca_dim=8, max_streams=500, cap=60))
    untrained.fit(made_up_videos[:16], seed=3)
    held_out = made_up_videos[16:]
    after, before = ([d.propose(v).segments for v, _ in held_out] for d in (trained, untrained))
    assert recall(held_out, after, 10) > recall(held_out, before, 10)


def check(video: VideoFeatures, proposals: Proposals, cap: int) -> None:
    assert 1 <= len(proposals) <= cap
    assert proposals.segments.dtype == np.float64
    assert proposals.confidence.dtype == np.float32
    assert (proposals.segments[:, 0] >= video.start).all()
    assert (proposals.segments[:, 1] <= video.end).all()
    assert (proposals.segments[:, 1] - proposals.segments[:, 0] > 0).all()
    assert (np.diff(proposals.confidence) <= 0).all()
    whole = np.abs(proposals.segments - [video.start, video.end]).max(axis=1)
    assert whole.min() < 1e-6
    others = proposals.segments[whole > 1e-6]
    tiou = pairwise_tiou(others, others) - np.eye(len(others))
    assert (tiou <= 0.7 + 1e-8).all()


@pytest.mark.parametrize("count", [1, 3, 31, 32, 33, 500])
def test_any_length_of_video_gets_proposals(trained: DAPs, count: int) -> None:
    rng = np.random.default_rng(count)
    features = rng.normal(size=(count, 16)).astype(np.float32)
    video = VideoFeatures("x", features, Grid(2.1, 0.2, 0.2, count), 2.0, 2.0 + 0.2 * count)
    check(video, trained.propose(video), SMALL.cap)


def test_the_same_seed_gives_the_same_bytes(trained: DAPs, made_up_videos: Labelled) -> None:
    torch.manual_seed(99)
    again, other = DAPs(SMALL), DAPs(SMALL)
    again.fit(iter_again(made_up_videos[:16]), seed=3, feature_fingerprint="abc")
    other.fit(made_up_videos[:16], seed=4)
    assert again.fingerprint == trained.fingerprint != other.fingerprint
    assert again.losses == trained.losses


class iter_again:  # noqa: N801 - a lazy collection that only iterates
    def __init__(self, videos: Labelled) -> None:
        self.videos = videos

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.videos)


def test_training_leaves_the_global_generator_alone(made_up_videos: Labelled) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    DAPs(DAPsSettings(n_anchors=4, hidden=4, epochs=1, pca_dim=2, max_streams=40)).fit(made_up_videos[:2])
    assert torch.equal(before, torch.get_rng_state())


def test_saved_and_loaded_it_proposes_the_same(trained: DAPs, made_up_videos: Labelled, tmp_path: Path) -> None:
    trained.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["proposals.json", "proposals.safetensors"]
    again = load_generator(tmp_path)
    assert isinstance(again, DAPs)
    assert again.fingerprint == trained.fingerprint
    assert again.feature_fingerprint == "abc"
    first, second = again.propose(made_up_videos[20][0]), trained.propose(made_up_videos[20][0])
    assert first.segments.tobytes() == second.segments.tobytes()
    assert first.confidence.tobytes() == second.confidence.tobytes()


def test_damaged_weights_are_told(trained: DAPs, tmp_path: Path) -> None:
    trained.save(tmp_path)
    weights = tmp_path / "proposals.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(FormatError, match="train the model again"):
        load_generator(tmp_path)
    trained.save(tmp_path)
    model = tmp_path / "proposals.json"
    model.write_text(model.read_text().replace('"hidden": 32', '"hidden": 33'))
    with pytest.raises(FormatError, match="do not fit their settings"):
        load_generator(tmp_path)


def test_anchors_only_proposes_nothing_but_anchors(made_up_videos: Labelled) -> None:
    daps = make_generator("daps", n_anchors=8, hidden=8, epochs=2, pca_dim=4, max_streams=50, loc="anchors")
    assert isinstance(daps, DAPs)
    daps.fit(made_up_videos[:8])
    features = np.zeros((20, 16), np.float32)
    short = VideoFeatures("s", features, Grid(0.1, 0.2, 0.2, 20), 0.0, 4.0)
    centres = daps._anchors[:, :1] + daps._anchors[:, 1:] * np.array([[-0.5, 0.5]])
    anchors = np.clip(centres, 0, 1) * 4.0
    for segment in daps.propose(short).segments[:-1]:
        assert np.abs(anchors - segment).max(axis=1).min() < 1e-6


def test_nothing_to_learn_from_is_told(made_up_videos: Labelled) -> None:
    empty = [(v, Annotation(a.item, ())) for v, a in made_up_videos[:3]]
    with pytest.raises(NoInstancesError, match="no labelled video holds an instance"):
        DAPs(SMALL).fit(empty)
    unasked = [(v, Annotation(a.item, a.instances, frozenset())) for v, a in made_up_videos[:3]]
    with pytest.raises(NoInstancesError):
        DAPs(SMALL).fit(unasked)


def test_only_the_annotated_stretch_teaches(made_up_videos: Labelled) -> None:
    daps = DAPs(SMALL)
    halves = [(v, Annotation(Item(v.video_id, 0.0, 30.0), a.instances)) for v, a in made_up_videos[:4]]
    _, streams, _ = daps._survey(halves, seed=0)
    chosen = [stream for part in streams.values() for stream, _ in part]
    assert max(stream[1] for stream in chosen) <= 30.0 + 1e-6
    n_empty = sum(len(shown) == 0 for part in streams.values() for _, shown in part)
    assert 0 < n_empty <= len(chosen) / 2


def test_wrong_use_is_told(trained: DAPs, tmp_path: Path) -> None:
    video = VideoFeatures("odd", np.zeros((5, 7), np.float32), Grid(0.1, 0.2, 0.2, 5), 0.0, 1.0)
    with pytest.raises(MismatchError, match="odd: features have 7 dimensions"):
        trained.propose(video)
    with pytest.raises(UsageError, match="not trained"):
        DAPs().propose(video)
    with pytest.raises(UsageError, match="nothing to save"):
        DAPs().save(tmp_path)


def test_losses_equal_their_definition() -> None:
    rng = np.random.default_rng(0)
    matched = rng.random((4, 6)) < 0.3
    offsets, targets, logits = rng.normal(size=(4, 6, 2)), rng.normal(size=(4, 6, 2)), rng.normal(size=(4, 6))
    found = [(i, k) for i in range(4) for k in range(6) if matched[i, k]]
    expected = sum(((offsets[i, k] - targets[i, k]) ** 2).sum() for i, k in found) / len(found)
    goal = torch.from_numpy(matched.astype(float))
    assert float(location_loss(torch.from_numpy(offsets), torch.from_numpy(targets), goal)) == pytest.approx(expected)
    positive, negative = balance(matched)
    assert positive == pytest.approx(24 / (2 * len(found)))
    p = 1 / (1 + np.exp(-logits))
    expected = np.where(matched, -positive * np.log(p), -negative * np.log(1 - p)).mean()
    assert float(confidence_loss(torch.from_numpy(logits), goal, positive, negative)) == pytest.approx(expected)
    assert balance(np.zeros((10, 100), bool)) == (50.0, 0.5)


def test_an_untrained_network_says_zero_offset_and_forgets_nothing() -> None:
    network = StreamNetwork(5, 7, 3, seed=0)
    offsets, confidence = network.infer(np.random.default_rng(0).normal(size=(2, 4, 5)).astype(np.float32))
    assert (offsets == 0).all()
    assert ((confidence > 0) & (confidence < 1)).all()
    bias = network.lstm.bias_ih_l0 + network.lstm.bias_hh_l0
    assert (bias[7:14] == 5.0).all()


def test_the_projection_keeps_what_varies_most() -> None:
    rng = np.random.default_rng(0)
    frames = (rng.normal(size=(500, 6)) * [9, 7, 5, 1, 0.1, 0.1] + 3).astype(np.float32)
    mean, components = fit_pca(frames, 3)
    projected = (frames - mean) @ components
    assert projected.var(axis=0).mean() == pytest.approx(1, rel=0.01)
    covariance = np.cov(projected.T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-4
    assert np.abs(components).argmax(axis=0).tolist() == [0, 1, 2]
    assert fit_pca(frames[:3], 6)[1].shape == (6, 2)
