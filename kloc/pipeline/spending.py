"""Which round chose each video, what it cost, and which media are gone: read off the campaign store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kloc.crowd import money
from kloc.pipeline.common import SIMULATED
from kloc.report.campaign import Agreement, Campaign, ChosenRow, RoundRow
from kloc.store import crowd, meta, rounds, videos
from kloc.workspace import Workspace


def campaign(workspace: Workspace, quality: Mapping[str, Any] | None = None) -> Campaign:
    """The rounds of a workspace. quality: the figures of `kloc.pipeline.quality`, whose agreement is passed on."""
    with workspace.store.transaction() as session:
        every = rounds.all_rounds(session)
        selections = rounds.selections(session)
        hits = crowd.hits(session)
        counts = crowd.parsed_counts(session)
        paid = {token: b.committed for token, b in money.balances(session, [h.token for h in hits]).items()}
        answers = crowd.answers(session, purpose="task")
        known = videos.rows(session)
        simulated = meta.get(session, SIMULATED) is not None
    strategies = {row.index: row.strategy for row in every}
    of_round, of_video = defaultdict(list), defaultdict(list)
    for hit in hits:
        of_round[hit.round].append(hit.token)
        if hit.purpose == "task":
            of_video[hit.round, hit.video_id].append(hit.token)
    seconds: dict[tuple[int | None, str], list[float]] = defaultdict(list)
    for answer in answers:
        if answer.answer.get("seconds_spent") is not None:
            seconds[answer.round, answer.item.video_id].append(float(answer.answer["seconds_spent"]))

    def dollars(tokens: list[str]) -> float:
        return sum(paid[t] for t in tokens) / money.MILLS_PER_DOLLAR

    def answered(tokens: list[str]) -> int:
        return sum(counts.get(t, 0) for t in tokens)

    chosen = []
    for one in selections:
        key = (one.round, one.video_id)
        minutes = sum(seconds[key]) / 60 if seconds[key] else None
        tokens, strategy = of_video[key], strategies[one.round]
        chosen.append(
            ChosenRow(one.video_id, one.round, strategy, one.rank, answered(tokens), minutes, dollars(tokens))
        )
    table = []
    for row in every:
        mine = [s for s in selections if s.round == row.index]
        minutes, tokens = sum(s.end - s.start for s in mine) / 60, of_round[row.index]
        table.append(
            RoundRow(row.index, row.strategy, row.state, len(mine), minutes, answered(tokens), dollars(tokens))
        )
    gone = [
        f"{video.id} ({video.reason or 'known by name only' if video.state != 'ok' else 'file not found'})"
        for video in known
        if video.state != "ok" or (video.path is not None and not Path(video.path).exists())
    ]
    return Campaign(simulated, tuple(table), tuple(chosen), _agreement(quality), tuple(gone))


def _agreement(quality: Mapping[str, Any] | None) -> Agreement | None:
    if quality is None or not quality["agreement"]["pairs"]:
        return None
    said = quality["agreement"]
    return Agreement(said["pairs"], said["pairwise_f1"], said["alpha"], said["start_spread"], said["end_spread"])
