"""The package of docs/extending.md is built, installed and used as the page says, every line of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docs_helpers import ROOT, blocks, commands, kloc

from kloc.cli import main
from kloc.errors import KlocError
from kloc.features.backbone import make_backbone
from kloc.formats import activitynet
from kloc.formats.common import Extra
from kloc.formats.losses import forget
from kloc.formats.registry import named
from kloc.localizers import localizer_names
from kloc.records import Dataset
from kloc.selection import available

BLOCKS = blocks(ROOT / "docs" / "extending.md")
#: The page's files by the comment that they begin with.
FILES = {text.partition("\n")[0].removeprefix("# "): text for language, text in BLOCKS if language != "shell"}

LOOP, EXPORT = (text for language, text in BLOCKS if language == "shell")


def pretend_to_install(site: Path, name: str, entry_points: str) -> None:
    """Write the metadata of a distribution, as an installer does."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The page's package as a wheel, unpacked where Python finds it, beside one that is broken."""
    root = tmp_path_factory.mktemp("mine")
    source, site = root / "source", root / "site"
    (source / "kloc_mine").mkdir(parents=True)
    (source / "kloc_mine" / "__init__.py").write_text("")
    for name, text in FILES.items():
        if name != "kloc.toml":
            (source / name).write_text(text, encoding="utf-8")
    build = f"import hatchling.build as b; b.build_wheel({str(root)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    zipfile.ZipFile(next(root.glob("*.whl"))).extractall(site)
    groups = ("strategies", "backbones", "localizers", "formats")
    pretend_to_install(site, "kloc-broken", "".join(f"[kloc.{group}]\nbroken = kloc_gone:Part\n" for group in groups))
    sys.path.insert(0, str(site))
    yield site
    sys.path.remove(str(site))
    for name in [name for name in sys.modules if name.partition(".")[0] == "kloc_mine"]:
        del sys.modules[name]


@dataclass(frozen=True)
class Used:
    """What the page's commands said, and the workspace they left."""

    root: Path
    said: dict[str, str]
    truth: Dataset


@pytest.fixture(scope="module")
def used(installed: Path, campaign_files: Any, tmp_path_factory: pytest.TempPathFactory) -> Used:
    root = tmp_path_factory.mktemp("extended") / "workspace"
    truth = activitynet.read(campaign_files.truth).dataset
    known = [v for v, a in truth.annotations.items() if truth.videos[v].subset == "training" and a.instances][:5]
    part = Dataset(
        truth.classes, {v: truth.videos[v] for v in known}, {v: truth.annotations[v] for v in known}, truth.name
    )
    activitynet.write(root.parent / "known.json", part)
    kloc("init", root)
    (root / "kloc.toml").write_text(FILES["kloc.toml"], encoding="utf-8")
    with chdir(root):
        kloc("add", campaign_files.videos, campaign_files.validation, root.parent / "known.json")
        said = {" ".join(words): kloc(*words) for words in commands(LOOP)}
        kloc("select", "--undo")
    return Used(root, said, truth)


def test_the_page_has_a_file_for_every_part() -> None:
    assert set(FILES) == {
        "pyproject.toml",
        "kloc.toml",
        *(f"kloc_mine/{name}.py" for name in ("strategy", "backbone", "localizer", "lines")),
    }


def test_the_strategy_chooses(used: Used) -> None:
    assert "unsettled" in available()
    said = used.said["select --batch 3"]
    assert "the model is undecided about" in said
    assert "unsettled" in said


def test_the_backbone_makes_the_features(used: Used) -> None:
    settings = json.loads(next((used.root / "features").glob("*/*.json")).read_text())
    assert settings["backbone"] == "colours"
    assert settings["dim"] == 48
    with pytest.raises(KlocError, match="has no weights"):
        make_backbone("colours", used.root / "weights.pth")


def test_the_localizer_learns(used: Used) -> None:
    assert "nearest" in localizer_names()
    assert "nearest" in used.said["train"]
    model = json.loads(next((used.root / "models").glob("*/localizer.json")).read_text())
    assert model["name"] == "nearest"
    assert model["settings"]["sharpness"] == 20.0
    assert "mAP on validation" in used.said["predict"]


def test_the_format_holds_what_it_says(used: Used, tmp_path: Path) -> None:
    jsonl = named("jsonl")
    file = tmp_path / "annotations.jsonl"
    said = jsonl.module.write(file, used.truth, Extra())
    assert any("subset" in sentence for sentence in said)
    read = jsonl.module.read(file, name=used.truth.name)
    assert read.problems == []
    assert read.dataset == forget(used.truth, jsonl.module.LOST)
    file.write_text(file.read_text() + "{broken\n", encoding="utf-8")
    assert "1 x line that cannot be read, left out (line " in jsonl.module.read(file).problems[0]
    with chdir(used.root):
        kloc(*commands(EXPORT)[0])
        written = used.root / "dataset" / jsonl.file
        assert len(written.read_text().splitlines()) > 5
        assert kloc("import", "annotations", written, "--format", "jsonl")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("key", "value", "command"),
    [("features", "backbone", "extract"), ("localizer", "model", "train"), ("selection", "strategy", "select")],
)
def test_a_broken_plug_in_is_one_line(used: Used, key: str, value: str, command: str) -> None:
    settings = used.root / "kloc.toml"
    before = settings.read_text()
    settings.write_text(f'[{key}]\n{value} = "broken"\n')
    try:
        with chdir(used.root), pytest.raises(KlocError) as caught:
            kloc(command)
    finally:
        settings.write_text(before)
    assert "'broken' (kloc_gone:Part, from kloc-broken) cannot be loaded: ModuleNotFoundError" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("installed")
def test_a_broken_format_is_one_line() -> None:
    with pytest.raises(KlocError, match=r"the format plug-in 'broken' .*from kloc-broken.* cannot be loaded"):
        named("broken")


def test_what_fails_inside_a_plug_in_is_put_down_to_it(
    used: Used, installed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = FILES["kloc_mine/strategy.py"].replace("value = np.full", "1 / 0\n        value = np.full")
    (installed / "kloc_failing.py").write_text(failing, encoding="utf-8")
    pretend_to_install(installed, "kloc-failing", "[kloc.strategies]\nfailing = kloc_failing:Unsettled\n")
    monkeypatch.chdir(used.root)
    monkeypatch.setattr(sys, "argv", ["kloc", "select", "--strategy", "failing", "--batch", "1"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the test's own handler stays
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1, said
    who = "the strategy plug-in 'failing' (kloc_failing:Unsettled, from kloc-failing)"
    line = 1 + next(i for i, text in enumerate(failing.splitlines()) if "1 / 0" in text)
    assert f"{who} failed: ZeroDivisionError: division by zero (kloc_failing.py, line {line})" in said[0]
