"""Amounts of money: integer cents inside, strings of dollars on the wire."""

from __future__ import annotations

import re
from typing import Any

_AMOUNT = re.compile(r"([0-9]{1,12})\.?([0-9]{0,2})", re.ASCII)


def to_cents(text: Any) -> int | None:
    """Cents of an amount like ``"0.5"``, ``"3"`` or ``"3."``; ``None`` where it is not one."""
    match = _AMOUNT.fullmatch(text) if isinstance(text, str) else None
    return None if match is None else int(match[1]) * 100 + int(match[2].ljust(2, "0"))


def to_dollars(cents: int) -> str:
    """``1205`` -> ``"12.05"``. The wire knows no negative amounts: they show as ``"0.00"``."""
    dollars, rest = divmod(max(cents, 0), 100)
    return f"{dollars}.{rest:02d}"
