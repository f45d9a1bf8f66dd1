"""train and predict: fit the localizer on what is annotated, run it over the pool, evaluate where truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from kloc.errors import UsageError
from kloc.evaluation.detection import mean_average_precision
from kloc.files import atomic_folder, fingerprint
from kloc.localizers.base import Localizer, TrainingSet, load_localizer, make_localizer
from kloc.localizers.lazily import LazyVideos
from kloc.localizers.predictions import PredictionReader, PredictionWriter
from kloc.pipeline.common import stage
from kloc.pipeline.data import Inputs, open_inputs
from kloc.pipeline.telling import Reporter, Summary
from kloc.records import Dataset
from kloc.store import artefacts, revisions, rounds
from kloc.store.tables import ArtefactRow
from kloc.threads import one_thread
from kloc.workspace import Workspace

CURRENT = "current"


@stage("train")
def train(workspace: Workspace, *, reporter: Reporter) -> Summary:
    """Fit the localizer on the annotated training videos. Skipped where nothing changed since.

    Raises :class:`UsageError` while nothing is annotated, or features or proposals are missing.
    """
    inputs = open_inputs(workspace)
    settings = workspace.settings
    with workspace.store.transaction() as session:
        marks: dict[str, list[str]] = {}
        for row in revisions.current_rows(session):
            marks.setdefault(row.video_id, []).append(row.fingerprint)
        known = revisions.current(session)
        before = artefacts.get(session, "train", CURRENT)
        waiting = [row.index for row in rounds.all_rounds(session) if row.state == "published"]
    ids = tuple(v for v in inputs.ids if v in known and inputs.videos[v].subset == "training")
    if not ids and waiting:
        raise UsageError(
            f"the answers of round {waiting[0]} are not all in yet; collect them with `kloc ingest --watch` "
            "(a round counts once it is complete)"
        )
    if not ids:
        raise UsageError(
            "nothing is annotated yet; choose videos and have them annotated (kloc select, kloc publish-hits), "
            "or add annotations (kloc add truth.json)"
        )
    mark = fingerprint(
        {
            "model": settings.localizer.model_dump(),
            "seed": settings.general.seed,
            "classes": inputs.classes,
            "videos": {v: [*marks[v], inputs.fingerprint(v)] for v in ids},
        }
    )
    folder = workspace.models / mark
    facts: dict[str, Any] = {
        "model": f"{settings.localizer.model} {mark}",
        "videos": len(ids),
        "instances": sum(len(known[v].instances) for v in ids),
        "classes": f"{len({i.label for v in ids for i in known[v].instances})} of {len(inputs.classes)}",
    }
    if before is not None and before.fingerprint == mark and folder.exists():
        return Summary("train", facts | {"state": "up to date"}, hint="kloc predict", idle=True)
    localizer = make_localizer(settings.localizer.model, **settings.localizer.settings)
    reporter.say(f"training {settings.localizer.model} on {len(ids)} videos")
    with one_thread():
        localizer.fit(
            TrainingSet(
                inputs.classes, LazyVideos(inputs, known, ids), settings.general.seed, inputs.feature_fingerprint
            )
        )
    with atomic_folder(folder) as fresh:
        localizer.save(fresh)
    with workspace.store.transaction() as session:
        done = sum(row.state == "done" for row in rounds.all_rounds(session))
        info = {"round": done, "videos": len(ids), "instances": facts["instances"], "bank": inputs.bank_name}
        # Models of other settings lie on other learning curves.
        info["settings"] = fingerprint({"model": settings.localizer.model_dump(), "seed": settings.general.seed})
        artefacts.put(session, "train", CURRENT, mark, workspace.relative(folder), info)
    return Summary("train", facts | {"state": "trained"}, hint="kloc predict")


def current_model(workspace: Workspace, feature_fingerprint: str) -> tuple[Localizer, ArtefactRow]:
    """The newest trained localizer; raises :class:`UsageError` before the first."""
    with workspace.store.transaction() as session:
        row = artefacts.get(session, "train", CURRENT)
    if row is None or not (workspace.root / (row.path or "")).exists():
        raise UsageError("no model is trained yet; annotate some videos, then run `kloc train`")
    return load_localizer(workspace.root / (row.path or ""), feature_fingerprint), row


def predictions_mark(model: ArtefactRow, inputs: Inputs) -> str:
    """Changes whenever what a model would predict may change: the model, any video, its features or its proposals."""
    return fingerprint({"model": model.fingerprint, "videos": {v: inputs.fingerprint(v) for v in inputs.ids}})


@stage("predict")
def predict(workspace: Workspace, *, reporter: Reporter) -> Summary:
    """Run the current model over every video that has features and proposals; evaluate where truth is known."""
    inputs = open_inputs(workspace)
    localizer, model = current_model(workspace, inputs.feature_fingerprint)
    mark = predictions_mark(model, inputs)
    folder = workspace.predictions / mark
    with workspace.store.transaction() as session:
        before = artefacts.get(session, "predict", CURRENT)
    fresh = before is None or before.fingerprint != mark or not folder.exists()
    if fresh:
        _write(workspace, localizer, inputs, model, mark, reporter)
    metrics = evaluate(workspace, model)
    facts: dict[str, Any] = {"model": model.fingerprint, "videos": len(inputs.ids)}
    facts["state"] = "predicted" if fresh else "up to date"
    for subset, values in metrics.items():
        facts[f"mAP on {subset}"] = (
            f"{100 * values['mAP@0.5']:.1f} % at tIoU 0.5, {100 * values['average_mAP']:.1f} % average "
            f"({values['videos']} videos)"
        )
    return Summary("predict", facts, hint="kloc select", data={"metrics": metrics}, idle=not fresh)


def _write(
    workspace: Workspace, localizer: Localizer, inputs: Inputs, model: ArtefactRow, mark: str, reporter: Reporter
) -> None:
    folder = workspace.predictions / mark
    meta = {"model": model.fingerprint, "bank": inputs.bank_name, "localizer": localizer.name}
    reporter.start("predicting", len(inputs.ids))
    writer: PredictionWriter | None = None
    with one_thread():
        try:
            for video_id in inputs.ids:
                prediction = localizer.predict(inputs.features(video_id), inputs.proposals(video_id))
                if writer is None:
                    writer = PredictionWriter(folder, prediction.classes, prediction.activation, meta, replace=True)
                    writer.__enter__()
                writer.write(prediction)
                reporter.advance()
        except BaseException as error:
            if writer is not None:
                writer.__exit__(type(error), error, error.__traceback__)
            raise
    assert writer is not None, "open_inputs refuses an empty pool"
    writer.close()
    reporter.finish()
    with workspace.store.transaction() as session:
        info = {"model": model.fingerprint, "round": model.info["round"]}
        artefacts.put(session, "predict", CURRENT, mark, workspace.relative(folder), info)


def current_predictions(workspace: Workspace) -> PredictionReader | None:
    """The newest predictions, ``None`` before the first."""
    with workspace.store.transaction() as session:
        row = artefacts.get(session, "predict", CURRENT)
    if row is None or not (workspace.root / (row.path or "")).exists():
        return None
    return PredictionReader(workspace.root / (row.path or ""))


def evaluate(workspace: Workspace, model: ArtefactRow) -> dict[str, dict[str, Any]]:
    """mAP on every evaluation subset that has annotations; kept in the manifest under the model.

    Beside the metrics is kept which videos they are of (``judged_on``, a hash by subset).

    Validation and testing videos never reach training, so this reads nothing that was learned from.
    """
    reader = current_predictions(workspace)
    assert reader is not None, "called after predicting"
    inputs = open_inputs(workspace)
    with workspace.store.transaction() as session:
        known = revisions.current(session)
    metrics: dict[str, dict[str, Any]] = {}
    judged_on: dict[str, str] = {}
    for subset in ("validation", "testing"):
        truth = {
            v: a for v, a in known.items() if v in inputs.videos and inputs.videos[v].subset == subset and v in reader
        }
        if not any(annotation.instances for annotation in truth.values()):
            continue
        dataset = Dataset(inputs.classes, {v: inputs.videos[v] for v in truth}, truth)
        thresholds = sorted({0.5, *workspace.settings.evaluation.thresholds})
        result = mean_average_precision(dataset, reader.detections(list(truth)), thresholds)
        at_half = thresholds.index(0.5)
        wanted = [i for i, t in enumerate(thresholds) if t in workspace.settings.evaluation.thresholds]
        judged_on[subset] = fingerprint(sorted(truth))
        metrics[subset] = {
            "mAP@0.5": float(result.mean_ap[at_half]),
            "average_mAP": float(result.mean_ap[wanted].mean()),
            "videos": len(truth),
            "per_class": {
                name: float(value)
                for name, value in zip(result.classes, result.average_precision[at_half], strict=True)
                if np.isfinite(value)  # a class without truth here has no average precision
            },
        }
    if metrics:
        with workspace.store.transaction() as session:
            info = {**model.info, **metrics, "judged_on": judged_on}
            artefacts.put(session, "evaluate", model.fingerprint, reader.meta["model"], info=info)
    return metrics
