"""lal bootstrap, prior: what is learned from outside of the pool, once, before selection asks for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kloc.errors import FormatError, KlocError, MismatchError, UsageError
from kloc.experiments.lab import Lab
from kloc.experiments.lal_bootstrap import Knowledge, LalSettings
from kloc.experiments.lal_bootstrap import bootstrap as learn
from kloc.experiments.source import AnnotatedSet, fingerprint_of
from kloc.features.bank import VideoFeatures
from kloc.files import atomic_folder, fingerprint, sha256_file
from kloc.formats import ranked_csv
from kloc.formats.common import Problems
from kloc.localizers.base import TrainingVideo, make_localizer
from kloc.localizers.predictions import PredictionReader, PredictionWriter
from kloc.localizers.stagewise import Attention, EncodedTable, StageWiseSettings, train_attention
from kloc.localizers.stagewise.encoder import encode, encode_video
from kloc.localizers.stagewise.table import ROWS_FILE
from kloc.pipeline.annotated import FeatureFolder, classes_of, open_annotated
from kloc.pipeline.common import stage, track
from kloc.pipeline.data import Inputs, open_inputs
from kloc.pipeline.knowing import CURRENT, LAL, PRIOR, inputs_mark, shared_classes
from kloc.pipeline.pool import known_id
from kloc.pipeline.telling import Reporter, Summary
from kloc.proposals import Proposals
from kloc.records import Annotation, Instance, Item, Prediction
from kloc.selection.lal_model import CLOSE_TO_RANDOM, GainModel
from kloc.store import artefacts, videos
from kloc.store.tables import ArtefactRow, VideoRow
from kloc.threads import one_thread
from kloc.workspace import Workspace

#: A Knowledge-Source smaller than this teaches nothing.
MIN_VIDEOS, MIN_CLASSES = 8, 2


# -- what both need ---------------------------------------------------------------------------------------------


def stagewise_settings(workspace: Workspace) -> StageWiseSettings:
    """How the workspace's localizer sees segments; raises UsageError where it is not the stage-wise one."""
    asked = workspace.settings.localizer
    settings = getattr(make_localizer(asked.model, **asked.settings), "settings", None)
    if not isinstance(settings, StageWiseSettings):
        raise UsageError(
            f'localizer.model = {asked.model!r} has no attention module to learn about; set it to "stagewise"'
        )
    return settings


def _open(workspace: Workspace, inputs: Inputs, source: Path, features: FeatureFolder | None, cap: int) -> AnnotatedSet:
    """The Knowledge-Source, of which the workspace knows neither classes nor videos.

    Raises UsageError where it shares any or is too small, MismatchError for features of other settings.
    """
    ours = inputs.bank.settings
    # Two imports differ by what they are called, too. Who does not say it has to be believed.
    believed = features is not None and features.name is None and ours.imported
    if features is not None and believed:
        features = replace(features, name=ours.backbone)
    known = open_annotated(source, features, cap=cap)
    if believed:
        known.problems.append(
            f"the features of {source.name} are taken to be {ours.backbone!r} like this workspace's; say --name NAME "
            "to have that checked"
        )
    if known.feature_fingerprint != ours.fingerprint:
        theirs = getattr(known, "feature_settings", None)
        which = f" ({'; '.join(theirs.differences(ours))})" if theirs is not None else ""
        raise MismatchError(
            f"{source}: its features were made with other settings than this workspace's{which}; make both alike"
        )
    classes = classes_of(known)
    with workspace.store.transaction() as session:
        names = videos.classes(session)
        ids = {row.id for row in session.query(VideoRow.id)}
    if shared := shared_classes(classes, names):
        raise UsageError(
            f"{source}: shares {_few(shared, 'class', 'classes')} with this workspace; a Knowledge-Source has other "
            "classes, leave these out of it"
        )
    if common := [v for v in known.ids if known_id(v, ids) is not None]:
        raise UsageError(
            f"{source}: shares {_few(common, 'video', 'videos')} with this workspace; leave them out of one of the two"
        )
    if len(known.ids) < MIN_VIDEOS or len(classes) < MIN_CLASSES:
        raise UsageError(
            f"{source}: {len(known.ids)} usable videos of {len(classes)} classes are too few to learn from; at least "
            f"{MIN_VIDEOS} of {MIN_CLASSES} are needed"
        )
    return known


