"""Reading what workers send. All of it is hostile: what is wrong becomes a problem in words, never an exception."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

ANSWERS_NAMESPACE = (
    "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2005-10-01/QuestionFormAnswers.xsd"
)
#: The form field that carries the page's answer.
FIELD = "answer"
#: Nothing a person marks in one task comes near these.
MAX_XML_CHARACTERS = 2_000_000
MAX_SEGMENTS = 500
MAX_WATCHED = 20_000
#: An end this far beyond the media (a player's last frame, rounding) is clipped; further out it is a problem.
TOLERANCE_S = 1.0
#: Answers given in less than this share of the video's duration are marked.
HASTY_SHARE = 0.3
#: A segment that covers at least this share of the item counts as "the whole video".
WHOLE_SHARE = 0.98
#: Where a segment comes from: marked by hand, or prefilled and left as it was or changed.
ORIGINS = ("own", "kept", "corrected")
#: How the problem of an answer begins that is a worker's report, not a defect of the answer.
REPORTED = "the worker reports"

# What XML 1.0 forbids. Some servers let such characters through; the answer around them is still good.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_XML_REFERENCE = re.compile(r"&#(?:x0*([0-9a-fA-F]{1,8})|0*([0-9]{1,8}));")


@dataclass(frozen=True, slots=True)
class Marked:
    """One segment a worker marked, in video seconds. ``origin`` is one of :data:`ORIGINS`, ``None`` where not told."""

    start: float
    end: float
    label: str
    origin: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As kept in ``AssignmentRow.answer``."""
        told = {} if self.origin is None else {"origin": self.origin}
        return {"start": self.start, "end": self.end, "label": self.label, **told}


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """One answer in video seconds. ``none``: the worker said that none of the classes occurs.

    ``discarded``: how many prefilled segments the worker deleted, ``None`` where not told. ``signs`` are reasons to
    look twice, not proofs: "hasty", "whole-video", "unwatched".
    """

    segments: tuple[Marked, ...]
    none: bool
    seconds_spent: float | None
    watched: tuple[tuple[float, float], ...]
    guideline: str | None
    prefilled: bool
    signs: tuple[str, ...]
    discarded: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As kept in ``AssignmentRow.answer``."""
        return {
            "segments": [segment.to_json() for segment in self.segments],
            "none": self.none,
            "seconds_spent": self.seconds_spent,
            "watched": [list(pair) for pair in self.watched],
            "guideline": self.guideline,
            "prefilled": self.prefilled,
            "signs": list(self.signs),
            **({} if self.discarded is None else {"discarded": self.discarded}),
        }


class _ProblemError(Exception):
    """Why an answer cannot be used; never leaves this module."""


def parse(
    raw: str, *, start: float, end: float, media_start: float, classes: Collection[str]
) -> tuple[ParsedAnswer | None, str | None]:
    """Read one QuestionFormAnswers document: (answer, ``None``) or (``None``, what is wrong with it).

    ``start`` and ``end`` bound the item in video seconds; the answer's clock plus ``media_start`` is video time.
    Segments are clipped to the item where they pass it by at most :data:`TOLERANCE_S`.
    """
    try:
        fields = _fields(raw)
        if FIELD not in fields:
            raise _ProblemError(f"no field {FIELD!r} among {_shown(sorted(fields))}")
        return _answer(fields[FIELD], start, end, media_start, classes), None
    except _ProblemError as problem:
        return None, _NOT_XML.sub(" ", str(problem))[:500]


def _fields(raw: str) -> dict[str, str]:
    if len(raw) > MAX_XML_CHARACTERS:
        raise _ProblemError(f"the answer has {len(raw):,} characters, more than {MAX_XML_CHARACTERS:,}")
    text = _NOT_XML_REFERENCE.sub(_legal_reference, _NOT_XML.sub("", raw)).strip()
    try:
        # Bytes, with the declaration's encoding out of the way: a str that declares "utf-16" would not parse.
        root = fromstring(re.sub(r"^<\?xml[^>]{0,200}\?>", "", text).encode(), forbid_dtd=True)
    except DefusedXmlException as error:
        raise _ProblemError(f"the XML tries something forbidden ({type(error).__name__})") from None
    except (ParseError, ValueError, LookupError, RecursionError) as error:
        raise _ProblemError(f"not well-formed XML: {_shown(str(error))}") from None
    if root.tag != f"{{{ANSWERS_NAMESPACE}}}QuestionFormAnswers":
        raise _ProblemError(f"not QuestionFormAnswers: the document is {_shown(root.tag)}")
    fields: dict[str, str] = {}
    for answer in root.findall(f"{{{ANSWERS_NAMESPACE}}}Answer"):
        name = _text(answer, "QuestionIdentifier")
        if name is None:
            raise _ProblemError("an Answer has no QuestionIdentifier")
        if name in fields:
            raise _ProblemError(f"the field {_shown(name)} comes twice")
        fields[name] = _text(answer, "FreeText") or ""
    return fields


def _legal_reference(match: re.Match[str]) -> str:
    code = int(match[1], 16) if match[1] else int(match[2])
    legal = code in (9, 10, 13) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or 0x10000 <= code <= 0x10FFFF
    return match[0] if legal else ""


def _text(parent: Element, name: str) -> str | None:
    child = parent.find(f"{{{ANSWERS_NAMESPACE}}}{name}")
    return None if child is None else child.text or ""


def _answer(text: str, start: float, end: float, media_start: float, classes: Collection[str]) -> ParsedAnswer:
    data = _json(text)
    if not isinstance(data, dict):
        raise _ProblemError(f"the answer is {_kind(data)}, not an object")
    if "problem" in data:
        raise _ProblemError(_report(data["problem"]))
    if data.get("version") != 1 or isinstance(data.get("version"), bool):
        raise _ProblemError(f"unknown version {_shown(data.get('version'))} of the answer")
    segments = tuple(sorted(_segments(data.get("segments"), start, end, media_start, classes), key=_order))
    none = data.get("none", False)
    if not isinstance(none, bool):
        raise _ProblemError(f"'none' is {_kind(none)}, not true or false")
    if none and segments:
        raise _ProblemError(f"says that nothing occurs and marks {len(segments)} segments")
    if not none and not segments:
        raise _ProblemError("marks nothing and does not say that nothing occurs")
    spent = data.get("seconds_spent")
    seconds = None if spent is None else _number(spent, "seconds_spent")
    if seconds is not None and seconds < 0:
        raise _ProblemError(f"negative seconds_spent {seconds}")
    watched = _watched(data.get("watched"), start, end, media_start)
    discarded = data.get("discarded")
    if discarded is not None and not (type(discarded) is int and 0 <= discarded <= MAX_SEGMENTS):
        raise _ProblemError(f"'discarded' is {_shown(discarded)}, not a number of segments")
    guideline = data.get("guideline")
    if guideline is not None and not isinstance(guideline, str):
        raise _ProblemError(f"'guideline' is {_kind(guideline)}, not text")
    return ParsedAnswer(
        segments=segments,
        none=none,
        seconds_spent=seconds,
        watched=watched,
        guideline=None if guideline is None else _NOT_XML.sub("", guideline)[:64],
        prefilled=data.get("prefilled") is True,
        signs=_signs(segments, seconds, watched, start, end),
        discarded=discarded,
    )


def storable(text: str) -> str:
    """``text`` as both databases can keep it: NUL and lone surrogates become visible escapes, all else stays."""
    return re.sub("[\x00\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def is_report(problem: str | None) -> bool:
    """Whether an answer's problem is what its worker reported about the task."""
    return problem is not None and problem.startswith(REPORTED)


