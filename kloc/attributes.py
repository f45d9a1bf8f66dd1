"""Attributes of instances and their bins: coverage, length and number of instances, each from XS to XL.

The bins are those of P2 ("What Do I Annotate Next?", section 5), all right-closed. DETAD's differ in the number of
instances only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Bins:
    """Right-closed bins ``(edge[i-1], edge[i]]``; the first is open below, the last above."""

    attribute: str
    unit: str
    edges: tuple[float, ...]
    names: tuple[str, ...]

    def index(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Bin of each value, int64 ``(n,)``. Values are rounded to 9 decimals first: 0.6000000000001 is 0.6."""
        return np.searchsorted(np.asarray(self.edges), np.round(values, 9), side="left").astype(np.int64)

    @property
    def ranges(self) -> tuple[str, ...]:
        """What each bin holds, for people: ``0.2-0.4``, ``> 180``."""
        parts = [f"≤ {self.edges[0]:g}"]
        parts += [f"{a:g}–{b:g}" for a, b in zip(self.edges, self.edges[1:], strict=False)]
        return (*parts, f"> {self.edges[-1]:g}")


_FIVE = ("XS", "S", "M", "L", "XL")
_COVERAGE = Bins("coverage", "share of the video", (0.2, 0.4, 0.6, 0.8), _FIVE)
_LENGTH = Bins("length", "seconds", (30.0, 60.0, 120.0, 180.0), _FIVE)
#: Name of a binning -> its bins of coverage, length and number of instances.
BINNINGS: dict[str, tuple[Bins, Bins, Bins]] = {
    "paper": (_COVERAGE, _LENGTH, Bins("instances", "per video", (1.0, 4.0, 8.0, 16.0), _FIVE)),
    "detad": (_COVERAGE, _LENGTH, Bins("instances", "per video", (1.0, 4.0, 8.0), ("XS", "S", "M", "L"))),
}
