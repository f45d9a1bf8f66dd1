"""One arm of an experiment: label, train, judge, choose, again and again; a journal makes it resumable at every step.

The journal is one JSON line per step. Beside it lies the state the next step starts from, written after the line:
what a kill tears off is done again and ends in the same place.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kloc.errors import KlocError, UsageError
from kloc.experiments.curves import Arm
from kloc.experiments.judging import Judge
from kloc.experiments.lab import Lab
from kloc.experiments.predictions import ArrayPredictions, Classes
from kloc.experiments.protocol import Split
from kloc.files import atomic_write, fingerprint
from kloc.localizers.stagewise.attention import Attention, train_attention
from kloc.localizers.stagewise.classifier import Classifier, best_proposals, train_classifier
from kloc.localizers.stagewise.localizer import StageWise
from kloc.localizers.stagewise.platt import platt_probability
from kloc.localizers.stagewise.svm import margins
from kloc.localizers.stagewise.table import EncodedTable
from kloc.records import Annotation, Item
from kloc.selection.base import Context
from kloc.selection.choose import Selection
from kloc.selection.choose import select as choose
from kloc.selection.cost import DEFAULT, CostModel
from kloc.selection.lal_model import GainModel
from kloc.selection.spec import policy_from, strategy_from

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Pace:
    """How far an arm goes: until which labelled ratio, and how often it is judged (every n-th step, first and last)."""

    until: float = 1.0
    eval_every: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.until <= 1 or self.eval_every < 1:
            raise UsageError("an arm goes on until a labelled share in (0, 1] and is judged every 1 or more steps")

    def stop(self, initial: int, pool: int) -> int:
        """With how many labelled videos (or the first batch beyond) an arm ends."""
        return min(pool, max(initial, int(np.ceil(self.until * pool - 1e-9))))


@dataclass(frozen=True)
class Model:
    """What a step has trained. actionness: float32 ``(N,)``, of every proposal of the table.

    classified: whether the classifier is of this step; else it is the newest one before, for the next to begin from.
    """

    attention: Attention
    actionness: NDArray[np.float32]
    classifier: Classifier | None = None
    classified: bool = False


@dataclass(frozen=True)
class Bench:
    """What the arms of one seed and noise share. ``table`` and ``annotations`` are as the oracle made them.

    prior: actionness of every proposal by a model of the Knowledge-Source, for MCLE; gain: loads LAL's regressor.
    cost: what annotating a video takes.
    """

    lab: Lab
    split: Split
    table: EncodedTable
    annotations: tuple[Annotation, ...]
    prior: NDArray[np.floating] | None = None
    gain: Callable[[], GainModel] | None = None
    cost: CostModel = DEFAULT

    @cached_property
    def judge(self) -> Judge:
        """By the truth of Testing, whatever the oracle says elsewhere."""
        return Judge.of(self.lab, self.split.testing, self.split.classes)

    @cached_property
    def place(self) -> dict[str, int]:
        """Index of each video of the lab by its id."""
        return {video.id: index for index, video in enumerate(self.lab.videos)}

    @cached_property
    def minutes(self) -> NDArray[np.float64]:
        """Estimated minutes that annotating each video of the lab takes, ``(V,)``: by its true number of instances."""
        seconds = np.array([video.duration for video in self.lab.videos])
        return self.cost.minutes(seconds, np.diff(self.lab.table.truth_offsets).astype(np.float64))

    @cached_property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """Video-level labels."""
        return {video.id: video.labels for video in self.lab.videos if video.labels}

    # -- one step -----------------------------------------------------------------------------------------------

    def train(self, labelled: Indices, before: Model | None, *, classify: bool) -> Model:
        """Fit attention, and where the step is judged the classifier, on the labelled videos (ascending)."""
        settings, seed = self.lab.settings, self.split.seed
        start = None if before is None else before.attention
        attention = train_attention(self.table, settings, seed, videos=labelled, start=start)
        # One sweep over all rows of the file is faster than picking out those of the pool.
        margin = margins(self.table.encoded, np.append(attention.weights, attention.intercept))
        actionness = platt_probability(margin, attention.platt_a, attention.platt_b).astype(np.float32)
        model = Model(attention, actionness, None if before is None else before.classifier)
        return self.classify(model, labelled) if classify else model

    def classify(self, model: Model, labelled: Indices) -> Model:
        """The model with a classifier of its own, trained from the one that it has inherited."""
        table, settings = self.table, self.lab.settings
        top = best_proposals(table, model.actionness[table.rows(labelled)], labelled, settings.top_k)
        classifier = train_classifier(
            table, model.attention, len(self.lab.classes), settings, videos=labelled, top=top, start=model.classifier
        )
        return replace(model, classifier=classifier, classified=True)

    def value(self, model: Model) -> float:
        """Average mAP on Testing; 0 where there is nothing to find."""
        assert model.classifier is not None, "a step that is judged has a classifier"
        rows = self.table.rows(self.split.testing)
        value = self.judge(model.actionness[rows], model.classifier).average
        return 0.0 if np.isnan(value) else value

    def pool_items(self, labelled: Indices) -> list[Item]:
        """What is still to be labelled."""
        return [self.lab.items[index] for index in np.setdiff1d(self.split.pool, labelled).tolist()]

    def select(self, arm: Arm, model: Model, labelled: Indices, step: int) -> tuple[Selection, Model]:
        """The next batch, and the model: with a classifier of its own where class probabilities were read.

        A strategy that cannot work raises, as it would in a campaign.
        """
        lab, now = self.lab, model

        def classifier() -> Classifier:
            nonlocal now
            if not now.classified:  # a step that is not judged, and something that asks for classes
                now = self.classify(now, labelled)
            assert now.classifier is not None
            return now.classifier

        context = Context(
            predictions=ArrayPredictions(
                self.table, model.actionness, Classes(lab.classes, lab.settings, classifier)
            ),
            classes=self.split.classes,
            annotations={lab.videos[i].id: self.annotations[i] for i in labelled.tolist()},
            labels=self.labels,
            seed=int(fingerprint([self.split.seed, "round", step]), 16),
            batch=arm.batch,
            # An older step's classifier is not this model's: better none than one that looks right.
            model=lambda: StageWise.of(
                now.attention, now.classifier if now.classified else None, lab.classes, lab.settings,
                lab.facts["features"],
            ),
            pooled=self._pooled,
            prior=None if self.prior is None else ArrayPredictions(lab.table, self.prior),
            gain=self.gain,
            cost=self.cost,
        )  # fmt: skip
        chosen = choose(
            self.pool_items(labelled), strategy_from(arm.strategy), policy_from(arm.policy), arm.batch, context
        )
        return chosen, now

    def _pooled(self, items: Any) -> NDArray[np.float32]:
        return self.lab.pooled[[self.place[item.video_id] for item in items]]


def run_arm(bench: Bench, arm: Arm, pace: Pace, path: Path) -> None:
    """Run an arm to its end, continuing after the last whole step of the journal at ``path``."""
    journal = Journal(path)
    lines, model = journal.resume()
    split, pool = bench.split, len(bench.split.pool)
    picked = [[bench.place[name] for name in line["picked"]] for line in lines]
    labelled = np.unique(np.concatenate([split.initial, *(np.array(p, np.int64) for p in picked)]))
    stop = pace.stop(len(split.initial), pool)
    while not lines or lines[-1]["picked"]:
        step = len(lines)
        last = len(labelled) >= stop
        judged = last or step % pace.eval_every == 0
        model = bench.train(labelled, model, classify=judged)
        chosen: list[str] = []
        if not last:
            selection, model = bench.select(arm, model, labelled, step)
            chosen = [item.video_id for item in selection.items]
        line = {
            "step": step,
            "labelled": len(labelled),
            "ratio": len(labelled) / pool,
            "minutes": round(float(bench.minutes[labelled].sum()), 6),
            "value": round(bench.value(model), 9) if judged else None,
            "picked": chosen,
        }
        journal.append(line, model)
        lines.append(line)
        labelled = np.union1d(labelled, np.array([bench.place[name] for name in chosen], np.int64))


class Journal:
    """The lines of one arm and the model its next step starts from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state = path.with_suffix(".state.npz")

    def resume(self) -> tuple[list[dict[str, Any]], Model | None]:
        """All lines whose state was kept; a torn line or one without state is cut off the file."""
        lines = read_lines(self.path)
        model, step = self._load()
        if len(lines) == step + 2:
            lines = lines[:-1]  # killed between line and state
        if len(lines) != step + 1:
            lines, model = [], None  # line and state are not of one run: begin anew
        if self.path.exists():
            with atomic_write(self.path) as stream:
                stream.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        return lines, model

    def _load(self) -> tuple[Model | None, int]:
        try:
            with np.load(self._state, allow_pickle=False) as saved:
                state, seen = saved["attention"], saved["seen"]
                classifier = None
                if len(seen):
                    classifier = Classifier(saved["weights"], saved["bias"], seen, bool(saved["background"]))
                attention = Attention(state[:-3], float(state[-3]), float(state[-2]), float(state[-1]))
                return Model(attention, np.zeros(0, np.float32), classifier), int(saved["step"])
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
            return None, -1

    def append(self, line: dict[str, Any], model: Model) -> None:
        """Add a line, then keep its model."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as stream:
            stream.write((json.dumps(line) + "\n").encode())
            # On the disk before the state is: a power cut must not leave a state whose line is lost.
            stream.flush()
            os.fsync(stream.fileno())
        attention, classifier = model.attention, model.classifier
        nothing = np.zeros(0)
        buffer = io.BytesIO()
        np.savez(
            buffer,
            step=line["step"],
            attention=np.append(attention.weights, [attention.intercept, attention.platt_a, attention.platt_b]),
            weights=nothing if classifier is None else classifier.weights,
            bias=nothing if classifier is None else classifier.bias,
            seen=np.zeros(0, np.bool_) if classifier is None else classifier.seen,
            background=False if classifier is None else classifier.background,
        )
        with atomic_write(self._state) as kept:
            kept.write(buffer.getvalue())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal, in order; a torn last one is left out. Raises KlocError for a damaged file."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = raw[: raw.rfind(b"\n") + 1].splitlines()
    try:
        lines = [json.loads(line) for line in whole]
    except ValueError as error:
        raise KlocError(f"{path}: damaged ({error}); delete it, the arm is run again") from None
    steps = [line.get("step") if isinstance(line, dict) else None for line in lines]
    if steps != list(range(len(lines))):
        raise KlocError(f"{path}: steps are missing or out of order; delete it, the arm is run again")
    return lines
