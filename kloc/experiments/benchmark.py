"""The cells of the benchmark: a localizer trained in a regime with a seed, and what it finds on unseen videos."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kloc.errors import UsageError
from kloc.evaluation.detection import mean_average_precision
from kloc.evaluation.presets import PRESETS
from kloc.experiments.curves import estimate
from kloc.experiments.quiet import quiet
from kloc.experiments.regimes import MAKERS
from kloc.experiments.source import AnnotatedSet
from kloc.localizers.base import Localizer, TrainingSet, make_localizer
from kloc.localizers.lazily import LazyVideos
from kloc.records import Annotation, Dataset, Detection, Subset
from kloc.report.benchmark import CLIP, FULL, REGIMES, BenchmarkRow, Gain
from kloc.seeds import generator
from kloc.segments import nms, pairwise_tiou

PRESET = PRESETS["kinetics-localization"]
#: The name of what no localizer made, and its two kinds.
GUESSING, USUAL, RANDOM = "guessing", "usual", "random"
#: So many guesses of each kind show what can be reached without looking at a video.
N_GUESSES = 20
#: Segments guessed for a video, and detections at most, as many as the stage-wise localizer has.
_GUESSED, _DETECTIONS = 10, 100
#: Training instances whose times are looked at.
_TRIED = 2000
Settings = Mapping[str, Mapping[str, Any]]


class Cell(NamedTuple):
    """One training: which localizer, in which regime, with which seed."""

    model: str
    regime: str
    seed: int

    @property
    def name(self) -> str:
        """For messages and as a key."""
        return f"{self.model}, {self.regime}, seed {self.seed}"


class Found(NamedTuple):
    """mAP of a cell, in [0, 1]: at the table's thresholds, and the average over .5:.05:.95."""

    values: tuple[float, ...]
    average: float


class Probe(NamedTuple):
    """A task of the plan: train on some videos only, and predict some; guessing takes all of them."""

    model: str
    n_training: int
    n_testing: int


class Taken(NamedTuple):
    """Seconds that a probe took."""

    training: float
    testing: float


@dataclass(frozen=True)
class Exam:
    """Who learns and who is tested: ids, sorted, of one annotated set.

    Validation videos take no part where there is Testing: nothing is chosen by what is found here.
    """

    source: AnnotatedSet
    subset: Subset
    training: tuple[str, ...]
    testing: tuple[str, ...]

    @classmethod
    def of(cls, source: AnnotatedSet) -> Exam:
        """Training against Testing, or against Validation where no annotated video is in Testing.

        Raises UsageError, in one line, for a set from which nothing can be learned or on which nothing can be judged.
        """
        known, videos = source.dataset.annotations, source.dataset.videos

        def inside(subset: Subset) -> tuple[str, ...]:
            return tuple(v for v in source.ids if videos[v].subset == subset)

        training = inside("training")
        taught = classes_of(known[v] for v in training)
        if not taught:
            raise UsageError(
                f"{source.name}: no training video has an annotated instance, features and proposals; run `kloc split`"
            )
        subset: Subset = "testing" if classes_of(known[v] for v in inside("testing")) else "validation"
        testing = inside(subset)
        if not classes_of(known[v] for v in testing):
            raise UsageError(
                f"{source.name}: there is no split: no annotated instance lies in testing or validation; run `kloc "
                "split`"
            )
        if len(taught) < 2:
            raise UsageError(
                f"{source.name}: the training videos show one class only ({taught[0]}); a benchmark needs at least two"
            )
        return cls(source, subset, training, testing)

    @property
    def truth(self) -> Dataset:
        """What is tested on."""
        dataset = self.source.dataset
        return Dataset(
            dataset.classes,
            {v: dataset.videos[v] for v in self.testing},
            {v: dataset.annotations[v] for v in self.testing},
            dataset.name,
        )

    @property
    def annotations(self) -> dict[str, Annotation]:
        """What is learned from."""
        return {v: self.source.dataset.annotations[v] for v in self.training}

    @property
    def problems(self) -> list[str]:
        """What makes the table harder to read, in plain sentences."""
        taught = set(classes_of(self.annotations.values()))
        missing = [c for c in classes_of(self.truth.annotations.values()) if c not in taught]
        if not missing:
            return []
        return [f"{len(missing)} classes of {self.subset} have no training video, their AP is 0: {some(missing)}"]


def classes_of(annotations: Iterable[Annotation]) -> list[str]:
    """Names of the classes that have an instance, sorted."""
    return sorted({i.label for annotation in annotations for i in annotation.instances})


def some(names: Sequence[str], limit: int = 3) -> str:
    """The first few of some names."""
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


