"""The dataset card: Markdown with the front matter that Hugging Face reads, from plain data."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from kloc.resources import folder

Value = str | int | float

#: Licences that Hugging Face knows by these ids; any other is "other" with its name.
_LICENCES = frozenset(
    {
        "apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "cc-by-3.0", "odc-by", "odbl", "cdla-permissive-2.0",
        "unknown",
    }
)  # fmt: skip
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True)
class Card:
    """All that a card says.

    classes: names, or names with their number of instances.
    statistics: figure by its name. splits: split -> {"videos": n, "instances": n, "hours": h, ...}.
    collection: how the annotations were made (strategies, rounds, instructions, pay, agreement ...); a value is
        text, a number, a list of sentences, or names with values.
    metrics: value by its name, measured on ``benchmark_split``. problems: known problems, one sentence each.
    data_files: split -> path pattern, and features: column -> type, for the front matter.
    """

    name: str
    classes: Sequence[str] | Mapping[str, int]
    licence: str
    simulated: bool = False
    description: Sequence[str] = ()
    source: str = ""
    time_origin: str = ""
    statistics: Mapping[str, Value] = field(default_factory=dict)
    splits: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    collection: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Value] = field(default_factory=dict)
    benchmark_split: str = "validation"
    problems: Sequence[str] = ()
    licence_note: str = ""
    citation: str = ""
    data_files: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Value] = field(default_factory=dict)


def render_card(card: Card) -> str:
    """The card as Markdown text. Every value is escaped; equal cards give equal bytes."""
    environment = Environment(
        loader=FileSystemLoader(str(folder("dataset_cards"))),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        finalize=_markdown,
    )
    environment.filters |= {"yaml": _yaml, "figure": _figure, "fenced": _fenced}
    n_videos = sum(int(figures.get("videos", 0)) for figures in card.splits.values())
    licence = card.licence.strip().lower()
    text = environment.get_template("template.md.j2").render(
        card=card,
        license_id=licence if licence in _LICENCES else "other",
        size_category=next((name for limit, name in _SIZES if n_videos < limit), "n>1M"),
        split_columns=list(dict.fromkeys(k for figures in card.splits.values() for k in figures)),
    )
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def _yaml(value: object) -> Markup:
    """A YAML scalar: JSON's strings are YAML's, and hold any character."""
    return Markup(json.dumps(str(value), ensure_ascii=False))


def _figure(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"


def _fenced(value: str) -> Markup:
    """Text inside a code fence, which it must not close."""
    return Markup(value.strip().replace("```", "'''"))


def _markdown(value: object) -> object:
    """Text that cannot become markup, a table's border or a new line. ``Markup`` passes as it is."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    flat = re.sub(r"\s+", " ", value)
    return re.sub(r"([\\|`*_\[\]])", r"\\\1", html.escape(flat, quote=False))
