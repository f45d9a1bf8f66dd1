"""status: where a campaign stands, what is wrong, what comes next."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from kloc.crowd import money
from kloc.crowd.reports import reported
from kloc.evaluation.forecast import forecast, rounds_missing
from kloc.pipeline import quality
from kloc.pipeline.common import manifest
from kloc.pipeline.data import BANK, PROPOSALS, feature_stage
from kloc.pipeline.selecting import pool_items
from kloc.pipeline.tasks import spend_cap
from kloc.pipeline.telling import Summary
from kloc.store import artefacts, crowd, meta, revisions, rounds, videos
from kloc.store.tables import ArtefactRow
from kloc.workspace import Workspace


def status(workspace: Workspace) -> Summary:
    """One screen: the pool, every stage, the rounds, the money, and each quarantined video with its reason."""
    with workspace.store.transaction() as session:
        rows = videos.rows(session)
        names = videos.classes(session)
        known = revisions.current(session)
        every_round = rounds.all_rounds(session)
        chosen = rounds.selections(session)
        ledger = money.balance(session)
        unreadable = crowd.problems(session)
        reports = reported(session)
        waiting, first = crowd.undecided(session)
        paused = sum(hit.paused_left is not None for hit in crowd.hits(session))
        bank = meta.get(session, BANK)
        evaluations = artefacts.of_stage(session, "evaluate")
        model = artefacts.get(session, "train", "current")
        predicted = artefacts.get(session, "predict", "current")
    usable = {row.id: row for row in rows if row.state == "ok"}
    quarantined = [row for row in rows if row.state == "quarantined"]
    missing = [row.id for row in rows if row.state == "missing"]
    subsets = {s: sum(row.subset == s for row in usable.values()) for s in ("training", "validation", "testing")}
    features = set(manifest(workspace, feature_stage(bank))) & set(usable) if bank else set()
    proposals = set(manifest(workspace, PROPOSALS)) & set(usable)
    pool = pool_items(workspace)
    facts: dict[str, Any] = {
        "workspace": str(workspace.root),
        "videos": f"{len(usable)} usable ({', '.join(f'{n} {s}' for s, n in subsets.items() if n) or 'none'})",
    }
    if quarantined:
        facts["quarantined"] = len(quarantined)
    if missing:
        facts["known by name"] = f"{len(missing)} ({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''})"
    instances = sum(len(a.instances) for a in known.values())
    facts |= {
        "classes": len(names),
        "features": f"{len(features)} of {len(usable)}" + (f" ({bank})" if bank else ""),
        "proposals": f"{len(proposals)} of {len(usable)}",
        "annotated": f"{sum(v in usable for v in known)} videos, {instances} instances",
        "to annotate": len(pool),
    }
    for past in every_round[-5:]:
        count = sum(s.round == past.index for s in chosen)
        facts[f"round {past.index}"] = f"{past.state}: {count} videos by {past.strategy}"
    if paused:
        facts["paused"] = f"{paused} tasks; kloc crowd resume"
    if waiting:
        facts["answers"] = f"{waiting} not decided on yet: kloc ingest, kloc review"
    if waiting and first is not None:
        due = datetime.fromtimestamp(first + 86_400 * workspace.settings.crowd.auto_approve_days)
        facts["answers"] += f"; the endpoint approves the first by itself on {due:%Y-%m-%d %H:%M}"
    if ledger.reserved:
        cap = spend_cap(workspace)
        facts["money"] = str(ledger) + (f"; cap {money.dollars(cap)}" if cap is not None else "")
    figures = quality.figures(workspace)
    facts |= {key: line for key, line in quality.lines(figures, keep=0).items() if key == "agreement"}
    judged = sorted(evaluations.values(), key=lambda r: (r.info["round"], r.info["videos"]))
    for row in judged[-3:]:
        for subset in ("validation", "testing"):
            if subset in row.info:
                facts[f"mAP after {row.info['round']} rounds"] = (
                    f"{100 * row.info[subset]['mAP@0.5']:.1f} % at tIoU 0.5 on {subset}"
                )
    to_go, data = _labels_to_go(judged, model)
    if to_go:
        facts["labels to go"] = to_go
    problems = [f"{row.id}: {row.reason}" for row in quarantined]
    problems += map(str, reports)
    problems += [f"{video}: answer {answer} cannot be read: {why}" for answer, video, why in unreadable]
    if figures is not None:
        data["crowd"] = figures
    if reports:
        data["reports"] = [asdict(one) for one in reports]
    hint = _next(workspace, usable, features, proposals, known, every_round, model, predicted, pool)
    return Summary("status", facts, problems, hint, data)


def _labels_to_go(judged: list[ArtefactRow], model: ArtefactRow | None) -> tuple[str, dict[str, Any]]:
    """The forecast in words, and for ``--json``; nothing before the first evaluation.

    Only what can lie on one curve counts: models with the current one's features, settings and seed, judged on the same
    videos. The validation videos where there are any: a look at the testing ones to know when to stop spoils them.
    """
    if not judged:
        return "", {}
    current = judged[-1].info if model is None else model.info
    alike = [row for row in judged if row.info.get("bank") == current.get("bank")]
    alike = [row for row in alike if _same(row.info.get("settings"), current.get("settings"))]
    if not alike:
        return "", {}
    newest = next((row for row in alike if model is not None and row.key == model.fingerprint), alike[-1]).info
    subset = "validation" if "validation" in newest else "testing"
    on = newest.get("judged_on", {}).get(subset)
    infos = [row.info for row in alike if subset in row.info]
    infos = [info for info in infos if _same(info.get("judged_on", {}).get(subset), on)]
    points = [(info["videos"], info[subset]["mAP@0.5"]) for info in infos]
    points = [(labelled, reached) for labelled, reached in points if labelled and 0 <= reached <= 1]  # no NaN
    missing = rounds_missing([labelled for labelled, _ in points])
    if missing:
        return f"a forecast needs {missing} more round{'s' if missing > 1 else ''}", {}
    found = forecast([labelled for labelled, _ in points], [reached for _, reached in points])
    return str(found), {"forecast": {"subset": subset, "metric": "mAP@0.5", **found.to_json()}}


def _same(one: str | None, other: str | None) -> bool:
    """Whether two hashes agree; an older kloc kept none, and what it made counts."""
    return one is None or other is None or one == other


def _next(
    workspace: Workspace,
    usable: Any,
    features: Any,
    proposals: Any,
    known: Any,
    every: Any,
    model: Any,
    predicted: Any,
    pool: Any,
) -> str:
    if not usable:
        return "kloc add VIDEOS..."
    if len(features) < len(usable):
        return "kloc extract"
    if len(proposals) < len(features):
        return "kloc propose"
    if every and every[-1].state == "selected":
        return "kloc publish-hits"
    if any(row.state == "published" for row in every):
        return "kloc ingest --watch"
    if known and (model is None or model.info["round"] < sum(r.state == "done" for r in every)):
        return "kloc train, then kloc predict"
    if model is not None and (predicted is None or predicted.info.get("model") != model.fingerprint):
        return "kloc predict"
    if pool:
        return "kloc select"
    return "kloc stats, kloc split, kloc card, kloc export"
