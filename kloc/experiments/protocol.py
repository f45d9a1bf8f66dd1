"""Who learns, who is chosen from and who is tested on: the paper's protocol (P2, section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kloc import seeds
from kloc.errors import UsageError
from kloc.experiments.lab import Lab

Indices = NDArray[np.int64]
#: A smaller pool leaves a strategy nothing to choose.
SMALLEST_POOL = 10


@dataclass(frozen=True)
class Split:
    """Videos of a lab by their part in one experiment, as ascending indices; no two parts share any.

    knowledge_classes, classes: the Knowledge-Source's and the Selection's; disjoint.
    knowledge: all videos of the former. pool: what strategies choose from. testing: unseen videos of the pool's
    classes. initial: the part of the pool that is labelled before anything is chosen, drawn at random.
    """

    seed: int
    knowledge_classes: tuple[str, ...]
    classes: tuple[str, ...]
    knowledge: Indices
    pool: Indices
    testing: Indices
    initial: Indices


def make_split(lab: Lab, seed: int, *, knowledge_share: float = 0.25, initial_share: float = 0.1) -> Split:
    """Split classes by a seeded shuffle, then videos by their classes and subsets.

    The pool is the training videos of the Selection's classes, Testing its validation (and testing) videos; where
    there are fewer than two such, a quarter of the pool drawn at random. Where the set's subsets leave a pool of
    fewer than `SMALLEST_POOL`, they are not heeded: Testing is a quarter of all, drawn at random. Videos with
    classes of both sides are in no part. A video without instances goes by its labels, or without labels to the
    Selection.

    Raises UsageError for sets too small to be split.
    """
    names = sorted({i.label for a in lab.annotations for i in a.instances} | {n for v in lab.videos for n in v.labels})
    n_knowledge = round(knowledge_share * len(names))
    if n_knowledge < 1 or len(names) - n_knowledge < 2:
        raise UsageError(
            f"{lab.facts['name']}: {len(names)} classes cannot be split into a Knowledge-Source and at least two "
            "classes to select from; give a set with at least 4 classes"
        )
    shuffled = [names[i] for i in seeds.generator(seed, "classes").permutation(len(names))]
    apart = frozenset(shuffled[:n_knowledge])
    knowledge, pool, testing = [], [], []
    for index, (video, annotation) in enumerate(zip(lab.videos, lab.annotations, strict=True)):
        own = {i.label for i in annotation.instances} or set(video.labels)
        if own & apart:
            if own <= apart:
                knowledge.append(index)
        elif video.subset == "training":
            pool.append(index)
        else:
            testing.append(index)
    if len(pool) < SMALLEST_POOL:  # subsets of another meaning, or none at all
        pool, testing = sorted([*pool, *testing]), []
    if len(testing) < 2:
        order = seeds.generator(seed, "testing").permutation(len(pool))
        held_out = {pool[i] for i in order[: len(pool) // 4].tolist()}
        testing, pool = sorted({*testing, *held_out}), [index for index in pool if index not in held_out]
    if len(pool) < SMALLEST_POOL or len(testing) < 2 or len(knowledge) < 4:
        raise UsageError(
            f"{lab.facts['name']}: too few videos for an experiment: {len(knowledge)} to learn from, {len(pool)} to "
            f"select from, {len(testing)} to test on; at least 4, {SMALLEST_POOL} and 2 are needed"
        )
    order = seeds.generator(seed, "initial").permutation(len(pool))
    n_initial = max(2, round(initial_share * len(pool)))
    return Split(
        seed,
        tuple(sorted(apart)),
        tuple(sorted(set(names) - apart)),
        np.array(knowledge, np.int64),
        np.array(pool, np.int64),
        np.array(testing, np.int64),
        np.sort(np.array(pool, np.int64)[order[:n_initial]]),
    )
