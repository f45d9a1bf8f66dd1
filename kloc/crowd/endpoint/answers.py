"""Writing QuestionFormAnswers: whatever a browser sends becomes XML that every parser reads back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.sax.saxutils import escape

NAMESPACE = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2005-10-01/QuestionFormAnswers.xsd"
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """``text`` without the characters XML 1.0 forbids (section 2.2), lone surrogates among them."""
    return _FORBIDDEN.sub("", text)


def question_form_answers(fields: Iterable[tuple[str, str]]) -> str:
    """The answer document. A field that comes several times (check boxes) is joined by ``|`` as MTurk did."""
    joined: dict[str, list[str]] = {}
    for name, value in fields:
        joined.setdefault(clean(name), []).append(clean(value))
    return answer_document((name, [("FreeText", "|".join(values))]) for name, values in joined.items())


def answer_document(answers: Iterable[tuple[str, Iterable[tuple[str, str]]]]) -> str:
    """QuestionFormAnswers of ``(question, [(FreeText | SelectionIdentifier | OtherSelectionText, value), ...])``."""
    written = "".join(
        f"<Answer><QuestionIdentifier>{_escape(name)}</QuestionIdentifier>"
        f"{''.join(f'<{tag}>{_escape(value)}</{tag}>' for tag, value in values)}</Answer>"
        for name, values in answers
    )
    declaration = '<?xml version="1.0" encoding="UTF-8"?>'
    return f'{declaration}<QuestionFormAnswers xmlns="{NAMESPACE}">{written}</QuestionFormAnswers>'


def _escape(text: str) -> str:
    # A bare carriage return would come back as a line feed (XML 1.0, section 2.11).
    return escape(text, {"\r": "&#13;"})