@contextmanager
def _scratch(parent: Path, name: str) -> Iterator[Path]:
    """A folder for what is encoded, which may take much room: a killed run's is swept up with its parent."""
    parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=f".{name}-lab.{os.getpid()}.", suffix=".part") as scratch:
        yield Path(scratch)


def _few(names: Sequence[str], one: str, many: str) -> str:
    some = ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
    return f"the {one} {some}" if len(names) == 1 else f"{len(names)} {many} ({some})"


# -- lal bootstrap ------------------------------------------------------------------------------------------------


@stage("lal bootstrap")
def bootstrap(
    workspace: Workspace,
    source: Path,
    *,
    features: FeatureFolder | None = None,
    cap: int = 200,
    lal: LalSettings | None = None,
    reporter: Reporter,
) -> Summary:
    """Learn on an annotated set of other classes which videos help, for `kloc select --strategy lal`.

    Args:
        workspace: gets ``models/lal``.
        source: the Knowledge-Source: another kloc workspace, or an ActivityNet JSON.
        features: of the JSON's videos.
        cap: sliding windows per video at most, for a JSON.
        lal: how the experiments are made.
        reporter: told of the progress.

    Raises :class:`UsageError` for a source that shares classes or videos with the workspace or is too small,
    :class:`MismatchError` for features of other settings.
    """
    lal = lal or LalSettings()
    settings = stagewise_settings(workspace)
    known = _open(workspace, open_inputs(workspace, need_proposals=False), source, features, cap)
    seed = workspace.settings.general.seed
    mark = fingerprint([fingerprint_of(known), asdict(settings), asdict(lal), seed])
    folder = workspace.models / LAL
    with workspace.store.transaction() as session:
        before = artefacts.get(session, LAL, CURRENT)
    if before is not None and before.fingerprint == mark and folder.exists():
        try:
            return _learned(GainModel.load(folder), known, list(known.problems), fresh=False)
        except FormatError as error:
            reporter.say(f"{error}; learning anew")
    with _scratch(workspace.models, LAL) as scratch:
        lab = _prepare(scratch, known, settings, reporter)
        mine = Knowledge(tuple(range(len(lab.table))), classes_of(known), seed)
        gain = _learn(lab, mine, lal, workspace.workers, reporter)
    with atomic_folder(folder) as fresh:
        gain.save(fresh)
    info = {"source": known.name, "classes": list(gain.classes), "gain": gain.fingerprint, **gain.facts}
    with workspace.store.transaction() as session:
        artefacts.put(session, LAL, CURRENT, mark, workspace.relative(folder), info)
    return _learned(gain, known, list(lab.facts["problems"]), fresh=True)


def _prepare(scratch: Path, known: AnnotatedSet, settings: StageWiseSettings, reporter: Reporter) -> Lab:
    reporter.start("encoding", len(known.ids))
    try:
        with one_thread():
            return Lab.prepare(scratch, known, settings, reporter.advance)
    finally:
        reporter.finish()


def _learn(lab: Lab, mine: Knowledge, lal: LalSettings, workers: int, reporter: Reporter) -> GainModel:
    started = 0

    def progress(finished: int, total: int) -> None:
        nonlocal started
        if not started or finished <= started:  # the first of a series of experiments
            reporter.start("labelling in thought", total)
            started = 0
        reporter.advance(finished - started)
        started = finished

    try:
        return learn(lab, [mine], lal, workers=workers, progress=progress)[0]
    finally:
        reporter.finish()


def _learned(gain: GainModel, known: AnnotatedSet, problems: list[str], *, fresh: bool) -> Summary:
    facts = gain.facts
    shown: dict[str, Any] = {
        "learned from": f"{known.name}: {len(known.ids)} videos of {len(gain.classes)} classes",
        "experiments": f"{facts['states']} labelled sets, {facts['rows']} videos added to them",
    }
    interval = facts.get("rank_correlation_interval") or []
    spread = f" (95 %: {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    shown["rank correlation"] = f"{gain.rank_correlation or 0.0:.3f}{spread} with the true gain, on held-out splits"
    by_share = facts.get("rank_correlation_by_share", {})
    if by_share:
        shown["by labelled share"] = ", ".join(f"{float(k):.0%}: {v:.3f}" for k, v in by_share.items())
    shown["state"] = "learned" if fresh else "up to date"
    if gain.close_to_random:
        problems.append(
            f"the rank correlation is below {CLOSE_TO_RANDOM}: lal will select about as well as a random draw; take a "
            "larger Knowledge-Source, or another strategy"
        )
    data = {"facts": dict(facts), "classes": list(gain.classes)}
    return Summary("lal bootstrap", shown, problems, "kloc select --strategy lal", data, idle=not fresh)


