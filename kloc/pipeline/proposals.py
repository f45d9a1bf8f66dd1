"""propose: candidate segments of every video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kloc.features.bank import VideoFeatures
from kloc.files import atomic_folder, fingerprint, safe_name
from kloc.pipeline.common import stage, track
from kloc.pipeline.data import PROPOSALS, Inputs, open_inputs, write_proposals
from kloc.pipeline.telling import Reporter, Summary
from kloc.proposals import ProposalGenerator, load_generator, make_generator
from kloc.proposals.daps import DAPs
from kloc.records import Annotation
from kloc.store import artefacts, revisions
from kloc.threads import one_thread
from kloc.workspace import Workspace


@stage("propose")
def propose(workspace: Workspace, *, reporter: Reporter) -> Summary:
    """Propose segments for every video with features. Videos whose proposals are up to date are skipped.

    DAPs are trained once, on the first annotations there are, and frozen (stagewise.md section 2: proposals that
    change between rounds would make the rounds incomparable); before that, sliding windows stand in.
    """
    inputs = open_inputs(workspace, need_proposals=False)
    problems: list[str] = []
    generator = _generator(workspace, inputs, problems, reporter)
    folder = f"{generator.name}-{generator.fingerprint[:8]}"
    stale = {
        video_id: mark
        for video_id in inputs.ids
        if (mark := fingerprint([inputs.feature_rows[video_id].fingerprint, generator.fingerprint]))
        != (row.fingerprint if (row := inputs.proposal_rows.get(video_id)) else None)
    }
    count = 0
    with one_thread():
        for video_id in track(reporter, "proposing", stale, len(stale)):
            found = generator.propose(inputs.features(video_id))
            path = write_proposals(workspace, folder, safe_name(video_id), found)
            with workspace.store.transaction() as session:
                artefacts.put(session, PROPOSALS, video_id, stale[video_id], path, {"count": len(found)})
            count += len(found)
    facts: dict[str, Any] = {"method": generator.name, "videos": len(stale), "unchanged": len(inputs.ids) - len(stale)}
    if stale:
        facts["proposals per video"] = round(count / len(stale), 1)
    with workspace.store.transaction() as session:
        annotated = bool(revisions.current(session))
    return Summary("propose", facts, problems, "kloc train" if annotated else "kloc select", idle=not stale)


@dataclass(frozen=True)
class _Lazily:
    """Annotated videos, read from the disk each time they are gone through."""

    inputs: Inputs
    annotations: dict[str, Annotation]

    def __iter__(self) -> Iterator[tuple[VideoFeatures, Annotation]]:
        return ((self.inputs.features(v), self.annotations[v]) for v in sorted(self.annotations))


def frozen_generator(workspace: Workspace, bank: str) -> ProposalGenerator:
    """The generator in use: trained and frozen DAPs where there are some, sliding windows elsewhere."""
    frozen = _frozen(workspace, bank)
    if workspace.settings.proposals.method == "daps" and frozen.exists():
        return load_generator(frozen)
    return make_generator("sliding")


def _frozen(workspace: Workspace, bank: str) -> Path:
    return workspace.models / f"daps-{bank}"


def _generator(workspace: Workspace, inputs: Inputs, problems: list[str], reporter: Reporter) -> ProposalGenerator:
    frozen = _frozen(workspace, inputs.bank_name)
    if workspace.settings.proposals.method == "sliding" or frozen.exists():
        return frozen_generator(workspace, inputs.bank_name)
    with workspace.store.transaction() as session:
        known = revisions.current(session)
    training = {
        v: a for v, a in known.items() if v in inputs.videos and inputs.videos[v].subset == "training" and a.instances
    }
    if not training:
        problems.append("no video is annotated yet: sliding windows stand in until DAPs can be trained")
        return make_generator("sliding")
    reporter.say(f"training DAPs on {len(training)} videos, once")
    generator = DAPs()
    with one_thread():
        generator.fit(
            _Lazily(inputs, training),
            seed=workspace.settings.general.seed,
            feature_fingerprint=inputs.feature_fingerprint,
        )
    with atomic_folder(frozen) as fresh:
        generator.save(fresh)
    return generator
