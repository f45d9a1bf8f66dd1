"""Every export opened by the tool that it is for: what the tool sees of the videos, the instances and their times."""

from __future__ import annotations

from benchmarks.harness import ROOT, Context, Figure, measure
from benchmarks.interchange import HALF_A_STEP, AbsentError, compare, export, make_dataset, open_with
from benchmarks.openers import OPENERS
from kloc.formats import activitynet
from kloc.records import Dataset

THUMOS = ROOT.parent / "shared" / "data" / "annotations" / "thumos14-test.json"


@measure("interchange", "exports opened by the tools they are for: videos, instances, largest error of a boundary")
def interchange(context: Context) -> list[Figure]:
    sets: dict[str, Dataset] = {"simulated": make_dataset(300 if context.full else 20, context.seed)}
    if context.full and THUMOS.is_file():
        sets["THUMOS'14"] = activitynet.read(THUMOS).dataset
    elif context.full:
        context.say("  left out: the annotations of THUMOS'14 are not here (shared/data beside the checkout)")
    figures: list[Figure] = []
    absent: dict[str, str] = {}
    for tool in OPENERS:
        for name, dataset in sets.items():
            try:
                figures += _one(context, tool, name, dataset)
            except AbsentError as error:
                absent[tool] = str(error)
                context.say(f"  left out: {tool}: {error}")
                break
    opened = len(OPENERS) - len(absent)
    return [*figures, Figure("tools that opened their export", opened, f"of {len(OPENERS)}", detail={"absent": absent})]


def _one(context: Context, tool: str, name: str, dataset: Dataset) -> list[Figure]:
    path = export(dataset, tool, context.scratch / f"{tool}-{len(dataset.videos)}")
    version, seen = open_with(tool, path)
    limit = HALF_A_STEP[tool]
    result = compare(dataset, version, seen, limit)
    true = sum(len(a.instances) for a in dataset.annotations.values())
    # Label Studio gives out what is annotated only.
    there = len(dataset.annotations) if tool == "label-studio-sdk" else len(dataset.videos)
    about = {"tool": version, "format": OPENERS[tool][2], "wrong": list(result.wrong[:3])}
    who = f"{tool}, {name}"
    return [
        Figure(f"{who}: videos seen", result.videos, at_least=there, at_most=there, detail=about),
        Figure(f"{who}: instances seen", result.instances, at_least=true, at_most=true),
        Figure(f"{who}: videos whose instances differ", len(result.wrong), at_most=0),
        Figure(f"{who}: largest error of a boundary", round(result.error_ms, 4), "ms", at_most=round(limit, 4)),
    ]
