"""Videos to features on disk: one thread decodes while another runs the network."""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kloc.errors import KlocError, MismatchError
from kloc.features.backbone import BATCH, Backbone, make_backbone
from kloc.features.bank import FeatureBank
from kloc.features.settings import FeatureSettings
from kloc.records import Grid
from kloc.threads import one_thread
from kloc.video.probe import Probe
from kloc.video.sampling import nearest_frames, sample_times
from kloc.video.source import Decoder, VideoSource, open_video

#: Frames decoded at a time, and how many such chunks wait for the network at most.
_CHUNK = 4 * BATCH
_WAITING = 2


def extraction_settings(backbone: Backbone, *, fps: float, max_frames: int | None = None) -> FeatureSettings:
    """Settings of features that ``backbone`` makes of frames sampled at ``fps`` per second."""
    return FeatureSettings(
        backbone=backbone.name,
        weights_id=backbone.weights_id,
        dim=backbone.dim,
        fps=fps,
        max_frames=max_frames,
        short_side=backbone.short_side,
        input_size=backbone.input_size,
    )


def extract_video(
    path: Path | str, probe: Probe, backbone: Backbone, settings: FeatureSettings, *, decoder: Decoder = "auto"
) -> tuple[NDArray[np.float32], Grid]:
    """Features of one video, float32 ``(T, D)``, and where in time they lie.

    The frame nearest to each sample's time is decoded with its short side at ``settings.short_side`` pixels, and
    the network sees the ``settings.input_size`` square at its centre. The result depends on the video and the
    settings alone. Raises :class:`VideoError` where the video cannot be decoded.
    """
    grid = sample_times(probe.start, probe.end, settings.fps, settings.max_frames)
    reader = _Reader(Path(path), grid, settings, decoder)
    with reader.running() as chunks, one_thread():
        parts = [backbone(frames) for frames in chunks]
    return np.concatenate(parts)[reader.inverse], grid


