"""What is published, before any call: items, settings, the page's task, tokens by which a HIT is found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kloc.crowd import money
from kloc.crowd.question import guideline_content, guideline_version, html_question
from kloc.errors import UsageError
from kloc.files import fingerprint
from kloc.records import Item


@dataclass(frozen=True, slots=True)
class PublishItem:
    """One item with the media that shows it. Media seconds + ``media_start`` = video seconds; the media starts at 0.

    ``duration`` is the media's in seconds, ``frame_period`` the seconds between its frames; ``prefill`` holds
    ``{"label", "start", "end"}`` in media seconds.
    """

    item: Item
    classes: tuple[str, ...]
    media_key: str
    duration: float
    frame_period: float
    media_start: float = 0.0
    media_type: str = "video/mp4"
    round: int | None = None
    prefill: tuple[Mapping[str, Any], ...] = ()
    purpose: Literal["task", "gold"] = "task"


@dataclass(frozen=True, slots=True)
class Example:
    """A clip that shows a class: seconds of the media it is cut from."""

    media_key: str
    start: float
    end: float
    caption: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the page's task has it."""
        return {"media_key": self.media_key, "start": self.start, "end": self.end, "caption": self.caption}


@dataclass(frozen=True, slots=True)
class PublishSettings:
    """What is the same for all items of a campaign. Money in mills, durations in seconds."""

    campaign: str
    title: str
    instructions: str
    definitions: Mapping[str, str] = field(default_factory=dict)
    start_rules: Mapping[str, str] = field(default_factory=dict)
    end_rules: Mapping[str, str] = field(default_factory=dict)
    examples: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    description: str = "Watch a video and mark when an action starts and ends."
    keywords: str = "video, annotation, action"
    contact: str = ""
    expected_minutes: float = 3.0
    reward_mills: int = 100
    assignments: int = 3
    lifetime_s: int = 30 * 86_400
    time_limit_s: int = 3600
    auto_approval_s: int = 7 * 86_400
    qualifications: tuple[Mapping[str, Any], ...] = ()
    fees: money.FeeTable = money.NO_FEES

    def __post_init__(self) -> None:
        money.wire_amount(self.reward_mills)
        for name, low, high in (
            ("assignments", 1, 1000),
            ("lifetime_s", 30, 31_536_000),
            ("time_limit_s", 30, 31_536_000),
            ("auto_approval_s", 0, 2_592_000),
        ):
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} {getattr(self, name)} is outside {low}..{high}")
        for name, limit in (("title", 128), ("description", 2000), ("keywords", 1000)):
            if not (name == "keywords" or getattr(self, name).strip()) or len(getattr(self, name)) > limit:
                raise UsageError(f"the HIT's {name} must have 1 to {limit} characters")
        if not self.campaign or len(self.campaign) > 64 or not self.campaign.isprintable():
            raise UsageError(f"campaign id {self.campaign!r}: give 1 to 64 printable characters")
        if len(self.qualifications) > 10:
            raise UsageError(f"{len(self.qualifications)} qualification requirements; the protocol allows 10")


def item_token(campaign: str, round_index: int | None, item: Item) -> str:
    """The token of an item in a round: the same on every restart, 40 hexadecimal digits."""
    name = json.dumps([campaign, round_index, item.video_id, repr(item.start), repr(item.end)])
    return hashlib.sha256(name.encode()).hexdigest()[:40]


def annotation_text(campaign: str, round_index: int | None, token: str) -> str:
    """The RequesterAnnotation by which a HIT is found again; at most 255 characters."""
    return json.dumps({"kloc": 1, "campaign": campaign, "round": round_index, "token": token}, separators=(",", ":"))


def class_entries(names: Sequence[str], settings: PublishSettings) -> list[dict[str, Any]]:
    """What workers are told about each class."""
    classes: list[dict[str, Any]] = []
    for name in names:
        told: dict[str, Any] = {"name": name, "definition": settings.definitions.get(name, "")}
        told |= {"start_rule": settings.start_rules[name]} if name in settings.start_rules else {}
        told |= {"end_rule": settings.end_rules[name]} if name in settings.end_rules else {}
        told |= {"examples": [e.to_json() for e in settings.examples[name]]} if settings.examples.get(name) else {}
        classes.append(told)
    return classes


def task_of(entry: PublishItem, settings: PublishSettings) -> dict[str, Any]:
    """The page's task for an item (see :func:`kloc.crowd.page.render`)."""
    classes = class_entries(entry.classes, settings)
    content = guideline_content(settings.title, settings.instructions, classes)
    return {
        "version": 1,
        "video_id": entry.item.video_id,
        "media_key": entry.media_key,
        "media_type": entry.media_type,
        "duration": float(entry.duration),
        "frame_period": float(entry.frame_period),
        "classes": classes,
        "guideline": guideline_version(content),
        "title": settings.title,
        "instructions": settings.instructions,
        "reward": money.dollars(settings.reward_mills),
        "expected_minutes": float(settings.expected_minutes),
        "contact": settings.contact,
        "prefill": [dict(segment) for segment in entry.prefill],
    }


@dataclass(frozen=True, slots=True)
class Plan:
    """An item ready to be sent: its token, its question and a hash of all that workers and the endpoint get."""

    token: str
    entry: PublishItem
    question: str
    payload_hash: str
    guideline: str
    content: dict[str, Any]


def make_plan(entry: PublishItem, settings: PublishSettings, render: Callable[[Mapping[str, Any]], str]) -> Plan:
    """Render and check one item. Raises :class:`UsageError` naming the video."""
    about = f"video {entry.item.video_id!r}"
    if not entry.classes:
        raise UsageError(f"{about}: there is no class to ask about; give the video a label or the campaign classes")
    task = task_of(entry, settings)
    question = html_question(render(task), about)
    payload = [
        hashlib.sha256(question.encode()).hexdigest(),
        [settings.title, settings.description, settings.keywords, settings.reward_mills, settings.assignments],
        [settings.lifetime_s, settings.time_limit_s, settings.auto_approval_s],
        [dict(requirement) for requirement in settings.qualifications],
        entry.media_start,
    ]
    return Plan(
        token=item_token(settings.campaign, entry.round, entry.item),
        entry=entry,
        question=question,
        payload_hash=fingerprint(payload),
        guideline=task["guideline"],
        content=guideline_content(settings.title, settings.instructions, task["classes"]),
    )
