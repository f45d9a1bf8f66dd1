"""Reading the Question of a HIT or the Test of a qualification: HTML, external or a form, hostile or not."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any, Literal
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from kloc.crowd.endpoint import question_form
from kloc.crowd.endpoint.answers import clean, question_form_answers
from kloc.crowd.endpoint.faults import RequestError, invalid
from kloc.crowd.endpoint.ids import MEDIA_KEY
from kloc.crowd.endpoint.question_form import Form

#: Bytes of the question's XML.
MAXIMUM = 65_535
_SCHEMAS = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas"
HTML_NAMESPACE = f"{_SCHEMAS}/2011-11-11/HTMLQuestion.xsd"
EXTERNAL_NAMESPACE = f"{_SCHEMAS}/2006-07-14/ExternalQuestion.xsd"


@dataclass(frozen=True)
class Question:
    """``content`` is the page's HTML, or the external page's URL; empty for a form."""

    kind: Literal["html", "external", "form"]
    content: str
    frame_height: int
    form: Form | None = None


def parse(xml: str) -> Question:
    """Read a question's XML. Raises :class:`RequestError` with the code MTurk clients look for."""
    size = len(xml.encode("utf-8", "surrogatepass"))
    if size > MAXIMUM:
        raise invalid(f"the Question has {size} bytes, at most {MAXIMUM} are allowed")
    try:
        root: Element = defusedxml.ElementTree.fromstring(xml.strip(), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise _broken(f"the Question is not well-formed XML: {type(error).__name__}: {error}") from error
    for kind, namespace, name, child in (
        ("html", HTML_NAMESPACE, "HTMLQuestion", "HTMLContent"),
        ("external", EXTERNAL_NAMESPACE, "ExternalQuestion", "ExternalURL"),
    ):
        if root.tag == f"{{{namespace}}}{name}":
            content = (root.findtext(f"{{{namespace}}}{child}") or "").strip()
            if not content:
                raise _broken(f"the {name} has no {child}")
            height = (root.findtext(f"{{{namespace}}}FrameHeight") or "").strip()
            if re.fullmatch(r"[0-9]{1,5}", height, re.ASCII) is None:
                raise _broken(f"the {name} needs a FrameHeight in pixels (0 fills the window)")
            if kind == "external":
                return Question("external", _external(content), int(height))
            return Question("html", content, int(height))
    if question_form.ROOT.match(str(root.tag)):
        return Question("form", "", 0, question_form.read(root))
    raise _broken(
        f"the Question's root element {root.tag!r} is neither {{{HTML_NAMESPACE}}}HTMLQuestion, "
        f"{{{EXTERNAL_NAMESPACE}}}ExternalQuestion nor a QuestionForm"
    )


def task_of(question: Question) -> dict[str, Any]:
    """The JSON in the page's ``<script type="application/json" id="kloc-task">``; empty where there is none."""
    if question.kind != "html":
        return {}
    finder = _TaskFinder()
    finder.feed(question.content)
    finder.close()
    try:
        task: Any = json.loads("".join(finder.text)) if finder.found else None
    except (ValueError, RecursionError):
        return {}
    return task if isinstance(task, dict) else {}


def facts(question: Question) -> dict[str, Any] | None:
    """What kloc's own page says of itself, each value checked: ``classes`` (names), ``duration`` (s),
    ``expected_minutes``, ``contact``, ``media`` (all media keys, the video's first). None for other pages.
    """
    task = task_of(question)
    if not task:
        return None
    classes = [entry for entry in _list(task.get("classes")) if isinstance(entry, dict)]
    examples = [example for entry in classes for example in _list(entry.get("examples")) if isinstance(example, dict)]
    keys = [key for key in (task.get("media_key"), *(example.get("media_key") for example in examples)) if _is_key(key)]
    return {
        "classes": [clean(entry["name"])[:200] for entry in classes if isinstance(entry.get("name"), str)],
        "duration": _positive(task.get("duration")),
        "expected_minutes": _positive(task.get("expected_minutes")),
        "contact": clean(task["contact"])[:300] if isinstance(task.get("contact"), str) else "",
        "media": list(dict.fromkeys(keys)) if _is_key(task.get("media_key")) else [],
    }


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and MEDIA_KEY.fullmatch(value) is not None


def _positive(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and 0 < value < 1e6 else None


class _TaskFinder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found = False
        self.text: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "script" and values.get("id") == "kloc-task" and not self.found:
            self._inside = self.found = (values.get("type") or "").strip().lower() == "application/json"

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.text.append(data)


def answer(question: Question, fields: list[tuple[str, str]]) -> str:
    """What a browser sent as the answer document; a form knows its own questions, other pages name theirs."""
    if question.form is not None:
        return question_form.answers(question.form, fields)
    return question_form_answers(fields)


def _external(url: str) -> str:
    try:
        parts = urlsplit(url)
        safe = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        safe = False
    # The address also goes into a header, where spaces, quotes and semicolons would end the policy it belongs to.
    if not safe or "@" in parts.netloc or re.search(r"[\s\"'<>;,\\]", url):
        raise invalid(f"the ExternalURL {url[:200]!r} is not a plain http(s) address")
    return url


def _broken(message: str) -> RequestError:
    return RequestError("XMLParseError", message)
