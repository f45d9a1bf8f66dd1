"""The workspace: settings, locks, full disks, read-only folders, both databases, what `doctor` sees."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from kloc.config import Settings, load_settings, template
from kloc.errors import KlocError, UsageError
from kloc.pipeline import doctoring, pool
from kloc.pipeline.telling import Silent
from kloc.store import revisions, videos
from kloc.store.database import Store
from kloc.store.tables import Base
from kloc.video.write import write_video
from kloc.workspace import Workspace

# -- settings ---------------------------------------------------------------------------------------------------


def test_the_template_holds_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "kloc.toml"
    path.write_text(template())
    assert load_settings(path) == Settings()
    # Every commented line is a valid setting with its default: uncommented it changes nothing.
    live = [line[2:] if line.startswith("# ") and " = " in line else line for line in template().splitlines()]
    path.write_text("\n".join(line for line in live if line.startswith("[") or _is_setting(line)))
    assert load_settings(path) == Settings()


def _is_setting(line: str) -> bool:
    name = line.split(" = ")[0]
    return " = " in line and name.isidentifier()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[general]\nnmae = "x"', "did you mean 'general.name'?"),
        ("[selektion]\nbatch = 3", "did you mean 'selection'?"),
        ("batch = 3", "it belongs in its section: 'selection.batch'"),
        ("[selection]\nbatch = 0", "selection.batch = 0: input should be greater than or equal to 1"),
        ("[selection]\nbatch = 'many'", "selection.batch"),
        ("[task]\nreward = '1.234'", "task.reward"),
        ("oops", "not valid TOML"),
    ],
)
def test_wrong_settings_say_what_is_right(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "kloc.toml"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        load_settings(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_outside_of_any_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="lies in no kloc workspace; make one with `kloc init"):
        Workspace.open()
    pool.init(tmp_path / "w")
    (tmp_path / "w" / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "w" / "deep" / "er")
    assert Workspace.open().root == tmp_path / "w"


# -- one at a time ------------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from kloc.workspace import Workspace
with Workspace.open(Path(sys.argv[1])).stage("extract"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_of_a_stage_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    pool.init(tmp_path / "w")
    workspace = Workspace.open(tmp_path / "w")
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(workspace.root)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    with pytest.raises(KlocError, match=rf"already running .* \(pid {holder.pid}\)"), workspace.stage("extract"):
        pytest.fail("two runs of one stage")
    with workspace.stage("propose"):  # different stages run side by side
        pass
    holder.kill()
    holder.wait()
    with workspace.stage("extract"):  # the lock went with the process
        pass


# -- places that cannot be written -----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kloc", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_full_disk_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    root = small_disk / "w"
    noise = np.random.default_rng(0).integers(0, 255, (30, 64, 64, 3), dtype=np.uint8)
    for index in range(3):
        write_video(tmp_path / f"v{index}.mp4", noise, 10)
    assert cli("init", root).returncode == 0
    assert cli("add", tmp_path / "v0.mp4", "-w", root).returncode == 0
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
        while stream.write(b"x" * 4096):
            pass
    assert shutil.disk_usage(small_disk).free < 4096
    failed = cli("add", tmp_path / "v1.mp4", tmp_path / "v2.mp4", "-w", root)
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert "free some" in failed.stderr, failed.stderr
    filler.unlink()
    assert cli("add", tmp_path / "v1.mp4", tmp_path / "v2.mp4", "-w", root).returncode == 0
    workspace = Workspace.open(root)
    with workspace.store.transaction() as session:
        assert {row.id for row in videos.rows(session, "ok")} == {"v0", "v1", "v2"}
    workspace.close()


def test_a_read_only_workspace(small_disk: Path, tmp_path: Path) -> None:
    root = small_disk / "w"
    write_video(tmp_path / "v.mp4", np.zeros((5, 32, 32, 3), np.uint8), 10)
    assert cli("init", root).returncode == 0
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    failed = cli("add", tmp_path / "v.mp4", "-w", root)
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert "writable" in failed.stderr, failed.stderr
    assert len(failed.stderr.strip().splitlines()) == 1
    fresh = cli("init", small_disk / "another")
    assert fresh.returncode == 1
    assert "choose another folder" in fresh.stderr


def test_interrupting_leaves_one_line_and_continues(tmp_path: Path) -> None:
    root = tmp_path / "w"
    for index in range(6):
        write_video(tmp_path / f"v{index}.mp4", np.zeros((40, 96, 128, 3), np.uint8), 4)
    assert cli("init", root).returncode == 0
    assert cli("add", *(tmp_path / f"v{i}.mp4" for i in range(6)), "-w", root).returncode == 0
    command = [sys.executable, "-m", "kloc", "extract", "-w", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list((root / "features").glob("*/*/*.npy")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (0, 130), errors
    assert "Traceback" not in errors
    if process.returncode == 130:
        assert "nothing is lost" in errors
    done = cli("extract", "-w", root, "--json")
    assert done.returncode == 0, done.stderr
    assert not list((root / "features").rglob("*.part"))
    assert len(list((root / "features").glob("*/*/*.npy"))) == 6


# -- the store ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    url: str = request.getfixturevalue("postgres")()
    return url


def test_migrations_lead_to_the_tables_of_the_code(store_url: str) -> None:
    store = Store(store_url)
    store.migrate()
    store.migrate()
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, Base.metadata) == []
    store.close()


def test_a_campaign_in_either_database(store_url: str, tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", np.zeros((20, 32, 32, 3), np.uint8), 10)
    (tmp_path / "truth.json").write_text(
        '{"version": "1", "database": {"v": {"duration": 2, "subset": "training",'
        ' "annotations": [{"label": "jump", "segment": [0.5, 1.5]}]}}}'
    )
    pool.init(tmp_path / "w", **{"general.store": store_url})
    workspace = Workspace.open(tmp_path / "w")
    sources = [str(tmp_path / "v.mp4"), str(tmp_path / "truth.json")]
    pool.add(workspace, sources, reporter=Silent())
    pool.add(workspace, sources, reporter=Silent())
    with workspace.store.transaction() as session:
        assert [i.label for i in revisions.current(session)["v"].instances] == ["jump"]
        assert len(revisions.current_rows(session)) == 1
    workspace.close()


def test_a_store_of_a_newer_kloc_is_refused(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 's.sqlite'}")
    store.migrate()
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from the future'"))
    with pytest.raises(KlocError, match="newer version; update kloc"):
        store.migrate()


# -- doctor ------------------------------------------------------------------------------------------------------------


def test_doctor_warns_of_a_network_file_system() -> None:
    mounts = "/dev/sda / ext4 rw 0 0\nserver:/export /mnt/lab\\040share nfs4 rw 0 0\n"
    assert doctoring.file_system_of(Path("/mnt/lab share/w"), mounts) == "nfs4"
    assert doctoring.file_system_of(Path("/mnt/other"), mounts) == "ext4"


def test_doctor_looks_at_a_workspace(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", np.zeros((5, 32, 32, 3), np.uint8), 10)
    pool.init(tmp_path / "w")
    workspace = Workspace.open(tmp_path / "w")
    pool.add(workspace, [str(tmp_path / "v.mp4")], reporter=Silent())
    workspace.close()
    (tmp_path / "v.mp4").unlink()
    summary = doctoring.doctor(tmp_path / "w")
    assert summary.data["failed"] == 0
    assert any("no longer where they were (e.g. 'v')" in line for line in summary.problems)
