"""Hundreds of trainings, one report: what a campaign is warned of at every round is not told hundreds of times."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """kloc logs errors only."""
    logger = logging.getLogger("kloc")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
