"""What a card tells about the campaign behind a dataset: who was told what, answered how often, for how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from kloc.crowd import money
from kloc.pipeline import quality, tasks
from kloc.report.card import Campaign, Choice, Guideline, Spread
from kloc.store import crowd, reviewing, revisions, rounds
from kloc.store.crowd import StoredAnswer
from kloc.store.tables import GuidelineRow, HitRow
from kloc.workspace import Workspace

_CONSOLIDATION = {
    "em": "The segments of all answers to a video are clustered after split and merged marks are undone; whether a "
    "cluster is real, and where it starts and ends, is judged with every worker's reliability, learned from all "
    "answers of the campaign (method em).",
    "median": "The segments of all answers to a video are clustered; a cluster that more than half of the workers "
    "marked is kept, with the medians of its starts and ends (method median).",
}
_APPROVAL = {
    "readable": "Every answer that could be read was accepted and paid.",
    "quality": "Every answer that could be read was accepted and paid, but for proven spam.",
    "manual": "A person decided which answers were accepted.",
}


def campaign(workspace: Workspace, *, simulated: bool) -> Campaign | None:
    """The facts over all rounds that are done; ``None`` before the first answer in one."""
    with workspace.store.transaction() as session:
        every = rounds.all_rounds(session)
        done = {row.index for row in every if row.state == "done"}
        hits = [hit for hit in crowd.hits(session) if hit.round in done]
        by_token = {hit.token: hit for hit in hits}
        stored = [answer for answer in crowd.answers(session) if answer.token in by_token]
        given = [answer for answer in stored if answer.purpose == "task"]
        if not given:
            return None
        lines = [line for line in reviewing.answer_lines(session) if line.token in by_token]
        methods = {(row.consolidation or {}).get("method") for row in revisions.current_rows(session)}
        choices = {row.index: Choice(row.policy, tuple(map(str, row.settings.get("notes", ())))) for row in every}
        guidelines = _guidelines(session, given, by_token)
        tokens = [hit.token for hit in hits]
        paid = money.balance(session).committed
        bonuses = crowd.bonuses(session, tokens)
    task = [hit for hit in hits if hit.purpose == "task"]
    counts = Counter(answer.item for answer in given)
    seconds = [float(a.answer["seconds_spent"]) for a in given if a.answer.get("seconds_spent")]
    rewards = sorted({hit.reward_mills for hit in task})
    costs = {hit.cost_mills / hit.reward_mills - 1 for hit in task if hit.reward_mills}
    figures = quality.figures(workspace) or {}
    gate = tasks.gold_videos(workspace)[: workspace.settings.task.gate]
    days = [line.submitted_at for line in lines if line.submitted_at is not None]
    return Campaign(
        choices=choices,
        guidelines=guidelines,
        workers=len({answer.worker_id for answer in given}),
        answers=len(given),
        rejected=sum(line.status == "Rejected" for line in lines),
        per_video=_spread([float(count) for count in counts.values()]) or Spread(0, 0, 0, 0),
        wanted=" to ".join(str(n) for n in _ends(hit.wanted - hit.extra for hit in task)),
        extra=sum(hit.extra for hit in task),
        consolidation=" ".join(words for name, words in _CONSOLIDATION.items() if name in methods),
        approval=_APPROVAL[workspace.settings.crowd.approve],
        rewards=tuple(dollars(mills) for mills in rewards),
        fee_percent=round(100 * max(costs, default=0.0), 1),
        paid=dollars(paid),
        paid_per_video=dollars(round(paid / len(counts))),
        bonuses=bonuses,
        seconds=_spread(seconds),
        pace=_rounded(_median([60 * float(a.answer["seconds_spent"]) / a.item.duration for a in given
                               if a.answer.get("seconds_spent") and a.item.duration > 0])),
        hours=round(sum(seconds) / 3600, 2) if seconds else None,
        hourly=_hourly(given, by_token),
        worker_agreement=_of_workers(figures, "agreement"),
        gold_videos=len({(h.video_id, h.start, h.end) for h in hits if h.purpose == "gold"}),
        gold_answers=sum(answer.purpose == "gold" for answer in stored),
        gold_f1=_of_workers(figures, "gold_f1"),
        practice=(len(gate), workspace.settings.task.gate_score) if gate else None,
        prefilled=sum(bool(answer.answer.get("prefilled")) for answer in given),
        # Simulated workers answer when the program runs: that says nothing.
        period=None if simulated or not days else (_day(min(days)), _day(max(days))),
    )  # fmt: skip


def dollars(mills: int) -> str:
    """An amount in words; a dollar sign would begin a formula on some pages."""
    return f"{money.dollars(mills).replace('$', '')} USD"


def _guidelines(session: Session, given: Sequence[StoredAnswer], hits: Mapping[str, HitRow]) -> tuple[Guideline, ...]:
    """What workers were told, oldest first.

    The store keeps a version for every set of classes that a task asked about. Two of them are one version of the
    guideline where title and instructions are equal and no class is described in two ways.
    """
    answers = Counter(answer.guideline for answer in given)
    began: dict[str, float] = {}
    for hit in hits.values():
        if hit.guideline in answers:
            began[hit.guideline] = min(hit.intended_at, began.get(hit.guideline, hit.intended_at))
    versions: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = []
    for name in sorted(began, key=lambda n: (began[n], n)):
        row = session.get(GuidelineRow, name)
        content = dict(row.content) if row is not None else {}
        told = {str(entry["name"]): entry for entry in content.pop("classes", ())}
        home = next(
            (v for v in versions if v[0] == content and all(v[1].get(c, told[c]) == told[c] for c in told)), None
        )
        if home is None:
            versions.append((content, told, [name]))
        else:
            home[1].update(told)
            home[2].append(name)
    found = []
    for index, (content, told, names) in enumerate(versions):
        before = versions[index - 1][1] if index else {}
        # The first version is described with the classes; of later ones only what they changed.
        changed = [_described(told[c]) for c in sorted(told) if index and before.get(c, told[c]) != told[c]]
        found.append(
            Guideline(
                str(content.get("title", "")),
                str(content.get("instructions", "")),
                sum(answers[name] for name in names),
                tuple(changed),
            )
        )
    return tuple(found)


def _described(entry: Mapping[str, Any]) -> str:
    parts = [str(entry.get("definition") or "")]
    parts += [f"Starts: {entry['start_rule']}"] if entry.get("start_rule") else []
    parts += [f"Ends: {entry['end_rule']}"] if entry.get("end_rule") else []
    clips = len(entry.get("examples", ()))
    parts += [f"({clips} example clip{'s' if clips > 1 else ''})"] if clips else []
    return f"{entry['name']}: {' '.join(part for part in parts if part) or 'no definition any more'}"


def _hourly(given: Sequence[StoredAnswer], hits: Mapping[str, HitRow]) -> str:
    """The median over answers of what an hour of such work pays; nothing where no time was recorded."""
    rates = [
        3600 * hits[a.token].reward_mills / float(a.answer["seconds_spent"])
        for a in given
        if a.answer.get("seconds_spent")
    ]
    middle = _median(rates)
    return "" if middle is None else dollars(10 * round(middle / 10))


def _of_workers(figures: Mapping[str, Any], key: str) -> Spread | None:
    values = [worker[key] for worker in figures.get("workers", {}).values() if worker[key] is not None]
    return _spread(values)


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    return Spread(len(values), *(round(float(f(values)), 3) for f in (np.min, np.median, np.max)))


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _ends(values: Any) -> list[int]:
    found = sorted(set(values))
    return found if len(found) < 2 else [found[0], found[-1]]


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()
