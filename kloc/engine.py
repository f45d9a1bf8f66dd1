"""Map a function over many videos with local processes (:mod:`kloc.engine_ray` does it over a Ray cluster).

One bad video never ends a run: an error, a crash and a hang each cost their own task and leave a reason. Python's
own pool breaks as a whole when one process dies and has no time limits, hence a small pool of our own.

Each process builds its state once (``worker_factory``) and computes with one thread; a result depends on its task
alone, so the set of results is the same whatever the number of workers. Processes are spawned, never forked:
decoders hang in forked children. None outlives the parent, however that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any, Protocol, TypeVar

from kloc.errors import KlocError, UsageError
from kloc.threads import one_thread

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

#: Processes that die one after the other before any of them was ready: something is wrong with all of them.
_START_ATTEMPTS = 3
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Worker(Protocol[T_contra, R_co]):
    """What ``worker_factory`` builds once per process. Tasks and results must be picklable."""

    def process(self, task: T_contra, /) -> R_co: ...


def shard(tasks: Sequence[T], index: int, count: int) -> list[T]:
    """Part ``index`` of ``count`` (from 0) of the tasks, for ``--shard i/n``: every n-th one, so that parts are alike.

    Raises :class:`UsageError` unless ``0 <= index < count``.
    """
    if not 0 <= index < count:
        raise UsageError(f"--shard {index}/{count}: the part must lie between 0 and {count - 1}")
    return list(tasks[index::count])


def parse_shard(text: str) -> tuple[int, int]:
    """``"2/8"`` -> ``(2, 8)``. Raises :class:`UsageError` for anything else."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UsageError(f"--shard {text}: write i/n with i from 0 to n-1, e.g. 0/4")
    return int(index), int(count)


