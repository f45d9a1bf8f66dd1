"""Grading tests: gold videos by kloc's own key, forms by the standard AnswerKey. The gold never leaves before a pass.

The standard: https://docs.aws.amazon.com/AWSMechTurk/latest/AWSMturkAPI/ApiReference_AnswerKeyDataStructureArticle.html
Beside its selections an AnswerOption may hold a FreeText here, compared without regard to case and outer spaces.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, Protocol
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from kloc.crowd.endpoint.answers import NAMESPACE as ANSWERS
from kloc.crowd.endpoint.answers import clean
from kloc.crowd.endpoint.faults import RequestError, invalid

GOLD = "urn:kloc:gold-answer-key:1"
STANDARD = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2005-10-01/AnswerKey.xsd"
#: Bytes of a key's XML.
MAXIMUM = 65_535
#: Scores the API can carry.
_HIGHEST = 2**31 - 1
#: More gold segments than this are no test; more marks than this no answer: those beyond count as wrong.
_MOST_GOLD, _MOST_MARKED = 200, 500
#: How much a mark must overlap (tIoU) with a gold segment for its boundaries to be spoken of.
_NEAR = 0.2
_FIELD = "answer"


@dataclass(frozen=True)
class Grade:
    """What a test is worth. feedback: what the worker is told; gold: what would have been right, empty for forms."""

    score: int
    feedback: list[dict[str, Any]] = field(default_factory=list)
    gold: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Segment:
    """Media seconds."""

    label: str
    start: float
    end: float

    def to_json(self) -> dict[str, Any]:
        return {"label": self.label, "start": self.start, "end": self.end}


class Key(Protocol):
    """An answer key that was read."""

    def grade(self, given: dict[str, list[str]]) -> Grade:
        """Judge an answer: question -> what was written or selected there."""
        ...


def grade(answer_key: str, answer_document: str) -> Grade:
    """Judge an answer document (QuestionFormAnswers) by a key."""
    return read_key(answer_key).grade(_given(answer_document))


def read_key(xml: str) -> Key:
    """Read an answer key. Raises :class:`RequestError` with the code MTurk clients look for."""
    size = len(xml.encode("utf-8", "surrogatepass"))
    if size > MAXIMUM:
        raise invalid(f"the AnswerKey has {size} bytes, at most {MAXIMUM} are allowed")
    try:
        root: Element = defusedxml.ElementTree.fromstring(xml.strip(), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise _broken(f"the AnswerKey is not well-formed XML: {type(error).__name__}: {error}") from error
    if root.tag == f"{{{GOLD}}}GoldAnswerKey":
        return _gold_key(root.findtext(f"{{{GOLD}}}JSON") or "")
    if root.tag == f"{{{STANDARD}}}AnswerKey":
        return _standard_key(root)
    raise _broken(
        f"the AnswerKey's root element {root.tag!r} is neither {{{STANDARD}}}AnswerKey nor {{{GOLD}}}GoldAnswerKey"
    )


@dataclass(frozen=True)
class GoldKey:
    """The segments of a gold video. A boundary may be off by ``tolerance_s + tolerance_share * gold duration``."""

    segments: tuple[Segment, ...]
    tolerance_s: float
    tolerance_share: float

    def grade(self, given: dict[str, list[str]]) -> Grade:
        """100 times the F1 of the marked segments; none where there is none is perfect.

        A mark fits a gold segment of its class when both boundaries are within tolerance; as many as possible are
        paired. What overlaps without fitting is told by how much, what was missed only that it was. Marks all over the
        video are told nothing but that: their feedback would be the answer to the next try.
        """
        marks = _marks(given)
        judged = marks[:_MOST_MARKED]
        paired = self._paired(judged)
        total = len(marks) + len(self.segments)
        score = round(100 * 2 * len(paired) / total) if total else 100
        shown = [gold.to_json() for gold in self.segments]
        if len(marks) > 2 * len(self.segments) + 2:
            return Grade(score, [{"kind": "many"}], shown)
        feedback = [{"kind": "good", **judged[mark].to_json()} for mark in paired]
        left = [gold for index, gold in enumerate(self.segments) if index not in paired.values()]
        for index, mark in enumerate(judged):
            if index not in paired:
                gold = self._closest(mark, left)
                feedback += self._off(mark, gold) if gold else [{"kind": "extra", **mark.to_json()}]
        feedback += [{"kind": "missed", "label": gold.label} for gold in left]
        return Grade(score, feedback, shown)

    def _fits(self, mark: Segment, gold: Segment) -> bool:
        bound = self._tolerance(gold)
        near = abs(mark.start - gold.start) <= bound and abs(mark.end - gold.end) <= bound
        return near and mark.label == gold.label

    def _tolerance(self, gold: Segment) -> float:
        return self.tolerance_s + self.tolerance_share * (gold.end - gold.start) + 1e-9

    def _paired(self, marks: list[Segment]) -> dict[int, int]:
        """Mark -> gold, as many pairs as there can be (augmenting paths)."""
        fitting = [[i for i, mark in enumerate(marks) if self._fits(mark, gold)] for gold in self.segments]
        paired: dict[int, int] = {}

        def place(gold: int, tried: set[int]) -> bool:
            for mark in fitting[gold]:
                if mark not in tried:
                    tried.add(mark)
                    if mark not in paired or place(paired[mark], tried):
                        paired[mark] = gold
                        return True
            return False

        for gold in range(len(self.segments)):
            place(gold, set())
        return dict(sorted(paired.items()))

    @staticmethod
    def _closest(mark: Segment, left: list[Segment]) -> Segment | None:
        """The gold segment that ``mark`` overlaps most, taken out of ``left``.

        Not for a mark much longer than what it holds: by how much it is off would tell where the gold lies.
        """

        def overlap(gold: Segment) -> float:
            shared = min(mark.end, gold.end) - max(mark.start, gold.start)
            both = max(mark.end, gold.end) - min(mark.start, gold.start)
            return shared / both if mark.label == gold.label and both > 0 else 0.0

        best = max(left, key=overlap, default=None)
        if best is None or overlap(best) < _NEAR:
            return None
        left.remove(best)
        return best

    def _off(self, mark: Segment, gold: Segment) -> list[dict[str, Any]]:
        """Which boundaries are out of tolerance, and by how much."""
        offs = {"start": mark.start - gold.start, "end": mark.end - gold.end}
        bound = self._tolerance(gold)
        return [
            {"kind": kind, **mark.to_json(), "off": round(off, 2)} for kind, off in offs.items() if abs(off) > bound
        ]


@dataclass(frozen=True)
class _Option:
    """What scores: exactly these selections, or this text."""

    selections: frozenset[str]
    text: str | None
    score: int

    def is_met(self, values: list[str]) -> bool:
        if self.text is None:
            return self.selections == frozenset(values)
        return self.text == " ".join(values).strip().casefold()


@dataclass(frozen=True)
class StandardKey:
    """The standard key: scores by question, and the element that maps their sum to the qualification's value."""

    questions: dict[str, tuple[tuple[_Option, ...], int]]
    mapping: Element | None

    def grade(self, given: dict[str, list[str]]) -> Grade:
        total = sum(self._score(name, given.get(name, [])) for name in self.questions)
        return Grade(max(0, min(_mapped(self.mapping, total), _HIGHEST)))

    def _score(self, name: str, values: list[str]) -> int:
        options, default = self.questions[name]
        return next((option.score for option in options if option.is_met(values)), default)


