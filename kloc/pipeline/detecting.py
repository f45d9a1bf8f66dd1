"""detect: one raw video file through a trained workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kloc.errors import UsageError
from kloc.features.bank import VideoFeatures
from kloc.features.extract import backbone_of, extract_video
from kloc.formats.predictions import write_predictions
from kloc.pipeline.data import open_inputs
from kloc.pipeline.proposals import frozen_generator
from kloc.pipeline.telling import Reporter, Summary
from kloc.pipeline.training import current_model
from kloc.threads import one_thread
from kloc.video.probe import probe
from kloc.workspace import Workspace


def detect(workspace: Workspace, path: Path, *, top: int, out: Path | None, reporter: Reporter) -> Summary:
    """Detections in ``path``, best first, with the workspace's features, proposals and newest model.

    ``out``: also write all of them as ActivityNet-style predictions. Nothing is added to the workspace.
    Raises :class:`UsageError` before the first training, or where the features were imported from elsewhere.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file")
    inputs = open_inputs(workspace)
    settings = inputs.bank.settings
    if settings.imported:
        raise UsageError(
            f"the model reads imported features ({inputs.bank_name}), which kloc cannot compute for a new video; "
            "extract features with `kloc extract` and train on those"
        )
    localizer, _ = current_model(workspace, inputs.feature_fingerprint)
    weights = workspace.settings.features.weights
    backbone = backbone_of(settings, Path(weights).expanduser() if weights else None, "auto")
    found = probe(path)
    reporter.say(f"{path.name}: {found.duration:.1f} s, {found.width}x{found.height}, {found.codec}")
    features, grid = extract_video(path, found, backbone, settings, decoder=workspace.settings.video.decoder)
    # Through float16, as the bank keeps them: a video of the pool gets the same detections here and there.
    video = VideoFeatures(path.stem, features.astype("float16").astype("float32"), grid, found.start, found.end)
    with one_thread():
        prediction = localizer.predict(video, frozen_generator(workspace, inputs.bank_name).propose(video))
    detections = prediction.detections
    facts: dict[str, Any] = {
        f"{rank:3}. {d.start:8.2f} - {d.end:8.2f} s": f"{d.score:.3f}  {d.label}"
        for rank, d in enumerate(detections[:top], start=1)
    }
    if out is not None:
        write_predictions(out, {path.stem: detections})
        facts["written"] = str(out)
    data = {"detections": [{"segment": [d.start, d.end], "label": d.label, "score": d.score} for d in detections]}
    problems = [found.warning] if found.warning else []
    return Summary("detect", facts or {"detections": "none"}, problems, data=data)
