"""What annotating a video takes: learned from the campaign's recorded working times, and its price."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kloc.crowd import money
from kloc.errors import UsageError
from kloc.pipeline.common import SIMULATED
from kloc.pipeline.tasks import fees
from kloc.selection.cost import DEFAULT, MIN_RECORDINGS, CostModel, Recording
from kloc.store import crowd, meta
from kloc.store.crowd import StoredWork
from kloc.workspace import Workspace

#: Where what was learned is kept, for other workspaces.
COST_FILE = "cost.json"


class Costs(NamedTuple):
    """The cost model in use, and a sentence about where it comes from."""

    model: CostModel
    source: str


def recordings(work: Iterable[StoredWork], *, simulated: bool) -> list[Recording]:
    """Working times that can be trusted.

    The page counts the time in which the worker was active; the time between accepting and submitting has pauses
    in it, but nobody can have been active for longer. So the smaller of both counts, and the endpoint's alone where
    the page sent none. Simulated workers submit at once: of theirs only the page's time means anything. Answers given
    in a haste (`kloc.crowd.answers`) are no measure of the work.
    """
    found = []
    for one in work:
        active = one.answer.get("seconds_spent")
        held = None
        if not simulated and one.accepted_at is not None and one.submitted_at is not None:
            held = one.submitted_at - one.accepted_at
        seconds = [float(s) for s in (active, held) if s is not None and s > 0]
        if not seconds or "hasty" in one.answer.get("signs", ()):
            continue
        found.append(Recording(min(seconds) / 60.0, one.item.duration / 60.0, len(one.answer.get("segments", ()))))
    return found


def cost_model(workspace: Workspace) -> Costs:
    """The cost model that `kloc.toml` names, else the one learned from the campaign, else the default.

    Raises:
        FormatError: the named file holds none.
    """
    named = workspace.settings.selection.cost_model
    if named:
        model = CostModel.load(workspace.root / Path(named).expanduser())
        return Costs(model, f"minutes by {named}")
    with workspace.store.transaction() as session:
        work = crowd.work(session)
        simulated = meta.get(session, SIMULATED) is not None
    known = recordings(work, simulated=simulated)
    if len(known) < MIN_RECORDINGS:
        return Costs(
            DEFAULT,
            f"minutes by kloc's default; {MIN_RECORDINGS} recorded working times, now {len(known)}, make better ones",
        )
    model = CostModel.fit(known)
    return Costs(model, f"minutes learned from {model.recordings} recorded working times")


def minutes_budget(minutes: float) -> float:
    """A limit in minutes of people's time, checked."""
    if not 0 < minutes < float("inf"):
        raise UsageError(f"--minutes {minutes:g}: give minutes of people's time above 0")
    return minutes


def dollars_budget(text: str) -> float:
    """A limit in dollars, checked."""
    mills = money.parse_dollars(text, "--money")
    if mills == 0:
        raise UsageError(f"--money {text}: give dollars above 0")
    return float(Decimal(mills) / money.MILLS_PER_DOLLAR)


def dollars_per_video(workspace: Workspace) -> float:
    """Reward and fee for all answers of one video.

    Raises:
        UsageError: the task is unpaid, so that a budget in money decides nothing.
    """
    task = workspace.settings.task
    mills = fees(workspace).hit_cost(money.parse_dollars(task.reward, "task.reward"), task.assignments)
    if mills == 0:
        raise UsageError("--money: task.reward in kloc.toml is 0, so money limits nothing; use --batch or --minutes")
    return float(Decimal(mills) / money.MILLS_PER_DOLLAR)


def prices(minutes: NDArray[np.float64], workspace: Workspace, unit: str) -> NDArray[np.float64]:
    """What every item costs of a budget in ``unit``: all its workers' minutes, or dollars."""
    if unit == "dollars":
        return np.full(len(minutes), dollars_per_video(workspace))
    return minutes * workspace.settings.task.assignments
