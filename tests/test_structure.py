"""The house rules that a machine can check: imports run one way, files stay small, the help fits a screen."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "kloc"

#: Left to right. A room may import from rooms to its left and from its own, never from one to its right.
ROOMS = [
    {"errors", "_version"},
    {"files", "records", "attributes", "printing", "registry", "seeds", "threads", "resources", "config"},
    {"segments", "shards", "engine", "engine_ray"},
    {"store", "formats"},
    {"workspace"},
    {"video"},
    {"features"},
    {"proposals"},
    {"localizers"},
    {"selection"},
    {"crowd"},
    {"evaluation"},
    {"report"},
    {"experiments"},
    {"pipeline"},
    {"review"},
    {"cli"},
    {"__main__"},
]
RANK = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}

#: Files over 400 lines, each with its reason.
LONG: dict[str, str] = {}


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if "migrations" not in p.parts)


def room_of(dotted: str) -> str:
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else ""


def imported(path: Path) -> set[str]:
    """Dotted names of everything of kloc that a file imports at run time (not for type checking only)."""
    package = ["kloc", *path.relative_to(PACKAGE).parts[:-1]]
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                found.update(a.name for a in child.names if a.name.split(".")[0] == "kloc")
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    base = ".".join([*package[: len(package) - child.level + 1], *([base] if base else [])])
                if base == "kloc":
                    found.update(f"kloc.{a.name}" for a in child.names)
                elif base.startswith("kloc."):
                    found.add(base)
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_run_one_way(path: Path) -> None:
    here = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if here == "__init__":
        return
    assert here in RANK, f"{here} has no place in the house: add it to ROOMS"
    for name in imported(path):
        room = room_of(name)
        if room in ("", "__version__"):
            continue
        assert RANK[room] <= RANK[here], f"{here} imports {name}, which lies to its right"


def test_the_endpoint_stands_alone() -> None:
    """Its own process, its own database, a fast start: it knows errors, files, resources and seeds only."""
    allowed = {"errors", "files", "resources", "seeds", "records"}
    for path in (PACKAGE / "crowd" / "endpoint").rglob("*.py"):
        for name in imported(path):
            if not name.startswith("kloc.crowd.endpoint"):
                assert room_of(name) in allowed | {"", "__version__"}, f"{path.name} imports {name}"


def test_the_endpoint_starts_without_torch() -> None:
    code = "import sys, kloc.crowd.endpoint.server; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_help_needs_no_torch() -> None:
    code = "import sys, kloc.cli; print('torch' in sys.modules, 'sklearn' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False False"


def test_no_file_grows_without_a_reason() -> None:
    root = PACKAGE.parent
    lengths = {
        p.relative_to(root).as_posix(): len(p.read_text(encoding="utf-8").splitlines())
        for folder in ("kloc", "hits", "benchmarks")
        for p in (root / folder).rglob("*")
        if p.suffix in (".py", ".js", ".css") and "migrations" not in p.parts
    }
    long = {name: lines for name, lines in lengths.items() if lines > 420}
    assert set(long) <= set(LONG), f"over about 400 lines: {long}"
    assert set(LONG) <= set(long), "LONG names files that are no longer long"


def test_help_fits_one_screen_and_tells_the_story() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "kloc", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "80", "PATH": "/usr/bin:/bin", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"},
    )
    lines = result.stdout.rstrip().splitlines()
    assert len(lines) <= 48, f"{len(lines)} lines"
    assert max(map(len, lines)) <= 80
    order = [
        "init",
        "add",
        "extract",
        "propose",
        "train",
        "predict",
        "select",
        "crowd",
        "publish-hits",
        "ingest",
        "stats",
        "split",
        "card",
        "export",
    ]
    places = [next(i for i, line in enumerate(lines) if f" {name} " in line) for name in order]
    assert places == sorted(places)