def _gold_key(text: str) -> GoldKey:
    try:
        key: Any = json.loads(text)
    except (ValueError, RecursionError):
        key = None
    if not isinstance(key, dict) or key.get("version") != 1 or not isinstance(key.get("segments"), list):
        raise _broken('the GoldAnswerKey\'s JSON must be {"version": 1, "segments": [...], "tolerance_s": seconds}')
    segments = [_segment(value) for value in key["segments"]]
    seconds, share = _number(key.get("tolerance_s", 1.0)), _number(key.get("tolerance_share", 0.1))
    if None in segments or len(segments) > _MOST_GOLD:
        raise _broken(f'a GoldAnswerKey has at most {_MOST_GOLD} segments, each with "label", "start" and "end"')
    if seconds is None or share is None or min(seconds, share) < 0:
        raise _broken("the GoldAnswerKey's tolerance_s and tolerance_share must be numbers from 0")
    return GoldKey(tuple(segment for segment in segments if segment is not None), seconds, share)


def _marks(given: dict[str, list[str]]) -> list[Segment]:
    """The segments of the page's answer; whatever is none counts as a mark that fits nothing."""
    try:
        answer: Any = json.loads("".join(given.get(_FIELD, [])))
    except (ValueError, RecursionError):
        answer = None
    values = answer.get("segments") if isinstance(answer, dict) else None
    if not isinstance(values, list):
        return [_NO_SEGMENT]
    return [_segment(value) or _NO_SEGMENT for value in values]


