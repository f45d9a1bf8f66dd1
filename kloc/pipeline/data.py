"""What learning reads: features and proposals of the usable videos, by id, with their fingerprints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kloc.errors import KlocError, UsageError
from kloc.features.bank import FeatureBank, VideoFeatures
from kloc.files import atomic_write
from kloc.pipeline.common import manifest
from kloc.proposals import Proposals
from kloc.records import Video
from kloc.store import meta, videos
from kloc.store.tables import ArtefactRow
from kloc.workspace import Workspace

PROPOSALS = "proposals"
#: The meta key that names the feature bank in use.
BANK = "feature_bank"


def feature_stage(bank: str) -> str:
    """The manifest's stage of a feature bank."""
    return f"features:{bank}"


@dataclass(frozen=True)
class Inputs:
    """The usable videos that have features (and, by default, proposals)."""

    workspace: Workspace
    bank_name: str
    bank: FeatureBank
    classes: tuple[str, ...]
    videos: Mapping[str, Video]
    feature_rows: Mapping[str, ArtefactRow]
    proposal_rows: Mapping[str, ArtefactRow]

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids in the order of the alphabet, the same on every machine."""
        return tuple(sorted(self.videos))

    @property
    def feature_fingerprint(self) -> str:
        """Names the settings behind the features: a model of other features is refused."""
        return self.bank.settings.fingerprint

    def features(self, video_id: str) -> VideoFeatures:
        """Features of one video, read from the bank."""
        return self.bank.read(video_id, self.feature_rows[video_id].info)

    def proposals(self, video_id: str) -> Proposals:
        """Proposals of one video."""
        row = self.proposal_rows[video_id]
        path = self.workspace.root / (row.path or "")
        try:
            table = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise KlocError(f"{path}: damaged ({error}); delete it and run `kloc propose` again") from None
        return Proposals(video_id, table[:, :2].copy(), table[:, 2].astype(np.float32))

    def fingerprint(self, video_id: str) -> str:
        """Changes whenever what is read of the video changes."""
        proposals = self.proposal_rows.get(video_id)
        return self.feature_rows[video_id].fingerprint + (f"-{proposals.fingerprint}" if proposals else "")


def write_proposals(workspace: Workspace, folder: str, name: str, proposals: Proposals) -> str:
    """Write float64 ``(N, 3)`` start, end, confidence; returns the path relative to the workspace."""
    path = workspace.proposals / folder / name[:2] / f"{name}.npy"
    table = np.column_stack([proposals.segments, proposals.confidence.astype(np.float64)])
    with atomic_write(path) as stream:
        np.save(stream, table, allow_pickle=False)
    return workspace.relative(path)


def active_bank(workspace: Workspace) -> str:
    """Name of the feature bank in use: the newest one extracted or imported."""
    with workspace.store.transaction() as session:
        name = meta.get(session, BANK)
    if name is None:
        raise UsageError("there are no features yet; run `kloc extract` (or `kloc import features DIR ...`)")
    return name


def open_inputs(workspace: Workspace, *, need_proposals: bool = True) -> Inputs:
    """Open features and proposals of all usable videos; raises :class:`UsageError` naming the missing stage."""
    name = active_bank(workspace)
    features = manifest(workspace, feature_stage(name))
    proposals = manifest(workspace, PROPOSALS)
    with workspace.store.transaction() as session:
        usable = videos.usable(session)
        classes = tuple(videos.classes(session))
    there = {v: usable[v] for v in usable if v in features and (v in proposals or not need_proposals)}
    if not there:
        missing = "extract" if not any(v in features for v in usable) else "propose"
        raise UsageError(f"no usable video has been through `kloc {missing}` yet; run it first")
    return Inputs(workspace, name, FeatureBank(workspace.features / name), classes, there, features, proposals)
