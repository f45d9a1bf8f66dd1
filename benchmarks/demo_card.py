"""The example in dataset_cards/demo/: ``python -m benchmarks.demo_card [DIR]``.

With DIR it is made of what `kloc demo` leaves there (a demo is made there if there is none, which takes minutes); its
benchmark is run too, so that the card shows one. Without, the card is made again of the facts that lie beside it.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from kloc.files import write_json
from kloc.pipeline import benchmarking, carding, demo, versions
from kloc.pipeline.telling import Silent
from kloc.report.card import Card
from kloc.report.card_files import data_files
from kloc.workspace import Workspace

EXAMPLE = Path(__file__).resolve().parent.parent / "dataset_cards" / "demo"
FACTS = "facts.json"


def make(folder: Path, out: Path = EXAMPLE) -> None:
    """Write the example from the demo in ``folder``, which is made there or finished first."""
    demo.demo(
        folder,
        n_videos=48,
        seed=7,
        tell=lambda command, summary: print(command or summary.stage, flush=True),
        show_statistics=lambda statistics: None,
        reporter=Silent(),
    )
    workspace = Workspace.open(folder / demo.ARMS[0])
    benchmarking.benchmark(workspace, reporter=Silent())
    carding.card(workspace)
    shutil.rmtree(out, ignore_errors=True)
    for name in ("pictures", "data"):
        shutil.copytree(workspace.dataset / name, out / name)
    for name in ("README.md", "croissant.json"):
        shutil.copy(workspace.dataset / name, out)
    version = versions.read(workspace.dataset)
    assert version is not None, "the card is an export"
    facts = replace(carding.of_workspace(workspace), version=str(version.version))
    write_json(out / FACTS, data_files(facts, out).to_json())
    workspace.close()


def again(out: Path = EXAMPLE) -> None:
    """Write the example's card anew, of its facts and tables as they are."""
    carding.write(out, Card.from_json(json.loads((out / FACTS).read_text(encoding="utf-8"))))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        make(Path(sys.argv[1]))
    else:
        again()
