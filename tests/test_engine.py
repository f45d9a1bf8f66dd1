"""The engine: every task exactly once, whatever goes wrong with some of them, and nothing left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloc.engine import how_it_ended, map_videos, parse_shard, reason_of, shard
from kloc.engine_ray import map_videos_ray
from kloc.errors import KlocError, UsageError

HELPERS = Path(__file__).parent / "engine_helpers"
sys.path.insert(0, str(HELPERS))

import engine_workers as helpers  # noqa: E402


class Collected:
    """What came back, by task."""

    def __init__(self) -> None:
        self.results: dict[Any, Any] = {}
        self.reasons: dict[Any, str] = {}
        self.steps: list[tuple[int, int]] = []

    def run(self, factory: Any, tasks: list[Any], **settings: Any) -> Collected:
        def keep(where: dict[Any, Any], task: Any, value: Any) -> None:
            assert task not in self.results
            assert task not in self.reasons
            where[task] = value

        map_videos(
            factory,
            tasks,
            on_result=partial(keep, self.results),
            on_error=partial(keep, self.reasons),
            progress=lambda done, total: self.steps.append((done, total)),
            **settings,
        )
        return self


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_results_are_the_same_whatever_the_number_of_workers(workers: int) -> None:
    tasks: list[Any] = [*range(7), "video error", "other error"]
    seen = Collected().run(helpers.Squares, tasks, workers=workers)
    assert seen.results == {n: n * n for n in range(7)}
    assert seen.reasons == {
        "video error": "clip.mp4: nothing decodes",
        "other error": "ZeroDivisionError: a / b",
    }
    assert seen.steps == [(i + 1, 9) for i in range(9)]


def test_crashes_and_hangs_cost_their_own_task_only() -> None:
    tasks: list[Any] = [1, "segfault", 2, "hang", 3, "killed", 4, "exit", 5, "unsendable", 6]
    seen = Collected().run(helpers.Squares, tasks, workers=2, time_limit_s=3.0)
    assert seen.results == {n: n * n for n in range(1, 7)}
    assert set(seen.reasons) == {"segfault", "hang", "killed", "exit", "unsendable"}
    assert "SIGSEGV" in seen.reasons["segfault"]
    assert "SIGKILL" in seen.reasons["killed"]
    assert "out of memory" in seen.reasons["killed"]
    assert seen.reasons["exit"] == "the worker process ended with exit code 7"
    assert seen.reasons["hang"] == "took longer than 3 s"
    assert "cannot be sent" in seen.reasons["unsendable"]
    assert all("\n" not in reason for reason in seen.reasons.values())
    assert not _children()


def test_a_time_limit_holds_with_one_worker() -> None:
    seen = Collected().run(helpers.Squares, ["hang", 2], workers=1, time_limit_s=2.0)
    assert seen.results == {2: 4}
    assert seen.reasons == {"hang": "took longer than 2 s"}


def test_each_process_builds_its_state_once_and_computes_with_one_thread() -> None:
    seen = Collected().run(helpers.WhoAmI, list(range(12)), workers=2)
    by_process: dict[int, list[int]] = {}
    for pid, nth, variable, threads in seen.results.values():
        by_process.setdefault(pid, []).append(nth)
        assert variable == "1"
        assert threads == 1
    assert os.getpid() not in by_process
    assert len(by_process) <= 2
    assert all(sorted(counts) == list(range(1, len(counts) + 1)) for counts in by_process.values())


def test_in_process_the_number_of_torch_threads_comes_back() -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = Collected().run(helpers.WhoAmI, [1], workers=0)
        assert seen.results[1][3] == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_cannot_be_built_ends_the_run_with_its_own_error(workers: int) -> None:
    with pytest.raises(UsageError, match="no such weights file"):
        Collected().run(helpers.NeedsWeights, [1, 2], workers=workers)
    assert not _children()


def test_processes_that_die_at_the_start_end_the_run() -> None:
    with pytest.raises(KlocError, match=r"cannot start.*exit code 3"):
        Collected().run(helpers.DiesAtStart, [1, 2], workers=2)


def test_an_error_in_the_parents_callback_ends_all_workers() -> None:
    def refuse(task: int, result: int) -> None:
        raise RuntimeError("the store is full")

    with pytest.raises(RuntimeError, match="the store is full"):
        map_videos(helpers.Squares, [1, 2, 3], workers=2, on_result=refuse, on_error=refuse)
    assert not _children()


def test_no_tasks_build_no_worker() -> None:
    assert Collected().run(helpers.NeedsWeights, [], workers=2).results == {}


@pytest.mark.parametrize(
    ("how", "code"), [(signal.SIGINT, {130}), (signal.SIGTERM, {143}), (signal.SIGKILL, {-signal.SIGKILL})]
)
def test_no_worker_outlives_its_parent(tmp_path: Path, how: signal.Signals, code: set[int]) -> None:
    parent = subprocess.Popen([sys.executable, str(HELPERS / "engine_workers.py"), str(tmp_path)])
    try:
        workers = _until(lambda: len(list(tmp_path.iterdir())) == 2 and [int(p.name) for p in tmp_path.iterdir()])
        parent.send_signal(how)
        assert parent.wait(timeout=20) in code
        _until(lambda: not any(_alive(pid) for pid in workers))
    finally:
        parent.kill()
        parent.wait()


@given(st.lists(st.integers(), max_size=40), st.integers(1, 7))
def test_shards_part_the_tasks(tasks: list[int], count: int) -> None:
    parts = [shard(tasks, index, count) for index in range(count)]
    assert sorted(task for part in parts for task in part) == sorted(tasks)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("text", "expected"), [("0/1", (0, 1)), ("3/4", (3, 4))])
def test_shard_text(text: str, expected: tuple[int, int]) -> None:
    assert parse_shard(text) == expected


@pytest.mark.parametrize("text", ["4/4", "1", "a/b", "-1/3", "1/0", "", "0/0"])
def test_wrong_shard_text_says_how_to_write_it(text: str) -> None:
    with pytest.raises(UsageError, match="i/n"):
        parse_shard(text)


def test_reasons_are_one_line() -> None:
    assert reason_of(ValueError("")) == "ValueError"
    assert reason_of(KeyError("a\nb")).count("\n") == 0
    assert how_it_ended(None) == "the worker process stopped answering"
    assert "signal 77" in how_it_ended(-77)


def test_ray_is_asked_for_by_name_where_it_is_missing() -> None:
    try:
        import ray  # noqa: F401
    except ImportError:
        with pytest.raises(UsageError, match="pip install ray"):
            map_videos_ray(helpers.Squares, [1], workers=1, on_result=print, on_error=print)
    else:
        seen = Collected()
        map_videos_ray(
            helpers.Squares,
            [1, 2, "other error"],
            workers=2,
            on_result=seen.results.__setitem__,
            on_error=seen.reasons.__setitem__,
        )
        assert seen.results == {1: 1, 2: 4}
        assert seen.reasons == {"other error": "ZeroDivisionError: a / b"}


def _until(found: Any, seconds: float = 30.0) -> Any:
    """What ``found()`` gives once it is true; a test that waits longer has failed."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        value = found()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("it never happened")


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _children() -> list[psutil.Process]:
    """Live worker processes of this one: spawned by multiprocessing (whose own resource tracker may stay)."""
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(child.cmdline())
    ]
