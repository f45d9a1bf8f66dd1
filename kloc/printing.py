"""Text of files and strangers, as a terminal may print it."""

from __future__ import annotations

import re

#: What a terminal obeys or breaks a line at: C0 and C1, line and paragraph separators, what turns the direction of
#: writing, and halves of surrogate pairs, which no stream takes.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text on one line, with a replacement character for each character that a terminal would obey."""
    return _OBEYED.sub("\N{REPLACEMENT CHARACTER}", text)
