"""One seed for everything: named generators, so that results depend on what is drawn for, not on the order."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A generator for one purpose, e.g. ``generator(seed, "answer", worker_id, video_id)``.

    Equal arguments give equal streams on every machine; different names give independent ones.
    """
    text = "\x1f".join([str(int(seed)), *map(str, names)])
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