def map_videos(
    worker_factory: Callable[[], Worker[Any, Any]],
    tasks: Sequence[Any],
    *,
    workers: int,
    time_limit_s: float | None = None,
    on_result: Callable[[Any, Any], None],
    on_error: Callable[[Any, str], None],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Process every task once and hand each result, or a one-line reason, to the parent as it comes.

    ``worker_factory`` is picklable (a class, or a ``functools.partial`` of one) and returns an object with
    ``process(task)``. ``on_result(task, result)``, ``on_error(task, reason)`` and ``progress(finished, total)`` run
    in the calling thread; only they may touch the store. A task that takes longer than ``time_limit_s`` is ended.
    With ``workers`` 0 or 1 and no time limit everything runs in this process, with the same results.

    Raises :class:`KlocError` where no worker can be built (its own error, e.g. missing weights).
    """
    count = Progress(len(tasks), progress)
    if not tasks:
        return
    if workers <= 1 and time_limit_s is None:
        _in_process(worker_factory, tasks, on_result, on_error, count)
        return
    with _terminable(), _Pool(worker_factory, min(max(workers, 1), len(tasks)), time_limit_s) as pool:
        for task, result, reason in pool.run(tasks):
            if reason is None:
                on_result(task, result)
            else:
                on_error(task, reason)
            count.one_more()


@dataclass
class Progress:
    """Counts finished tasks and tells whoever asked."""

    total: int
    tell: Callable[[int, int], None] | None
    finished: int = 0

    def one_more(self) -> None:
        self.finished += 1
        if self.tell is not None:
            self.tell(self.finished, self.total)


def _in_process(
    worker_factory: Callable[[], Worker[Any, Any]],
    tasks: Sequence[Any],
    on_result: Callable[[Any, Any], None],
    on_error: Callable[[Any, str], None],
    count: Progress,
) -> None:
    with one_thread():
        worker = worker_factory()
        for task in tasks:
            try:
                result = worker.process(task)
            except Exception as error:  # quarantined with its reason
                on_error(task, reason_of(error))
            else:
                on_result(task, result)
            count.one_more()


def reason_of(error: Exception) -> str:
    """One line for people: a :class:`KlocError`'s message as it is, anything else with its type."""
    text = " ".join(str(error).split())
    if isinstance(error, KlocError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# -- the parent's side ------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Process:
    """One worker process as the parent sees it."""

    process: SpawnProcess
    pipe: Connection
    #: Nothing is ever sent here: it closes when the parent ends, and the child ends with it.
    lifeline: Connection
    ready: bool = False
    task: Any = None
    busy: bool = False
    deadline: float | None = None

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()
        self.lifeline.close()


@dataclass
class _Pool:
    worker_factory: Callable[[], Worker[Any, Any]]
    size: int
    time_limit_s: float | None
    processes: list[_Process] = field(default_factory=list)
    failed_starts: int = 0

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.end()
        self.processes.clear()

    def run(self, tasks: Sequence[Any]) -> Iterator[tuple[Any, Any, str | None]]:
        """Every task once, as ``(task, result, None)`` or ``(task, None, reason)``, in order of completion."""
        waiting = deque(tasks)
        left = len(tasks)
        while left:
            while len(self.processes) < min(self.size, left):
                self._start()
            for process in self.processes:
                if process.ready and not process.busy and waiting:
                    self._give(process, waiting)
            for outcome in self._outcomes():
                left -= 1
                yield outcome

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        heard, lifeline = context.Pipe(duplex=False)
        blob = pickle.dumps(self.worker_factory)
        process = context.Process(target=_child, args=(theirs, heard, blob, os.getpid()), daemon=True)
        process.start()
        theirs.close()
        heard.close()
        self.processes.append(_Process(process, ours, lifeline))

    def _give(self, process: _Process, waiting: deque[Any]) -> None:
        task = waiting.popleft()
        try:
            process.pipe.send(task)
        except (BrokenPipeError, ConnectionResetError):  # it died while it was idle: not this task's fault
            waiting.appendleft(task)
            self._drop(process)
            return
        process.task, process.busy = task, True
        if self.time_limit_s is not None:
            process.deadline = time.monotonic() + self.time_limit_s

    def _drop(self, process: _Process) -> None:
        self.processes = [other for other in self.processes if other is not process]
        process.end()

    def _outcomes(self) -> Iterator[tuple[Any, Any, str | None]]:
        """Wait for the next event; yield what was finished by it."""
        deadlines = [p.deadline for p in self.processes if p.deadline is not None]
        timeout = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        pipes = {p.pipe: p for p in self.processes}
        for pipe in wait(list(pipes), timeout):
            process = pipes[pipe]  # type: ignore[index]
            try:
                kind, value = process.pipe.recv()
            except (EOFError, OSError, pickle.UnpicklingError):
                yield from self._died(process)
                continue
            if kind == "ready":
                process.ready, self.failed_starts = True, 0
            elif kind == "broken":
                raise value
            else:
                task = process.task
                process.task, process.busy, process.deadline = None, False, None
                yield (task, value, None) if kind == "done" else (task, None, value)
        now = time.monotonic()
        for process in [p for p in self.processes if p.deadline is not None and p.deadline <= now]:
            if not process.pipe.poll():  # else it has just finished: the next round takes the result
                self._drop(process)
                yield process.task, None, f"took longer than {self.time_limit_s:g} s"

    def _died(self, process: _Process) -> Iterator[tuple[Any, Any, str | None]]:
        process.process.join(timeout=5)
        reason = how_it_ended(process.process.exitcode)
        self._drop(process)
        if process.busy:
            yield process.task, None, reason
        elif not process.ready:
            self.failed_starts += 1
            if self.failed_starts >= _START_ATTEMPTS:
                raise KlocError(f"worker processes cannot start: {reason}; try again with --workers 1")


def how_it_ended(exit_code: int | None) -> str:
    """A dead process's exit code in words."""
    if exit_code is None:
        return "the worker process stopped answering"
    if exit_code >= 0:
        return f"the worker process ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    hint = {"SIGKILL": ", perhaps out of memory", "SIGSEGV": ", a crash in the decoder or the network"}.get(name, "")
    return f"the worker process died ({name}{hint})"


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind the stack like Ctrl-C does, so that children end and files are cleaned up."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


# -- the child's side -------------------------------------------------------------------------------------


def _child(pipe: Connection, lifeline: Connection, blob: bytes, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with_parent(lifeline, parent)
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = "1"
    try:
        worker = pickle.loads(blob)()
    except Exception as error:
        pipe.send(("broken", error if isinstance(error, KlocError) else KlocError(f"no worker: {reason_of(error)}")))
        return
    with one_thread(), contextlib.suppress(EOFError, BrokenPipeError):
        pipe.send(("ready", None))
        while True:
            task = pipe.recv()
            try:
                answer = ("done", worker.process(task))
            except Exception as error:  # quarantined with its reason
                answer = ("failed", reason_of(error))
            try:
                pipe.send(answer)
            except (pickle.PicklingError, TypeError, AttributeError) as error:
                pipe.send(("failed", f"its result cannot be sent: {reason_of(error)}"))


def _die_with_parent(lifeline: Connection, parent: int) -> None:
    """End this process as soon as its parent has: by the kernel on Linux, by a closed pipe everywhere."""

    def watch() -> None:
        with contextlib.suppress(EOFError, OSError):
            lifeline.recv()
        os._exit(1)

    threading.Thread(target=watch, name="kloc-lifeline", daemon=True).start()
    if sys.platform == "linux":
        set_death_signal = 1  # PR_SET_PDEATHSIG: also where a decoder holds the interpreter and no thread can run
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
