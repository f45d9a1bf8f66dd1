"""A PostgreSQL cluster of one's own, for as long as it is needed."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class AbsentError(Exception):
    """PostgreSQL cannot run here; the message says why."""


@contextmanager
def cluster() -> Iterator[Callable[[], str]]:
    """A fresh cluster on a socket in its own folder; each call makes a database and gives its URL.

    Raises :class:`AbsentError` where the server's programs are not installed, or nobody can run them.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise AbsentError("PostgreSQL's server programs are not installed (/usr/lib/postgresql/*/bin)")
    folder, as_user = Path(tempfile.mkdtemp(prefix="kloc-pg-")), []
    data, log = folder / "data", folder / "log"

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(found[-1].parent / program), *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else "")

    def database() -> str:
        name = f"kloc_{secrets.token_hex(6)}"
        run("createdb", "-h", str(folder), "-U", "kloc", name)
        return f"postgresql://kloc@/{name}?host={folder}"

    try:
        if os.geteuid() == 0:  # the server refuses root
            try:
                os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
            except KeyError:
                raise AbsentError("running as root without a user 'postgres' to run PostgreSQL as") from None
            as_user += ["runuser", "-u", "postgres", "--"]
        run("initdb", "-D", str(data), "-A", "trust", "-U", "kloc", "--no-sync", "-E", "UTF8")
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off -c max_connections=100"
        run("pg_ctl", "-D", str(data), "-l", str(log), "-o", options, "-w", "start")
        try:
            yield database
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
