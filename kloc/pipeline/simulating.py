"""simulate: would a selection strategy have saved labels? The paper's protocol on any annotated set with features."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kloc import __version__
from kloc.errors import KlocError, UsageError
from kloc.experiments.curves import Arm
from kloc.experiments.folder import held
from kloc.experiments.lab import Lab, lab_fingerprint
from kloc.experiments.plan import plan
from kloc.experiments.reporting import simulation_data, terminal_lines
from kloc.experiments.runner import Experiment, Outcome, refuse_other, run
from kloc.experiments.source import AnnotatedSet, simulated_set
from kloc.files import write_json, write_text
from kloc.localizers.stagewise import StageWiseSettings
from kloc.pipeline.annotated import FeatureFolder, open_annotated
from kloc.pipeline.costing import cost_model
from kloc.pipeline.telling import Reporter, Summary
from kloc.report.simulation import render_simulation
from kloc.selection.cost import DEFAULT, CostModel
from kloc.selection.spec import parse, policy_from, strategy_from
from kloc.workspace import Workspace

#: What is compared where nobody says otherwise, in the paper's order.
STRATEGIES_OF_THE_PAPER = ("random", "us", "mcle", "lal")


@dataclass(frozen=True)
class Asked:
    """What to simulate. The first batch and the first noise are used wherever the other one is varied.

    strategies, policy: as `kloc.selection.spec` reads them; kept as it writes them, so that one thing has one name.

    Raises UsageError for a strategy or policy that cannot be made, and for impossible numbers.
    """

    strategies: tuple[str, ...] = STRATEGIES_OF_THE_PAPER
    policy: str = "top"
    batches: tuple[int, ...] = (64,)
    noises: tuple[float, ...] = (0.0,)
    n_seeds: int = 1
    first_seed: int = 0

    def __post_init__(self) -> None:
        for text in self.strategies:  # also parameters, which an arm would look at after hours only
            strategy_from(text)
        policy_from(self.policy)
        # Two ways of writing one strategy would be two arms with one journal.
        object.__setattr__(self, "strategies", tuple(dict.fromkeys(str(parse(text)) for text in self.strategies)))
        object.__setattr__(self, "policy", str(parse(self.policy, "policy")))
        if self.n_seeds < 1 or not self.batches or not self.noises or not self.strategies:
            raise UsageError("simulate needs at least one strategy, batch size, noise and seed")
        if min(self.batches) < 1 or not all(0 <= noise <= 0.9 for noise in self.noises):
            raise UsageError("batches must be at least 1, noise between 0 and 0.9")

    def arms(self) -> tuple[Arm, ...]:
        """Every strategy with every seed, over the batches without varying noise and over the noises."""
        settings = {(batch, self.noises[0]) for batch in self.batches}
        settings |= {(self.batches[0], noise) for noise in self.noises}
        return tuple(
            Arm(seed, strategy, self.policy, batch, noise)
            for seed in range(self.first_seed, self.first_seed + self.n_seeds)
            for strategy in self.strategies
            for batch, noise in sorted(settings)
        )


@dataclass(frozen=True)
class Place:
    """Where a set comes from and where results go. workspace: whether the set is one."""

    source: Path
    out: Path
    workspace: bool


def place_of(source: Path | None, out: Path | None) -> Place:
    """The set that was named, or the workspace around this folder; results go into ``out``, or beside the set.

    Raises UsageError where nothing is named and there is no workspace.
    """
    if source is None:
        try:
            workspace = Workspace.open()
        except UsageError:
            raise UsageError(
                f"{Path.cwd()} lies in no kloc workspace; name an annotated set: kloc simulate WORKSPACE, or "
                "kloc simulate ANNOTATED.json --features DIR --fps FPS --stride N"
            ) from None
        source = workspace.root
        workspace.close()
    inside = source.is_dir()
    return Place(source, out or (source / "reports" / "simulation" if inside else Path("kloc-simulation")), inside)


def settings_of(place: Place, encoder: str = "") -> StageWiseSettings:
    """How the simulated localizer sees segments: as the workspace's does; elsewhere with what lies around them.

    Detections are not thinned out and no hard negatives are mined, as in the paper: what a video teaches then depends
    on the video alone.
    """
    seen: Any = encoder
    if not seen and place.workspace:
        workspace = Workspace.open(place.source)
        seen = workspace.settings.localizer.settings.get("encoder")
        workspace.close()
    return StageWiseSettings(encoder=seen or "context", hard_negative_rounds=0)


def cost_of(place: Place) -> CostModel:
    """What annotating a video takes: as the workspace's campaign has shown; elsewhere kloc's default.

    Raises FormatError where the workspace names a file that holds no cost model.
    """
    if not place.workspace:
        return DEFAULT
    workspace = Workspace.open(place.source)
    try:
        return cost_model(workspace).model
    finally:
        workspace.close()


def open_set(
    source: Path, features: FeatureFolder | None, *, simulated: bool, n_classes: int = 0, n_videos: int = 0, cap: int
) -> AnnotatedSet:
    """The annotated set to try strategies on.

    Args:
        source: a workspace or an ActivityNet JSON.
        features: of the JSON's videos, unless they are ``simulated``.
        n_classes, n_videos: take so many only, drawn at random (always the same); 0: all. For simulated features.
        cap: sliding windows per video.

    Raises:
        UsageError: see `open_annotated`; or a part of a set that has real features.
    """
    if simulated:
        if not source.is_file():
            raise UsageError(f"{source}: simulated features need an ActivityNet JSON; name that file")
        return simulated_set(source, n_classes, n_videos, cap)
    if n_classes or n_videos:
        raise UsageError("--classes and --videos draw a part of a set with simulated features only")
    return open_annotated(source, features, cap=cap)


def simulate(
    source: AnnotatedSet,
    experiment: Experiment,
    settings: StageWiseSettings,
    out: Path,
    *,
    workers: int,
    only_plan: bool = False,
    reporter: Reporter,
) -> Summary:
    """Run an experiment, or with ``only_plan`` say how long it will take; write ``report.html`` and ``report.json``.

    What is done is kept: run again it continues, also with more strategies, seeds, batches or noises.

    Raises UsageError for sets too small for the protocol, or a folder that holds another experiment, KlocError where
    another run is at work in it.
    """
    began = time.monotonic()
    with held(out):
        refuse_other(out, experiment, lab_fingerprint(source, settings))  # before hours of encoding
        reporter.start("preparing the set", len(source.ids))
        lab = Lab.prepare(out, source, settings, reporter.advance)
        reporter.finish()
    prepared = time.monotonic() - began
    if only_plan:
        return _planned(experiment, source, lab, workers, prepared, reporter)
    outcome = run(experiment, source, lab, out, workers=workers, stage=_stage(reporter))
    reporter.finish()
    return report(experiment, lab, outcome, out, cap=getattr(source, "cap", None))


def _stage(reporter: Reporter) -> Callable[[str, int], Callable[[], None]]:
    def begin(what: str, total: int) -> Callable[[], None]:
        reporter.start(what, total)
        return reporter.advance

    return begin


def _planned(
    experiment: Experiment, source: AnnotatedSet, lab: Lab, workers: int, prepared: float, reporter: Reporter
) -> Summary:
    reporter.say("timing parts of the experiment on this machine")
    made = plan(experiment, source, lab, workers=workers)
    facts: dict[str, Any] = {"arms": len(experiment.arms), "workers": workers}
    facts |= {part.name: clock(part.seconds) for part in made.parts}
    facts["in all"] = clock(made.seconds)
    facts["already spent"] = f"{clock(prepared)} on preparing the set, {clock(made.calibrated_s)} on this plan"
    data = {"seconds": made.seconds, "parts": {part.name: part.seconds for part in made.parts},
            "calibrated_s": made.calibrated_s, "prepared_s": prepared}  # fmt: skip
    return Summary("simulate --plan", facts, hint="the same command without --plan", data=data)


def clock(seconds: float) -> str:
    """A duration for a person."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def report(experiment: Experiment, lab: Lab, outcome: Outcome, out: Path, cap: int | None = None) -> Summary:
    """Write the report of what there is so far, of this run and of earlier ones in the same folder.

    cap: proposals per video, where it is known.

    Raises KlocError where there is nothing to show.
    """
    if not outcome.curves:
        # Remarks on what was asked come before what failed.
        last = f"; the last problem: {outcome.problems[-1]}" if outcome.problems else ""
        raise KlocError(f"{out}: no arm has got far enough to be shown{last}")
    gains = {seed: gain.facts for seed, gain in outcome.gains.items()}
    data = simulation_data(
        outcome.curves, simulated=bool(lab.facts["simulated"]), facts=_facts(experiment, lab, outcome, cap),
        gains=gains, problems=outcome.problems, asked=outcome.arms, until=experiment.pace.until,
    )  # fmt: skip
    write_text(out / "report.html", render_simulation(data))
    write_json(out / "report.json", data.to_json())
    return Summary(
        "simulate",
        terminal_lines(data),
        list(outcome.problems),
        hint=f"open {out / 'report.html'}",
        data={"report": str(out / "report.html")},
    )


