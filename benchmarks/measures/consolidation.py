"""kloc's consolidation against plain baselines on two simulated crowds, and how long 100,000 stored answers take.

The seeds below were set before kloc's method was tuned on others, and it was run on them once it was final.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from sqlalchemy import insert, select

from benchmarks import consolidation as bench
from benchmarks.consolidation import CLASSES, Answers, Found, World
from benchmarks.harness import Context, Figure, best_of_three, measure
from kloc.crowd.answers import FIELD, parse
from kloc.crowd.consolidate import Consolidated, ConsolidationSettings, consolidate, from_stored
from kloc.crowd.endpoint.answers import question_form_answers
from kloc.records import Instance, Item
from kloc.store.crowd import StoredAnswer
from kloc.store.database import Store
from kloc.store.tables import AssignmentRow, HitRow, VideoRow

TEST_SEEDS = (101, 102, 103, 104, 105)
#: What may be looked at while a method is made.
DEVELOPMENT_SEEDS = tuple(range(1, 11))
GENERATORS = ("independent", "correlated")
ASKED = (3, 5, 7)
THRESHOLDS = (0.5, 0.75)
EM, MEDIAN, SINGLE = "kloc em", "cluster + median", "single worker"
BASELINES: dict[str, Callable[[World, Answers], Found]] = {
    "majority per frame": bench.majority_per_frame,
    "cluster + mean": bench.cluster_mean,
    MEDIAN: bench.cluster_median,
    "Dawid-Skene per frame": bench.dawid_skene_per_frame,
}


@measure(
    "consolidation", "several workers' segments to one annotation, against plain baselines on two simulated crowds"
)
def consolidation(context: Context) -> list[Figure]:
    """Quality over seeds, what happens in the extreme, and the time of 100,000 stored answers."""
    if context.full:
        return measured(context, TEST_SEEDS, n_videos=400, n_workers=60, n_answers=100_000)
    return measured(context, DEVELOPMENT_SEEDS[:1], n_videos=60, n_workers=20, n_answers=3_000)


def measured(context: Context, seeds: Sequence[int], n_videos: int, n_workers: int, n_answers: int) -> list[Figure]:
    """All figures of crowds of that size."""
    baselines = dict(BASELINES)
    if importlib.util.find_spec("crowdkit") is None:
        context.say("  Dawid-Skene left out: crowd-kit is not installed (uv run --group bench ...)")
        del baselines["Dawid-Skene per frame"]
    figures = []
    for generator in GENERATORS:
        worlds = [World(generator, seed, n_videos, n_workers) for seed in seeds]
        for k in ASKED:
            runs = []
            for world in worlds:
                runs.append(_run(world, k, baselines))
                context.say(f"  {generator}, k = {k}, seed {world.seed}: {EM} {runs[-1].score(EM, 0.5):.3f}")
            figures += _figures(generator, k, runs)
        figures += _extremes(generator, worlds)
    return [*figures, _speed(context, n_answers)]


# -- quality -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Every method's scores on one crowd: {method: {score: value}}; and kloc's (confidence, true) pairs."""

    scores: dict[str, dict[str, float]]
    said: list[tuple[float, bool]]
    said_by_share: list[tuple[float, bool]]

    def score(self, method: str, threshold: float) -> float:
        """F1 at a tIoU."""
        return self.scores[method][f"F1@{threshold:g}"]


def _run(world: World, k: int, baselines: dict[str, Callable[[World, Answers], Found]]) -> Run:
    answers = world.answers(k)
    scores = {SINGLE: {f"F1@{t:g}": bench.f1_of_single_workers(world, answers, t) for t in THRESHOLDS}}
    found = {name: method(world, answers) for name, method in baselines.items()}
    ours = kloc(world, k, "em")
    found |= {"kloc median": kept(kloc(world, k, "median")), EM: kept(ours)}
    for name, instances in found.items():
        scores[name] = {f"F1@{t:g}": bench.f1(instances, world, t) for t in THRESHOLDS} | {
            "boundary error, s": float(np.mean(bench.boundary_errors(instances, world) or [math.nan])),
            "F1@0.5 where merged or split": bench.f1_where_touched(instances, world, answers),
        }
    candidates = {
        item.video_id: [_instance(c) for c in (*one.instances, *one.rejected)] for item, one in ours.items.items()
    }
    shares = bench.clustered(answers, lambda values: float(np.median(values)), above=0.0)
    return Run(scores, bench.said_and_true(candidates, world), bench.said_and_true(shares, world))