@dataclass(frozen=True)
class Examiner:
    """Works off cells and probes. settings: of the localizers by name; a localizer without has its defaults."""

    exam: Exam
    settings: Settings

    def process(self, task: Cell | Probe) -> Found | Taken:
        """Train and judge. Equal cells give equal figures, whatever else was done before."""
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._timed(task) if isinstance(task, Probe) else self._judged(task)

    def _judged(self, cell: Cell) -> Found:
        found: Mapping[str, Sequence[Detection]]
        if cell.model == GUESSING:
            found = self._guessed(cell.regime, cell.seed)
        else:
            found = self._predicted(self._trained(cell, self.exam.annotations), self.exam.testing)
        result = mean_average_precision(
            self.exam.truth, found, PRESET.asked, matching=PRESET.matching, duplicates=PRESET.duplicates
        )
        values = [round(float(value), 9) for value in PRESET.columns(result)]
        return Found(tuple(values), round(PRESET.average(result), 9))

    def _trained(self, cell: Cell, annotations: Mapping[str, Annotation]) -> Localizer:
        source = self.exam.source
        localizer = make_localizer(cell.model, **self.settings.get(cell.model, {}))
        said = MAKERS[cell.regime](annotations, cell.seed)
        videos = LazyVideos(source, said, tuple(said))
        localizer.fit(TrainingSet(source.dataset.classes, videos, cell.seed, source.feature_fingerprint))
        return localizer

    def _predicted(self, localizer: Localizer, ids: Iterable[str]) -> dict[str, tuple[Detection, ...]]:
        source = self.exam.source
        return {v: localizer.predict(source.features(v), source.proposals(v)).detections for v in ids}

    def _guessed(self, kind: str, seed: int) -> dict[str, list[Detection]]:
        """What can be found without looking at a video, with every class; what is equally likely comes in random order.

        "usual": the times at which most training instances lie, in every video the same. "random": the times of
        random training instances. The first knows more, the second has more luck where few videos are tested.
        """
        known, rng = self.exam.annotations, generator(seed, GUESSING, kind)
        classes, (times, share) = classes_of(known.values()), usual_times(known)
        best = nms(times, share, 0.5)[:_GUESSED]
        found = {}
        for v in self.exam.testing:
            onto = self.exam.truth.annotations[v].item
            places, likely = times[best], share[best]
            if kind == RANDOM:
                places, likely = times[rng.integers(len(times), size=_GUESSED)], np.zeros(_GUESSED)
            pairs = [(at, label) for at in range(len(places)) for label in rng.permutation(classes).tolist()]
            luck = rng.random(len(pairs)).tolist()
            seconds = (onto.start + places * onto.duration).tolist()
            found[v] = [
                Detection(seconds[at][0], seconds[at][1], label, float(likely[at]) + 1e-6 * chance)
                for (at, label), chance in zip(pairs[:_DETECTIONS], luck, strict=False)
            ]
        return found

    def _timed(self, probe: Probe) -> Taken:
        if probe.model == GUESSING:
            began = time.perf_counter()
            self._judged(Cell(GUESSING, USUAL, 0))
            return Taken(time.perf_counter() - began, 0.0)
        # Videos with instances first: from videos without any nothing can be learned.
        known = self.exam.annotations
        order = generator(0, "plan").permutation(len(known)).tolist()
        ids = sorted((self.exam.training[i] for i in order), key=lambda v: not known[v].instances)
        began = time.perf_counter()
        localizer = self._trained(Cell(probe.model, FULL, 0), {v: known[v] for v in ids[: probe.n_training]})
        trained = time.perf_counter()
        self._predicted(localizer, self.exam.testing[: probe.n_testing])
        return Taken(trained - began, time.perf_counter() - trained)


def usual_times(annotations: Mapping[str, Annotation]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where in their videos instances lie, float64 ``(N, 2)`` in [0, 1], and what share of all is near, ``(N,)``.

    Near is a tIoU of 0.5; of very many instances some are looked at.
    """
    every = np.array(
        [
            ((i.start - a.item.start) / a.item.duration, (i.end - a.item.start) / a.item.duration)
            for _, a in sorted(annotations.items())
            for i in a.instances
            if a.item.duration > 0
        ],
        np.float64,
    )
    some_of_them = np.linspace(0, len(every) - 1, min(len(every), _TRIED)).astype(np.int64)
    times = np.clip(every[some_of_them], 0.0, 1.0)
    return times, (pairwise_tiou(times, times) >= 0.5).mean(axis=1)


def cells_of(models: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """Every training of the table, and the guesses; the whole table with the first seed comes first."""
    made = [Cell(model, regime, seed) for seed in seeds for model in models for regime in REGIMES]
    return made + [Cell(GUESSING, kind, seed) for kind in (USUAL, RANDOM) for seed in range(N_GUESSES)]


def rows_of(cells: Sequence[Cell], found: Mapping[Cell, Found]) -> tuple[BenchmarkRow, ...]:
    """Rows by model and regime, each over the seeds that did not fail; what failed with every seed has no row."""
    rows = []
    for model, regime in dict.fromkeys((c.model, c.regime) for c in cells if c.model != GUESSING):
        mine = [c for c in cells if (c.model, c.regime) == (model, regime) and c in found]
        if not mine:
            continue
        averages = [found[c].average for c in mine]
        over = estimate(averages)
        mean = np.mean([found[c].values for c in mine], axis=0).round(9).tolist()
        rows.append(
            BenchmarkRow(
                model,
                regime,
                tuple(mean),
                round(over.mean, 9),
                round(over.low, 9) if over.n > 1 else None,
                round(over.high, 9) if over.n > 1 else None,
                tuple(c.seed for c in mine),
                tuple(averages),
            )
        )
    order = list(dict.fromkeys(c.model for c in cells))
    return tuple(sorted(rows, key=lambda r: (order.index(r.model), REGIMES.index(r.regime))))


def gains_of(rows: Sequence[BenchmarkRow]) -> tuple[Gain, ...]:
    """What full annotation is worth to each model, over the seeds that both regimes have."""
    gains = []
    for full in (row for row in rows if row.regime == FULL):
        clip = next((row for row in rows if (row.model, row.regime) == (full.model, CLIP)), None)
        if clip is None:
            continue
        less = dict(zip(clip.seeds, clip.per_seed, strict=True))
        pairs = [more - less[seed] for seed, more in zip(full.seeds, full.per_seed, strict=True) if seed in less]
        if pairs:
            over = estimate(pairs)
            low, high = (round(over.low, 9), round(over.high, 9)) if over.n > 1 else (None, None)
            gains.append(Gain(full.model, round(over.mean, 9), low, high))
    return tuple(gains)
