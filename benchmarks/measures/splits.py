"""`kloc split`: how near it comes to the shares, what near-duplicates it finds, and at what size."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import psutil

from benchmarks.harness import ROOT, Context, Figure, load_average, measure
from benchmarks.joined import Cut, clip_frames
from benchmarks.joined import join as join_cuts
from benchmarks.select_pool import forget_peak, peak_bytes
from kloc.formats import activitynet
from kloc.pipeline import features, pool, splitting
from kloc.pipeline.telling import Silent
from kloc.records import SUBSETS
from kloc.report.groups import ALIKE, join, near_duplicates
from kloc.report.splits import DEFAULT_SHARES, deviation, leaks, split
from kloc.seeds import generator
from kloc.workspace import Workspace

DATA = ROOT.parent / "shared" / "data"


@measure("splits", "kloc split: closeness to the shares against random draws, near-duplicates, time and memory")
def splits(context: Context) -> list[Figure]:
    """What needs real annotations or videos is left out, saying so, where they are absent."""
    figures = _many(context)
    if (DATA / "annotations").is_dir():
        for name, draws in (
            (("thumos14-test", 300), ("activitynet-1.3", 100)) if context.full else (("thumos14-test", 50),)
        ):
            figures += _shares(context, name, draws)
    else:
        context.say("  left out: the real annotations are not here (shared/data beside the checkout)")
    if not context.full:
        return figures
    if (DATA / "videos" / "ucf101").is_dir():
        return [*figures, *_scenes(context)]
    context.say("  left out: the real videos are not here (shared/data beside the checkout)")
    return figures


def _shares(context: Context, name: str, draws: int) -> list[Figure]:
    """Uploaders are invented, since nobody has published them: many with one video, a few with hundreds."""
    dataset = activitynet.read(DATA / "annotations" / f"{name}.json").dataset
    labels = {v: sorted({i.label for i in a.instances}) for v, a in dataset.annotations.items()}
    sizes = generator(context.seed, "uploaders", name).zipf(2.5, size=len(labels))
    owner = np.repeat(np.arange(len(sizes)), sizes)[: len(labels)]
    groups = {v: f"uploader {n}" for v, n in zip(sorted(labels), owner.tolist(), strict=True)}
    began = time.perf_counter()
    made = split(labels, generator(context.seed, "split"), groups=groups)
    taken = time.perf_counter() - began
    ours = deviation(labels, made, DEFAULT_SHARES)
    found = []
    for draw in range(draws):
        rng = generator(context.seed, "random split", draw)
        of = rng.choice(len(SUBSETS), size=int(owner.max()) + 1, p=DEFAULT_SHARES)
        random = {v: SUBSETS[of[n]] for v, n in zip(sorted(labels), owner.tolist(), strict=True)}
        found.append(deviation(labels, random, DEFAULT_SHARES))
    detail = {
        "split_points": round(100 * ours, 3), "best_draw_points": round(100 * min(found), 3),
        "median_draw_points": round(100 * float(np.median(found)), 3), "draws": draws, "videos": len(labels),
        "groups": int(owner.max()) + 1, "largest_group": int(np.bincount(owner).max()), "seconds": round(taken, 2),
        "load_1min": load_average(),
    }  # fmt: skip
    torn = leaks(made, join({"same uploader": groups}))
    return [
        Figure(f"{name}: best random draw's deviation over the split's", round(min(found) / ours, 2), "x",
               at_least=1.0, detail=detail),
        Figure(f"{name}: groups torn apart", float(len(torn)), at_most=0.0),
    ]  # fmt: skip


def _many(context: Context) -> list[Figure]:
    """Random features of 20,000 videos, a tenth of them copies with a little noise."""
    n, dim = (20_000, 1280) if context.full else (3_000, 256)
    rng = generator(context.seed, "near-duplicates")
    rows = np.abs(rng.normal(size=(n, dim))).astype(np.float32)
    copies = n // 10
    rows[-copies:] = rows[:copies] + rng.normal(scale=0.1, size=(copies, dim)).astype(np.float32)
    ids = [f"video-{i:05d}" for i in range(n)]
    baseline = psutil.Process().memory_info().rss
    forget_peak()
    began = time.perf_counter()
    found = near_duplicates(ids, rows)
    taken, rise = time.perf_counter() - began, max(0, peak_bytes() - baseline)
    wanted = {ids[i]: ids[i] for i in range(copies)} | {ids[n - copies + i]: ids[i] for i in range(copies)}
    detail = {
        "videos": n,
        "dim": dim,
        "features_gb": round(rows.nbytes / 1e9, 3),
        "pairs_gb": round(4 * n * n / 1e9, 2),
    }
    return [
        Figure("near-duplicates: memory above the features", round(rise / 1e9, 3), "GB", at_most=0.5, detail=detail),
        Figure("near-duplicates: time", round(taken, 2), "s", detail={"load_1min": load_average(), **detail}),
        Figure("near-duplicates: wrong or missed", float(len(dict(found.items() ^ wanted.items()))), at_most=0.0),
    ]


def _scenes(context: Context) -> list[Figure]:
    """UCF101's clips of one group were cut from one recording: what near-duplicates tell of that.

    Beside them lie copies of a clip of each class at half the size, 10 frames a second and compressed again; half of
    them lack the first quarter. The threshold was chosen on these videos.
    """
    root, copies = context.scratch / "scenes", context.scratch / "copies"
    copies.mkdir()
    clips = DATA / "videos" / "ucf101"
    for path in sorted(clips.glob("*/*_g02_c01.avi")):
        frames = clip_frames(path)
        for name, part in (("whole", frames), ("cut", frames[len(frames) // 4 :])):
            join_cuts([Cut(part, None)], copies / f"{path.stem}_{name}.mp4")
    pool.init(root, **{"features.fps": 2.0, "general.workers": 2})
    workspace = Workspace.open(root)
    pool.add(workspace, [str(clips), str(copies)], reporter=Silent())
    features.extract(workspace, reporter=Silent())
    summary = splitting.check(workspace, groups=None, reporter=Silent())
    workspace.close()
    groups = [set(group["videos"]) for group in summary.data["groups"]]
    known = [v for v in summary.data["subsets"] if not _original(v)]
    pairs = list(combinations(known, 2))
    joined = [pair for pair in pairs if any(group.issuperset(pair) for group in groups)]
    same = sum(_scene(a) == _scene(b) for a, b in pairs)
    right = sum(_scene(a) == _scene(b) for a, b in joined)
    made = [v for v in summary.data["subsets"] if _original(v)]
    found = sum(any({v, _original(v)} <= group for group in groups) for v in made)
    detail = {"clips": len(known), "pairs_of_one_scene": same, "cosine_above": ALIKE, "groups": len(groups)}
    return [
        Figure("UCF101: pairs of two scenes taken for near-duplicates", float(len(joined) - right), at_most=0.0,
               detail=detail),
        Figure("UCF101: pairs of one scene found", round(right / same, 3), detail=detail),
        Figure("UCF101: copies at half the size found", round(found / len(made), 3), detail={"copies": len(made)}),
    ]  # fmt: skip


def _original(video_id: str) -> str:
    """The clip that a copy was made of; nothing for a clip."""
    clip, _, how = video_id.rpartition("_")
    return clip if how in ("whole", "cut") else ""


def _scene(video_id: str) -> str:
    return video_id.rpartition("_")[0]
