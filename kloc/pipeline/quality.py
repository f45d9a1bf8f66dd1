"""How good the crowd's work is: agreement, every worker's record, and what proposals do to answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from kloc.crowd.agreement import agreement, match
from kloc.crowd.consolidate import Consolidated, ConsolidationSettings, WorkerAnswer, consolidate, from_stored
from kloc.crowd.policy import gold_records
from kloc.files import fingerprint
from kloc.pipeline.common import SIMULATED
from kloc.records import SIMULATED_WORKERS, Item
from kloc.store import artefacts, crowd, meta, rounds, videos
from kloc.store.crowd import StoredAnswer
from kloc.workspace import Workspace

_STAGE, _KEY = "crowd-quality", "current"
#: From so many compared answers on, a worker's figure says something about the worker.
ENOUGH = 3


def hashed(salt: str, worker_id: str, digits: int = 8) -> str:
    """What stands for a worker wherever figures leave the workspace; the short form begins the long one."""
    return hashlib.sha256(f"{salt}:{worker_id}".encode()).hexdigest()[:digits]


def figures(workspace: Workspace) -> dict[str, Any] | None:
    """The figures over all rounds that are done, ``None`` before the first: plain data, workers hashed.

    Kept until a round more is done or an answer is turned down: they take a while over a large campaign.
    """
    with workspace.store.transaction() as session:
        done = [row.index for row in rounds.all_rounds(session) if row.state == "done"]
        mark = fingerprint([3, done, workspace.settings.crowd.consolidation, crowd.counted_in(session, done)])
        kept = artefacts.get(session, _STAGE, _KEY)
        if kept is not None and kept.fingerprint == mark:
            return kept.info or None
        stored = [answer for answer in crowd.answers(session) if answer.round in done]
        classes = videos.classes(session)
    info: dict[str, Any] = {}
    if stored:
        settings = ConsolidationSettings(method=workspace.settings.crowd.consolidation)
        with workspace.store.transaction() as session:
            found = consolidate(from_stored(stored), classes, settings, gold=crowd.gold(session))
            info = _figures(session, stored, classes, found)
    with workspace.store.transaction() as session:
        artefacts.put(session, _STAGE, _KEY, mark, info=info)
    return info or None


def _figures(
    session: Session, stored: Sequence[StoredAnswer], classes: Sequence[str], found: Consolidated
) -> dict[str, Any]:
    salt = meta.get(session, "worker_salt") or ""
    agreed = agreement(from_stored(a for a in stored if a.purpose == "task"))
    gold = gold_records(session)
    workers = {}
    for worker in sorted({answer.worker_id for answer in stored}):
        mine = [answer for answer in stored if answer.worker_id == worker]
        model = found.workers.get(worker)
        record = gold.get(worker)
        workers[hashed(salt, worker)] = {
            "answers": len(mine),
            "agreement": agreed.workers.get(worker),
            "gold_answers": record.answers if record else 0,
            "gold_f1": record.f1 if record else None,
            "seconds_per_video_minute": _pace(mine),
            "reliability": None if model is None else asdict(model),
        }
    said = asdict(agreed)
    del said["workers"]
    return {
        **({"origin": SIMULATED_WORKERS} if meta.get(session, SIMULATED) is not None else {}),
        "agreement": said,
        "workers": workers,
        "prefill": _prefill(stored, found),
    }


def _pace(answers: Iterable[StoredAnswer]) -> float | None:
    """The median of seconds of work per minute of video."""
    paces = [
        60 * float(a.answer["seconds_spent"]) / a.item.duration
        for a in answers
        if a.answer.get("seconds_spent") is not None
    ]
    return float(np.median(paces)) if paces else None


def _prefill(stored: Sequence[StoredAnswer], found: Consolidated) -> dict[str, Any] | None:
    """Answers with proposals beside those without; ``None`` where nobody was shown any."""
    parts = {
        name: [a for a in stored if a.purpose == "task" and bool(a.answer.get("prefilled")) == with_]
        for name, with_ in (("with", True), ("without", False))
    }
    if not parts["with"]:
        return None
    origins = [s.get("origin") for a in parts["with"] for s in a.answer["segments"]]
    return {
        **{name: _of(answers, found) for name, answers in parts.items() if answers},
        "segments": {key: origins.count(key) for key in ("kept", "corrected", "own")}
        | {"discarded": sum(a.answer.get("discarded") or 0 for a in parts["with"])},
    }


def _of(answers: Sequence[StoredAnswer], found: Consolidated) -> dict[str, Any]:
    scores = [_against(answer, found.items[answer.item].annotation.instances) for answer in from_stored(answers)]
    return {
        "answers": len(answers),
        "seconds_per_video_minute": _pace(answers),
        "segments_per_answer": float(np.mean([len(a.answer["segments"]) for a in answers])),
        "f1_with_consensus": float(np.mean(scores)),
    }


def _against(answer: WorkerAnswer, consensus: Sequence[Any]) -> float:
    return match(answer.segments, [i for i in consensus if i.label in answer.classes]).f1


def qualities(session: Session, stored: Sequence[StoredAnswer]) -> dict[str, float]:
    """Each worker's quality: F1 on gold where there is enough of it, else with others; those with enough only."""
    gold = gold_records(session)
    answers = from_stored(a for a in stored if a.purpose == "task")
    shared: dict[Item, int] = {}
    for answer in answers:
        shared[answer.item] = shared.get(answer.item, 0) + 1
    compared: dict[str, int] = {}
    for answer in answers:
        compared[answer.worker_id] = compared.get(answer.worker_id, 0) + (shared[answer.item] > 1)
    found = {worker: value for worker, value in agreement(answers).workers.items() if compared.get(worker, 0) >= ENOUGH}
    return found | {worker: record.f1 for worker, record in gold.items() if record.answers >= ENOUGH}


