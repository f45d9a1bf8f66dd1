"""A database that an older kloc made opens under this one, with everything in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import inspect, select

from kloc.crowd.endpoint.admin import create_worker, list_workers
from kloc.crowd.endpoint.database import Database
from kloc.crowd.endpoint.tables import SCHEMA, Base, Meta, Worker

_SINCE_2 = {
    "tables": ("reports", "qualifications", "qualification_requests", "qualification_types", "worker_blocks"),
    "columns": (("hits", "facts"), ("workers", "password"), ("worker_tokens", "expires")),
}


def test_a_database_of_schema_1_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "endpoint.sqlite"
    url = f"sqlite:///{path}"
    worker_id, _ = create_worker(url, "ada")
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in _SINCE_2["tables"]:
            connection.execute(f"drop table {table}")
        for table, column in _SINCE_2["columns"]:
            connection.execute(f"alter table {table} drop column {column}")
        connection.execute("update meta set value = '1' where key = 'schema'")

    for _ in range(2):  # the second time there is nothing left to do
        database = Database(url)
        with database.read() as session:
            assert session.get_one(Meta, "schema").value == SCHEMA
            assert session.scalars(select(Worker)).one().id == worker_id
            inspector = inspect(session.connection())
            for table in Base.metadata.sorted_tables:
                assert {c["name"] for c in inspector.get_columns(table.name)} == set(table.c.keys())
        database.close()
    assert [worker.name for worker in list_workers(url)] == ["ada"]