def _report(value: Any) -> str:
    if not isinstance(value, dict):
        return f"{REPORTED}: {_shown(value)}"
    kind, text = value.get("kind"), value.get("text")
    return f"{REPORTED} {_shown(kind)}" + (f": {_shown(text)}" if text else "")


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _ProblemError(f"the answer is not JSON: {_shown(str(error))}") from None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _segments(value: Any, start: float, end: float, media_start: float, classes: Collection[str]) -> list[Marked]:
    if not isinstance(value, list):
        raise _ProblemError(f"'segments' is {_kind(value)}, not a list")
    if len(value) > MAX_SEGMENTS:
        raise _ProblemError(f"{len(value):,} segments, more than {MAX_SEGMENTS}")
    segments = []
    for index, entry in enumerate(value, 1):
        if not isinstance(entry, dict):
            raise _ProblemError(f"segment {index} is {_kind(entry)}, not an object")
        label = entry.get("label")
        if not isinstance(label, str) or label not in classes:
            raise _ProblemError(f"segment {index} has the unknown class {_shown(label)}")
        low = _number(entry.get("start"), f"start of segment {index}") + media_start
        high = _number(entry.get("end"), f"end of segment {index}") + media_start
        if high <= low:
            raise _ProblemError(f"segment {index} ends ({high:g} s) before it starts ({low:g} s)")
        if low < start - TOLERANCE_S or high > end + TOLERANCE_S:
            raise _ProblemError(f"segment {index} [{low:g}, {high:g}) lies outside [{start:g}, {end:g})")
        low, high = max(low, start), min(high, end)
        if high <= low:
            raise _ProblemError(f"segment {index} lies outside [{start:g}, {end:g})")
        origin = entry.get("origin")
        if origin is not None and origin not in ORIGINS:
            raise _ProblemError(f"segment {index} has the unknown origin {_shown(origin)}")
        segments.append(Marked(low, high, label, origin))
    return list({_order(segment): segment for segment in segments}.values())


