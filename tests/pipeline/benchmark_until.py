"""``kloc benchmark`` in a process of its own that kills itself, as hard as can be, after so many trainings.

``python benchmark_until.py WORKSPACE N``
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from kloc.pipeline import benchmarking
from kloc.pipeline.telling import Silent
from kloc.workspace import Workspace

left = int(sys.argv[2])
real = benchmarking.map_videos


def killing(worker: Any, tasks: Any, *, on_result: Any, **rest: Any) -> None:
    def kept(task: Any, result: Any) -> None:
        global left
        on_result(task, result)
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    real(worker, tasks, on_result=kept, **rest)


benchmarking.map_videos = killing
benchmarking.benchmark(Workspace.open(Path(sys.argv[1])), seeds=2, reporter=Silent())
