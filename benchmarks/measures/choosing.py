"""Scoring and choosing against the plain ways: US, k-center, BADGE, and the top of a million videos on disk.

``python -m benchmarks.measures.choosing PREDICTIONS N`` is the process whose time and memory the last part measures.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from benchmarks.harness import ROOT, Context, Figure, interleaved, load_average, measure, seconds
from benchmarks.select_pool import peak_bytes, video_id
from kloc.localizers.predictions import PredictionReader, PredictionWriter
from kloc.records import Item, Prediction
from kloc.selection import Context as Facts
from kloc.selection import Scores, Strategy, make_policy, make_strategy, select
from kloc.shards import Block

BATCH = 64
PROPOSALS = 100
#: The baseline makes vectors with classes x features numbers: more classes do not fit beside it.
CLASSES = 4
GIB = 2**30


@measure(
    "choosing", "US scoring against a loop, k-center and BADGE against scikit-activeml, the top of 10^6 videos on disk"
)
def choosing(context: Context) -> list[Figure]:
    """Ratios of interleaved pairs on the same arrays; the last part in a process of its own."""
    return [*_scoring(context), *_batches(context), *_million(context)]


class Memory:
    """Predictions as arrays in memory: one column, equally many rows per video."""

    def __init__(self, column: str, values: NDArray[Any], rows: int, classes: tuple[str, ...] = ()) -> None:
        self.column, self.values, self.rows, self.classes = column, values, rows, classes

    def __len__(self) -> int:
        return len(self.values) // self.rows

    def blocks(
        self, identifiers: Iterable[str] | None, heads: Iterable[str], block_rows: int = 262_144
    ) -> Iterator[Block]:
        """In the pool's order, so many rows at a time, as the reader on disk does."""
        step = max(1, block_rows // self.rows)
        for low in range(0, len(self), step):
            high = min(low + step, len(self))
            values = self.values[low * self.rows : high * self.rows]
            offsets = np.arange(0, len(values) + 1, self.rows, dtype=np.int64)
            yield Block(np.arange(low, high), {self.column: values}, {self.column: offsets})


def _pool(size: int) -> list[Item]:
    return [Item(video_id(index), 0.0, 60.0) for index in range(size)]


# -- uncertainty scores ------------------------------------------------------------------------------------------------


def _scoring(context: Context) -> list[Figure]:
    size = 20_000 if context.full else 1_000
    rng = np.random.default_rng(context.seed)
    values = rng.beta(0.5, 1.5, size * PROPOSALS).astype(np.float16)
    source, items = Memory("actionness", values, PROPOSALS), _pool(size)
    videos = values.reshape(size, PROPOSALS)

    def histograms() -> NDArray[np.float64]:
        scores = np.zeros(size)
        for index in range(size):
            # In float16 its edges are rounded, and so are the scores.
            counts, _ = np.histogram(videos[index].astype(np.float64), bins=10, range=(0.0, 1.0))
            scores[index] = entr(counts / counts.sum()).sum()
        return scores

    def binaries() -> NDArray[np.float64]:
        scores = np.zeros(size)
        for index in range(size):
            top = np.sort(videos[index].astype(np.float64))[-10:]
            scores[index] = (entr(top) + entr(1.0 - top)).mean()
        return scores

    figures = []
    for name, loop in (("us", histograms), ("us-binary", binaries)):
        strategy, facts = make_strategy(name), Facts(predictions=source)
        difference = np.abs(strategy.score(items, facts).value - loop()).max()
        if difference > 1e-9:
            raise AssertionError(f"{name}: scores differ from the loop's by {difference}")
        context.say(f" {name}: {size:,} videos x {PROPOSALS} against a loop over the videos")
        ratio = interleaved(context, ours=_scorer(strategy, items, facts), baseline=loop)
        what = "np.histogram" if name == "us" else "np.sort"
        figures.append(
            ratio.figure(
                f"{name} against a loop with {what} per video",
                at_least=50.0 if context.full else None,
                videos=size,
                largest_difference=float(difference),
            )
        )
    return figures


def _scorer(strategy: Strategy, items: list[Item], facts: Facts) -> Callable[[], Scores]:
    return lambda: strategy.score(items, facts)


# -- diverse batches ---------------------------------------------------------------------------------------------------


def _batches(context: Context) -> list[Figure]:
    if importlib.util.find_spec("skactiveml") is None:
        context.say(" k-center and BADGE left out: scikit-activeml is not installed (uv run --group bench ...)")
        return []
    from skactiveml.base import SkactivemlClassifier
    from skactiveml.pool import Badge, CoreSet

    size, dim = (20_000, 2048) if context.full else (500, 32)
    rng = np.random.default_rng(context.seed)
    centres = rng.normal(size=(200, dim))
    x = (centres[rng.integers(200, size=size)] + rng.normal(size=(size, dim))).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    p = rng.dirichlet(np.full(CLASSES, 0.5), size)

    class Fixed(SkactivemlClassifier):  # type: ignore[misc]
        """Gives the probabilities that ours gets too."""

        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:  # noqa: N803
            return self

        def predict_proba(self, X: Any) -> Any:  # noqa: N803
            return p

    items = _pool(size)
    names = tuple("abcdefgh"[:CLASSES])
    facts = Facts(predictions=Memory("levels.0", p, 1, names), pooled=lambda _: x, seed=context.seed)
    unknown = np.full(size, np.nan)
    baselines: dict[str, Callable[[], Any]] = {
        "k-center": lambda: CoreSet(random_state=context.seed).query(x, unknown, batch_size=BATCH),
        "badge": lambda: Badge(random_state=context.seed).query(
            x, unknown, Fixed(classes=list(range(CLASSES))), fit_clf=False, batch_size=BATCH
        ),
    }
    figures = []
    for method, baseline in baselines.items():

        def ours(method: str = method) -> list[int]:
            everything = Scores(np.zeros(size))
            policy = make_policy("diverse", method=method, prefilter=0)
            # In the pool's order, not by random keys: both sides then look at the same rows.
            return policy.pick(items, everything, BATCH, make_strategy("random"), facts)

        context.say(f" {method}: {BATCH} of {size:,} x {dim}")
        mine, theirs = ours(), list(map(int, baseline()))
        if len(set(mine)) != BATCH or len(set(theirs)) != BATCH:
            raise AssertionError(f"{method}: not {BATCH} different videos on both sides")
        ratio = interleaved(context, ours=ours, baseline=baseline, warm_up=False)
        figures.append(
            ratio.figure(
                f"{method} against scikit-activeml's {'CoreSet' if method == 'k-center' else 'Badge'}",
                at_least=1.0 if context.full else None,
                size=[size, dim],
                covering_radius={"ours": _radius(x, mine), "baseline": _radius(x, theirs)},
                **({"classes": CLASSES} if method == "badge" else {}),
            )
        )
    return figures


def _radius(x: NDArray[np.float32], chosen: list[int]) -> float:
    """The distance of the worst-covered point to its nearest chosen one."""
    nearest = (x @ x[chosen].T).max(axis=1)
    return round(float(np.sqrt(max(0.0, 2.0 - 2.0 * nearest.min()))), 4)


# -- a million videos on disk ------------------------------------------------------------------------------------------


def _million(context: Context) -> list[Figure]:
    size = 10**6 if context.full else 5_000
    folder = context.scratch / "predictions"
    writing = seconds(lambda: _write(folder, size, context.seed))
    context.say(f" {size:,} predictions written in {writing:.1f} s")
    for path in folder.iterdir():  # so that reading means reading
        _forget(path)
    load = load_average()
    command = [sys.executable, "-m", "benchmarks.measures.choosing", str(folder), str(size)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    run: dict[str, Any] = json.loads(done.stdout)
    detail = {"videos": size, "proposals": PROPOSALS, "load_1min": load, **run}
    full = context.full
    return [
        Figure(
            f"us, top {BATCH} of {size:,} videos, first time",
            round(run["first_s"], 3),
            "s",
            at_most=60.0 if full else None,
            detail=detail,
        ),
        Figure(
            f"us, top {BATCH} of {size:,} videos, peak memory of the process",
            round(run["peak_bytes"] / GIB, 3),
            "GiB",
            at_most=round(2e9 / GIB, 3) if full else None,
        ),
    ]


def _write(folder: Path, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    segments = np.stack([np.arange(PROPOSALS), np.arange(PROPOSALS) + 5.0], axis=1)
    with PredictionWriter(folder, ("a",), "softmax") as writer:
        for low in range(0, size, 10_000):
            actionness = rng.beta(0.5, 1.5, (min(10_000, size - low), PROPOSALS)).astype(np.float32)
            for j in range(len(actionness)):
                writer.write(Prediction(video_id(low + j), segments, actionness[j], (), "softmax", ("a",)))


def _forget(path: Path) -> None:
    """Ask the system to drop a file from its cache (where it can)."""
    if not hasattr(os, "posix_fadvise"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def main() -> None:
    """Choose from the predictions on disk, twice; print seconds and the highest memory of the whole process."""
    folder, size = Path(sys.argv[1]), int(sys.argv[2])
    items = _pool(size)
    times = []
    for _ in range(2):
        began = time.perf_counter()
        facts = Facts(predictions=PredictionReader(folder))
        chosen = select(items, make_strategy("us"), make_policy("top"), BATCH, facts)
        times.append(time.perf_counter() - began)
    assert len(chosen.picks) == BATCH
    print(json.dumps({"first_s": times[0], "again_s": times[1], "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
