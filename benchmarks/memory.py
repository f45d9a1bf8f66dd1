"""How much memory a process and all its children hold, watched while work goes on."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil


class MemoryWatch:
    """Samples the proportional set size of this process tree: a page that several share counts once.

    After the ``with`` block `peak` holds the largest sum in bytes.
    """

    def __init__(self, every_s: float = 1.0) -> None:
        self.peak = 0
        self._every, self._over = every_s, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._over.is_set():
            self.peak = max(self.peak, sum(map(_held, [me, *me.children(recursive=True)])))
            self._over.wait(self._every)


def _held(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0  # it has just ended
