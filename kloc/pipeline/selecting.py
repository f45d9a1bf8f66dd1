"""select: decide what to annotate next."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kloc.errors import KlocError, UsageError
from kloc.files import fingerprint
from kloc.pipeline.common import stage
from kloc.pipeline.costing import COST_FILE, cost_model, dollars_budget, minutes_budget, prices
from kloc.pipeline.data import open_inputs
from kloc.pipeline.knowing import current_prior, gain_loader, model_loader, stale_predictions
from kloc.pipeline.telling import Reporter, Summary
from kloc.pipeline.training import current_predictions
from kloc.records import Item
from kloc.selection.base import Context
from kloc.selection.budget import Budget
from kloc.selection.choose import Selection
from kloc.selection.choose import select as choose
from kloc.selection.cost import CostModel, minutes_of
from kloc.selection.ranks import rankable, ranks_under
from kloc.selection.spec import policy_from, strategy_from
from kloc.store import revisions, rounds, videos
from kloc.store.tables import SelectionRow
from kloc.workspace import Workspace

#: Of so many damaged feature files each is told.
_TOLD = 10


def pool_items(workspace: Workspace) -> list[Item]:
    """What is still to be annotated: usable training videos that no annotation and no open round holds."""
    with workspace.store.transaction() as session:
        usable = videos.usable(session)
        known = revisions.current(session)
        open_rounds = {row.index for row in rounds.all_rounds(session) if row.state != "done"}
        taken = {row.video_id for row in rounds.selections(session) if row.round in open_rounds}
    return [v.item for v in usable.values() if v.subset == "training" and v.id not in known and v.id not in taken]


@stage("select")
def select(
    workspace: Workspace,
    *,
    batch: int | None,
    strategy: str = "",
    policy: str = "",
    minutes: float | None = None,
    money: str = "",
    epsilon: float | None = None,
    reporter: Reporter,
) -> Summary:
    """Open the next round: score the pool by the newest predictions, let the policy pick a batch, say why.

    While the newest round is not published the command shows it again instead of opening another.

    Args:
        workspace: whose pool.
        batch: videos at most; ``None``: `selection.batch`, or with a budget as many as it pays for.
        strategy: ``NAME`` or ``NAME,key=value``; empty: `selection.strategy`.
        policy: likewise.
        minutes: budget in minutes of people's time, all workers of a video together.
        money: budget in dollars, e.g. "25.00": reward and fee of all workers.
        epsilon: share of the batch drawn at random; ``None``: `selection.epsilon`.
        reporter: told of the progress.

    Raises :class:`UsageError` for an empty pool or batch, for other settings than the open round's, for a strategy or
    policy that does not exist or lacks what it needs, and for a budget too small for any video.
    """
    settings = workspace.settings
    if minutes is not None and money:
        raise UsageError("give a budget in minutes or in money, not both")
    if batch is None and minutes is None and not money:
        batch = settings.selection.batch
    strategy, policy = strategy or settings.selection.strategy, policy or settings.selection.policy
    epsilon = settings.selection.epsilon if epsilon is None else epsilon
    asked: dict[str, Any] = {"batch": batch, "strategy": strategy, "policy": policy}
    asked |= {k: v for k, v in {"minutes": minutes, "money": money, "epsilon": epsilon}.items() if v}
    with workspace.store.transaction() as session:
        newest = rounds.latest(session)
    if newest is not None and newest.state == "selected":
        if newest.settings["asked"] != asked:
            was = ", ".join(f"{k} {v}" for k, v in newest.settings["asked"].items())
            raise UsageError(
                f"round {newest.index} ({was}) is selected and not published; publish it (kloc publish-hits), or take "
                "it back first (kloc select --undo)"
            )
        return _summary(workspace, newest.index, ["this round was selected before and is not published yet"])
    items = pool_items(workspace)
    if not items:
        with workspace.store.transaction() as session:
            if not videos.usable(session):
                raise UsageError("there are no videos yet; add some with `kloc add`")
        raise UsageError("the pool is empty: every usable training video is annotated or on its way; add more videos")
    index = 0 if newest is None else newest.index + 1
    costs = cost_model(workspace)
    told: list[str] = []
    context = selection_context(workspace, index, costs.model, told)
    needed = minutes_of(items, context)
    made = choose(
        items,
        strategy_from(strategy),
        policy_from(policy),
        batch,
        context,
        budget=_budget(workspace, needed, minutes, money),
        epsilon=epsilon,
    )
    if not made.picks:
        raise UsageError("nothing was chosen, so no round is opened; give a batch of at least 1")
    # Of the same batch: what typiclust says depends on it.
    others = [name for name in rankable(context, len(items)) if name != strategy]
    ranks = ranks_under(items, replace(context, batch=len(made.picks)), others)
    notes = [*told, *made.notes, *context.heard]
    if minutes is not None:
        notes.append(costs.source)
    place = {item: i for i, item in enumerate(items)}
    with workspace.store.transaction() as session:
        known = {
            "asked": asked,
            "pool": made.n_pool,
            "notes": notes,
            "cost": {**asdict(costs.model), "source": costs.source},
        }
        row = rounds.add(session, made.strategy, made.policy, settings.general.seed, known)
        for position, pick in enumerate(made.picks):
            at = place[pick.item]
            own = {name: int(ranks[name][at]) for name in ranks} | {
                made.strategy if _cold(made, strategy) else strategy: pick.rank
            }
            session.add(
                SelectionRow(
                    round=row.index,
                    position=position,
                    video_id=pick.item.video_id,
                    start=pick.item.start,
                    end=pick.item.end,
                    score=pick.score if math.isfinite(pick.score) else None,
                    rank=pick.rank,
                    reason=pick.reason,
                    details={
                        "pool": made.n_pool,
                        "ranks": own,
                        "minutes": round(float(needed[at]), 3),
                        "answers": settings.task.assignments,
                    },
                )
            )
    if costs.model.recordings and not settings.selection.cost_model:
        costs.model.save(workspace.root / COST_FILE)
    return _summary(workspace, index, notes)


def _cold(made: Selection, strategy: str) -> bool:
    """Whether a random draw stood in for the strategy that was asked for."""
    return made.strategy != strategy.split(",")[0].strip()


def _budget(workspace: Workspace, needed: NDArray[np.float64], minutes: float | None, money: str) -> Budget | None:
    if minutes is not None:
        return Budget(minutes_budget(minutes), prices(needed, workspace, "minutes"), "minutes")
    if money:
        return Budget(dollars_budget(money), prices(needed, workspace, "dollars"), "dollars")
    return None


def selection_context(
    workspace: Workspace, index: int, cost: CostModel | None = None, told: list[str] | None = None
) -> Context:
    """All that strategies and policies may look at when round ``index`` is chosen.

    ``told`` gets a sentence for what does not fit together, and later for what cannot be read when somebody asks.
    """
    told = [] if told is None else told
    if stale := stale_predictions(workspace):
        told.append(stale)
    with workspace.store.transaction() as session:
        classes = tuple(videos.classes(session))
        usable = videos.usable(session)
        # What models are evaluated on is no part of what they have seen.
        training = {v for v, video in usable.items() if video.subset == "training"}
        known = {v: a for v, a in revisions.current(session).items() if v in training}
        labels = {v.id: v.labels for v in usable.values() if v.labels}
    return Context(
        predictions=current_predictions(workspace),
        classes=classes,
        annotations=known,
        # Another seed for every round, the same for every strategy: arms that share a round share its ties.
        seed=int(fingerprint([workspace.settings.general.seed, "round", index]), 16),
        labels=labels,
        model=model_loader(workspace, stale),
        pooled=_pooled(workspace, told),
        prior=current_prior(workspace, stale),
        gain=gain_loader(workspace),
        cost=cost,
    )


def _pooled(workspace: Workspace, told: list[str]) -> Callable[[Sequence[Item]], NDArray[np.float32]] | None:
    """Mean features of many videos; ``None`` where there are none: a cold start needs no features.

    A video without features lies at zero, one whose file is damaged too: then ``told`` says so.
    """
    try:
        inputs = open_inputs(workspace, need_proposals=False)
    except UsageError:
        return None
    width = inputs.bank.settings.dim
    unread: set[str] = set()

    def pooled(items: Sequence[Item]) -> NDArray[np.float32]:
        rows = np.zeros((len(items), width), np.float32)
        for index, item in enumerate(items):
            if item.video_id in inputs.feature_rows:
                try:
                    rows[index] = inputs.features(item.video_id).features.mean(axis=0)
                except KlocError as error:
                    if item.video_id not in unread and len(unread) < _TOLD:
                        told.append(f"{error}; until then the video counts as one without features")
                    unread.add(item.video_id)
        return rows

    return pooled


def _summary(workspace: Workspace, index: int, notes: list[str]) -> Summary:
    with workspace.store.transaction() as session:
        row = next(r for r in rounds.all_rounds(session) if r.index == index)
        chosen = rounds.selections(session, index)
    seconds = sum(s.end - s.start for s in chosen)
    facts: dict[str, Any] = {
        "round": index,
        "strategy": f"{row.strategy}, policy {row.policy}",
        "chosen": f"{len(chosen)} of {row.settings['pool']} videos, {seconds / 60:.1f} min",
    }
    work = [s.details["minutes"] * s.details["answers"] for s in chosen if s.details]
    if work and "cost" in row.settings:
        facts["work"] = f"about {sum(work):.0f} minutes of people's time ({row.settings['cost']['source']})"
    for selection in chosen[:5]:
        facts[f"  {selection.position + 1}. {selection.video_id}"[:34]] = selection.reason
    if len(chosen) > 5:
        facts["  ..."] = f"{len(chosen) - 5} more"
    data = {
        "selected": [
            {
                "video": s.video_id,
                "start": s.start,
                "end": s.end,
                "score": s.score,
                "rank": s.rank,
                "reason": s.reason,
                **(s.details or {}),
            }
            for s in chosen
        ]
    }
    return Summary("select", facts, notes, "kloc publish-hits (--dry-run shows the cost), or kloc select --undo", data)


@stage("select")
def undo(workspace: Workspace) -> Summary:
    """Take back the newest round; refused once any of it is published."""
    with workspace.store.transaction() as session:
        newest = rounds.latest(session)
        if newest is None:
            raise UsageError("there is no round to take back")
        if newest.state != "selected" or rounds.has_hits(session, newest.index):
            raise UsageError(
                f"round {newest.index} is {newest.state if newest.state != 'selected' else 'partly published'}: "
                "what workers may have seen cannot be taken back"
            )
        count = rounds.undo(session, newest.index)
        index = newest.index
    return Summary("select --undo", {"round taken back": index, "videos back in the pool": count}, hint="kloc select")
