"""The dataset card: Markdown with the front matter that Hugging Face reads, from plain facts."""

from __future__ import annotations

import html
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from pydantic import TypeAdapter

from kloc.formats.huggingface import COLUMNS, SPLITS
from kloc.report.benchmark import BenchmarkTable
from kloc.report.front_matter import front_matter, to_yaml
from kloc.report.statistics import Statistics, sentences
from kloc.resources import folder

#: What the strategies of the house go by.
STRATEGIES = {
    "random": "chance (random)",
    "us": "uncertainty (us)",
    "us-binary": "uncertainty (us-binary)",
    "lal": "learned gain (lal)",
    "mcle": "conflict with a prior (mcle)",
    "typiclust": "typical videos (typiclust)",
}


@dataclass(frozen=True)
class ClassFacts:
    """A class: its annotated videos and instances, and what workers were told about it."""

    name: str
    videos: int
    instances: int
    definition: str = ""
    starts: str = ""
    ends: str = ""


@dataclass(frozen=True)
class Choice:
    """How a round chose: the policy by which scores became a batch, and what was out of the ordinary."""

    policy: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Guideline:
    """A version of what workers were told, whichever classes a task asked about; answers: given under it.

    described: classes with the definition, rules and number of example clips that this version gave, as sentences.
    """

    title: str
    instructions: str
    answers: int
    described: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spread:
    """Of how many there is a figure, and the lowest, the median and the highest of it."""

    count: int
    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Campaign:
    """How workers made annotations, beside the rounds that the statistics tell of.

    Money in words ("0.10 USD"), times in seconds, quality as F1 at tIoU 0.5. choices: by round.
    per_video: answers that count of each video. extra: answers asked for because others left something in doubt.
    period: first and last day on which answers came, where people gave them.
    gold_videos, gold_answers, gold_f1: hidden videos with a known answer, and how workers did on them.
    practice: videos each worker had to pass first, and the score to reach in percent.
    prefilled: answers that started from a model's proposals. pace: median seconds of work per minute of video.
    """

    choices: Mapping[int, Choice]
    guidelines: tuple[Guideline, ...]
    workers: int
    answers: int
    rejected: int
    per_video: Spread
    wanted: str
    extra: int
    consolidation: str
    approval: str
    rewards: tuple[str, ...]
    fee_percent: float
    paid: str
    paid_per_video: str
    bonuses: int
    seconds: Spread | None
    pace: float | None
    hours: float | None
    hourly: str
    worker_agreement: Spread | None
    gold_videos: int = 0
    gold_answers: int = 0
    gold_f1: Spread | None = None
    practice: tuple[int, int] | None = None
    prefilled: int = 0
    period: tuple[str, str] | None = None


