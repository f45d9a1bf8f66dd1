"""Opens an export with the tool that it is for, and says what that tool sees. It runs in any environment.

``python benchmarks/openers.py TOOL PATH FPS`` prints ``{"version": ..., "videos": {name: [[label, start, end]]}}``:
seconds as the tool understands them (frames over ``FPS`` where it knows frames only), or ``{"absent": why}``. The name
of a video is that of its file, as the tool shows it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from html import unescape
from pathlib import Path, PurePosixPath
from typing import Any

Seen = dict[str, list[tuple[str, float, float]]]


def datasets(path: Path, fps: float) -> Seen:
    """Hugging Face datasets: `load_dataset` of the folder; classes by the ClassLabel."""
    import datasets as tool

    tool.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        found = tool.load_dataset(str(path), cache_dir=cache)
        seen: Seen = {}
        for split in found.values():
            classes = split.features["instances"].feature["label_id"]
            for row in split:
                seen[row["video"]] = [
                    (classes.int2str(i["label_id"]), i["start"], i["end"]) for i in row["instances"] or []
                ]
        return seen


def fiftyone(path: Path, fps: float) -> Seen:
    """FiftyOne's own importer class; its database is not needed for that."""
    from fiftyone.utils.data.importers import FiftyOneTemporalDetectionDatasetImporter

    with FiftyOneTemporalDetectionDatasetImporter(dataset_dir=str(path), data_path="data.json") as importer:
        return {
            _stem(video): [
                (d.label, (d.support[0] - 1) / fps, d.support[1] / fps) for d in (label.detections if label else ())
            ]
            for video, _, label, _ in importer
        }


def datumaro(path: Path, fps: float) -> Seen:
    """Datumaro's reader of CVAT XML: tracks from their first key frame to the one that is outside."""
    from datumaro.plugins.data_formats.cvat.base import CvatBase

    seen: Seen = {}
    for file in sorted(path.glob("*.xml")):
        read = CvatBase(str(file))
        labels = next(iter(read.categories().values()))
        tracks: dict[int, dict[str, Any]] = {}
        last = int(file.read_text(encoding="utf-8").split("<stop_frame>")[1].split("<")[0])
        for item in read:
            for one in item.annotations:
                track = tracks.setdefault(one.attributes["track_id"], {"label": labels[one.label].name})
                track["stop" if one.attributes["outside"] else "first"] = item.attributes["frame"]
        seen[file.stem] = [(t["label"], t["first"] / fps, t.get("stop", last + 1) / fps) for t in tracks.values()]
    return seen


def label_studio(path: Path, fps: float) -> Seen:
    """Label Studio's SDK: setup, tasks and annotations are validated, then converted to JSON-MIN."""
    from label_studio_sdk.converter import Converter
    from label_studio_sdk.label_interface import LabelInterface

    config = (path / "config.xml").read_text(encoding="utf-8")
    setup = LabelInterface(config)
    setup.validate()
    for task in json.loads((path / "tasks.json").read_text(encoding="utf-8")):
        annotations = task.pop("annotations", [])
        if not setup.validate_task(task) or not all(setup.validate_annotation(a) for a in annotations):
            raise ValueError(f"Label Studio refuses task {task['id']}")
    with tempfile.TemporaryDirectory() as out:
        converter = Converter(config, project_dir=None, download_resources=False)
        converter.convert(str(path / "tasks.json"), out, "JSON_MIN", is_dir=False)
        rows = json.loads((Path(out) / "result.json").read_text(encoding="utf-8"))
    return {
        _stem(row["video"]): [
            (region["timelinelabels"][0], (span["start"] - 1) / row["fps"], span["end"] / row["fps"])
            for region in row.get("class", [])
            for span in region["ranges"]
        ]
        for row in rows
    }


def pympi(path: Path, fps: float) -> Seen:
    """pympi: annotations of all tiers, in milliseconds."""
    from pympi.Elan import Eaf

    seen: Seen = {}
    for file in sorted(path.glob("*.eaf")):
        document = Eaf(str(file))
        rows = [row for tier in document.get_tier_names() for row in document.get_annotation_data_for_tier(tier)]
        media = document.get_linked_files()[0]["MEDIA_URL"]
        seen[_stem(media)] = [(row[2], row[0] / 1000, row[1] / 1000) for row in rows]
    return seen


def webvtt(path: Path, fps: float) -> Seen:
    """webvtt-py: the cues of each file. It leaves ``&amp;`` as it is, which players show as ``&``."""
    import webvtt as tool

    return {
        file.stem: [(unescape(c.text), _clock(c.start), _clock(c.end)) for c in tool.read(str(file)).captions]
        for file in sorted(path.glob("*.vtt"))
    }


def via(path: Path, fps: float) -> Seen:
    """VIA's own page (``$KLOC_VIA``: its ``via-3.x.y`` folder) in headless Chromium loads the project."""
    from playwright.sync_api import sync_playwright

    page_file = Path(os.environ["KLOC_VIA"]) / "src" / "html" / "_via_video_annotator.html"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page()
        page.route("http*://**", lambda route: route.abort())
        page.goto(page_file.as_uri())
        store = page.evaluate(
            "async text => { await via.d.project_load(text); return via.d.store }", path.read_text(encoding="utf-8")
        )
        browser.close()
    names = {vid: _stem(store["file"][view["fid_list"][0]]["fname"]) for vid, view in store["view"].items()}
    seen: Seen = {name: [] for name in names.values()}
    for row in store["metadata"].values():
        seen[names[row["vid"]]].append((row["av"]["1"], row["z"][0], row["z"][1]))
    return seen


#: By tool: how it opens an export, the package it comes in, and the name of the format.
OPENERS: dict[str, tuple[Callable[[Path, float], Seen], str, str]] = {
    "datasets": (datasets, "datasets", "huggingface"),
    "fiftyone": (fiftyone, "fiftyone", "fiftyone"),
    "datumaro": (datumaro, "datumaro", "cvat"),
    "label-studio-sdk": (label_studio, "label-studio-sdk", "label-studio"),
    "pympi-ling": (pympi, "pympi-ling", "elan"),
    "webvtt-py": (webvtt, "webvtt-py", "webvtt"),
    "via": (via, "playwright", "via"),
}


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _clock(text: str) -> float:
    hours, minutes, seconds = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def look(tool: str, path: Path, fps: float) -> dict[str, Any]:
    """What the tool sees, or why it cannot look."""
    opener, package, _ = OPENERS[tool]
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return {"absent": f"{package} is not installed"}
    if tool == "via":
        if "KLOC_VIA" not in os.environ:
            return {"absent": "$KLOC_VIA does not name a folder of VIA 3"}
        version = f"page in Chromium by playwright {version}"
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "FIFTYONE_DO_NOT_TRACK"):
        os.environ.setdefault(name, "1")
    # Tools talk while they open; what they say goes with the errors.
    with redirect_stdout(sys.stderr):
        return {"version": version, "videos": opener(path, fps)}


if __name__ == "__main__":
    print(json.dumps(look(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))))
