"""The datasheet's questions that no data can answer: asked once, kept in the workspace's ``datasheet.toml``.

After "Datasheets for Datasets" (Gebru et al., 2021); the questions that the campaign store answers are answered on the
card from there, and the short facts of the front page (licence, source, description, citation) are in ``kloc.toml``.
"""

from __future__ import annotations

import difflib
import json
import re
import textwrap
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from kloc.errors import UsageError
from kloc.files import write_text
from kloc.report.card import Answer
from kloc.workspace import Workspace

FILE = "datasheet.toml"
#: Questions by key, in the order in which they are asked; the part before the dot is the datasheet's section.
QUESTIONS: dict[str, str] = {
    "motivation.purpose": "For what was the dataset made; which gap does it fill?",
    "motivation.creators": "Who made it, and on whose behalf?",
    "motivation.funding": "Who paid for it (grantor and number of the grant)?",
    "composition.extends": "Which existing dataset is it built on, if any?",
    "composition.sampling": "Out of which larger set do the videos come, how were they chosen, how representative are "
    "they?",
    "composition.people": "Do the videos show people; can they be recognised; are groups (age, gender) known?",
    "composition.sensitive": "Do the videos hold anything offensive, confidential or otherwise sensitive?",
    "collection.videos": "How, when and by whom were the videos obtained?",
    "collection.annotators": "Who are the annotators, and how were they found?",
    "collection.consent": "Do the people shown know and agree; how can they withdraw?",
    "collection.ethics": "Was there an ethical review, and with what outcome?",
    "preprocessing.videos": "Were the videos cut, re-encoded or filtered before; is the original kept?",
    "uses.done": "What has it been used for so far?",
    "uses.suitable": "For which other tasks does it suit?",
    "uses.unsuitable": "For what should it not be used, and why?",
    "distribution.videos": "May the videos be passed on; how does one get them?",
    "distribution.place": "Where is it published (address or DOI)?",
    "distribution.date": "When was it published (YYYY-MM-DD)?",
    "distribution.restrictions": "Do third parties or laws restrict its use (rights, export control)?",
    "maintenance.contact": "Who maintains it, and how are they reached?",
    "maintenance.updates": "Will it be corrected and extended, how is that told, do older versions stay?",
    "maintenance.removal": "How does one have a video or a person removed?",
}
_HEAD = (
    "# What no data can tell about the dataset, for its card (`kloc card`). Edit it by hand, or let `kloc card --ask`\n"
    "# put the questions to you. An empty answer is an open question, and the card says so.\n"
)


def answers(workspace: Workspace) -> tuple[Answer, ...]:
    """Every question with its answer as the workspace keeps it. Raises :class:`UsageError` for a broken file."""
    path = workspace.root / FILE
    known = _read(path) if path.exists() else {}
    return of(known)


def of(known: Mapping[str, str]) -> tuple[Answer, ...]:
    """Every question with its answer out of ``known``."""
    return tuple(Answer(key, question, known.get(key, "")) for key, question in QUESTIONS.items())


def keep(workspace: Workspace, given: Mapping[str, str] | None = None) -> None:
    """Add ``given`` answers to the workspace's file; without any, make it where it is not there yet."""
    path = workspace.root / FILE
    if path.exists() and not given:
        return
    known = (_read(path) if path.exists() else {}) | dict(given or {})
    write_text(path, _toml(known))


def read(path: Path) -> dict[str, str]:
    """The answers of a file like ``datasheet.toml``. Raises :class:`UsageError` naming the file and what is wrong."""
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file of answers; `kloc card` writes {FILE} with all questions")
    return _read(path)


def ask(workspace: Workspace, put: Callable[[str, int, int], str]) -> int:
    """Put every open question; returns how many were answered. What is answered is kept at once.

    ``put(question, number, of)`` returns the answer, empty to leave the question open; it raises EOFError or
    KeyboardInterrupt to stop.
    """
    open_ones = [one for one in answers(workspace) if not one.answer]
    answered = 0
    for number, one in enumerate(open_ones, 1):
        try:
            answer = put(one.question, number, len(open_ones)).strip()
        except (EOFError, KeyboardInterrupt):
            break
        if answer:
            keep(workspace, {one.key: answer})
            answered += 1
    return answered


def _read(path: Path) -> dict[str, str]:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as TOML: {error}") from None
    found: dict[str, str] = {}
    for section, table in raw.items():
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {section!r} stands outside the sections; {_known(section)}")
        for name, value in table.items():
            key = f"{section}.{name}"
            if key not in QUESTIONS:
                raise UsageError(f"{path}: there is no question {key!r}; {_known(key)}")
            if not isinstance(value, str):
                raise UsageError(f'{path}: {key} = {value!r} is no text; put it into quotes: "..."')
            found[key] = value.strip()
    return {key: value for key, value in found.items() if value}


def _known(key: str) -> str:
    near = difflib.get_close_matches(key, QUESTIONS, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(QUESTIONS)}"


def _toml(known: Mapping[str, str]) -> str:
    lines, section = [_HEAD], ""
    for key, question in QUESTIONS.items():
        here, name = key.split(".")
        if here != section:
            lines += ["", f"[{here}]"] if section else [f"[{here}]"]
            section = here
        lines += textwrap.wrap(question, 110, initial_indent="# ", subsequent_indent="# ")
        lines.append(f"{name} = {_quoted(known.get(key, ''))}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML string; of several lines where the text has them."""
    text = text.replace("\r\n", "\n").encode("utf-8", "replace").decode("utf-8")
    if "\n" in text:
        body = "\n".join(json.dumps(line, ensure_ascii=False)[1:-1] for line in text.split("\n"))
        quoted = f'"""\n{body}"""'
    else:
        quoted = json.dumps(text, ensure_ascii=False)
    return re.sub("\x7f", r"\\u007f", quoted)
