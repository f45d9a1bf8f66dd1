"""split: the annotated videos dealt out to training, validation and testing."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kloc.errors import FormatError, KlocError, UsageError
from kloc.files import fingerprint
from kloc.formats.common import Problems, read_text
from kloc.pipeline.common import manifest, stage, track
from kloc.pipeline.data import PROPOSALS, open_inputs
from kloc.pipeline.publication import current_dataset
from kloc.pipeline.telling import Reporter, Silent, Summary
from kloc.records import SUBSETS, Dataset, Subset
from kloc.report import groups as grouping
from kloc.report import splits
from kloc.report.groups import ALIKE, Group
from kloc.seeds import generator
from kloc.store import artefacts, videos
from kloc.store.tables import VideoRow
from kloc.threads import one_thread
from kloc.workspace import Workspace

_ALIKE_WORD = "near-duplicate features"


@dataclass(frozen=True)
class _Together:
    """Which videos must not be torn apart. said: by what was looked for, what was found; problems: sentences."""

    groups: list[Group]
    said: dict[str, str]
    problems: list[str]

    @property
    def of(self) -> dict[str, str]:
        """The name of a group, its first video, for each video that is in one."""
        return {v: group.videos[0] for group in self.groups for v in group.videos}

    def to_json(self) -> list[dict[str, Any]]:
        return [{"videos": list(group.videos), "because": list(group.because)} for group in self.groups]


@stage("split")
def split(
    workspace: Workspace,
    *,
    training: float,
    validation: float,
    keep: Subset | None,
    groups: Path | None,
    above: float = ALIKE,
    reporter: Reporter | None = None,
) -> Summary:
    """Deal the annotated videos out to the subsets: class shares as equal as can be, groups never torn apart.

    Args:
        training, validation: shares; the rest is testing.
        keep: videos already in that subset stay there, and what belongs to one of them joins it; the others are dealt
            out to the other two.
        groups: a CSV ``video,group`` of what else belongs together.
        above: the cosine of pooled features above which two videos are near-duplicates; 1 or more: none are.

    What nobody has annotated yet follows its group, and else stays where it is.
    Raises :class:`UsageError` for impossible shares and while nothing is annotated.
    """
    if not (0 < training <= 1 and 0 <= validation <= 1 and training + validation <= 1 + 1e-9):
        raise UsageError("--training and --validation are shares; together at most 1, the rest is testing")
    dataset = current_dataset(workspace)
    shares = np.array([training, validation, max(0.0, 1 - training - validation)])
    if keep is not None:
        shares[SUBSETS.index(keep)] = 0
    if not dataset.annotations:
        raise UsageError("nothing is annotated yet that could be split; have some videos annotated first")
    if shares.sum() <= 0:
        raise UsageError("no share is left for the videos that are to be dealt out; give other shares")
    shares /= shares.sum()
    smallest = float(shares[shares > 0].min()) * len(dataset.annotations)
    together = _together(workspace, dataset, groups, above, smallest, reporter or Silent())
    placed, labels = _placed(dataset, together, generator(workspace.settings.general.seed, "split"), shares, keep)
    if not labels:
        raise UsageError(f"every annotated video is in {keep} or belongs to one that is; there is nothing to deal out")
    with workspace.store.transaction() as session:
        for video_id, subset in placed.items():
            session.get_one(VideoRow, video_id).subset = subset
        info = {"training": training, "validation": validation, "above": above, "groups": together.to_json()}
        artefacts.put(session, "split", "current", fingerprint(placed), info=info)
    facts = _counts(dataset, placed, keep)
    facts["class shares"] = (
        f"{100 * splits.deviation(labels, placed, shares.tolist()):.1f} points"
        " off the shares asked for, root mean square over classes"
    )
    followed = sum(dataset.videos[v].subset != s for v, s in placed.items() if v not in dataset.annotations)
    if followed:
        facts["not annotated"] = f"{followed} videos follow their group out of the pool"
    return _told("split", facts, together, dataset, placed, _next(workspace))


@stage("split")
def check(workspace: Workspace, *, groups: Path | None, above: float = ALIKE, reporter: Reporter) -> Summary:
    """Whether anything lies in two of the subsets as they are; nothing is changed. Arguments as of `split`."""
    dataset = current_dataset(workspace)
    if not dataset.videos:
        raise UsageError("there are no videos yet; add some with `kloc add`")
    placed = {v: video.subset for v, video in sorted(dataset.videos.items())}
    smallest = min(Counter(placed.values()).values())
    together = _together(workspace, dataset, groups, above, smallest, reporter)
    return _told("split --check", _counts(dataset, placed, None), together, dataset, placed, "")


def _placed(
    dataset: Dataset, together: _Together, rng: np.random.Generator, shares: Any, keep: Subset | None
) -> tuple[dict[str, Subset], dict[str, list[str]]]:
    """The subset of every video that is annotated or belongs to one that is, and the classes of those dealt out."""
    of = together.of
    kept = {of.get(v, v) for v, video in dataset.videos.items() if video.subset == keep}
    known = {v: a for v, a in dataset.annotations.items() if of.get(v, v) not in kept}
    labels = {v: sorted({i.label for i in a.instances} or set(dataset.videos[v].labels)) for v, a in known.items()}
    made = splits.split(labels, rng, shares=shares.tolist(), groups=of)
    goes = {of.get(v, v): subset for v, subset in made.items()}
    if keep is not None:
        goes |= dict.fromkeys(kept, keep)
    return {v: goes[of.get(v, v)] for v in sorted(dataset.videos) if of.get(v, v) in goes}, labels


def _counts(dataset: Dataset, placed: Mapping[str, str], keep: Subset | None) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for subset in SUBSETS:
        inside = [v for v in dataset.annotations if placed.get(v) == subset]
        count = sum(len(dataset.annotations[v].instances) for v in inside)
        facts[subset] = f"{len(inside)} annotated videos, {count} instances" + (" (kept)" if subset == keep else "")
    return facts


def _next(workspace: Workspace) -> str:
    return "kloc benchmark" if manifest(workspace, PROPOSALS) else "kloc propose, then kloc benchmark"


def _lacking(dataset: Dataset, placed: Mapping[str, str]) -> list[str]:
    """One sentence for each subset that some classes do not occur in, and one where nothing is left to judge on."""
    there: dict[str, set[str]] = {subset: set() for subset in SUBSETS}
    for video_id, annotation in dataset.annotations.items():
        if video_id in placed:
            there[placed[video_id]] |= {i.label for i in annotation.instances}
    every = sorted(set().union(*there.values()))
    told = []
    for subset, found in there.items():
        absent = [label for label in every if label not in found]
        if found and absent:
            some = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
            told.append(f"{subset} has no instance of {len(absent)} of {len(every)} classes ({some})")
    if every and not there["validation"] and not there["testing"]:
        told.append("validation and testing hold no instance: nothing is left to judge a model on")
    return told


def _told(
    name: str, facts: dict[str, Any], together: _Together, dataset: Dataset, placed: Mapping[str, str], hint: str
) -> Summary:
    leaks = splits.leaks(placed, together.groups)
    videos_in = sum(len(group.videos) for group in together.groups)
    facts["kept together"] = f"{videos_in} videos in {len(together.groups)} groups" if together.groups else "none"
    facts |= {f"  {what}": found for what, found in together.said.items()}
    facts["leaks"] = f"{len(leaks)} groups lie in two subsets" if leaks else "none: no group in two subsets"
    data = {"subsets": dict(placed), "groups": together.to_json(), "n_leaks": len(leaks)}
    return Summary(name, facts, [*leaks, *_lacking(dataset, placed), *together.problems], hint, data=data)


# -- what belongs together ----------------------------------------------------------------------------------------


def _together(
    workspace: Workspace, dataset: Dataset, groups: Path | None, above: float, smallest: float, reporter: Reporter
) -> _Together:
    """Everything that ties videos to one another; ``smallest``: how many videos the smallest subset has."""
    with workspace.store.transaction() as session:
        hashes = {row.id: row.sha256 for row in videos.rows(session, "ok") if row.sha256}
    urls = {v: video.url for v, video in dataset.videos.items()}
    problems: list[str] = []
    hosts = grouping.same_host(urls)
    large = {host for host, n in Counter(hosts.values()).items() if n > max(1.0, smallest)}
    problems += [
        f"{host}: more videos than the smallest subset has; the same host is not taken for the same source"
        for host in sorted(large)
    ]
    ties: dict[str, Mapping[str, str]] = {
        "same file": hashes,
        "same source": grouping.same_source(urls),
        "same channel": grouping.same_channel(urls),
        "same host": {v: host for v, host in hosts.items() if host not in large},
    }
    if groups is not None:
        ties["same group in the CSV"] = _read_groups(groups, dataset, problems)
    unsaid = ""
    if above < 1:
        keys, unsaid = _alike(workspace, dataset, above, problems, reporter)
        ties[_ALIKE_WORD] = keys
    made = grouping.join(ties)
    problems += [
        f"{len(group.videos)} videos belong together ({', '.join(group.because)}; {group.videos[0]}, ...), more than "
        "the smallest subset has: shares cannot be kept"
        for group in made
        if len(group.videos) > max(1.0, smallest)
    ]
    said = {}
    for what, own in ties.items():
        sizes = [n for n in Counter(own.values()).values() if n > 1]
        if sizes:
            said[what] = f"{sum(sizes)} videos in {len(sizes)}"
    if above < 1:
        said[_ALIKE_WORD] = f"{unsaid or said.get(_ALIKE_WORD, 'none')} (cosine above {above:g})"
    return _Together(made, said, problems)


def _alike(
    workspace: Workspace, dataset: Dataset, above: float, problems: list[str], reporter: Reporter
) -> tuple[dict[str, str], str]:
    """Near-duplicates, and why they could not be looked for."""
    try:
        inputs = open_inputs(workspace, need_proposals=False)
    except UsageError:
        return {}, "not looked for: there are no features yet"
    ids, rows, counted = [], [], Problems()
    there = [v for v in inputs.ids if v in dataset.videos]
    for video_id in track(reporter, "comparing features", there, len(there)):
        try:
            rows.append(inputs.features(video_id).features.mean(axis=0))
            ids.append(video_id)
        except KlocError:
            counted.add("features that cannot be read, not looked at for near-duplicates", video_id)
    missing = len(dataset.videos) - len(there)
    if missing:
        problems.append(f"{missing} videos have no features yet; whether they are near-duplicates is not known")
    problems += counted.sentences()
    if not rows:
        return {}, "not looked for: no features can be read"
    with one_thread():
        return grouping.near_duplicates(ids, np.stack(rows), above), ""


def _read_groups(path: Path, dataset: Dataset, problems: list[str]) -> dict[str, str]:
    """The group of each video in a CSV; what is wrong in a row is counted. Raises FormatError for another file."""
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path))))
    except csv.Error as error:
        raise FormatError(f"{path}: cannot be read: {error}") from None
    if not rows or not {"video", "group"} <= set(rows[0]):
        raise FormatError(f"{path}: expected a header 'video,group' and one row for each video")
    counted, found = Problems(), dict[str, str]()
    for row in rows:
        video_id, group = (row["video"] or "").strip(), (row["group"] or "").strip()
        if not group:
            counted.add("no group, the row is left out", video_id)
        elif video_id not in dataset.videos:
            counted.add("no video of this workspace, the row is left out", video_id)
        elif found.setdefault(video_id, group) != group:
            counted.add("two groups, the first is taken", video_id)
    problems += [f"{path.name}: {line}" for line in counted.sentences()]
    return found
