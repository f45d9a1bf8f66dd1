"""Which format a file or folder is of, seen from its name and its content."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kloc.errors import FormatError, UsageError
from kloc.formats import segments_txt
from kloc.formats.common import Reading
from kloc.formats.registry import Format, named

#: By the ending of a file, or of the files in a folder.
_ENDINGS = {".eaf": "elan", ".vtt": "webvtt", ".xml": "cvat", ".parquet": "huggingface"}
#: By words that all stand in a JSON file, tried in this order.
_KEYS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b'"database"',), "activitynet"),
    ((b'"categories"', b'"videos"'), "coco"),
    ((b'"vid_list"',), "via"),
    ((b'"classes"', b'"labels"'), "fiftyone"),
    ((b'"annotations"',), "activitynet"),
)
#: By columns of a CSV file.
_COLUMNS: tuple[tuple[set[str], str], ...] = (
    ({"youtube_id", "time_start", "time_end"}, "kinetics"),
    ({"classname", "youtube_id", "start", "end"}, "hacs"),
    ({"id", "actions"}, "charades"),
    ({"video", "label", "start", "end"}, "csv"),
)


def load(path: Path, name: str = "") -> Reading:
    """Read annotations of the format called ``name``, or of the one that the file looks like.

    Raises UsageError for a name that is none and for files that look like none, FormatError as the format's ``read``.
    """
    if not name and segments_txt.fits(path):
        return segments_txt.read(path)
    found = named(name) if name else guess(path)
    if found.kind == "file" and path.is_dir():
        raise UsageError(f"{path}: a folder, but {found.title} is one file; name the file")
    return found.module.read(path)


def guess(path: Path) -> Format:
    """The format that a file or folder looks like. Raises FormatError where it is not there, UsageError for none."""
    if not path.exists():
        raise FormatError(f"{path}: cannot be read (no such file or folder)")
    name = _of_folder(path) if path.is_dir() else _of_file(path)
    if not name:
        raise UsageError(f"{path}: looks like no format of annotations; say which with --format")
    return named(name)


def _of_folder(folder: Path) -> str:
    inside = sorted(p.name for p in folder.iterdir())
    if (folder / "videos.csv").is_file() or any(name.startswith("instances") for name in inside):
        return "csv"
    if any((folder / below).is_dir() and any((folder / below).glob("*.parquet")) for below in ("data", ".")):
        return "huggingface"
    if {"tasks.json", "config.xml"} <= set(inside):
        return "label-studio"
    if "labels.json" in inside:
        return "fiftyone"
    if "detclasslist.txt" in inside or any(name.endswith(("_val.txt", "_test.txt")) for name in inside):
        return "thumos"
    if (folder / "annotation").is_dir():
        return "thumos"
    if any("classes" in name and name.endswith(".txt") for name in inside) and any(n.endswith(".csv") for n in inside):
        return "charades"
    return _by_ending(Path(name).suffix.lower() for name in inside)


def _by_ending(endings: Iterable[str]) -> str:
    return next((_ENDINGS[ending] for ending in endings if ending in _ENDINGS), "")


def _of_file(path: Path) -> str:
    ending = path.suffix.lower()
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error})") from error
    start = content[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"["):
        return "label-studio"
    if start.startswith(b"{"):
        return next((name for keys, name in _KEYS if all(key in content for key in keys)), "")
    if start.startswith(b"WEBVTT"):
        return "webvtt"
    header = {cell.strip(' "\r') for cell in start.decode("utf-8", "replace").split("\n", 1)[0].split(",")}
    return next((name for columns, name in _COLUMNS if columns <= header), "")