def kloc(world: World, k: int, method: Any) -> Consolidated:
    """By way of the documents that a campaign's store keeps."""
    stored = []
    for name, given in world.raw(k).items():
        item = world.truth[name].item
        for worker, answer in given.items():
            stored.append(_stored(f"{name} {worker}", worker, item, document(answer)))
    return consolidate(from_stored(stored), CLASSES, ConsolidationSettings(method=method))


def document(answer: dict[str, Any]) -> str:
    """As an endpoint hands it out."""
    return question_form_answers([(FIELD, json.dumps(answer))])


def _stored(assignment: str, worker: str, item: Item, raw: str) -> StoredAnswer:
    parsed, problem = parse(raw, start=item.start, end=item.end, media_start=0.0, classes=CLASSES)
    if parsed is None:
        raise ValueError(f"{assignment}: {problem}")
    return StoredAnswer(assignment, worker, item.video_id, 0, item, CLASSES, "", "Approved", parsed.to_json())


def kept(consolidated: Consolidated) -> Found:
    """What a consolidation says, by video."""
    return {item.video_id: [_instance(i) for i in one.instances] for item, one in consolidated.items.items()}


def _instance(one: Any) -> Instance:
    return Instance(one.start, one.end, one.label, one.confidence)


def _figures(generator: str, k: int, runs: Sequence[Run]) -> list[Figure]:
    what = f"{generator}, k = {k}"
    others = [name for name in runs[0].scores if not name.startswith("kloc")]
    figures = []
    for threshold in THRESHOLDS:
        mine = [run.score(EM, threshold) for run in runs]
        theirs = {name: [run.score(name, threshold) for run in runs] for name in others}
        best = max(others, key=lambda name: float(np.mean(theirs[name])))
        table = {name: _over_seeds([run.score(name, threshold) for run in runs]) for name in runs[0].scores}
        differences = {name: paired(mine, values) for name, values in theirs.items()}
        figures.append(
            Figure(
                f"{what}: F1@{threshold:g} less the best baseline's ({best})",
                differences[best]["mean"],
                at_least=0.0,
                detail={"F1": table, "less": differences},
            )
        )
        if k == 5 and threshold == 0.5:
            target = 0.03 if generator == "independent" else 0.0
            figures.append(Figure(f"{what}: F1@0.5 less {MEDIAN}'s", differences[MEDIAN]["mean"], at_least=target))
    for score, target in (("F1@0.5 where merged or split", 0.0), ("boundary error, s", None)):
        values = {name: [run.scores[name][score] for run in runs] for name in runs[0].scores if name != SINGLE}
        difference = paired(values[EM], values[MEDIAN])
        detail = {"of": {name: _over_seeds(v) for name, v in values.items()}, "difference": difference}
        figures.append(Figure(f"{what}: {score}, less {MEDIAN}'s", difference["mean"], at_least=target, detail=detail))
    ours = bench.calibration([pair for run in runs for pair in run.said])
    shares = bench.calibration([pair for run in runs for pair in run.said_by_share])
    reliability = {"[confidence, true, how many]": ours.table, "share of workers as confidence": shares.ece}
    return [*figures, Figure(f"{what}: calibration error (ECE)", ours.ece, detail=reliability)]


def paired(mine: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Mean difference over seeds, its 95 % t interval (``None`` of one seed) and every seed's."""
    differences = np.array(mine) - np.array(theirs)
    mean = float(differences.mean())
    interval: list[float] | None = None
    if len(differences) > 1:
        half = float(stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences))
        interval = [round(mean - half, 4), round(mean + half, 4)]
    return {"mean": round(mean, 4), "interval": interval, "seeds": np.round(differences, 4).tolist()}


