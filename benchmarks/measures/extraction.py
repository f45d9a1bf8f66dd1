"""Video files to features on disk: the engine with two workers against the usual loop, start-up included."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import ROOT, Context, Figure, interleaved, measure
from kloc.seeds import generator

FPS = 5.0
WORKERS = 2
#: The second has the network's short side already: no resizer comes between the two sides' features there.
_SIZES = ((320, 240), (340, 256), (480, 360), (640, 360))


@measure("extraction", "video files to features on disk, 2 workers, against decord + eager torch in one process")
def extraction(context: Context) -> list[Figure]:
    """Every run is a fresh process, so that both sides pay for their imports, their weights and their workers."""
    videos = context.scratch / "videos"
    count, length = (6, (20.0, 30.0)) if context.full else (2, (2.0, 3.0))
    sizes = [_SIZES[index % len(_SIZES)] for index in range(count)]
    spans = make_videos(videos, sizes, length, context.seed)
    tasks = context.scratch / "tasks.json"
    _probe(videos, tasks)
    context.say(f"  {count} videos, {sum(spans):.0f} s of H.264 at 30 frames per second")
    pairs = 5 if context.full else 1
    ours = partial(_ours, tasks, context.scratch / "ours")
    figures = []
    for layout, at_least in (("contiguous", 1.5), ("channels_last", 1.15)):
        out = context.scratch / layout
        usual = partial(_program, "benchmarks.usual_loop", str(videos), str(out), str(FPS), layout)
        if layout == "contiguous":  # before any timing; it also brings the files into the system's cache
            ours()
            usual()
            figures += _agreement(context.scratch / "ours", out, sizes)
        ratio = interleaved(context, ours=ours, baseline=usual, pairs=pairs, warm_up=False)
        name = f"faster than the usual loop, {layout.replace('_', ' ')}"
        detail = {"videos": count, "video_s": round(sum(spans), 1), "workers": WORKERS}
        figures.append(ratio.figure(name, at_least=at_least if context.full else None, **detail))
        frames = sum(len(np.load(p)) for p in out.glob("*.npy"))
        rate = round(frames / min(ratio.ours), 1)
        figures.append(
            Figure(f"frames per second, beside {layout}", rate, "1/s", detail={"frames": frames, "fps": FPS})
        )
    return figures


def _program(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, check=True)


def _ours(tasks: Path, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    _program("benchmarks.measures.extraction", str(tasks), str(out))


def _agreement(ours: Path, theirs: Path, sizes: Sequence[tuple[int, int]]) -> list[Figure]:
    """Both sides must do the same work: the same number of frames everywhere, the same features.

    Decoder and torch resize differently, which moves features by a few per cent; where nothing is resized
    they must agree.
    """
    exact: list[float] = []
    resized: list[float] = []
    for path, size in zip(sorted(theirs.glob("*.npy")), sizes, strict=True):
        mine = np.load(ours / path.stem[:2] / path.name).astype(np.float64)
        other = np.load(path).astype(np.float64)
        if mine.shape != other.shape:
            raise AssertionError(f"{path.stem}: {mine.shape} features against {other.shape}: not the same frames")
        error = float(np.linalg.norm(mine - other) / np.linalg.norm(other))
        (exact if min(size) == 256 else resized).append(error)
    name = "relative difference of the features"
    detail = {"mean_where_resized": round(float(np.mean(resized)), 5), "max_where_resized": round(max(resized), 5)}
    return [Figure(f"{name}, nothing resized", round(max(exact), 6), at_most=0.01, detail=detail)]


# -- our side, as a program of its own --------------------------------------------------------------------


def _probe(videos: Path, tasks: Path) -> None:
    """What ``kloc add`` has long stored by the time features are extracted."""
    from kloc.video.probe import probe

    found = {path.stem: [str(path), probe(path).to_json()] for path in sorted(videos.glob("*.mp4"))}
    tasks.write_text(json.dumps(found), encoding="utf-8")


def run_ours(tasks_file: Path, out: Path) -> None:
    """What ``kloc extract`` does, without the store."""
    from kloc.engine import map_videos
    from kloc.features.backbone import make_backbone
    from kloc.features.bank import FeatureBank
    from kloc.features.extract import ExtractTask, FeatureWorker, extraction_settings
    from kloc.video.probe import Probe

    found = json.loads(tasks_file.read_text(encoding="utf-8"))
    tasks = [ExtractTask(name, path, Probe.from_json(probe)) for name, (path, probe) in found.items()]
    settings = extraction_settings(make_backbone("efficientnet-lite0"), fps=FPS)
    FeatureBank(out, settings)
    failed: list[str] = []
    map_videos(
        partial(FeatureWorker, out, settings),
        tasks,
        workers=WORKERS,
        time_limit_s=600.0,
        on_result=lambda task, info: None,
        on_error=lambda task, reason: failed.append(f"{task.video_id}: {reason}"),
    )
    if failed:
        raise SystemExit("\n".join(failed))


# -- the videos -------------------------------------------------------------------------------------------


def make_videos(folder: Path, sizes: Sequence[tuple[int, int]], length: tuple[float, float], seed: int) -> list[float]:
    """H.264 files of natural-ish content (textures of all scales, a moving camera, moving things); their seconds."""
    from kloc.video.write import write_video

    folder.mkdir(parents=True, exist_ok=True)
    spans = []
    for index, size in enumerate(sizes):
        rng = generator(seed, "extraction", index)
        span = round(float(rng.uniform(*length)), 1)
        write_video(folder / f"v{index:02d}.mp4", scene(rng, size, round(span * 30)), 30, gop=60)
        spans.append(span)
    return spans


def scene(rng: np.random.Generator, size: tuple[int, int], count: int) -> Iterator[NDArray[np.uint8]]:
    """``count`` frames of one scene, uint8 ``(H, W, 3)``; a cut every four seconds."""
    width, height = size
    world = things = None
    for index in range(count):
        if index % 120 == 0:
            world = texture(rng, height * 2, width * 2)
            things = [(texture(rng, height // 3, width // 4), rng.uniform(0, 6.28, 2)) for _ in range(3)]
        assert world is not None
        assert things is not None
        t = index / 30
        top = int((0.5 + 0.45 * np.sin(0.5 * t)) * height)
        left = int((0.5 + 0.45 * np.cos(0.3 * t)) * width)
        frame = world[top : top + height, left : left + width].copy()
        for thing, (a, b) in things:
            h, w = thing.shape[:2]
            y = int((0.5 + 0.5 * np.sin(0.9 * t + a)) * (height - h))
            x = int((0.5 + 0.5 * np.sin(0.7 * t + b)) * (width - w))
            frame[y : y + h, x : x + w] = thing
        yield frame


def texture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Colour noise whose spectrum falls with frequency, as natural pictures' does, uint8 ``(height, width, 3)``."""
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    fall = 1.0 / np.maximum(np.hypot(fy, fx), 1.0 / max(height, width)) ** 1.3
    planes = []
    for _ in range(3):
        noise = np.fft.rfft2(rng.standard_normal((height, width)))
        plane = np.fft.irfft2(noise * fall, s=(height, width))
        planes.append((plane - plane.mean()) / plane.std())
    grey = planes[0]
    mixed = np.stack([0.8 * grey + 0.4 * p for p in planes], axis=-1) * 45 + rng.uniform(80, 170, 3)
    return np.clip(mixed, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    run_ours(Path(sys.argv[1]), Path(sys.argv[2]))
