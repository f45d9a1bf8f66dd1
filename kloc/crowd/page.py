"""The annotation page: one task in, one self-contained HTML document out.

The page is made of ``hits/task.html.j2``, ``hits/page.html``, ``hits/task.css`` and the scripts of :data:`SCRIPTS`.
It has to travel inside an HTMLQuestion, whose limit is 65,535 bytes with its wrapper: nothing is fetched, markup,
style sheet and script travel deflated, and the size is checked here, before anything is published. The same task
gives the same bytes (for one build of zlib).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from kloc.crowd.question import NOT_XML
from kloc.errors import UsageError
from kloc.resources import folder

#: Bytes a rendered page may have; the rest of an HTMLQuestion's 65,535 is its wrapper's.
MAX_BYTES = 60_000

#: The page's scripts in the order in which they are joined: they share one module scope.
SCRIPTS = (
    "core.js",
    "player.js",
    "timeline.js",
    "edges.js",
    "list.js",
    "draft.js",
    "guide.js",
    "send.js",
    "report.js",
    "training.js",
    "task.js",
)


# A line that is nothing but a comment: the browser needs none, and the page has no byte to spare.
_COMMENT = re.compile(r"^[ \t]*//.*\n", re.MULTILINE)


def _printable(text: str) -> str:
    found = NOT_XML.search(text)
    if found:
        raise ValueError(f"holds the character U+{ord(found[0]):04X}, which XML cannot carry; remove it")
    return text


Text = Annotated[str, AfterValidator(_printable)]
Name = Annotated[str, Field(min_length=1), AfterValidator(_printable)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Example(_Part):
    media_key: Name
    start: Seconds
    end: Seconds
    caption: Text = ""

    @model_validator(mode="after")
    def _ordered(self) -> _Example:
        if self.end <= self.start:
            raise ValueError(f"the example [{self.start}, {self.end}) of {self.media_key!r} ends before it starts")
        return self


class _Class(_Part):
    name: Name
    definition: Text
    start_rule: Text | None = None
    end_rule: Text | None = None
    examples: Sequence[_Example] | None = None


class _Segment(_Part):
    label: Name
    start: Seconds
    end: Seconds


class _Task(_Part):
    version: Literal[1]
    mode: Literal["task", "training"] = "task"
    video_id: Name
    media_key: Name
    media_type: Literal["video/mp4", "video/webm"]
    duration: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    frame_period: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    classes: Annotated[Sequence[_Class], Field(min_length=1)]
    guideline: Name
    title: Name
    instructions: Text
    reward: Text
    expected_minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    contact: Text
    prefill: Sequence[_Segment]

    @model_validator(mode="after")
    def _consistent(self) -> _Task:
        names = [c.name for c in self.classes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the class {twice[0]!r} is given twice")
        if self.frame_period > self.duration:
            raise ValueError(f"frame_period {self.frame_period} s is longer than the video ({self.duration} s)")
        for segment in self.prefill:
            if segment.label not in names:
                raise ValueError(f"prefill has the class {segment.label!r}, which is not one of the task's")
            if not segment.start < segment.end <= self.duration + self.frame_period:
                raise ValueError(
                    f"prefill has the segment [{segment.start}, {segment.end}) outside the video's {self.duration} s"
                )
        return self


def validate(task: Mapping[str, Any]) -> dict[str, Any]:
    """The task with its keys in the page's order, without absent rules.

    Raises:
        UsageError: a key is missing, unknown or of the wrong type; a class is given twice; a prefilled segment
            lies outside the video or names a class the task lacks; a text holds characters XML cannot carry.
    """
    try:
        return _Task.model_validate(dict(task)).model_dump(exclude_none=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        video = repr(task.get("video_id", "of an unnamed video"))
        raise UsageError(f"the task {video} cannot be shown: {place + ': ' if place else ''}{message}") from None


def embed(value: Any) -> Markup:
    """JSON that is safe inside a ``<script>`` element and inside a CDATA section."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def render(task: Mapping[str, Any]) -> str:
    """One HTML document for ``task``, self-contained, below :data:`MAX_BYTES` bytes of UTF-8.

    The page reads ``assignmentId``, ``workerId``, ``turkSubmitTo``, ``mediaUrl``, ``draftUrl``, ``reportUrl`` and
    one ``media:<key>`` per example clip from its own address. Its content policy names the hashes of its scripts
    and its style sheet, so nothing else can run in it. Times in the task and in the answer are media seconds: the
    media starts at 0.

    Raises:
        UsageError: the task is not valid (see :func:`validate`) or its texts are too long for a page.
    """
    checked = validate(task)
    hits = folder("hits")
    html, css = ((hits / name).read_text(encoding="utf-8") for name in ("page.html", "task.css"))
    sources = ((hits / "js" / name).read_text(encoding="utf-8") for name in ("boot.js", *SCRIPTS))
    boot, *parts = (_COMMENT.sub("", source) for source in sources)
    script = "\n".join(parts)
    environment = Environment(
        loader=FileSystemLoader(hits), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("task.html.j2").render(
        title=checked["title"],
        task=embed(checked),
        app=_pack({"html": html, "css": css, "script": script}),
        boot=Markup(boot),
        style_hash=_hash(css),
        script_hash=_hash(script),
        boot_hash=_hash(boot),
    )
    size = len(page.encode("utf-8"))
    if size >= MAX_BYTES:
        raise UsageError(
            f"the page of {checked['video_id']!r} has {size:,} bytes and must stay below {MAX_BYTES:,}: shorten the "
            "instructions and class definitions, or offer fewer classes in one task"
        )
    return page


def _pack(parts: Mapping[str, str]) -> str:
    """``parts`` as deflated JSON in base64: a third of their bytes, unpacked by ``hits/js/boot.js``."""
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("utf-8"), level=9)).decode("ascii")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
