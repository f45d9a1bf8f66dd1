"""init, add, import: what goes into the pool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kloc.cli.console import JsonOption, WorkspaceOption, run_stage, show
from kloc.errors import UsageError

if TYPE_CHECKING:
    from kloc.records import Subset

PANEL = "The loop, in this order"
DATASET = "The dataset"
_imports = typer.Typer(no_args_is_help=True, help="Take in other people's features, predictions or annotations.")


def register(app: typer.Typer) -> None:
    """Put this module's commands onto the command line."""
    app.command("init", rich_help_panel=PANEL)(init)
    app.command("add", rich_help_panel=PANEL)(add)
    _imports.command("features")(import_features)
    _imports.command("predictions")(import_predictions)
    _imports.command("annotations")(import_annotations)
    app.add_typer(_imports, name="import", rich_help_panel=PANEL)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the new workspace.")],
    name: Annotated[str, typer.Option(help="Name of the dataset; default: the folder's.")] = "",
    store: Annotated[str, typer.Option(help="postgresql://... instead of a SQLite file in the workspace.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a workspace."""
    from kloc.pipeline import pool

    changes: dict[str, Any] = {}
    if name:
        changes["general.name"] = name
    if store:
        changes["general.store"] = store
    show(pool.init(folder, **changes), as_json)


def add(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Videos, folders, globs; labels.csv, Kinetics CSV, ActivityNet JSON."),
    ],
    subset: Annotated[str, typer.Option(help="training (the pool), validation or testing.")] = "",
    ids: Annotated[str, typer.Option(help="Name videos by file 'stem' or by 'path' below the folder.")] = "stem",
    follow_symlinks: Annotated[
        bool, typer.Option("--follow-symlinks", help="Also links that leave the folder.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add videos, video-level labels, annotations."""
    from kloc.pipeline import pool

    if ids not in ("stem", "path"):
        raise UsageError(f"--ids {ids}: it is 'stem' or 'path'")
    run_stage(
        workspace,
        as_json,
        lambda w, r: pool.add(
            w, sources, subset=subset_of(subset), ids=ids, follow_symlinks=follow_symlinks, reporter=r
        ),
    )


def import_features(
    source: Annotated[
        Path, typer.Argument(metavar="PATH", help="A folder of .npy files [T, D], one per video, named by id.")
    ],
    fps: Annotated[float, typer.Option(help="Frames per second the features were computed at.")],
    stride: Annotated[float, typer.Option(help="Frames between one feature and the next.")],
    offset: Annotated[float, typer.Option(help="Frame at the centre of the first feature.")],
    name: Annotated[str, typer.Option(help="What to call them, e.g. i3d.")] = "imported",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take features made elsewhere; no video needs to be at hand."""
    from kloc.pipeline import imports

    run_stage(
        workspace,
        as_json,
        lambda w, r: imports.import_features(w, source, name=name, fps=fps, stride=stride, offset=offset, reporter=r),
    )


def import_predictions(
    source: Annotated[Path, typer.Argument(metavar="JSON", help="ActivityNet-style predictions {results: {...}}.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take detections made elsewhere, to select and evaluate with them."""
    from kloc.pipeline import imports

    run_stage(workspace, as_json, lambda w, r: imports.import_predictions(w, source, reporter=r))


def import_annotations(
    source: Annotated[Path, typer.Argument(metavar="PATH", help="A file or folder of any format.")],
    format: Annotated[str, typer.Option(help="The format; default: what the file looks like.")] = "",
    subset: Annotated[str, typer.Option(help="Put its videos into training, validation or testing.")] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take annotations made elsewhere, of any format that kloc reads."""
    from kloc.pipeline import pool

    run_stage(
        workspace,
        as_json,
        lambda w, r: pool.import_annotations(w, source, format_name=format, subset=subset_of(subset)),
    )


def subset_of(text: str) -> Subset | None:
    """The subset of that name, ``None`` for an empty text."""
    from kloc.records import SUBSETS

    if not text:
        return None
    for subset in SUBSETS:
        if text == subset:
            return subset
    raise UsageError(f"{text!r} is no subset; it is one of {', '.join(SUBSETS)}")
