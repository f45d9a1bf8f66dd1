"""The requester's wire: every operation of the model by boto3 and by ``aws``, and how many assignments go over it."""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import psutil
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks.campaigns import made_up_answer
from benchmarks.harness import Context, Figure, load_average, measure
from benchmarks.requester import ACCESS, PAGE, SECRET, Aws, Boto, Client, Tour, Worker, service_model
from kloc.crowd.endpoint.leases import MOST_HELD

PER_HIT, CONNECTIONS, RUNS = 3, 8, 3
#: What a page of kloc's says of itself, and as large as one is with its script and styles.
TASK = json.dumps({"media_key": "video", "classes": [{"name": "jump"}], "duration": 30.0, "expected_minutes": 2})
SCRIPT = f'<script type="application/json" id="kloc-task">{TASK}</script>'
QUESTION = PAGE.replace("Hello", f"{SCRIPT}Hello{'.' * 60_000}")
Item = TypeVar("Item")


@measure("wire", "every operation of the Requester API by boto3 and by aws; assignments per second over the wire")
def wire(context: Context) -> list[Figure]:
    figures = []
    with endpoint(context.scratch / "tour-boto3") as place:
        figures += _tour(context, place, "boto3", Boto(place.url))
    if context.full:  # a process a call
        with endpoint(context.scratch / "tour-aws") as place:
            figures += _tour(context, place, "aws", Aws(place.url))
    return [*figures, _throughput(context)]


@dataclass(frozen=True)
class Place:
    """A running endpoint."""

    url: str
    database_url: str
    process: int

    def cpu_seconds(self) -> float:
        """What the endpoint has used of its processor so far: no other process on the machine adds to it."""
        used = psutil.Process(self.process).cpu_times()
        return float(used.user + used.system)


