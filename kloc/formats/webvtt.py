"""WebVTT: one ``.vtt`` file for each video, one cue for each instance, so that any player shows the classes.

A cue is ``start --> end`` in ``HH:MM:SS.mmm`` and the class as its text; cues may overlap. What else is known of the
video stands in a comment (``NOTE kloc {...}``), which players pass over. Videos without annotation have no cues.
"""

from __future__ import annotations

import re
from html import escape, unescape
from pathlib import Path
from typing import Any

from kloc.errors import FormatError
from kloc.formats.common import Extra, Reading, read_text, rebased
from kloc.formats.interchange import (
    KEY,
    MILLISECONDS,
    Collector,
    as_object,
    check_labels,
    dataset_facts,
    file_names,
    files_of,
    header_of,
    instances_of,
    one_line,
    parse_facts,
    rounded_to_milliseconds,
    video_facts,
    whole_milliseconds,
    write_folder,
)
from kloc.formats.losses import Aspect, sentences
from kloc.records import Dataset, Instance

LOST: frozenset[Aspect] = frozenset({"confidence"})
ROUNDED = MILLISECONDS

_NOTE = f"NOTE {KEY} "
_TIME = r"(?:(\d{2,9}):)?([0-5]\d):([0-5]\d)\.(\d{3})"
_TIMES = re.compile(rf"\s*{_TIME}[ \t]+-->[ \t]+{_TIME}(?:[ \t].*)?$")
_TAG = re.compile(r"<[^>]*>")


def read(path: Path, *, name: str | None = None) -> Reading:
    """Read one ``.vtt`` file or a folder of them; the text of a cue is its class, tags of styling left out.

    A cue whose times cannot be read is counted and left out. Raises FormatError for a file that is no WebVTT.
    """
    collector = Collector(path, name)
    for file in files_of(path, ".vtt", collector):
        _read_file(file, collector)
    return collector.reading()


def _read_file(file: Path, collector: Collector) -> None:
    content = read_text(file).replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    if not re.match(r"WEBVTT(?:[ \t\n]|$)", content):
        raise FormatError(f"{file}: does not begin with WEBVTT")
    facts: Any = None
    found: list[Instance] = []
    for block in re.split(r"\n{2,}", content.strip("\n"))[1:]:
        if block.startswith(_NOTE):
            facts = parse_facts(block[len(_NOTE) :])
        elif not re.match(r"(NOTE|STYLE|REGION)(?:[ \t\n]|$)", block):
            found += _cue(block.split("\n"), file.stem, collector)
    collector.facts(facts)
    collector.video(as_object(facts).get("video"), file.stem, found)


def _cue(lines: list[str], video_id: str, collector: Collector) -> list[Instance]:
    """The instance of a cue: an optional name, the times, the text."""
    at = next((i for i, line in enumerate(lines[:2]) if "-->" in line), None)
    times = None if at is None else _TIMES.match(lines[at])
    if at is None or times is None:
        collector.problems.add("cue whose times cannot be read, left out", f"{video_id}: {lines[0][:40]}")
        return []
    label = unescape(_TAG.sub("", " ".join(lines[at + 1 :])))
    return collector.instance(video_id, _seconds(times.groups()[:4]), _seconds(times.groups()[4:]), label)


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, thousandths = (int(part or 0) for part in parts)
    return (((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths) / 1000


def write(path: Path, dataset: Dataset, extra: Extra) -> list[str]:
    """Write the folder. Raises FormatError for a class whose name a cue cannot hold."""
    check_labels(dataset, "WebVTT")
    dataset = rebased(dataset, extra.origin)
    header = header_of(dataset, extra)
    files: dict[str, bytes] = {}
    for video_id, file in file_names(dataset.videos).items():
        blocks = ["WEBVTT", _NOTE + one_line({**header, "video": video_facts(dataset, video_id)})]
        for one in instances_of(dataset, video_id):
            start, end = whole_milliseconds(one)
            blocks.append(f"{_clock(start)} --> {_clock(end)}\n{escape(one.label, quote=False)}")
        files[file] = ("\n\n".join(blocks) + "\n").encode()
    write_folder(path, files, ".vtt", dataset_facts(dataset, extra))
    return sentences(dataset, LOST, extra) + rounded_to_milliseconds(dataset)


def _clock(milliseconds: int) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{thousandths:03}"
