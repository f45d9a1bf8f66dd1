"""A campaign's command as a process of its own that kills itself, as hard as can be, where it is told to.

``python crash_command.py STORE_URL ENDPOINT_URL COMMAND WHEN``; WHEN is ``never``, ``before:OPERATION:N`` or
``after:OPERATION:N`` (the endpoint has acted, its answer is lost) of the N-th call of a client's operation.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from crowd_helpers import KEYS
from sqlalchemy import select

from kloc.crowd import bonus, money
from kloc.crowd.client import make_client
from kloc.crowd.extend import extend, pause, resume, stop
from kloc.crowd.ingest import ingest
from kloc.store.crowd import hits
from kloc.store.database import Store
from kloc.store.tables import AssignmentRow

CAP = 2000


class Killing:
    def __init__(self, client: Any, when: str) -> None:
        self._client = client
        self._moment, self._operation, nth = when.split(":") if when != "never" else ("", "", "0")
        self._left = int(nth)

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        if name != self._operation:
            return real

        def call(**arguments: Any) -> Any:
            self._left -= 1
            if self._left == 0 and self._moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            answer = real(**arguments)
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return call


def main(store_url: str, endpoint_url: str, command: str, when: str) -> None:
    store = Store(store_url)
    client: Any = Killing(make_client(endpoint_url, **KEYS), when)
    with store.transaction() as session:
        rows = hits(session)
    tokens = [row.token for row in rows]
    if command == "ingest":
        print(ingest(store, client))
    elif command == "extend":
        print(extend(store, client, dict.fromkeys(tokens, 3), max_spend_mills=CAP))
    elif command == "pause":
        print(pause(store, client, tokens, "campaign-1", fees=money.NO_FEES))
    elif command == "resume":
        print(resume(store, client, tokens))
    elif command == "stop":
        print(stop(store, client, tokens, "campaign-1", fees=money.NO_FEES))
    elif command == "bonus":
        with store.transaction() as session:
            approved = session.scalars(select(AssignmentRow).where(AssignmentRow.status == "Approved"))
            bonus.grant(session, approved, 50, money.NO_FEES, cap_mills=CAP, now=1.0)
        print(bonus.pay(store, client, "good work", 1.0))


if __name__ == "__main__":
    main(*sys.argv[1:])
