"""The demo: the same stages as everybody's, on generated videos with simulated workers, in two arms.

Both arms start from the same random round; then one selects by uncertainty and the other goes on at random.
Answers are simulated, and everything that is written says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kloc import config
from kloc.errors import UsageError
from kloc.files import write_text
from kloc.formats import activitynet, labels_csv
from kloc.pipeline import carding, exporting, loop, moving, pool, publication, reporting, splitting
from kloc.pipeline.loop import Listener
from kloc.pipeline.telling import Reporter, Summary
from kloc.records import Dataset
from kloc.report.statistics import Statistics
from kloc.video.synthetic import make_demo_videos
from kloc.workspace import SETTINGS_FILE, Workspace

ROUNDS = 4
BATCH = 6
ARMS = ("us", "random")
#: What both arms share; the arm's strategy comes on top.
SETTINGS: dict[str, Any] = {
    "features.max_frames": 40,
    "selection.batch": BATCH,
    "task.title": "Mark an action in a short generated video",
    "task.contact": "nobody: the workers of this demo are simulated",
    "task.expected_minutes": 1.0,
    "publication.licence": "cc0-1.0",
    "publication.source": "kloc's generator of demo videos; nothing in them was ever filmed",
    "publication.description": "The dataset that `kloc demo` makes, to show what a campaign leaves behind.",
}

#: What no data can tell about it (see `kloc.pipeline.datasheet`).
ANSWERS: dict[str, str] = {
    "motivation.purpose": "To show what a campaign leaves behind, from choosing videos to publishing annotations, "
    "without anybody's videos and without anybody's work.",
    "motivation.creators": "The command kloc demo, on the machine on which it ran.",
    "motivation.funding": "Nobody.",
    "composition.sampling": "All videos were generated for this dataset; they stand for no others.",
    "composition.people": "No: everything in them is drawn.",
    "composition.sensitive": "No.",
    "collection.videos": "They were drawn by kloc's generator when the command ran.",
    "collection.annotators": "Simulated workers of different care; nobody was hired.",
    "collection.consent": "Nobody is shown.",
    "collection.ethics": "None: no person took part.",
    "preprocessing.videos": "They are as they were generated.",
    "uses.done": "Showing and testing kloc.",
    "uses.suitable": "Trying out programs that read such datasets.",
    "uses.unsuitable": "Any claim about real videos, people or localizers: everything in it is made up.",
    "distribution.videos": "The same command with the same seed makes them again.",
    "distribution.restrictions": "No.",
    "maintenance.contact": "Nobody maintains it: it is made anew, not corrected.",
    "maintenance.updates": "No; another version of kloc may make another one.",
    "maintenance.removal": "There is nobody in it.",
}


def demo(
    folder: Path,
    *,
    n_videos: int,
    seed: int,
    tell: Listener,
    show_statistics: Callable[[Statistics], None],
    reporter: Reporter,
) -> Summary:
    """Generate the videos, run both arms, publish the dataset; run again it continues where it was.

    Raises :class:`UsageError` where ``folder`` holds something else.
    """
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / "videos").exists():
        raise UsageError(f"{folder} exists and is no kloc demo; name another folder: kloc demo DIR")
    made = _generate(folder, n_videos, seed, tell, reporter)
    first, second = (folder / arm for arm in ARMS)
    changes = {"general.name": "kloc demo", "general.seed": seed, "selection.strategy": ARMS[0], **SETTINGS}
    if not (first / SETTINGS_FILE).exists():
        tell(f"kloc init {first.name}", pool.init(first, **changes))
    main = Workspace.open(first)
    sources = [str(folder / name) for name in ("videos", "labels.csv")]
    tell("kloc add videos/ labels.csv", pool.add(main, sources, reporter=reporter))
    measured_on = [str(folder / "validation.json")]
    tell(
        "kloc add validation.json   (the truth of the videos mAP is measured on)",
        pool.add(main, measured_on, reporter=reporter),
    )
    truth = folder / "truth.json"
    loop.run(main, rounds=1, truth=truth, listener=tell, reporter=reporter)
    if not (second / SETTINGS_FILE).exists():
        _branch(main, second, {**changes, "selection.strategy": ARMS[1]}, reporter)
    other = Workspace.open(second)
    loop.run(main, rounds=ROUNDS, truth=truth, listener=tell, reporter=reporter)
    tell("", Summary("the same again, selecting at random", {"workspace": str(second)}))
    beside = loop.run(other, rounds=ROUNDS, truth=truth, reporter=reporter)
    tell(f"kloc run --rounds {ROUNDS} --simulate truth.json -w {second.name}", beside)
    statistics, summary = publication.stats(main)
    show_statistics(statistics)
    tell("kloc stats", summary)
    tell(
        "kloc split --keep validation",
        splitting.split(main, training=0.75, validation=0.0, keep="validation", groups=None),
    )
    tell("kloc card", carding.card(main, answers=ANSWERS))
    tell("kloc export", exporting.export(main, out=None, origin="stream"))
    made_report = reporting.report(main, arms=[other], truth=made, reporter=reporter)
    tell("kloc report", made_report)
    facts = _results(main, other, made)
    main.close()
    other.close()
    facts |= {
        "report": made_report.facts["report"],
        "dataset": str(main.dataset),
        "on your own videos": "kloc init my-dataset && cd my-dataset && kloc add VIDEOS/ labels.csv && kloc run",
    }
    return Summary("demo", facts)


def _results(main: Workspace, other: Workspace, truth: Dataset) -> dict[str, Any]:
    """mAP per round of both arms and the labels' quality, as the last screen shows them."""
    facts: dict[str, Any] = {}
    for workspace in (main, other):
        curve = reporting.learning_curve(workspace)
        if curve is not None:
            steps = "  ".join(f"{100 * point.value:4.1f} % ({int(point.labelled)})" for point in curve.points)
            facts[f"mAP@0.5, {workspace.settings.selection.strategy}"] = f"{steps}  (videos labelled)"
    made = reporting.crowd_annotations(main)
    half, tight = (reporting.f1_against(made, truth.annotations, tiou) for tiou in (0.5, 0.75))
    facts["labels against the truth"] = f"F1 {half:.2f} at tIoU 0.5, {tight:.2f} at 0.75 (simulated workers)"
    return facts


