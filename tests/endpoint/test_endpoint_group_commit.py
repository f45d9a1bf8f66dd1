"""Writers that come together commit together: each all or nothing, nobody answered before the commit."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from kloc.crowd.endpoint.database import Database
from kloc.crowd.endpoint.tables import Meta


@pytest.fixture
def database(tmp_path: Path) -> Any:
    opened = Database(f"sqlite:///{tmp_path / 'endpoint.db'}")
    yield opened
    opened.close()


class Crowd:
    """Writers that all come while the first is still at work, and what each of them got to see."""

    def __init__(self, database: Database) -> None:
        self.database, self.commits = database, 0
        self.kept: dict[str, bool] = {}
        self.large = ""
        self.pool = ThreadPoolExecutor(12)
        event.listen(database.engine, "commit", self._count)

    def run(self, keys: list[str], fail: str = "") -> dict[str, Future[None]]:
        entered, go = threading.Event(), threading.Event()
        first = self.pool.submit(self._write, keys[0], fail, lambda: (entered.set(), go.wait(30)))
        assert entered.wait(30)
        others = {key: self.pool.submit(self._write, key, fail, lambda: None) for key in keys[1:]}
        group = self.database._together
        assert group is not None
        while group._waiting < len(others):
            threading.Event().wait(0.001)
        go.set()
        self.pool.shutdown()
        return {keys[0]: first, **others}

    def _write(self, key: str, fail: str, meanwhile: Any) -> None:
        with self.database.write() as session:
            session.add(Meta(key=key, value="x" * 1_000_000 if key == self.large else key))
            session.flush()
            meanwhile()
            if key == fail:
                raise ValueError(key)
        with self.database.read() as session:  # another connection: it sees what is committed
            self.kept[key] = session.get(Meta, key) is not None

    def _count(self, _connection: Any) -> None:
        self.commits += 1


def stored(database: Database) -> set[str]:
    with database.read() as session:
        return {key for key in session.scalars(select(Meta.key)) if key.startswith("k")}


def test_one_commit_for_those_who_came_together(database: Database) -> None:
    crowd, keys = Crowd(database), [f"k{number}" for number in range(8)]
    for future in crowd.run(keys).values():
        future.result()
    assert crowd.commits == 1
    assert crowd.kept == dict.fromkeys(keys, True)


@pytest.mark.parametrize("number", [0, 3, 7])
def test_what_one_takes_back_is_nobody_elses(database: Database, number: int) -> None:
    keys = [f"k{number}" for number in range(8)]
    answers = Crowd(database).run(keys, fail=keys[number])
    failed = {key for key, future in answers.items() if future.exception() is not None}
    assert failed == {keys[number]}
    assert stored(database) == set(keys) - failed


def test_a_commit_that_fails_is_everybodys(database: Database) -> None:
    def no_room(_connection: Any) -> None:
        raise OSError("no space left")

    event.listen(database.engine, "commit", no_room)
    keys = [f"k{number}" for number in range(4)]
    for future in Crowd(database).run(keys).values():
        with pytest.raises(OSError, match="no space left"):
            future.result()
    assert stored(database) == set()
    event.remove(database.engine, "commit", no_room)
    with database.write() as session:
        session.add(Meta(key="k", value="after"))
    assert stored(database) == {"k"}


def test_what_a_full_disk_takes_back_nobody_believes_stored(database: Database) -> None:
    """SQLite then ends the whole transaction: what earlier writers of the batch wrote is gone with it."""

    def no_room(connection: Any) -> None:
        pages = connection.exec_driver_sql("pragma page_count").scalar()
        connection.exec_driver_sql(f"pragma max_page_count = {pages + 2}")

    event.listen(database.engine, "begin", no_room)
    crowd, keys = Crowd(database), [f"k{number}" for number in range(8)]
    crowd.large = keys[3]
    answers = crowd.run(keys)
    failed = {key for key, future in answers.items() if future.exception() is not None}
    assert {keys[0], crowd.large} <= failed
    assert stored(database) == set(keys) - failed


def test_nobody_waits_for_more_than_a_few(database: Database) -> None:
    with ThreadPoolExecutor(40) as pool:
        crowd = Crowd(database)
        for future in [pool.submit(crowd._write, f"k{number}", "", lambda: None) for number in range(200)]:
            future.result()
    assert len(stored(database)) == 200
    assert 200 / 16 <= crowd.commits <= 200