@dataclass(frozen=True)
class Check:
    """A check that ran: what it looked for, and what it found, one sentence each; nothing found is good news."""

    name: str
    found: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A question of the datasheet that no data can answer; ``answer`` is empty where nobody has answered it."""

    key: str
    question: str
    answer: str = ""

    @property
    def section(self) -> str:
        """The part of the datasheet it belongs to."""
        return self.key.split(".")[0]


@dataclass(frozen=True)
class DataFile:
    """A table beside the card: its split, its path from the card, its rows, its bytes in memory and on the disk."""

    split: str
    path: str
    rows: int
    memory: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Card:
    """All facts that a card tells. Equal facts make equal bytes.

    statistics: of the annotated videos. split: how they were dealt out. clock: what times count from. origins: videos
    whose annotation comes from "crowd" (answers), "import" (others) or "review" (a person here). partial: videos in
    which only some classes were looked for. curve: videos annotated and the mAP at tIoU 0.5 that a localizer then
    reached. checks: those that ran; unchecked: what could not be checked, and why. files: tables as
    `kloc.formats.huggingface` writes them.
    """

    statistics: Statistics
    licence: str = "unknown"
    language: str = "en"
    version: str = "1.0"
    description: str = ""
    source: str = ""
    citation: str = ""
    simulated: bool = False
    classes: tuple[ClassFacts, ...] = ()
    split: str = ""
    clock: str = ""
    curve: tuple[tuple[int, float], ...] = ()
    origins: Mapping[str, int] = field(default_factory=dict)
    partial: int = 0
    campaign: Campaign | None = None
    benchmark: Mapping[str, Any] | None = None
    localizer: Mapping[str, str | int | float] | None = None
    checks: tuple[Check, ...] = ()
    unchecked: tuple[str, ...] = ()
    datasheet: tuple[Answer, ...] = ()
    files: tuple[DataFile, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def videos(self) -> int:
        """Annotated videos."""
        return self.statistics.annotated

    @property
    def unannotated(self) -> dict[str, int]:
        """Rows of each table whose video nobody has annotated, for the tables that have any."""
        known: dict[str, int] = {row.subset: row.annotated for row in self.statistics.subsets}
        annotated = {split: known.get(subset, 0) for subset, split in SPLITS.items()}
        bare = {file.split: file.rows - annotated.get(file.split, 0) for file in self.files}
        return {split: rows for split, rows in bare.items() if rows > 0}

    @property
    def name(self) -> str:
        """What the dataset is called."""
        return self.statistics.name

    @property
    def creators(self) -> list[str]:
        """Who made the annotations, in Hugging Face's words."""
        words = {"crowd": "machine-generated" if self.simulated else "crowdsourced"}
        words |= {"review": "expert-generated", "import": "found"}
        return [word for origin, word in words.items() if self.origins.get(origin)] or ["other"]

    def answer(self, key: str) -> str:
        """The answer to a question of the datasheet, empty where there is none."""
        return next((one.answer for one in self.datasheet if one.key == key), "")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        found: dict[str, Any] = _FACTS.dump_python(self, mode="json")
        return found

    @classmethod
    def from_json(cls, data: Any) -> Card:
        """Inverse of `to_json`. Raises ValueError for anything else."""
        return _FACTS.validate_python(data)


_FACTS = TypeAdapter(Card)


def render_card(card: Card, pictures: Mapping[str, str] | None = None) -> str:
    """The card as Markdown text, with pictures (path from the card -> what it shows) where there are any.

    Every value is escaped; equal cards give equal bytes.
    """
    text = _template().render(
        card=card,
        front_matter=Markup(to_yaml(front_matter(card))),
        pictures=pictures or {},
        table=COLUMNS,
        split_names=SPLITS,
        unannotated=sum(card.unannotated.values()),
        strategies=defaultdict(str, STRATEGIES),
        sentences=sentences(card.statistics),
        rounds=() if card.statistics.campaign is None else card.statistics.campaign.rounds,
        agreement=None if card.statistics.campaign is None else card.statistics.campaign.agreement,
        origins={"crowd": 0, "review": 0, "import": 0, **card.origins},
        benchmark=None if card.benchmark is None else Markup(BenchmarkTable.from_json(card.benchmark).markdown()),
    )
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(str(folder("dataset_cards"))),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
        finalize=markdown,
    )
    environment.filters |= {"figure": _figure, "fenced": _fenced, "paragraphs": _paragraphs}
    return environment.get_template("template.md.j2")


def _figure(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"


def _fenced(value: str) -> Markup:
    """Text inside a code fence, which it must not close."""
    return Markup(re.sub(r"`{3,}|~{3,}", "'''", value.strip()))


def _paragraphs(value: str) -> list[str]:
    """The paragraphs of a longer text: blank lines divide them."""
    return [part for part in re.split(r"\n\s*\n", value.strip()) if part.strip()]


def markdown(value: object) -> Markup:
    """Text that cannot become markup, a table's border or a new line. ``Markup`` passes as it is."""
    if isinstance(value, Markup):
        return value
    flat = html.escape(re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", str(value)), quote=False)
    flat = re.sub(r"([\\|`*_\[\]~$])", r"\\\1", flat)
    # At the beginning of a line these would be a heading, a list, a rule.
    flat = re.sub(r"^( ?)([#+=-])", r"\1\\\2", flat)
    return Markup(re.sub(r"^( ?\d+)([.)])(?= |$)", r"\1\\\2", flat))
