"""Mean features of videos, of length 1, and which of them can be used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kloc.errors import UsageError
from kloc.records import Item
from kloc.selection.base import Context


def unit_features(
    items: Sequence[Item], context: Context, who: str
) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
    """Pooled features of length 1, float32 ``(m, D)``, the indices of their items, and how many held NaN.

    An item whose features are missing (all zero) or hold NaN or infinity has no row.

    Args:
        items: whose features.
        context: knows the features.
        who: needs them, for the message.

    Raises:
        UsageError: there are no features at all, or of no item usable ones.
    """
    if context.pooled is None:
        raise UsageError(f"{who} needs features of the videos, and there are none; run `kloc extract` first")
    rows = np.asarray(context.pooled(items), np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        norm = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    broken = ~np.isfinite(norm)
    usable = np.flatnonzero(~broken & (norm > 0))
    if len(items) and not len(usable):
        raise UsageError(
            f"{who} needs features, and of {len(items)} videos none has usable ones; run `kloc extract` again"
        )
    if len(usable) < len(rows):
        rows, norm = rows[usable], norm[usable]
    return rows / norm[:, None].astype(np.float32), usable, int(broken.sum())


def annotated_features(context: Context) -> NDArray[np.float32] | None:
    """Features of length 1 of the annotated videos that have any; ``None`` where none has."""
    known = [context.annotations[video_id].item for video_id in sorted(context.annotations)]
    if not known or context.pooled is None:
        return None
    try:
        return unit_features(known, context, "the selection")[0]
    except UsageError:
        return None