def _facts(experiment: Experiment, lab: Lab, outcome: Outcome, cap: int | None) -> dict[str, str]:
    """What was run on what, and how, for the protocol and the provenance."""
    splits = [experiment.split(lab, seed) for seed in sorted({c.arm.seed for c in outcome.curves})]
    known = _range([len(s.knowledge_classes) for s in splits]), _range([len(s.knowledge) for s in splits])
    pool, tested = _range([len(s.pool) for s in splits]), _range([len(s.testing) for s in splits])
    facts = {
        "set": str(lab.facts["name"]),
        "features": str(lab.facts["features"]),
        "classes": f"{known[0]} Knowledge-Source, {_range([len(s.classes) for s in splits])} Selection",
        "videos": f"{known[1]} Knowledge-Source, {pool} pool, {tested} Testing",
        "labelled at first": _range([len(s.initial) for s in splits]),
        "encoder": lab.settings.encoder,
    }
    if cap is not None:
        facts["proposals"] = f"at most {cap} a video"
    facts["Knowledge-Source"] = f"{100 * experiment.knowledge_share:g} % of the classes"
    facts["until"] = f"{100 * experiment.pace.until:g} % labelled"
    every = experiment.pace.eval_every
    facts["minutes"] = str(experiment.cost)
    facts["mAP measured"] = "after every round" if every == 1 else f"every {every} rounds, and at the end"
    if any(parse(arm.strategy).name == "lal" for arm in outcome.arms):
        lal = experiment.lal
        shares = ", ".join(f"{100 * share:g}" for share in lal.shares)
        facts["LAL's lessons"] = (
            f"{lal.n_splits} splits, labelled sets of {shares} %, {lal.candidates} videos added to each; "
            f"mode {lal.mode}, target {lal.target}, state {lal.state}"
        )
    return facts | {"made with": f"kloc {__version__}"}


def _range(counts: Sequence[int]) -> str:
    """A count that differs by seed, from the smallest to the largest."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
