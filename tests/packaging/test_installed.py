"""kloc finds its pages and templates from an editable install and from a wheel somewhere else."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from kloc import resources
from kloc.errors import KlocError

ROOT = Path(__file__).resolve().parents[2]


def test_from_the_checkout() -> None:
    assert (resources.folder("hits") / "task.html.j2").is_file()
    assert (resources.folder("dataset_cards") / "template.md.j2").is_file()
    with pytest.raises(KlocError, match="reinstall"):
        resources.folder("no_such_folder")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as the build backend makes it, without a network."""
    out = tmp_path_factory.mktemp("wheel")
    code = f"import hatchling.build as b; print(b.build_wheel({str(out)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_what_the_wheel_carries(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "kloc/py.typed" in names
    assert "kloc/_hits/task.html.j2" in names
    assert "kloc/_dataset_cards/template.md.j2" in names
    assert any(n.startswith("kloc/store/migrations/versions/") for n in names)
    assert any(n.startswith("kloc/crowd/endpoint/templates/") for n in names)
    assert "kloc/report/templates/report.html.j2" in names
    assert "kloc/crowd/service_model/mturk/2017-01-17/service-2.json" in names
    assert not any(n.startswith(("tests/", "benchmarks/")) for n in names)


CHECK = """
from pathlib import Path
import kloc, sys
from kloc import resources
from kloc.crowd import page
assert "site-packages" in kloc.__file__ and "elsewhere" in kloc.__file__, kloc.__file__
assert resources.folder("hits").name == "_hits", resources.folder("hits")
task = {"version": 1, "video_id": "v", "media_key": "v", "media_type": "video/mp4", "duration": 3.0,
        "frame_period": 0.1, "classes": [{"name": "jump", "definition": ""}], "guideline": "g", "title": "t",
        "instructions": "i", "reward": "0.10", "expected_minutes": 1.0, "contact": "", "prefill": []}
assert "kloc-task" in page.render(task)
from kloc.pipeline import pool
from kloc.workspace import Workspace
pool.init(Path(sys.argv[1]))
Workspace.open(Path(sys.argv[1])).close()
print("works")
"""


def test_from_a_wheel_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    """A new environment that holds nothing of kloc but the wheel; third-party packages are lent by this one."""
    home = tmp_path / "elsewhere"
    venv.create(home, with_pip=False)
    site = next((home / "lib").glob("python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    lent = next(p for p in sys.path if p.endswith("site-packages"))
    (site / "lent.pth").write_text(lent + "\n")
    # The editable install's own .pth in the lent folder is not read: only site folders' .pth files are.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [str(home / "bin" / "python"), "-c", CHECK, str(tmp_path / "workspace")]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "works"


def test_everything_reads_without_decord(tmp_path: Path) -> None:
    """On machines without decord PyAV reads: the video room's own tests of both readers, with decord blocked."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['decord'] = None\n")
    tests = ["test_source.py", "test_probe.py", "test_proxy.py", "test_sampling.py"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", *(str(ROOT / "tests" / "video" / name) for name in tests)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:]