def _order(segment: Marked) -> tuple[float, float, str]:
    return segment.start, segment.end, segment.label


def _watched(value: Any, start: float, end: float, media_start: float) -> tuple[tuple[float, float], ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_WATCHED:
        raise _ProblemError("'watched' is not a list of stretches")
    stretches = []
    for entry in value:
        if not isinstance(entry, list) or len(entry) != 2:
            raise _ProblemError("'watched' holds something that is not [start, end]")
        low = min(max(_number(entry[0], "watched") + media_start, start), end)
        high = min(max(_number(entry[1], "watched") + media_start, start), end)
        if high > low:
            stretches.append((low, high))
    return tuple(_union(stretches))


def _union(stretches: list[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for low, high in sorted(stretches):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return merged


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _ProblemError(f"{what} is {_kind(value)}, not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or abs(number) > 1e9:
        raise _ProblemError(f"{what} is not a usable number")
    return number


def _signs(
    segments: tuple[Marked, ...],
    seconds: float | None,
    watched: tuple[tuple[float, float], ...],
    start: float,
    end: float,
) -> tuple[str, ...]:
    signs = []
    duration = end - start
    if seconds is not None and seconds < HASTY_SHARE * duration:
        signs.append("hasty")
    if len(segments) == 1 and segments[0].end - segments[0].start >= WHOLE_SHARE * duration:
        signs.append("whole-video")
    if sum(high - low for low, high in watched) < HASTY_SHARE * duration:
        signs.append("unwatched")
    return tuple(signs)


def _kind(value: Any) -> str:
    names = {bool: "a truth value", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return "missing" if value is None else names.get(type(value), type(value).__name__)


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):  # repr of a deeply nested one would run out of stack
        return _kind(value)
    text = " ".join(value.split()) if isinstance(value, str) else repr(value)
    text = text if len(text) <= 120 else f"{text[:117]}..."
    return repr(text) if isinstance(value, str) else text