def _over_seeds(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": round(float(np.mean(values)), 4), "seeds": np.round(values, 4).tolist()}


# -- extremes ----------------------------------------------------------------------------------------------------------


def _extremes(generator: str, worlds: Sequence[World]) -> list[Figure]:
    """One or two answers, nobody honest, nobody who sees anything: nothing breaks, nothing is made up."""
    figures = []
    for k in (1, 2):
        mine = [bench.f1(kept(kloc(world, k, "em")), world, 0.5) for world in worlds]
        theirs = [bench.f1_of_single_workers(world, world.answers(k), 0.5) for world in worlds]
        less = paired(mine, theirs)
        name = f"{generator}, k = {k}: F1@0.5 less the single worker's"
        figures.append(Figure(name, less["mean"], at_least=-0.01, detail={"less": less, "F1": _over_seeds(mine)}))
    spam = [replace(world, mood="all spam") for world in worlds]
    ours = [_per_video(kept(kloc(world, 5, "em"))) for world in spam]
    theirs = [_per_video(bench.cluster_median(world, world.answers(5))) for world in spam]
    less = paired(ours, theirs)
    name = f"{generator}, all spam, k = 5: instances per video, less {MEDIAN}'s"
    figures.append(Figure(name, less["mean"], at_most=0.0, detail={"less": less, "ours": _over_seeds(ours)}))
    silent = [_per_video(kept(kloc(replace(world, mood="nothing occurs"), 5, "em"))) for world in worlds]
    return [*figures, Figure(f"{generator}, all say that nothing occurs: instances", max(silent), at_most=0.0)]


def _per_video(found: Found) -> float:
    return sum(map(len, found.values())) / len(found)


# -- time --------------------------------------------------------------------------------------------------------------


def _speed(context: Context, n_answers: int) -> Figure:
    """Raw documents in a campaign's store, three per video, to annotations."""
    store = _filled(context.scratch / "campaign.sqlite", n_answers)

    def go() -> None:
        with store.transaction() as session:
            rows = session.execute(
                select(AssignmentRow.assignment_id, AssignmentRow.worker_id, AssignmentRow.raw, HitRow.video_id,
                       HitRow.start, HitRow.end).join(HitRow, HitRow.token == AssignmentRow.token)
            )  # fmt: skip
            stored = [_stored(name, who, Item(video, start, end), raw) for name, who, raw, video, start, end in rows]
        assert len(consolidate(from_stored(stored), CLASSES).items) == math.ceil(n_answers / 3)

    name = f"{n_answers:,} stored answers parsed and consolidated"
    return best_of_three(name, go, at_most=60.0 if context.full else None, videos=math.ceil(n_answers / 3))


def _filled(path: Path, n_answers: int) -> Store:
    """A campaign's store with that many answers of the independent crowd."""
    world = World("independent", DEVELOPMENT_SEEDS[0], math.ceil(n_answers / 3), 60)
    store = Store(f"sqlite:///{path}")
    store.migrate()
    hit = {
        "round": 0, "classes": list(CLASSES), "payload_hash": "", "state": "closed", "intended_at": 0.0,
        "endpoint": "", "guideline": "", "reward_mills": 0, "max_assignments": 3, "cost_mills": 0, "wanted": 3,
    }  # fmt: skip
    videos, hits, assignments = [], [], []
    for name, given in world.raw(3).items():
        item = world.truth[name].item
        videos.append({"id": name, "start": item.start, "end": item.end})
        hits.append(hit | {"token": name, "video_id": name, "start": item.start, "end": item.end})
        assignments += [
            {"assignment_id": f"{name} {who}", "token": name, "worker_id": who, "status": "Approved",
             "raw": document(answer)}
            for who, answer in given.items()
        ]  # fmt: skip
    with store.transaction() as session:
        for table, rows in ((VideoRow, videos), (HitRow, hits), (AssignmentRow, assignments[:n_answers])):
            session.execute(insert(table), rows)
    return store
