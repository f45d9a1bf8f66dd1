"""``kloc doctor``: what is wrong with this machine or this workspace, and what to do about it."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kloc.errors import KlocError
from kloc.pipeline.telling import Summary
from kloc.store import videos
from kloc.workspace import Workspace

Verdict = Literal["ok", "warning", "failed"]
_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "fuse.sshfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "glusterfs",
    "9p",
    "afs",
}


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    verdict: Verdict
    text: str


def doctor(root: Path | None) -> Summary:
    """Check the machine, and the workspace where there is one."""
    checks = [check for source in (_python, _torch, _decoders, _weights, _mturk) for check in _guarded(source)]
    try:
        workspace = Workspace.open(root)
    except KlocError as error:
        checks.append(Check("workspace", "failed" if root else "warning", str(error)))
    else:
        for source in (_files, _file_system, _disk, _media):
            checks += _guarded(lambda source=source: source(workspace))  # type: ignore[misc]
    marks = {"ok": "ok", "warning": "warning", "failed": "FAILED"}
    facts = {check.name: f"{marks[check.verdict]}: {check.text}" for check in checks}
    problems = [f"{check.name}: {check.text}" for check in checks if check.verdict != "ok"]
    failed = sum(check.verdict == "failed" for check in checks)
    return Summary("doctor", facts, problems, data={"failed": failed})


def _guarded(source: Callable[[], Iterator[Check]]) -> list[Check]:
    try:
        return list(source())
    except Exception as error:  # a check that breaks is itself a finding
        return [Check(getattr(source, "__name__", "check").strip("_"), "failed", f"{type(error).__name__}: {error}")]


def _python() -> Iterator[Check]:
    yield Check("python", "ok", f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores")


def _torch() -> Iterator[Check]:
    try:
        import torch
        import torchvision
    except (ImportError, RuntimeError) as error:
        if "torchvision::nms" in str(error):
            yield Check(
                "torch",
                "failed",
                "torch and torchvision come from different sources (a CPU build beside a CUDA build); "
                "install both in one command: pip install --force-reinstall torch torchvision",
            )
        else:
            yield Check("torch", "failed", f"cannot be imported: {error}; pip install torch torchvision")
        return
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU, computing on the CPU"
    yield Check("torch", "ok", f"torch {torch.__version__}, torchvision {torchvision.__version__}; {gpu}")


def _decoders() -> Iterator[Check]:
    import av

    yield Check("PyAV", "ok", f"{av.__version__}")
    try:
        decord = importlib.import_module("decord")
        yield Check("decord", "ok", f"{decord.__version__}")
    except (ImportError, OSError) as error:
        here = platform.machine() in ("x86_64", "AMD64")
        advice = "pip install decord" if here else "there are no wheels for this processor"
        yield Check("decord", "warning", f"not usable ({error}); PyAV reads all videos ({advice})")


def _weights() -> Iterator[Check]:
    from kloc.features.backbone import make_backbone

    backbone = make_backbone("efficientnet-lite0")
    yield Check("embedded backbone", "ok", f"real ImageNet weights {backbone.weights_id}, {backbone.dim}-d")


def _mturk() -> Iterator[Check]:
    import boto3

    own = "mturk" not in boto3.session.Session().get_available_services()
    yield Check("boto3", "ok", f"{boto3.__version__}, {'kloc’s own' if own else 'its own'} mturk service model")


def _files(workspace: Workspace) -> Iterator[Check]:
    with tempfile.NamedTemporaryFile(dir=workspace.root):
        pass
    yield Check("workspace", "ok", f"{workspace.root} is writable")
    with workspace.store.transaction() as session:
        count = len(videos.rows(session))
    yield Check(
        "store",
        "ok",
        f"{workspace.store.shown if workspace.settings.general.store else 'store.sqlite'}, {count} videos",
    )


def file_system_of(path: Path, mounts: str) -> str:
    """The type of the file system ``path`` lies on, from the text of /proc/mounts; "" where it says nothing."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) >= 3:
            point = fields[1].encode().decode("unicode_escape")
            if path.is_relative_to(point) and len(point) >= best:
                best, kind = len(point), fields[2]
    return kind


def _file_system(workspace: Workspace) -> Iterator[Check]:
    table = Path("/proc/mounts")
    kind = file_system_of(workspace.root, table.read_text()) if table.exists() else ""
    if kind in _NETWORK and not workspace.settings.general.store:
        yield Check(
            "file system",
            "warning",
            f"the store lies on a network file system ({kind}), where SQLite can lose data when two machines write: "
            "move the workspace to a local disk, or set general.store to a postgresql:// URL",
        )
    else:
        yield Check("file system", "ok", kind or sys.platform)


def _disk(workspace: Workspace) -> Iterator[Check]:
    free = shutil.disk_usage(workspace.root).free
    verdict: Verdict = "ok" if free > 2e9 else "warning"
    advice = "" if verdict == "ok" else "; free some space before the next stage"
    yield Check("disk", verdict, f"{free / 1e9:.1f} GB free{advice}")


def _media(workspace: Workspace) -> Iterator[Check]:
    with workspace.store.transaction() as session:
        gone = [row.id for row in videos.rows(session, "ok") if row.path and not Path(row.path).exists()]
    if gone:
        yield Check(
            "video files",
            "warning",
            f"{len(gone)} are no longer where they were (e.g. {gone[0]!r}); put them back, or add them where they are",
        )
    else:
        yield Check("video files", "ok", "all in place")
