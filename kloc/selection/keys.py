"""A random number per item that depends on nothing but the item and the seed."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from kloc.records import Item


def item_keys(items: Sequence[Item], seed: int, purpose: str, of: Iterable[int] | None = None) -> NDArray[np.uint64]:
    """uint64 ``(n,)``, uniform, one per item (or per index in ``of``).

    A generator would number the items by their order in the pool, which is often sorted by class; and one
    generator per item costs ten times this hash.
    """
    prefix = f"{int(seed)}\x1f{purpose}\x1f".encode()
    pack = struct.Struct("<dd").pack
    blake = hashlib.blake2b
    chosen = items if of is None else [items[index] for index in of]

    def digest(item: Item) -> int:
        identity = item.video_id.encode("utf-8", "surrogatepass") + pack(item.start, item.end)
        return int.from_bytes(blake(prefix + identity, digest_size=8).digest(), "little")

    return np.fromiter(map(digest, chosen), np.uint64, len(chosen))
