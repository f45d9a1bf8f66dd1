"""kill -9 at random moments of `kloc run`: afterwards it completes with the result of an undisturbed run."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import Context, Figure, measure
from kloc.formats import activitynet, labels_csv
from kloc.pipeline import exporting, pool
from kloc.pipeline.telling import Silent
from kloc.store import artefacts, crowd, revisions, rounds
from kloc.store.tables import LedgerRow
from kloc.video.synthetic import Difficulty, make_demo_videos
from kloc.workspace import Workspace

ROUNDS, BATCH = 2, 3
QUICK = Difficulty(seconds=(6.0, 9.0), action_seconds=(1.5, 3.0), passers=2.0, second_class=0.0, empty=0.0)


def make_files(folder: Path, seed: int) -> Path:
    """Generated videos with labels, test truth and truth; returns the folder."""
    _, truth = make_demo_videos(folder / "videos", n_videos=14, seed=seed, workers=2, difficulty=QUICK)
    everything = truth.videos.values()
    labels_csv.write(folder / "labels.csv", {v.id: v.labels for v in everything}, {v.id: v.subset for v in everything})
    activitynet.write(folder / "validation.json", truth.of("validation"))
    activitynet.write(folder / "truth.json", truth)
    return folder


def fresh_workspace(root: Path, files: Path) -> None:
    """A workspace with the videos added and nothing else."""
    changes: dict[str, Any] = {"general.name": "kill test", "features.fps": 2.0, "selection.batch": BATCH}
    pool.init(root, **changes)
    workspace = Workspace.open(root)
    sources = [str(files / name) for name in ("videos", "labels.csv", "validation.json")]
    pool.add(workspace, sources, reporter=Silent())
    workspace.close()


def command(root: Path, files: Path) -> list[str]:
    """The run that is killed."""
    run = [sys.executable, "-m", "kloc", "run", "--rounds", str(ROUNDS), "--simulate", str(files / "truth.json")]
    return [*run, "--workspace", str(root), "--json"]


def run_once(root: Path, files: Path, kill_after_s: float | None = None) -> bool:
    """Run; kill it with -9 after so many seconds. Whether it completed."""
    process = subprocess.Popen(command(root, files), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, errors = process.communicate(timeout=kill_after_s)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        return False
    if process.returncode != 0:
        raise RuntimeError(f"kloc run failed: {errors.strip()[-500:]}")
    return True


def outcome(root: Path) -> dict[str, Any]:
    """Everything that must not depend on having been killed."""
    workspace = Workspace.open(root)
    exporting.export(workspace, out=None, origin="stream")
    with workspace.store.transaction() as session:
        result = {
            "selected": [[s.round, s.position, s.video_id, s.score, s.rank] for s in rounds.selections(session)],
            "annotations": {
                row.video_id: [row.instances, row.exhaustive_for, row.round] for row in revisions.current_rows(session)
            },
            "revisions": len(revisions.current_rows(session)),
            "answers": sorted(
                [a.item.video_id, a.worker_id, json.dumps(a.answer, sort_keys=True)] for a in crowd.answers(session)
            ),
            "hits": sorted([h.video_id, h.round or 0] for h in crowd.hits(session)),
            "money": sorted([row.kind, row.amount_mills] for row in session.query(LedgerRow)),
            "metrics": sorted(
                json.dumps({k: v for k, v in row.info.items() if k != "bank"}, sort_keys=True)
                for row in artefacts.of_stage(session, "evaluate").values()
            ),
        }
    result["export"] = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(workspace.dataset.iterdir())
    }
    workspace.close()
    return result


def leftovers(root: Path) -> list[str]:
    """Half-written files that a killed run left behind and nobody cleaned up."""
    return [str(p.relative_to(root)) for p in root.rglob("*.part")]


def disturbed(root: Path, files: Path, kills: int, duration_s: float, chance: random.Random) -> int:
    """Kill the run up to ``kills`` times at random moments, then let it finish; returns how often it was killed."""
    for count in range(kills):
        if run_once(root, files, chance.uniform(0.2, duration_s)):
            return count
    run_once(root, files)
    return kills


@measure("kill", "kill -9 at random moments of kloc run, compared with an undisturbed run")
def kill(context: Context) -> list[Figure]:
    """30 kills at full scale, 2 at small; each workspace is killed a few times before it may finish."""
    wanted = 30 if context.full else 2
    files = make_files(context.scratch / "files", context.seed)
    start = context.scratch / "start"
    fresh_workspace(start, files)
    reference = context.scratch / "reference"
    shutil.copytree(start, reference)
    began = time.perf_counter()
    run_once(reference, files)
    duration = time.perf_counter() - began
    expected = outcome(reference)
    chance = random.Random(context.seed)
    kills = differing = workspaces = 0
    differences: list[str] = []
    while kills < wanted:
        root = context.scratch / f"killed-{workspaces}"
        shutil.copytree(start, root)
        # Moments over the whole run: a killed run continues, so later kills reach later stages.
        kills += disturbed(root, files, min(6, wanted - kills), duration * 0.6, chance)
        found = outcome(root)
        different = [key for key in expected if found[key] != expected[key]]
        differing += bool(different)
        differences += different
        workspaces += 1
        context.say(f"  {kills} kills in {workspaces} workspaces, {differing} with another result {different}")
        shutil.rmtree(root)
    detail = {
        "undisturbed_s": round(duration, 1),
        "workspaces": workspaces,
        "differing_parts": sorted(set(differences)),
    }
    return [
        Figure("kills", kills, at_least=wanted, detail=detail),
        Figure("workspaces with another result than undisturbed", differing, at_most=0),
    ]
