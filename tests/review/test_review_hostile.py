"""A handful of every kind of hostile answer, from HTTP to the review page; the measure `hostile` sends thousands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.hostile import attacks
from benchmarks.measures.hostile import CONTROL, storm

pytestmark = pytest.mark.browser


def test_hostile_answers_are_kept_marked_and_inert(chromium: Any, tmp_path: Path) -> None:
    found = storm(tmp_path, chromium, seed=1, count=45)
    assert found.failed == found.let_in == found.lost == found.unmarked == found.paid == found.miscounted == []
    assert found.executed == []
    # The trap works, and something was in it.
    assert found.control > CONTROL / 2
    assert found.looked_at == found.outcomes["in"] > 30


def test_the_same_seed_sends_the_same() -> None:
    first, again, other = (attacks(seed, 80, "http://127.0.0.1:1") for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert len({attack.kind for attack in first}) > 30