@contextmanager
def endpoint(folder: Path) -> Iterator[Place]:
    """An endpoint as a process of its own, with its database in a file in ``folder``."""
    (folder / "media").mkdir(parents=True)
    settings = {
        "database_url": f"sqlite:///{folder / 'endpoint.db'}",
        "media_folder": str(folder / "media"),
        "access_key": ACCESS,
        "secret_key": SECRET,
        "port": 0,
        # One machine plays a few workers here, each as busy as many.
        "requests_per_second": 100_000.0,
    }
    (folder / "endpoint.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "kloc.crowd.endpoint", "--until-stdin-closes"]
    process = subprocess.Popen(
        [*command, "--config", str(folder / "endpoint.json")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Place(json.loads(process.stdout.readline())["url"], str(settings["database_url"]), process.pid)
    finally:
        process.stdin.close()
        process.wait(timeout=60)


def _tour(context: Context, place: Place, name: str, client: Client) -> list[Figure]:
    with httpx.Client(timeout=60) as http_client:
        tour = Tour(client, lambda worker: Worker.invited(place.url, place.database_url, worker, http_client))
        tour.run()
    model = set(service_model().operation_names)
    wrong = {operation: said for operation, said in tour.answers.items() if said}
    good = len(tour.answers) - len(wrong)
    context.say(f"  {name}: {good} of {len(model)} operations answer in their shape, {len(tour.refused)} say why not")
    silent = sorted(model - set(tour.answers) - set(tour.refused))
    return [
        Figure(
            f"operations of the model that answer, by {name}",
            good + len(tour.refused),
            f"of {len(model)}",
            at_least=len(model),
            detail={"silent": silent, "not supported, and say so": tour.refused},
        ),
        Figure(
            f"supported operations whose answers match their shape, by {name}",
            good,
            f"of {len(tour.answers)}",
            at_least=len(tour.answers),
            detail={"problems": wrong},
        ),
    ]


class Requester:
    """Raw signed HTTP over kept connections, one a thread; what boto3 sends, without what it costs."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._own = threading.local()
        self._signer = SigV4Auth(Credentials(ACCESS, SECRET), "mturk-requester", "us-east-1")

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """One operation; its answer."""
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"MTurkRequesterServiceV20170117.{operation}",
        }
        body = json.dumps(parameters)
        request = AWSRequest("POST", f"http://{self._host}/", headers=headers, data=body)
        self._signer.add_auth(request)
        return self._send("/", body, dict(request.headers))

    def post(self, path: str, **fields: str) -> dict[str, Any]:
        """A form, as a page sends it."""
        body = "&".join(f"{name}={quote(value)}" for name, value in fields.items())
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        return self._send(path, body, headers)

    def _send(self, path: str, body: str, headers: dict[str, str]) -> dict[str, Any]:
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = http.client.HTTPConnection(self._host, timeout=60)
        connection.request("POST", path, body.encode(), headers)
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {text[:300]!r}")
        answer: dict[str, Any] = json.loads(text)
        return answer


def _throughput(context: Context) -> Figure:
    """Assignments a second: handed in by ``externalSubmit``, listed with their answers, approved, each committed.

    Publishing and accepting come before and are not counted. The three parts follow one another, each over
    ``CONNECTIONS`` connections of one client process; the rate is that of all three together.
    """
    hits, runs = (400, RUNS) if context.full else (20, 1)
    loads, rates, parts, cpu = [], [], [], []
    for run in range(runs):
        loads.append(load_average())
        with endpoint(context.scratch / f"load-{run}") as place, ThreadPoolExecutor(CONNECTIONS) as pool:
            leases, requester = _prepared(place, hits, pool)
            before = place.cpu_seconds()
            seconds = _timed(context, requester, leases, pool)
            cpu.append(round(1000 * (place.cpu_seconds() - before) / len(leases), 2))
        parts.append({name: round(len(leases) / value, 1) for name, value in seconds.items()})
        rates.append(round(len(leases) / sum(seconds.values()), 1))
        context.say(f"  run {run + 1}: {rates[-1]} assignments/s, {cpu[-1]} ms of processor each; alone {parts[-1]}")
    detail = {
        "one assignment": "handed in by externalSubmit, listed with its answer, approved; each answer committed",
        "assignments": hits * PER_HIT,
        "hits": hits,
        "question_bytes": len(QUESTION),
        "connections": CONNECTIONS,
        "all": rates,
        "parts_per_s": parts,
        "endpoint_cpu_ms": cpu,
        "load_1min": loads,
    }
    return Figure("assignments over the wire", max(rates), "1/s", at_least=200.0, detail=detail)


def _prepared(place: Place, hits: int, pool: ThreadPoolExecutor) -> tuple[list[tuple[str, str]], Requester]:
    """Published and accepted: ``(HIT, assignment)`` ids, a HIT's one after the other."""
    requester = Requester(place.url)
    kind = {"Title": "Mark the jumps", "Description": "All of them", "Reward": "0.25"}
    type_id = requester.call("CreateHITType", **kind, AssignmentDurationInSeconds=3600)["HITTypeId"]
    values = {"HITTypeId": type_id, "MaxAssignments": PER_HIT, "LifetimeInSeconds": 86_400, "Question": QUESTION}
    made = _spread(pool, range(hits), lambda _: requester.call("CreateHITWithHITType", **values)["HIT"]["HITId"])
    with httpx.Client() as client:
        # Nobody may hold more than a few tasks at once, and all are taken before the first is handed in.
        crews = [
            [Worker.invited(place.url, place.database_url, f"worker {g} {n}", client) for n in range(PER_HIT)]
            for g in range(-(-hits // MOST_HELD))
        ]
    wanted = [(hit_id, worker.token) for i, hit_id in enumerate(made) for worker in crews[i // MOST_HELD]]
    taken = _spread(pool, wanted, lambda each: requester.post(f"/w/{each[1]}/accept/{each[0]}")["assignment_id"])
    return [(hit_id, assignment_id) for (hit_id, _), assignment_id in zip(wanted, taken, strict=True)], requester


def _timed(
    context: Context, requester: Requester, leases: list[tuple[str, str]], pool: ThreadPoolExecutor
) -> dict[str, float]:
    """Seconds of each part; every answer must come back as it was sent, and be approved in the end."""
    chance = random.Random(context.seed)
    answers = {lease[1]: made_up_answer(chance, 30.0, padding=600) for lease in leases}
    hits = list(dict.fromkeys(hit_id for hit_id, _ in leases))
    listed: list[dict[str, Any]] = []

    def submit(lease: tuple[str, str]) -> None:
        requester.post("/mturk/externalSubmit", assignmentId=lease[1], answer=answers[lease[1]])

    def listing(hit_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requester.call("ListAssignmentsForHIT", HITId=hit_id, MaxResults=100)[
            "Assignments"
        ]
        return found

    def approve(assignment: dict[str, Any]) -> None:
        requester.call("ApproveAssignment", AssignmentId=assignment["AssignmentId"])

    seconds = {"submit": _seconds(lambda: _spread(pool, leases, submit))}
    seconds["list"] = _seconds(lambda: listed.extend(one for page in _spread(pool, hits, listing) for one in page))
    seconds["approve"] = _seconds(lambda: _spread(pool, listed, approve))
    if {one["AssignmentId"] for one in listed} != set(answers):
        raise AssertionError("what was listed is not what was handed in")
    states = {one["AssignmentStatus"] for hit_id in hits for one in listing(hit_id)}
    if states != {"Approved"}:
        raise AssertionError(f"after all were approved there are {states}")
    return seconds


def _spread(pool: ThreadPoolExecutor, items: Iterable[Item], work: Callable[[Item], Any]) -> list[Any]:
    return list(pool.map(work, items))


def _seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
