"""The standard QuestionForm: read from XML, shown as a plain accessible form without a script, answered as XML.

https://docs.aws.amazon.com/AWSMechTurk/latest/AWSMturkAPI/ApiReference_QuestionFormDataStructureArticle.html
Text, lists, formatted text, free text and selections are supported; pictures, applets and file uploads are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from html import escape
from html.parser import HTMLParser
from xml.etree.ElementTree import Element

from markupsafe import Markup

from kloc.crowd.endpoint.answers import answer_document, clean
from kloc.crowd.endpoint.faults import RequestError

#: All versions of the schema share what is read here.
ROOT = re.compile(r"\{http://mechanicalturk\.amazonaws\.com/AWSMechanicalTurkDataSchemas/[0-9-]+/QuestionForm\.xsd\}")
_TAGS = re.compile(r"a|b|blockquote|br|code|em|h[2-4]|i|li|ol|p|pre|strong|su[bp]|table|tbody|t[dhr]|thead|u|ul")
_ASKED = "AnswerSpecification"
_SILENT = frozenset(("script", "style"))


@dataclass(frozen=True)
class Choice:
    identifier: str
    content: Markup


@dataclass(frozen=True)
class Entry:
    """One question. ``choices`` are None where the answer is text."""

    identifier: str
    name: str
    required: bool
    content: Markup
    choices: tuple[Choice, ...] | None = None
    most: int = 1
    other: bool = False
    style: str = "radiobutton"
    lines: int = 1
    default: str = ""
    numeric: bool = False
    limits: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Form:
    """``parts`` in their order: overviews (markup) and questions."""

    parts: tuple[Markup | Entry, ...]

    @property
    def entries(self) -> list[Entry]:
        return [part for part in self.parts if isinstance(part, Entry)]


def read(root: Element) -> Form:
    """Read a QuestionForm. Raises :class:`RequestError` for one that cannot be shown."""
    parts = tuple(_part(child) for child in root)
    entries = [part for part in parts if isinstance(part, Entry)]
    names = [entry.identifier for entry in entries]
    if not entries or len(set(names)) < len(names) or "assignmentId" in names:
        raise _broken("a QuestionForm needs questions with different identifiers, none of them 'assignmentId'")
    return Form(parts)


def answers(form: Form, fields: Iterable[tuple[str, str]]) -> str:
    """The answer document to ``form``. Fields and selections the form does not have are left out."""
    given: dict[str, list[str]] = {}
    for name, value in fields:
        given.setdefault(name, []).append(value)
    found = []
    for entry in form.entries:
        values = given.get(entry.identifier, [])
        if entry.choices is None:
            found.append((entry.identifier, [("FreeText", clean(values[0] if values else ""))]))
            continue
        known = {choice.identifier for choice in entry.choices}
        chosen = [("SelectionIdentifier", value) for value in values if value in known][: entry.most]
        other = clean(given.get(f"{entry.identifier}.other", [""])[0]) if entry.other else ""
        found.append((entry.identifier, chosen + ([("OtherSelectionText", other)] if other else [])))
    return answer_document(found)


def _part(element: Element) -> Markup | Entry:
    name = _local(element)
    if name == "Overview":
        return _content(element)
    if name != "Question":
        raise _broken(f"a QuestionForm holds Overview and Question, not {name!r}")
    identifier, content, asked = (_child(element, key) for key in ("QuestionIdentifier", "QuestionContent", _ASKED))
    if identifier is None or not _text(identifier) or content is None or asked is None:
        raise _broken("a Question needs a QuestionIdentifier, a QuestionContent and an AnswerSpecification")
    called, required = _child(element, "DisplayName"), _child(element, "IsRequired")
    entry = Entry(
        identifier=_text(identifier),
        name=_text(called) if called is not None else "",
        required=required is not None and _text(required).lower() in ("true", "1"),
        content=_content(content),
    )
    kinds = list(asked)
    kind = _local(kinds[0]) if kinds else "nothing"
    if kind == "FreeTextAnswer":
        return _free_text(entry, kinds[0])
    if kind == "SelectionAnswer":
        return _selection(entry, kinds[0])
    raise _broken(f"the answer specification {kind!r} is not supported; ask for free text or a selection")


def _free_text(entry: Entry, spec: Element) -> Entry:
    limits: list[tuple[str, str]] = []
    numeric, lines, default = False, "1", ""
    for child in spec.iter():
        name = _local(child)
        if name == "IsNumeric":
            numeric = True
            bounds = (("min", child.get("minValue")), ("max", child.get("maxValue")))
            limits += [(key, value) for key, value in bounds if value is not None]
        elif name == "Length":
            limits += [(key.lower(), child.attrib[key]) for key in ("minLength", "maxLength") if key in child.attrib]
        elif name == "AnswerFormatRegex":
            limits += [("pattern", f".*(?:{child.get('regex', '')}).*"), ("title", child.get("errorText", ""))]
        elif name == "NumberOfLinesSuggestion":
            lines = _text(child)
        elif name == "DefaultText":
            default = _text(child)
    return replace(entry, lines=_number(lines, 1), default=default, numeric=numeric, limits=tuple(limits))


def _selection(entry: Entry, spec: Element) -> Entry:
    holder, style, most = (_child(spec, key) for key in ("Selections", "StyleSuggestion", "MaxSelectionCount"))
    choices = []
    for selection in holder if holder is not None else ():
        identifier = _child(selection, "SelectionIdentifier")
        if _local(selection) == "Selection" and identifier is not None:
            choices.append(Choice(_text(identifier), _content(selection)))
    if not choices:
        raise _broken(f"the question {entry.identifier!r} offers no Selection")
    return replace(
        entry,
        choices=tuple(choices),
        most=_number(_text(most), 1) if most is not None else 1,
        other=holder is not None and _child(holder, "OtherSelection") is not None,
        style=_text(style) if style is not None else "radiobutton",
    )


def _content(element: Element) -> Markup:
    """Titles, texts, lists and formatted text as HTML of our own making."""
    pieces: list[str] = []
    for child in element:
        name = _local(child)
        if name in ("Title", "Text"):
            tag = "h2" if name == "Title" else "p"
            pieces.append(f"<{tag}>{escape(_text(child))}</{tag}>")
        elif name == "List":
            pieces.append(f"<ul>{''.join(f'<li>{escape(_text(item))}</li>' for item in child)}</ul>")
        elif name == "FormattedContent":
            sieve = _Sieve()
            sieve.feed(_text(child))
            sieve.close()
            pieces.append(sieve.html())
        elif name in ("Binary", "EmbeddedBinary", "Application", "JavaApplet", "Flash"):
            raise _broken(f"a QuestionForm with {name} is not supported; use an HTMLQuestion for pictures and media")
    return Markup("".join(pieces))


class _Sieve(HTMLParser):
    """Lets through the few tags that only say how text looks; everything else becomes text or nothing."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._pieces: list[str] = []
        self._open: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        if not _TAGS.fullmatch(tag) or self._silent:
            return
        address = dict(attrs).get("href") or ""
        link = f' href="{escape(address)}" target="_blank" rel="noreferrer"' if _is_web(tag, address) else ""
        self._pieces.append(f"<{tag}{link}>")
        if tag != "br":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT and self._silent:
            self._silent -= 1
        if tag in self._open:
            while (last := self._open.pop()) != tag:
                self._pieces.append(f"</{last}>")
            self._pieces.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._pieces.append(escape(data))

    def html(self) -> str:
        return "".join(self._pieces) + "".join(f"</{tag}>" for tag in reversed(self._open))


def _is_web(tag: str, address: str) -> bool:
    return tag == "a" and address.startswith(("https://", "http://"))


def _child(element: Element, name: str) -> Element | None:
    return next((child for child in element if _local(child) == name), None)


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _text(element: Element) -> str:
    return (element.text or "").strip()


def _number(text: str, default: int) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,4}", text, re.ASCII) else default


def _broken(message: str) -> RequestError:
    return RequestError("XMLParseError", message)