# -- priors -------------------------------------------------------------------------------------------------------


@stage("prior")
def prior_of_knowledge(
    workspace: Workspace, source: Path, *, features: FeatureFolder | None = None, cap: int = 200, reporter: Reporter
) -> Summary:
    """Train attention on an annotated set of other classes; what it says of this workspace's videos is MCLE's prior.

    Arguments and errors as of `bootstrap`.
    """
    settings = stagewise_settings(workspace)
    inputs = open_inputs(workspace)
    known = _open(workspace, inputs, source, features, cap)
    asked = ["knowledge", fingerprint_of(known)]
    problems = list(known.problems)

    def parts() -> Iterator[EncodedTable]:
        index = {name: i for i, name in enumerate(known.dataset.classes)}
        for video_id in track(reporter, "encoding", known.ids, len(known.ids)):
            try:
                own = TrainingVideo(
                    known.features(video_id), known.proposals(video_id), known.dataset.annotations[video_id]
                )
                yield encode_video(own, index, settings)
            except KlocError as error:  # one bad video costs itself only
                problems.append(str(error))

    classes = classes_of(known)
    facts = {"learned from": f"{known.name}: {len(known.ids)} videos of {len(classes)} classes"}
    job = _Prior("knowledge", asked, parts, facts, lambda: problems, classes)
    return _prior(workspace, inputs, settings, job, reporter)


@stage("prior")
def prior_of_web(workspace: Workspace, lists: Path, *, top: int = 10, reporter: Reporter) -> Summary:
    """Make MCLE's prior from ranked web-search lists, as the paper does (P2, section 3.3).

    Positive are the whole videos that some class's list has at rank 1 to ``top``, negative those in the lower half of
    a list and below ``top``, unless another list has them at its top. Only training videos are learned from.

    Raises :class:`FormatError` for a broken line, :class:`UsageError` where nothing is left to learn from.
    """
    if top < 1:
        raise UsageError(f"--top {top}: at least the first result of a list counts as a hit; give 1 or more")
    settings = stagewise_settings(workspace)
    inputs = open_inputs(workspace)
    problems = Problems()
    found = ranked_csv.read(lists)
    sides = _sides(found, inputs, top, lists, problems)
    n_positive = sum(sides.values())
    if not n_positive or n_positive == len(sides):
        missing = "at rank 1 to" if not n_positive else "in the lower half of a list and below rank"
        raise UsageError(
            f"{lists}: no training video with features is {missing} {top}; give longer lists of videos of this "
            "workspace, or another --top"
        )

    def parts() -> Iterator[EncodedTable]:
        for video_id in track(reporter, "encoding", sorted(sides), len(sides)):
            try:
                yield encode_video(_whole(inputs.features(video_id), sides[video_id]), {_ACTION: 0}, settings)
            except KlocError as error:
                problems.add(f"video that cannot be read, left out: {error}", video_id)

    n_lists = len({result.label for result in found})
    facts = {"learned from": f"{n_lists} lists: {n_positive} videos at the top, {len(sides) - n_positive} far below"}
    asked = ["web", sha256_file(lists), top]
    return _prior(workspace, inputs, settings, _Prior("web", asked, parts, facts, problems.sentences), reporter)


_ACTION = "action"


def _sides(
    results: Sequence[ranked_csv.Result], inputs: Inputs, top: int, path: Path, problems: Problems
) -> dict[str, bool]:
    """Videos that a search found, and whether at the top; those in between are left out."""
    by_class: dict[str, list[ranked_csv.Result]] = {}
    for result in results:
        by_class.setdefault(result.label, []).append(result)
    sides: dict[str, bool] = {}
    for own in by_class.values():
        ordered = sorted(own, key=lambda result: result.rank)
        for place, result in enumerate(ordered):
            video_id = known_id(result.video, inputs.videos)
            if video_id is None:
                problems.add(
                    f"line of {path.name} about a video without features here, left out",
                    f"line {result.line}: {result.video}",
                )
            elif inputs.videos[video_id].subset != "training":
                problems.add(
                    f"line of {path.name} about a video that is evaluated on, left out",
                    f"line {result.line}: {video_id}",
                )
            elif result.rank <= top:
                sides[video_id] = True
            elif 2 * place >= len(ordered):
                sides.setdefault(video_id, False)
    return sides