def lines(info: Mapping[str, Any] | None, keep: int = 6) -> dict[str, str]:
    """The figures as lines for people: the agreement, and the workers who need a look first."""
    if info is None:
        return {}
    simulated = " (simulated workers)" if "origin" in info else ""
    said = info["agreement"]
    facts = {}
    if said["pairs"]:
        facts["agreement"] = (
            f"two workers F1 {said['pairwise_f1']:.2f}, alpha {_shown(said['alpha'])}, boundaries off by "
            f"{_shown(said['start_spread'])} / {_shown(said['end_spread'])} s{simulated}"
        )
    workers = sorted(info["workers"].items(), key=lambda one: (_worst(one[1]), one[0]))
    for name, worker in workers[:keep]:
        gold = f", gold {worker['gold_f1']:.2f} ({worker['gold_answers']})" if worker["gold_answers"] else ""
        pace = worker["seconds_per_video_minute"]
        time = f", {pace:.0f} s a video minute" if pace is not None else ""
        facts[f"worker {name}"] = f"{worker['answers']} answers, agreement {_shown(worker['agreement'])}{gold}{time}"
    if len(workers) > keep:
        facts["other workers"] = f"{len(workers) - keep} with better figures (--json shows all)"
    if info["prefill"]:
        facts["proposals"] = _proposals(info["prefill"])
    return facts


def _proposals(prefill: Mapping[str, Any]) -> str:
    counts = prefill["segments"]
    text = ", ".join(f"{count} {name}" for name, count in counts.items())
    for name in ("with", "without"):
        if name in prefill:
            part = prefill[name]
            text += (
                f"; {name}: {part['answers']} answers, {_shown(part['seconds_per_video_minute'], 0)} s a video minute, "
                f"F1 {part['f1_with_consensus']:.2f} with the consensus"
            )
    return text


def _worst(worker: Mapping[str, Any]) -> float:
    return min(1.0 if worker[key] is None else float(worker[key]) for key in ("agreement", "gold_f1"))


def _shown(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