_NO_SEGMENT = Segment("", 0.0, 0.0)


def _segment(value: Any) -> Segment | None:
    if not isinstance(value, dict) or not isinstance(value.get("label"), str):
        return None
    label = clean(value["label"])  # JSON can write what no answer of ours could carry: halves of characters
    start, end = _number(value.get("start")), _number(value.get("end"))
    if not 0 < len(label) <= 200 or start is None or end is None or end <= start:
        return None
    return Segment(label, start, end)


def _number(value: Any) -> float | None:
    known = type(value) in (int, float) and abs(value) < 1e9 and math.isfinite(value)
    return float(value) if known else None


def _standard_key(root: Element) -> StandardKey:
    questions = {}
    for question in root.findall(_tag("Question")):
        name = _text(question, "QuestionIdentifier")
        options = tuple(_option(option) for option in question.findall(_tag("AnswerOption")))
        default = _whole(_text(question, "DefaultScore") or "0")
        if not name or name in questions:
            raise _broken("each Question of an AnswerKey needs a QuestionIdentifier of its own")
        questions[name] = (options, default)
    if not questions:
        raise _broken("the AnswerKey has no Question")
    holder = root.find(_tag("QualificationValueMapping"))
    key = StandardKey(questions, holder[0] if holder is not None and len(holder) else None)
    _mapped(key.mapping, 0)  # a mapping that cannot be used is refused now, not when somebody hands in a test
    return key


def _option(option: Element) -> _Option:
    selections = frozenset((each.text or "").strip() for each in option.findall(_tag("SelectionIdentifier")))
    text, score = _text(option, "FreeText"), _text(option, "AnswerScore")
    if score is None or bool(selections) == (text is not None):
        raise _broken("an AnswerOption needs SelectionIdentifiers (or a FreeText) and an AnswerScore")
    return _Option(selections, None if text is None else text.casefold(), _whole(score))


def _mapped(mapping: Element | None, total: int) -> int:
    """The value for a sum of scores; without a mapping the sum itself."""
    if mapping is None:
        return total
    if mapping.tag == _tag("PercentageMapping"):
        most = _whole(_text(mapping, "MaximumSummedScore") or "")
        if most <= 0:
            raise _broken("the MaximumSummedScore must be above 0")
        return round(100 * total / most)
    if mapping.tag == _tag("ScaleMapping"):
        try:
            return round(float(_text(mapping, "SummedScoreMultiplier") or "") * total)
        except (ValueError, OverflowError):
            raise _broken("the SummedScoreMultiplier is not a number") from None
    if mapping.tag == _tag("RangeMapping"):
        found = _whole(_text(mapping, "OutOfRangeQualificationValue") or "")
        for each in reversed(mapping.findall(_tag("SummedScoreRange"))):
            names = ("InclusiveLowerBound", "InclusiveUpperBound", "QualificationValue")
            low, high, value = (_whole(_text(each, name) or "") for name in names)
            found = value if low <= total <= high else found
        return found
    raise _broken("the QualificationValueMapping is none of PercentageMapping, ScaleMapping, RangeMapping")


def _given(xml: str) -> dict[str, list[str]]:
    """The endpoint's own answer document: question -> values."""
    root = defusedxml.ElementTree.fromstring(xml.encode(), forbid_dtd=True)
    return {
        answer.findtext(f"{{{ANSWERS}}}QuestionIdentifier") or "": [
            child.text or "" for child in answer if child.tag != f"{{{ANSWERS}}}QuestionIdentifier"
        ]
        for answer in root
    }


def _whole(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = _HIGHEST + 1
    if abs(value) > _HIGHEST:
        raise _broken(f"{text[:20]!r} in the AnswerKey is not an integer")
    return value


def _text(element: Element, name: str) -> str | None:
    text = element.findtext(_tag(name))
    return None if text is None else text.strip()


def _tag(name: str) -> str:
    return f"{{{STANDARD}}}{name}"


def _broken(message: str) -> RequestError:
    return RequestError("XMLParseError", message)