def _whole(features: VideoFeatures, positive: bool) -> TrainingVideo:
    """A video as one segment that is an action, or is none."""
    span = np.array([[features.start, features.end]])
    item = Item(features.video_id, features.start, features.end)
    instances = (Instance(item.start, item.end, _ACTION),) if positive else ()
    whole = Proposals(features.video_id, span, np.ones(1, np.float32))
    return TrainingVideo(features, whole, Annotation(item, instances))


@dataclass(frozen=True)
class _Prior:
    """What a prior is to be made of.

    asked: what its mark depends on beside settings and inputs. parts: encodes the videos to learn from. facts: for the
    summary. problems: what was left out, asked when all is done. classes: of a Knowledge-Source.
    """

    kind: Literal["knowledge", "web"]
    asked: list[Any]
    parts: Callable[[], Iterator[EncodedTable]]
    facts: dict[str, Any]
    problems: Callable[[], list[str]]
    classes: tuple[str, ...] = ()


def _prior(
    workspace: Workspace, inputs: Inputs, settings: StageWiseSettings, job: _Prior, reporter: Reporter
) -> Summary:
    """Train, predict for every video, and make that the current prior; skipped where it is up to date."""
    seed = workspace.settings.general.seed
    here = inputs_mark(inputs)
    mark = fingerprint([job.asked, asdict(settings), seed, here])
    folder = workspace.predictions / f"{PRIOR}-{mark}"
    shown = {"prior": job.kind, **job.facts, "videos": len(inputs.ids)}
    hint = "kloc select --strategy mcle"
    with workspace.store.transaction() as session:
        before = artefacts.get(session, PRIOR, CURRENT)
    if before is not None and before.fingerprint == mark and _is_whole(folder, before, reporter):
        return Summary(f"prior {job.kind}", shown | {"state": "up to date"}, job.problems(), hint, idle=True)
    with one_thread(), _scratch(workspace.predictions, PRIOR) as scratch:
        table = EncodedTable.join(job.parts(), scratch / ROWS_FILE)
        attention = train_attention(table, settings, seed)
        left_out = _write(folder, attention, settings, inputs, {"prior": job.kind, "bank": inputs.bank_name}, reporter)
    info = {"kind": job.kind, "inputs": here, "videos": len(inputs.ids), "classes": list(job.classes), **job.facts}
    info["left_out"] = len(left_out)
    with workspace.store.transaction() as session:
        artefacts.put(session, PRIOR, CURRENT, mark, workspace.relative(folder), info)
    if before is not None and before.path and workspace.root / before.path != folder:
        shutil.rmtree(workspace.root / before.path, ignore_errors=True)
    return Summary(f"prior {job.kind}", shown | {"state": "made"}, [*job.problems(), *left_out], hint)


def _is_whole(folder: Path, row: ArtefactRow, reporter: Reporter) -> bool:
    """Whether a prior can be read, and is one of all videos: what was damaged may be repaired by now."""
    if not folder.exists() or row.info.get("left_out"):
        return False
    try:
        next(PredictionReader(folder).blocks(None, ["actionness", "segments"]), None)  # opens and measures each file
    except KlocError as error:
        reporter.say(f"{error}; making the prior anew")
        return False
    return True


def _write(
    folder: Path,
    attention: Attention,
    settings: StageWiseSettings,
    inputs: Inputs,
    meta: dict[str, Any],
    reporter: Reporter,
) -> list[str]:
    """Actionness of all proposals of all videos, as a prediction shard without classes; tells what cannot be read.

    Raises :class:`KlocError` where no video can be read.
    """
    left_out = []
    with PredictionWriter(folder, (), "sigmoid", meta, replace=True) as writer:
        for video_id in track(reporter, "predicting by the prior", inputs.ids, len(inputs.ids)):
            try:
                segments = inputs.proposals(video_id).segments
                encoded = encode(inputs.features(video_id), segments, settings.encoder)
            except KlocError as error:  # one bad video costs itself only
                left_out.append(f"{error}; the prior has nothing to say of {video_id!r}")
                continue
            writer.write(Prediction(video_id, segments, attention.actionness(encoded), (), "sigmoid", ()))
        if not len(writer):
            raise KlocError(f"no video can be read; the first: {left_out[0]}")
    return left_out
