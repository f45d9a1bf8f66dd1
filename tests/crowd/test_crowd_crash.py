"""Publishers killed with SIGKILL, against an endpoint in a process of its own: every HIT once, every mill once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from crowd_helpers import KEYS, open_store, publish_settings, videos
from sqlalchemy import select

from kloc.crowd import money
from kloc.crowd.client import make_client
from kloc.crowd.endpoint.admin import ensure_worker
from kloc.crowd.publish import publish
from kloc.store.database import Store
from kloc.store.tables import HitRow, LedgerRow

CLIENT = lru_cache(lambda url: make_client(url, **KEYS))
COMMAND = Path(__file__).parent / "crash_command.py"
JSON = {"Accept": "application/json"}
PUBLISHER = Path(__file__).parent / "crash_publisher.py"


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "media").mkdir()
    config = {
        "database_url": f"sqlite:///{tmp_path / 'endpoint.sqlite'}",
        "media_folder": str(tmp_path / "media"),
        "port": 0,
    }
    (tmp_path / "endpoint.json").write_text(json.dumps(config | KEYS))
    command = [sys.executable, "-m", "kloc.crowd.endpoint", "--config", str(tmp_path / "endpoint.json")]
    with subprocess.Popen(
        [*command, "--until-stdin-closes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.terminate()


@pytest.fixture
def start(tmp_path: Path, endpoint: str) -> Callable[[str], subprocess.Popen[str]]:
    def start(when: str) -> subprocess.Popen[str]:
        arguments = [f"sqlite:///{tmp_path / 'store.sqlite'}", endpoint, "5", "1500", when]
        return subprocess.Popen(
            [sys.executable, str(PUBLISHER), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


def state(tmp_path: Path, endpoint: str) -> tuple[list[str], list[str | None], list[str], money.Balance, list[str]]:
    """HIT ids at the endpoint; hit ids, states, balance and ledger entries in the store."""
    hits: list[str] = []
    for page in CLIENT(endpoint).get_paginator("list_hits").paginate():
        hits += [hit["HITId"] for hit in page["HITs"]]
    store = Store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    with store.transaction() as session:
        rows = list(session.scalars(select(HitRow).order_by(HitRow.video_id)))
        ledger = money.balance(session)
        entries = list(session.scalars(select(LedgerRow.entry)))
    store.close()
    return sorted(hits), [row.hit_id for row in rows], [row.state for row in rows], ledger, entries


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out + err


def test_a_publisher_killed_again_and_again_publishes_each_item_once(
    tmp_path: Path, endpoint: str, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    expected: list[tuple[str, int, list[str]]] = [
        ("type", 0, []),
        ("after:2", 2, ["created", "intended", "intended", "intended", "intended"]),
        # The second is found again, the third is created, the process dies before the fourth.
        ("before:3", 3, ["created", "created", "created", "intended", "intended"]),
    ]
    for when, published, states in expected:
        code, said = finish(start(when))
        assert code == -signal.SIGKILL, said
        hits, _, found, ledger, _ = state(tmp_path, endpoint)
        assert (len(hits), found) == (published, states), when
        # All intents and all their money, or nothing.
        assert ledger == (money.Balance(reserved=1500) if states else money.Balance())
    code, said = finish(start("never"))
    assert code == 0, said
    assert said.startswith("published 2 HITs for $0.60, 3 published before; campaign: $0.00 spent, $1.50 reserved")
    hits, known, found, ledger, entries = state(tmp_path, endpoint)
    assert found == ["created"] * 5
    assert sorted(str(hit) for hit in known) == hits
    assert len(hits) == 5
    assert ledger == money.Balance(reserved=1500)
    assert len(entries) == 5


def test_two_publishers_at_once_publish_each_item_once(
    tmp_path: Path, endpoint: str, start: Callable[[str], Any]
) -> None:
    # The store exists before they race for it.
    open_store(f"sqlite:///{tmp_path / 'store.sqlite'}", videos(5)[0]).close()
    both = [start("never"), start("never")]
    for process in both:
        code, said = finish(process)
        assert code == 0, said
    hits, known, found, ledger, _ = state(tmp_path, endpoint)
    assert found == ["created"] * 5
    assert sorted(str(hit) for hit in known) == hits
    assert ledger == money.Balance(reserved=1500)


#: A death for every command: before its call reaches the endpoint, or after the endpoint has acted.
DEATHS = [
    ("ingest", "after:approve_assignment:2"),
    ("bonus", "after:send_bonus:2"),
    ("extend", "after:create_additional_assignments_for_hit:1"),
    ("pause", "before:update_expiration_for_hit:2"),
    ("resume", "before:update_expiration_for_hit:1"),
    ("stop", "after:update_expiration_for_hit:1"),
]


def test_commands_that_were_killed_do_everything_once(tmp_path: Path, endpoint: str) -> None:
    items, _, _ = videos(2)
    store = open_store(f"sqlite:///{tmp_path / 'store.sqlite'}", items)
    publish(store, CLIENT(endpoint), items, publish_settings(assignments=2), max_spend_mills=None)
    store.close()
    people = [f"token-of-{name}-{'x' * 20}" for name in ("ann", "bob", "cem")]
    for index, token in enumerate(people):
        ensure_worker(f"sqlite:///{tmp_path / 'endpoint.sqlite'}", f"w{index}", token, seed=0)
    hand_in(endpoint, people[:2])
    for command, death in DEATHS:
        for when in (death, "never"):
            process = subprocess.Popen(
                [sys.executable, str(COMMAND), f"sqlite:///{tmp_path / 'store.sqlite'}", endpoint, command, when],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            code, said = finish(process)
            assert code == (0 if when == "never" else -signal.SIGKILL), f"{command} {when}: {said}"
            *_, ledger, _ = state(tmp_path, endpoint)
            assert ledger.exposure <= 400 + 200 + 200
        hits = CLIENT(endpoint).list_hits()["HITs"]
        offered = {hit["Expiration"].timestamp() > time.time() for hit in hits}
        assert offered == {command not in ("pause", "stop")}, command
        assert {hit["MaxAssignments"] for hit in hits} == {2 if command in ("ingest", "bonus") else 3}, command
    assert ledger == money.Balance(reserved=800, committed=600)
    finish_ingest = [
        sys.executable,
        str(COMMAND),
        f"sqlite:///{tmp_path / 'store.sqlite'}",
        endpoint,
        "ingest",
        "never",
    ]
    subprocess.run(finish_ingest, check=True, capture_output=True, timeout=300)
    _, _, states, ledger, entries = state(tmp_path, endpoint)
    assert states == ["closed", "closed"]
    assert ledger == money.Balance(reserved=800, committed=600, released=200)
    assert sum(entry.startswith("committed:bonus:") for entry in entries) == 4
    paid = [CLIENT(endpoint).list_bonus_payments(HITId=hit["HITId"])["BonusPayments"] for hit in hits]
    assert [payment["BonusAmount"] for payments in paid for payment in payments] == ["0.05"] * 4


def hand_in(endpoint: str, people: list[str]) -> None:
    answer = {"version": 1, "segments": [{"label": "jump", "start": 1, "end": 5}], "seconds_spent": 60}
    for token in people:
        for hit in httpx.get(f"{endpoint}/w/{token}", headers=JSON).json()["open"]:
            lease = httpx.post(f"{endpoint}/w/{token}/accept/{hit['hit_id']}", headers=JSON).raise_for_status().json()
            form = {"assignmentId": lease["assignment_id"], "answer": json.dumps(answer)}
            httpx.post(f"{endpoint}/mturk/externalSubmit", data=form, headers=JSON).raise_for_status()