class _Reader:
    """Decodes the frames of a grid in a thread of its own; at most a few chunks wait in memory."""

    def __init__(self, path: Path, grid: Grid, settings: FeatureSettings, decoder: Decoder) -> None:
        self.path, self.grid, self.settings, self.decoder = path, grid, settings, decoder
        #: Row of the decoded, distinct frames that shows each sample (a slow video shows one frame for several).
        self.inverse: NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self._queue: queue.Queue[NDArray[np.uint8] | BaseException | None] = queue.Queue(_WAITING)
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[Iterator[NDArray[np.uint8]]]:
        thread = threading.Thread(target=self._decode, name="kloc-decode", daemon=True)
        thread.start()
        try:
            yield self._chunks()
        finally:
            self._stop.set()
            thread.join()

    def _chunks(self) -> Iterator[NDArray[np.uint8]]:
        while (chunk := self._queue.get()) is not None:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk

    def _decode(self) -> None:
        try:
            with open_video(self.path, short_side=self.settings.short_side, decoder=self.decoder) as source:
                wanted, self.inverse = np.unique(
                    nearest_frames(source.timestamps, self.grid.times), return_inverse=True
                )
                for low in range(0, len(wanted), _CHUNK):
                    if not self._put(self._cropped(source, wanted[low : low + _CHUNK])):
                        return
            self._put(None)
        except BaseException as error:  # handed to the thread that waits for frames
            self._put(error)

    def _cropped(self, source: VideoSource, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The part of the frames that the network sees (a copy: the full frames are let go)."""
        frames = source.frames(indices)
        size = self.settings.input_size
        height, width = frames.shape[1:3]
        if min(height, width) != self.settings.short_side:
            return frames
        top, left = (height - size) // 2, (width - size) // 2
        return np.ascontiguousarray(frames[:, top : top + size, left : left + size])

    def _put(self, chunk: NDArray[np.uint8] | BaseException | None) -> bool:
        """Hand a chunk over; false once nobody waits for it any more."""
        while not self._stop.is_set():
            try:
                self._queue.put(chunk, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False


@dataclass(frozen=True, slots=True)
class ExtractTask:
    """One video to extract features of."""

    video_id: str
    path: str
    probe: Probe
    #: Hash of the video file, for the manifest.
    video_sha256: str | None = None


@dataclass
class FeatureWorker:
    """What one worker process keeps: the backbone, opened once, and the bank it writes to.

    ``functools.partial(FeatureWorker, folder, settings, weights)`` is the factory for
    :func:`kloc.engine.map_videos`. The bank must be there already: the parent makes it. Raises
    :class:`MismatchError` where ``weights`` are others than ``settings`` names.
    """

    folder: Path
    settings: FeatureSettings
    weights: Path | None = None
    device: str = "auto"
    decoder: Decoder = "auto"

    def __post_init__(self) -> None:
        self.bank = FeatureBank(self.folder, self.settings)
        self.backbone = backbone_of(self.settings, self.weights, self.device)

    def process(self, task: ExtractTask) -> dict[str, Any]:
        """Extract one video, write its ``.npy``, return the manifest's info.

        Raises :class:`VideoError` where the video cannot be used.
        """
        probe = task.probe
        decoder = probe.decoder if self.decoder == "auto" else self.decoder
        features, grid = extract_video(task.path, probe, self.backbone, self.settings, decoder=decoder)
        provenance = {"video_sha256": task.video_sha256, "decoder": decoder, "n_frames": probe.n_frames}
        provenance["weights_source"] = self.backbone.weights_source
        return self.bank.write(task.video_id, features, grid, start=probe.start, end=probe.end, provenance=provenance)


def backbone_of(settings: FeatureSettings, weights: Path | None, device: str) -> Backbone:
    """The backbone that ``settings`` name. Raises :class:`MismatchError` where the weights are others."""
    seed = int(settings.weights_id.removeprefix("random-")) if settings.weights_id.startswith("random-") else None
    backbone = make_backbone(settings.backbone, weights, device, random_seed=seed)
    if different := extraction_settings(backbone, fps=settings.fps, max_frames=settings.max_frames).differences(
        settings
    ):
        raise MismatchError(f"features: the backbone is not the one the settings name ({'; '.join(different)})")
    return backbone


def estimate_seconds(
    tasks: Sequence[ExtractTask], backbone: Backbone, settings: FeatureSettings, *, workers: int
) -> float:
    """About how long extracting ``tasks`` takes on this machine, seconds, from a calibration of a few seconds.

    Decodes the first samples of up to three videos (the longest, the shortest, one between) and runs one batch.
    A video that cannot be read is left out: extraction itself will say why.
    """
    if not tasks:
        return 0.0
    by_length = sorted(tasks, key=lambda task: task.probe.duration)
    probes = {id(t): t for t in (by_length[0], by_length[len(by_length) // 2], by_length[-1])}
    read_s, seen_s = 0.0, 0.0
    for task in probes.values():
        seconds = _read_seconds(task, settings)
        if seconds is not None:
            read_s, seen_s = read_s + seconds[0], seen_s + seconds[1]
    samples = sum(_count(task, settings) for task in tasks)
    duration = sum(task.probe.duration for task in tasks)
    decoding = duration * read_s / seen_s if seen_s else 0.0
    network = samples * _network_seconds(backbone, settings) / BATCH
    cores = os.cpu_count() or 1
    processes = max(1, min(workers, len(tasks)))
    busiest = max(decoding, network) / processes
    return max(busiest, (decoding + network) / min(cores, 2 * processes))


def _count(task: ExtractTask, settings: FeatureSettings) -> int:
    return sample_times(task.probe.start, task.probe.end, settings.fps, settings.max_frames).count


def _read_seconds(task: ExtractTask, settings: FeatureSettings) -> tuple[float, float] | None:
    """Seconds spent on opening and decoding, and seconds of video decoded."""
    grid = sample_times(task.probe.start, task.probe.end, settings.fps, settings.max_frames)
    began = time.perf_counter()
    try:
        with open_video(task.path, short_side=settings.short_side, decoder=task.probe.decoder) as source:
            source.frames(np.unique(nearest_frames(source.timestamps, grid.times[:_CHUNK])))
    except KlocError:
        return None
    return time.perf_counter() - began, min(task.probe.duration, min(_CHUNK, grid.count) * grid.step)


def _network_seconds(backbone: Backbone, settings: FeatureSettings) -> float:
    """Seconds per batch, the best of three after a warm-up."""
    frames = np.zeros((BATCH, settings.input_size, settings.input_size, 3), dtype=np.uint8)
    best = math.inf
    with one_thread():
        backbone(frames)
        for _ in range(3):
            began = time.perf_counter()
            backbone(frames)
            best = min(best, time.perf_counter() - began)
    return best
