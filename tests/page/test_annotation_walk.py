"""The whole way: video, proxy, endpoint, invitation, gate, page, submit, ingest; and the seconds that are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.measures.annotating import campaign_of, errors_of, whole_task

pytestmark = pytest.mark.browser


def test_what_a_worker_marks_is_stored_within_a_frame_of_the_original(chromium: Any, tmp_path: Path) -> None:
    """Of a video of variable rate that starts at 2 s; its pictures say their time, and the worker marks by that."""
    with campaign_of(tmp_path, chromium, ("late-variable",), assignments=1, seed=1) as walk:
        walk.looks = False
        whole_task(walk, "ann")
    errors, lost = errors_of(walk)
    assert lost == []
    assert len(errors) == 6
    assert max(errors) <= 1
