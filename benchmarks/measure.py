"""``python -m benchmarks.measure NAME [--scale small|full] [--seed N] [--out DIR]``, or ``--list``."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import tempfile
from pathlib import Path

from benchmarks import harness, measures
from kloc.files import write_json


def main(arguments: list[str] | None = None) -> int:
    """Run one measure and write its figures; at full scale 1 where a target is not met, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure", description="Time kloc against baselines.")
    parser.add_argument("name", nargs="?", help="which measure; --list shows them")
    parser.add_argument("--list", action="store_true", help="show the measures and end")
    parser.add_argument("--scale", choices=["small", "full"], default="small", help="small: is it alive; full: figures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for NAME.json (default: benchmarks/results at full scale)")
    options = parser.parse_args(arguments)
    for module in pkgutil.iter_modules(measures.__path__):
        importlib.import_module(f"{measures.__name__}.{module.name}")
    known = harness.registered()
    if options.list or options.name is None:
        for name, (what, _) in known.items():
            print(f"{name:16} {what}")
        return 0
    if options.name not in known:
        parser.error(f"no measure {options.name!r}; there are: {', '.join(known)}")
    return run(options.name, options.scale, options.seed, options.out)


def run(name: str, scale: harness.Scale, seed: int, out: Path | None) -> int:
    """Run the measure ``name`` and write ``NAME.json`` (at small scale only where ``out`` is given)."""
    what, function = harness.registered()[name]
    machine, commit = harness.machine(), harness.commit()
    print(f"{name} ({scale}): {what}")
    with tempfile.TemporaryDirectory(prefix="kloc-measure-") as scratch:
        figures = function(harness.Context(scale, seed, Path(scratch)))
    for figure in figures:
        print(f"  {figure}")
    if out is None and scale == "full":
        out = harness.ROOT / "benchmarks" / "results"
    if out is not None:
        report = {"measure": name, "what": what, "scale": scale, "seed": seed, "commit": commit, "machine": machine}
        write_json(out / f"{name}.json", {**report, "figures": [figure.to_json() for figure in figures]})
        print(f"  -> {out / f'{name}.json'}")
    if scale == "small":
        return 0  # small runs show that a measure works; only full ones are judged
    return 0 if all(figure.met is not False for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
