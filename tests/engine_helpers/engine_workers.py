"""Workers for the engine's tests; in a module of their own because spawned processes import it by name."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from kloc.errors import UsageError, VideoError


class Squares:
    """Squares numbers; some tasks go wrong on purpose."""

    def __init__(self) -> None:
        self.built_in = os.getpid()

    def process(self, task: int | str) -> int:
        if task == "video error":
            raise VideoError("clip.mp4: nothing\n decodes")
        if task == "other error":
            raise ZeroDivisionError("a / b")
        if task == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if task == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "exit":
            os._exit(7)
        if task == "hang":
            time.sleep(600)
        if task == "unsendable":
            return threading.Lock()  # type: ignore[return-value]
        assert isinstance(task, int)
        return task * task


class WhoAmI:
    """Answers with the process, the state's identity and the number of threads it may use."""

    def __init__(self) -> None:
        self.tasks = 0

    def process(self, task: int) -> tuple[int, int, str, int]:
        self.tasks += 1
        time.sleep(0.02)
        import torch

        return os.getpid(), self.tasks, os.environ.get("OMP_NUM_THREADS", ""), torch.get_num_threads()


class NeedsWeights:
    def __init__(self) -> None:
        raise UsageError("weights.pth: no such weights file")


class DiesAtStart:
    def __init__(self) -> None:
        os._exit(3)


@dataclass
class Sleeper:
    """Leaves a file named after its process, then sleeps."""

    folder: Path

    def process(self, task: int) -> None:
        (self.folder / str(os.getpid())).touch()
        time.sleep(600)


def run_sleepers(folder: str) -> None:
    """A parent with two busy workers, for a test to kill."""
    from functools import partial

    from kloc.engine import map_videos

    try:
        map_videos(
            partial(Sleeper, Path(folder)),
            [1, 2, 3],
            workers=2,
            on_result=lambda task, result: None,
            on_error=lambda task, reason: None,
        )
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    run_sleepers(sys.argv[1])
