"""DAPs: a recurrent network reads a stream of the video once and proposes K segments (P2 section 3.1).

kloc's version works on feature sequences of any rate: 32 steps per stream, streams of several rates, offsets to
k-means anchors instead of absolute locations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray

from kloc import seeds
from kloc.errors import MismatchError, UsageError
from kloc.files import fingerprint, write_json
from kloc.proposals.base import MODEL_FILE, Proposals, register_generator
from kloc.proposals.daps_network import StreamNetwork, train
from kloc.proposals.hygiene import NoInstancesError, finite_features, inside_item, usable_instances
from kloc.proposals.saved import read_model_file, read_tensors, saved_settings, write_tensors
from kloc.proposals.streams import (
    decode,
    instances_in,
    make_anchors,
    match,
    offsets,
    stream_steps,
    video_streams,
)
from kloc.segments import Segments, clip_segments, mean_pool, nms

if TYPE_CHECKING:
    from kloc.features.bank import VideoFeatures
    from kloc.records import Annotation

WEIGHTS_FILE = "proposals.safetensors"
_PCA = ("pca.mean", "pca.components", "anchors")


@dataclass(frozen=True, slots=True)
class DAPsSettings:
    """Settings of DAPs; the defaults are those of stage-wise localization in kloc."""

    n_anchors: int = 64
    n_steps: int = 32
    #: Distance of neighbouring streams as a fraction of a stream.
    stride: float = 0.125
    pca_dim: int = 500
    hidden: int = 256
    #: "offset" regresses from the anchors; "anchors" proposes the anchors themselves (robust with few labels).
    loc: Literal["offset", "anchors"] = "offset"
    #: Weight of the location loss against the confidence loss.
    alpha: float = 1.0
    weight_decay: float = 1e-4
    learning_rate: float = 1e-3
    epochs: int = 20
    batch_size: int = 64
    clip_norm: float = 10.0
    #: A video's training streams beyond this many in total are thinned out at random (memory).
    max_streams: int = 8192
    nms_tiou: float = 0.7
    #: Proposals per video, the whole video included.
    cap: int = 200

    def __post_init__(self) -> None:
        whole = (self.n_anchors, self.n_steps, self.pca_dim, self.hidden, self.batch_size, self.max_streams)
        if min(whole) < 1 or self.epochs < 0 or self.cap < 2:
            raise ValueError("counts must be at least 1, epochs at least 0 and cap at least 2")
        if self.loc not in ("offset", "anchors"):
            raise ValueError(f"loc must be 'offset' or 'anchors', not {self.loc!r}")
        if not 0 < self.stride <= 1:
            raise ValueError("stride must be above 0 and at most 1")


@register_generator("daps")
class DAPs:
    """Deep action proposals, trained by :meth:`fit` on annotated videos, then frozen.

    ``feature_fingerprint`` names the feature settings it was trained on, where the caller gave them.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[DAPsSettings]] = DAPsSettings

    def __init__(self, settings: DAPsSettings | None = None) -> None:
        self.settings = settings or DAPsSettings()
        self.feature_fingerprint: str | None = None
        #: Mean loss of each training epoch.
        self.losses: list[float] = []
        self._mean = np.zeros(0, np.float32)
        self._components = np.zeros((0, 0), np.float32)
        self._anchors = np.zeros((0, 2))
        self._network: StreamNetwork | None = None

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name, value in sorted(self._tensors().items()):
            digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
        return fingerprint({"name": self.name, **asdict(self.settings), "weights": digest.hexdigest()})

    def fit(
        self,
        videos: Iterable[tuple[VideoFeatures, Annotation]],
        *,
        seed: int = 0,
        feature_fingerprint: str | None = None,
        device: str = "cpu",
    ) -> None:
        """Learn the projection, the anchors and the network from annotated videos.

        ``videos`` is gone through twice and may load lazily. Only streams inside the annotated stretch teach;
        an annotation that was asked about no class teaches nothing. The same seed gives the same weights.
        Raises NoInstancesError if no stream shows an instance.
        """
        frames, streams, seen = self._survey(videos, seed)
        self._mean, self._components = fit_pca(frames, self.settings.pca_dim)
        self._anchors = make_anchors(np.concatenate(seen), self.settings.n_anchors, seed)
        inputs, matched, targets = self._training_arrays(videos, streams)
        network = StreamNetwork(inputs.shape[2], self.settings.hidden, len(self._anchors), seed)
        self.losses = train(network, inputs, matched, targets, self.settings, seed, device)
        self._network = network
        self.feature_fingerprint = feature_fingerprint

    def _survey(
        self, videos: Iterable[tuple[VideoFeatures, Annotation]], seed: int
    ) -> tuple[NDArray[np.float32], dict[int, list[tuple[NDArray[np.float64], Segments]]], list[Segments]]:
        """Frames for the projection, the chosen training streams by video, the instances they show."""
        frames: list[NDArray[np.float32]] = []
        found: list[tuple[int, NDArray[np.float64], Segments]] = []
        for number, (video, annotation) in enumerate(videos):
            features = finite_features(video)
            frames.append(features[np.unique(np.linspace(0, len(features) - 1, 64).astype(int))])
            if annotation.exhaustive_for is not None and not annotation.exhaustive_for:
                continue
            segments, _ = usable_instances(annotation, video)
            streams = self._streams(video)
            streams = streams[inside_item(streams, annotation)]
            found += [(number, stream, instances_in(stream, segments)) for stream in streams]
        rng = seeds.generator(seed, "daps", "streams")
        full = [i for i, (_, _, shown) in enumerate(found) if len(shown)]
        empty = [i for i, (_, _, shown) in enumerate(found) if not len(shown)]
        if not full:
            raise NoInstancesError("DAPs cannot be trained: no labelled video holds an instance; label some first")
        full = _thin(full, self.settings.max_streams, rng)
        empty = _thin(empty, min(len(full), max(0, self.settings.max_streams - len(full))), rng)
        chosen: dict[int, list[tuple[NDArray[np.float64], Segments]]] = {}
        for number, stream, shown in (found[i] for i in sorted(full + empty)):
            chosen.setdefault(number, []).append((stream, shown))
        if len({part.shape[1] for part in frames}) > 1:
            raise MismatchError("DAPs cannot be trained on features of several widths; extract them with one backbone")
        sample = np.concatenate(frames)
        if len(sample) > 20_000:
            sample = sample[np.sort(rng.choice(len(sample), 20_000, replace=False))]
        return sample, chosen, [found[i][2] for i in full]

    def _training_arrays(
        self,
        videos: Iterable[tuple[VideoFeatures, Annotation]],
        chosen: dict[int, list[tuple[NDArray[np.float64], Segments]]],
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
        """Inputs ``(S, steps, P)``, matched ``(S, K)`` and offset targets ``(S, K, 2)`` of the streams."""
        inputs, matched, targets = [], [], []
        for number, (video, _) in enumerate(videos):
            if number not in chosen:
                continue
            streams = np.stack([stream for stream, _ in chosen[number]])
            inputs.append(self._read(video, self._project(video), streams))
            for _, shown in chosen[number]:
                taken = match(self._anchors, shown)
                matched.append(taken >= 0)
                targets.append(offsets(self._anchors, shown, taken))
        return np.concatenate(inputs), np.stack(matched), np.stack(targets).astype(np.float32)

    def propose(self, video: VideoFeatures) -> Proposals:
        """At most ``cap`` proposals, best first; the whole video is always among them (last if not found).

        Raises UsageError before :meth:`fit`, MismatchError for features of another width.
        """
        if self._network is None:
            raise UsageError("these DAPs are not trained; fit them on labelled videos or load saved ones")
        projected = self._project(video)
        streams = self._streams(video)
        segments, confidence = [], []
        for part in np.array_split(streams, max(1, -(-len(streams) // 1024))):
            values, scores = self._network.infer(self._read(video, projected, part))
            if self.settings.loc == "anchors":
                values = np.zeros_like(values)
            segments.append(decode(self._anchors, values, part))
            confidence.append(scores.reshape(-1))
        candidates, kept = clip_segments(np.concatenate(segments), video.start, video.end)
        scores = np.concatenate(confidence)[kept]
        best = nms(candidates, scores, self.settings.nms_tiou, limit=self.settings.cap - 1)
        return _with_whole(video, candidates[best], scores[best])

    def _streams(self, video: VideoFeatures) -> Segments:
        return video_streams(video.grid, video.start, video.end, self.settings.n_steps, self.settings.stride)

    def _project(self, video: VideoFeatures) -> NDArray[np.float32]:
        features = finite_features(video)
        if features.shape[1] != len(self._mean):
            raise MismatchError(
                f"{video.video_id}: features have {features.shape[1]} dimensions, these DAPs were trained on "
                f"{len(self._mean)}; extract the features with the same backbone or train again"
            )
        return np.asarray((features - self._mean) @ self._components, dtype=np.float32)

    def _read(self, video: VideoFeatures, projected: NDArray[np.float32], streams: Segments) -> NDArray[np.float32]:
        """What the network sees of the streams, float32 ``(S, steps, P)``."""
        steps = stream_steps(streams, self.settings.n_steps)
        return mean_pool(projected, video.grid, steps).reshape(len(streams), self.settings.n_steps, -1)

    def _tensors(self) -> dict[str, NDArray[np.generic]]:
        tensors: dict[str, NDArray[np.generic]] = {
            "pca.mean": self._mean, "pca.components": self._components, "anchors": self._anchors,
        }  # fmt: skip
        if self._network is not None:
            tensors |= {f"network.{k}": v.numpy() for k, v in self._network.state_dict().items()}
        return tensors

    def save(self, folder: Path) -> None:
        """Write weights and settings; raises UsageError before :meth:`fit`."""
        if self._network is None:
            raise UsageError("these DAPs are not trained; there is nothing to save")
        write_tensors(folder / WEIGHTS_FILE, self._tensors())
        model = {"name": self.name, "settings": asdict(self.settings), "features": self.feature_fingerprint}
        write_json(folder / MODEL_FILE, model)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The DAPs saved in ``folder``; raises FormatError if they are damaged."""
        saved = read_model_file(folder / MODEL_FILE)
        daps = cls(saved_settings(DAPsSettings, saved, folder / MODEL_FILE))
        tensors = read_tensors(folder / WEIGHTS_FILE, _PCA)
        daps._mean, daps._components, daps._anchors = (tensors[name] for name in _PCA)
        network = StreamNetwork(daps._components.shape[1], daps.settings.hidden, len(daps._anchors), 0)
        network.restore({k[8:]: torch.from_numpy(v) for k, v in tensors.items() if k.startswith("network.")},
                        folder / WEIGHTS_FILE)  # fmt: skip
        daps._network = network
        daps.feature_fingerprint = saved.get("features")
        return daps


def fit_pca(frames: NDArray[np.float32], dim: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean ``(D,)`` and components ``(D, P)`` with P at most ``dim``.

    Columns share one scale, so that the projection of the training frames has a mean variance of 1; signs are
    fixed by the largest entry of each component.
    """
    mean = frames.mean(axis=0, dtype=np.float64)
    centred = frames - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / max(1, len(frames) - 1))
    n_kept = max(1, min(dim, frames.shape[1], len(frames) - 1))
    values, vectors = values[::-1][:n_kept], vectors[:, ::-1][:, :n_kept]
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(n_kept)])
    scale = np.sqrt(max(float(values.mean()), 1e-12))
    return mean.astype(np.float32), (vectors * signs / scale).astype(np.float32)


def _thin(indices: list[int], count: int, rng: np.random.Generator) -> list[int]:
    if len(indices) <= count:
        return indices
    return [indices[i] for i in rng.choice(len(indices), count, replace=False)]


def _with_whole(video: VideoFeatures, segments: Segments, scores: NDArray[np.float32]) -> Proposals:
    """The proposals and, where none of them is it, the whole video as the last."""
    whole = np.array([[video.start, video.end]])
    if not np.isclose(segments, whole, rtol=0, atol=1e-6).all(axis=1).any():
        last = scores.min() if len(scores) else np.float32(1)
        segments = np.concatenate([segments, whole])
        scores = np.append(scores, np.float32(last))
    return Proposals(video.video_id, segments, scores.astype(np.float32))
