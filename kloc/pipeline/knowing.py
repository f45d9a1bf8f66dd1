"""What selection finds of what was learned: predictions, LAL's regressor, MCLE's prior; told or refused where stale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from kloc.errors import UsageError
from kloc.files import fingerprint
from kloc.localizers.base import Localizer, load_localizer
from kloc.localizers.predictions import PredictionReader
from kloc.pipeline.data import Inputs, open_inputs
from kloc.pipeline.training import CURRENT as NEWEST
from kloc.pipeline.training import current_predictions, predictions_mark
from kloc.selection.lal_model import GainModel
from kloc.shards import Block
from kloc.store import artefacts, videos
from kloc.store.tables import ArtefactRow
from kloc.workspace import Workspace

#: Stages of the manifest; `LAL` also names the folder of the regressor among the models.
LAL, PRIOR = "lal", "prior"
CURRENT = "current"


def inputs_mark(inputs: Inputs) -> str:
    """Changes whenever any video, its features or its proposals do."""
    return fingerprint({v: inputs.fingerprint(v) for v in inputs.ids})


def shared_classes(theirs: Sequence[str], ours: Sequence[str]) -> list[str]:
    """Classes that both have, in whatever spelling of spaces, underscores and capitals."""
    plain = {_plain(name) for name in ours}
    return sorted(name for name in theirs if _plain(name) in plain)


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def stale_predictions(workspace: Workspace) -> str:
    """Why the current predictions are not the newest model's of what there is now, one sentence; "" where they are.

    Without a model there is nothing that they could contradict: imported ones stand for themselves.
    """
    with workspace.store.transaction() as session:
        model = artefacts.get(session, "train", NEWEST)
        made = artefacts.get(session, "predict", NEWEST)
    reader = current_predictions(workspace)
    if model is None or made is None or reader is None:
        return ""
    if reader.meta.get("model") != model.fingerprint:
        whose = "imported" if reader.meta.get("localizer") == "imported" else "of an older model"
        return f"the predictions are {whose}, not the newest model's; run `kloc predict`"
    try:
        inputs = open_inputs(workspace)
    except UsageError:
        return ""  # what they were made of is gone; nothing says that they are wrong
    if reader.meta.get("bank") != inputs.bank_name:
        return (
            f"the predictions were made from the features {reader.meta.get('bank')!r}, now there are "
            f"{inputs.bank_name!r}; run `kloc train`, then `kloc predict`"
        )
    if made.fingerprint != predictions_mark(model, inputs):
        return (
            "the predictions were made for other videos, features or proposals than there are now; run `kloc predict`"
        )
    return ""


def model_loader(workspace: Workspace, stale: str) -> Callable[[], Localizer] | None:
    """Loads the newest localizer, ``None`` before the first. ``stale``: why predictions are not its own, or "".

    The loader raises UsageError for ``stale``: who looks at the model beside predictions must not mix two.
    """
    with workspace.store.transaction() as session:
        row = artefacts.get(session, "train", NEWEST)
    if row is None or not row.path or not (workspace.root / row.path).exists():
        return None
    folder = workspace.root / row.path

    def load() -> Localizer:
        if stale:
            raise UsageError(stale)
        return load_localizer(folder)

    return load


def _require_foreign(workspace: Workspace, theirs: Sequence[str], what: str, command: str) -> None:
    """Raises UsageError where the workspace has come to know a class of the Knowledge-Source since."""
    with workspace.store.transaction() as session:
        names = videos.classes(session)
    if shared := shared_classes(theirs, names):
        raise UsageError(
            f"{what} on {shared[0]!r}, which is a class of this workspace now; run `{command}` on other classes"
        )


def gain_loader(workspace: Workspace) -> Callable[[], GainModel] | None:
    """Loads what `kloc lal bootstrap` learned, ``None`` where nothing was.

    The loader raises UsageError where the workspace has come to know a class of the Knowledge-Source, or uses other
    features.
    """
    row = _row(workspace, LAL)
    if row is None:
        return None

    def load() -> GainModel:
        gain = GainModel.load(workspace.root / (row.path or ""))
        _require_foreign(workspace, gain.classes, "lal was learned", "kloc lal bootstrap")
        now = open_inputs(workspace, need_proposals=False).feature_fingerprint
        if gain.features != now:
            raise UsageError(
                f"lal was learned on other features ({gain.features}) than there are now ({now}); run "
                "`kloc lal bootstrap` again"
            )
        return gain

    return load


@dataclass(frozen=True)
class CurrentPrior:
    """The newest prior's actionness; looked at only when a strategy asks, and refused then if it is stale.

    predictions: why the predictions it is to be compared with are stale themselves, or "".
    """

    workspace: Workspace
    row: ArtefactRow
    predictions: str = ""

    @cached_property
    def _reader(self) -> PredictionReader:
        if self.predictions:
            raise UsageError(self.predictions)
        command = f"kloc prior {self.row.info['kind']}"
        _require_foreign(self.workspace, self.row.info.get("classes", ()), "the prior was learned", command)
        if self.row.info["inputs"] != inputs_mark(open_inputs(self.workspace)):
            raise UsageError(
                f"the prior was made for other videos, features or proposals than there are now; run `{command}` again"
            )
        return PredictionReader(self.workspace.root / (self.row.path or ""))

    def __len__(self) -> int:
        return len(self._reader)

    def blocks(
        self, identifiers: Iterable[str] | None, heads: Iterable[str], block_rows: int = 262_144
    ) -> Iterator[Block]:
        """See `kloc.localizers.predictions.PredictionReader.blocks`."""
        return self._reader.blocks(identifiers, heads, block_rows)


def current_prior(workspace: Workspace, predictions: str = "") -> CurrentPrior | None:
    """What `kloc prior` made, ``None`` where nothing was. ``predictions``: see `CurrentPrior`."""
    row = _row(workspace, PRIOR)
    return None if row is None else CurrentPrior(workspace, row, predictions)


def _row(workspace: Workspace, stage: str) -> ArtefactRow | None:
    with workspace.store.transaction() as session:
        row = artefacts.get(session, stage, CURRENT)
    return row if row is not None and row.path and (workspace.root / row.path).exists() else None
