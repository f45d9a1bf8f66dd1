"""What a worker is shown, as the wire wants it: the page inside an HTMLQuestion, and its guideline's version."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from kloc.errors import UsageError
from kloc.files import fingerprint

HTML_QUESTION_NAMESPACE = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2011-11-11/HTMLQuestion.xsd"
#: The protocol's limit on a question, in bytes of UTF-8.
MAX_QUESTION_BYTES = 65_535

#: What XML 1.0 cannot carry, escaped or not: such text would break the question around the page.
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def html_question(html: str, about: str) -> str:
    """The HTMLQuestion that carries ``html``; ``about`` names the item in errors.

    Raises :class:`UsageError` for a page that XML cannot carry or that is too large for the protocol.
    """
    found = NOT_XML.search(html)
    if found:
        raise UsageError(
            f"{about}: the page holds the character U+{ord(found[0]):04X}, which XML cannot carry; remove it "
            "from the instructions or class names"
        )
    # "]]>" would end the section: it is split over two.
    body = html.replace("]]>", "]]]]><![CDATA[>")
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<HTMLQuestion xmlns="{HTML_QUESTION_NAMESPACE}">'
        f"<HTMLContent><![CDATA[{body}]]></HTMLContent><FrameHeight>0</FrameHeight></HTMLQuestion>"
    )
    size = len(xml.encode("utf-8"))
    if size > MAX_QUESTION_BYTES:
        raise UsageError(
            f"{about}: the question has {size:,} bytes, the protocol allows {MAX_QUESTION_BYTES:,}; shorten the "
            "instructions and definitions or ask about fewer classes"
        )
    return xml


def guideline_content(
    title: str, instructions: str, classes: Sequence[Mapping[str, Any]], *, expected_minutes: float | None = None
) -> dict[str, Any]:
    """What workers are told, as it is kept under its version. ``classes`` are the task's class entries."""
    content: dict[str, Any] = {
        "title": title,
        "instructions": instructions,
        "classes": [dict(entry) for entry in sorted(classes, key=lambda entry: str(entry["name"]))],
    }
    if expected_minutes is not None:
        content["expected_minutes"] = expected_minutes
    return content


def guideline_version(content: Mapping[str, Any]) -> str:
    """The version of a guideline: a fingerprint of its content, so that equal texts have equal versions."""
    return fingerprint(content)
