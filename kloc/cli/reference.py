"""The reference pages of docs/, made from what they describe: the commands, the settings, the registry of formats.

``python -m kloc.cli.reference > docs/commands.md`` prints the commands, ``python -m kloc.cli.reference docs`` writes
all three pages into that folder.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from kloc.cli import app
from kloc.config import Settings, toml_value
from kloc.files import write_text
from kloc.formats.registry import FORMATS

#: Options that stand once at the top, not at every command.
_SHARED = ("--workspace", "--json")
_MADE = "<!-- Made by `python -m kloc.cli.reference docs`; change the program, not this page. -->"


def commands() -> str:
    """docs/commands.md: every command with its arguments and options, in the order of ``kloc --help``."""
    root: Any = typer.main.get_command(app)
    leaves = list(_leaves(root, "kloc"))
    shared = {name: row for _, _, command in leaves for name, row in _options(command, _SHARED).items()}
    lines = ["# Commands", "", _MADE, "", f"{root.help} `kloc COMMAND --help` says the same in a terminal.", ""]
    lines += [
        "Most commands take the first two of these; the others stand before the command (`kloc --debug train`).",
        "",
    ]
    lines += _table(("option", "what it does"), [*shared.values(), *_options(root).values()])
    rows = [(f"[{name}](#{name.replace(' ', '-')})", _paragraphs(command)[0]) for name, _, command in leaves]
    lines += _table(("command", "what it does"), rows)
    before = ""
    for name, panel, command in leaves:
        lines += [f"## {panel}", ""] if panel != before else []
        lines += _command(name, command)
        before = panel
    return "\n".join(lines).rstrip() + "\n"


def _paragraphs(command: Any) -> list[str]:
    """A command's help, each paragraph on one line."""
    return [" ".join(text.split()) for text in (command.help or "").split("\n\n")]


def _leaves(group: Any, path: str, panel: str = "") -> Iterator[tuple[str, str, Any]]:
    """All commands: their full name, the panel of the help that they stand in, and themselves."""
    for name in group.list_commands(typer.Context(group)):
        command = group.commands[name]
        where = panel or str(command.rich_help_panel)
        if hasattr(command, "commands"):
            yield from _leaves(command, f"{path} {name}", where)
        else:
            yield f"{path} {name}", where, command


def _command(name: str, command: Any) -> list[str]:
    arguments = [found for found in command.params if found.param_type_name == "argument"]
    shared = [f"`{option}`" for option in _options(command, _SHARED)]
    own = {option: row for option, row in _options(command).items() if option not in _SHARED}
    usage = " ".join([name, *(_metavar(found) for found in arguments), *(["[OPTIONS]"] if own or shared else [])])
    lines = [f"### {name}", "", "\n\n".join(_paragraphs(command)), "", "```", usage, "```", ""]
    rows = [(f"`{_metavar(found)}`", found.help or "") for found in arguments]
    lines += _table(("say", "what it does"), [*rows, *own.values()]) if rows or own else []
    if shared:
        lines += [f"Also {' and '.join(shared)}.", ""]
    return lines


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper() + ("..." if argument.nargs == -1 else ""))


def _options(command: Any, only: tuple[str, ...] = ()) -> dict[str, tuple[str, str]]:
    """The options of a command by their long name: how they are written, and their help with the default."""
    context = typer.Context(command)
    found = {}
    for option in command.params:
        if option.param_type_name == "option" and (not only or option.opts[0] in only):
            written, said = option.get_help_record(context)
            found[option.opts[0]] = (f"`{written.replace(' range>', '>')}`", " ".join(said.split()))
    return found


_SETTINGS = """
The keys of a workspace's `kloc.toml`, which `kloc init` writes with these comments. A key that is left out has its
default; a misspelt one is an error that names the nearest right one.
"""


def settings() -> str:
    """docs/settings.md: every key of ``kloc.toml`` with its default, its type's limits and what it does."""
    lines = ["# Settings", "", _MADE, _SETTINGS]
    schema = Settings.model_json_schema()
    for section, reference in schema["properties"].items():
        fields = schema["$defs"][reference["$ref"].rpartition("/")[2]]["properties"]
        defaults = getattr(Settings(), section)
        lines += [f"## [{section}]", ""]
        rows = [
            (f"`{key}`", f"`{toml_value(getattr(defaults, key))}`", _limits(field), field["description"])
            for key, field in fields.items()
        ]
        lines += _table(("key", "default", "", "what it does"), rows)
    return "\n".join(lines).rstrip() + "\n"


def _limits(field: dict[str, Any]) -> str:
    """What a value must be, where the default does not say it already."""
    if "enum" in field:
        return " or ".join(f"`{toml_value(value)}`" for value in field["enum"])
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return ", ".join(f"{sign} {field[name]:g}" for name, sign in signs.items() if name in field)


_FORMATS = """
`kloc export --format NAME` writes them, `kloc import annotations PATH --format NAME` reads them. The last column is
what a format has no place for; writing says which of it *your* dataset has. Everything else reads back as it was, times
and confidences to the microsecond (paths of files and the name of the dataset do not travel). FiftyOne, CVAT and Label
Studio themselves count frames, so that they show a boundary up to half a frame off; the seconds stand beside the
frames, and `kloc import annotations` takes them unless somebody moved the segment since. What is wrong in a file is
counted and said when it is read, and the rest is used. How to add a format: [extending.md](extending.md).
"""


def formats() -> str:
    """docs/formats.md: every format with what it cannot hold."""
    lines = ["# Formats", "", _MADE, _FORMATS]
    rows = []
    for one in FORMATS.values():
        place = "the folder itself" if one.file == "." else f"{one.kind} `{one.file}`"
        rows.append((f"`{one.name}`", one.title, place, "; ".join(one.lost) or "nothing is lost"))
    lines += _table(("name", "format", "in an export's folder", "has no place for"), rows)
    return "\n".join(lines).rstrip() + "\n"


def _table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return ["| " + " | ".join(_cell(text) for text in row) + " |" for row in lines] + [""]


def _cell(text: str) -> str:
    """Text for one cell: a pipe ends a cell even inside backticks, an angle bracket outside them is HTML."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts))


#: The pages by their file's name.
PAGES = {"commands.md": commands, "settings.md": settings, "formats.md": formats}


def main() -> None:
    """Print the commands, or write all pages into the folder that is named."""
    if len(sys.argv) == 1:
        sys.stdout.write(commands())
    for folder in sys.argv[1:]:
        for name, page in PAGES.items():
            write_text(Path(folder) / name, page())


if __name__ == "__main__":
    main()
