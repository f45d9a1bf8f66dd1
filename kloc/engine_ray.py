"""The engine over a Ray cluster, for whoever has one. Ray is imported only here and only when asked for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from kloc.engine import Progress, Worker, reason_of
from kloc.errors import KlocError, UsageError
from kloc.threads import one_thread


class _RayWorker:
    """One Ray actor's state; built on the first task, so that its error reaches the parent as it is."""

    def __init__(self, worker_factory: Callable[[], Worker[Any, Any]]) -> None:
        self.worker_factory = worker_factory
        self.worker: Worker[Any, Any] | None = None

    def process(self, task: Any) -> tuple[str, Any]:
        if self.worker is None:
            try:
                self.worker = self.worker_factory()
            except KlocError as error:
                return "broken", error
        try:
            with one_thread():
                return "done", self.worker.process(task)
        except Exception as error:  # quarantined with its reason
            return "failed", reason_of(error)


def map_videos_ray(
    worker_factory: Callable[[], Worker[Any, Any]],
    tasks: Sequence[Any],
    *,
    workers: int,
    time_limit_s: float | None = None,
    on_result: Callable[[Any, Any], None],
    on_error: Callable[[Any, str], None],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """:func:`map_videos` over a Ray cluster: one actor per worker; all machines must see the same files.

    Raises :class:`UsageError` where Ray is not installed.
    """
    try:
        import ray  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise UsageError("the Ray runner needs Ray; run `pip install ray`, or leave out --runner ray") from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    # Half a CPU each: an actor pool that asks for all of them leaves none for Ray's own tasks and hangs.
    actor_class = ray.remote(num_cpus=0.5, max_restarts=0)(_RayWorker)
    waiting, count = deque(tasks), Progress(len(tasks), progress)
    running: dict[Any, tuple[Any, Any, float]] = {}
    idle = [actor_class.remote(worker_factory) for _ in range(min(max(workers, 1), len(tasks)))]
    try:
        while waiting or running:
            while waiting and idle:
                actor, task = idle.pop(), waiting.popleft()
                running[actor.process.remote(task)] = (actor, task, time.monotonic())
            finished, _ = ray.wait(list(running), num_returns=1, timeout=1.0)
            late = (
                []
                if time_limit_s is None
                else [ref for ref, (_, _, began) in running.items() if time.monotonic() - began > time_limit_s]
            )
            for ref in dict.fromkeys([*finished, *late]):
                actor, task, _ = running.pop(ref)
                try:
                    kind, value = ray.get(ref, timeout=0) if ref in finished else ("late", "")
                except ray.exceptions.RayError as error:
                    kind, value = "died", f"the worker died ({type(error).__name__})"
                if kind == "broken":
                    raise cast(KlocError, value)
                if kind == "done":
                    on_result(task, value)
                else:
                    on_error(task, f"took longer than {time_limit_s:g} s" if kind == "late" else value)
                if kind in ("late", "died"):
                    ray.kill(actor)
                    actor = actor_class.remote(worker_factory)
                idle.append(actor)
                count.one_more()
    finally:
        for actor in [*idle, *(entry[0] for entry in running.values())]:
            ray.kill(actor)