def _generate(folder: Path, n_videos: int, seed: int, tell: Listener, reporter: Reporter) -> Dataset:
    reporter.say(f"generating {n_videos} untrimmed videos in {folder / 'videos'}")
    done = folder / "truth.json"
    if done.exists():
        dataset = activitynet.read(done).dataset
        tell("", Summary("videos", {"videos": len(dataset.videos), "state": "already there"}))
        return dataset
    _, dataset = make_demo_videos(folder / "videos", n_videos=n_videos, seed=seed)
    labels_csv.write(
        folder / "labels.csv",
        {v.id: v.labels for v in dataset.videos.values()},
        {v.id: v.subset for v in dataset.videos.values()},
    )
    activitynet.write(folder / "validation.json", dataset.of("validation"))
    activitynet.write(done, dataset)
    facts = {
        "videos": f"{len(dataset.videos)} ({sum(v.duration for v in dataset.videos.values()) / 60:.1f} min)",
        "classes": ", ".join(dataset.classes),
        "instances": sum(len(a.instances) for a in dataset.annotations.values()),
    }
    tell("", Summary("videos", facts))
    return dataset


def _branch(main: Workspace, second: Path, changes: dict[str, Any], reporter: Reporter) -> None:
    """The second arm: a copy of the first after its first round, told to select otherwise."""
    archive = second.with_suffix(".tar")
    scratch = second.with_name(f".{second.name}.part")
    moving.backup(main, archive, reporter=reporter)
    if scratch.exists():
        moving.discard(scratch)
    moving.restore(archive, scratch)
    write_text(scratch / SETTINGS_FILE, config.template(**changes))
    scratch.rename(second)
    archive.unlink()
