"""Simulated workers hand in their answers through HTTP, as a browser does: pages, ranges of media, forms."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from kloc.crowd.simulate.workers import SimulatedWorker, simulated_answer
from kloc.errors import CrowdError, UsageError
from kloc.records import Annotation, Instance
from kloc.seeds import generator

#: Seconds between two looks at the open tasks while there is nothing to do.
POLL_S = 0.5
#: A worker's list of open tasks may be cut off at this length.
LISTED = 100

#: What workers can report.
PROBLEMS = ("does-not-play", "disturbing", "wrong-class", "other")

_TRIES = 8


def work(
    base_url: str,
    crew: Sequence[tuple[SimulatedWorker, str]],
    truth: Mapping[str, Annotation],
    seed: int,
    *,
    media_start: Mapping[str, float] | None = None,
    until: Callable[[], bool] | None = None,
) -> dict[str, int]:
    """Let a crew of (worker, access token) do what is open at ``base_url``; returns the answers sent per worker name.

    ``truth`` is in video seconds, by video id; ``media_start`` (by media key or video id, 0 where absent) plus the
    page's media seconds are video seconds. For each item the workers have an order drawn from (seed, item, worker);
    whoever comes first and has not answered yet takes the next place. Leases left behind by a crash are finished.
    Where tasks ask for a qualification the workers take its test first, and again after a failure as soon as the
    endpoint lets them; whoever lacks it meanwhile does not work. Reports are no answers and not counted.
    Ends when nothing is left to do, or, with ``until``, when that says so.

    Raises :class:`CrowdError` where the endpoint stays unreachable or does not serve what a browser needs, and
    :class:`UsageError` for a task about a video without truth.
    """
    if len({worker.name for worker, _ in crew}) != len(crew):
        raise UsageError("two simulated workers have the same name")
    counts = {worker.name: 0 for worker, _ in crew}
    timeout = httpx.Timeout(30.0)
    with httpx.Client(base_url=base_url, timeout=timeout, headers={"Accept": "application/json"}) as http:
        shift = _Shift(http, crew, truth, seed, media_start or {})
        while True:
            done = shift.once(counts)
            if until is None and not done:
                return counts
            if until is not None and until():
                return counts
            if not done:
                time.sleep(POLL_S)


class _Shift:
    """One crew at one endpoint."""

    def __init__(
        self,
        http: httpx.Client,
        crew: Sequence[tuple[SimulatedWorker, str]],
        truth: Mapping[str, Annotation],
        seed: int,
        media_start: Mapping[str, float],
    ) -> None:
        self._http = http
        self._crew = sorted(crew, key=lambda member: member[0].name)
        self._truth = truth
        self._seed = seed
        self._media_start = media_start
        self._tasks: dict[str, dict[str, Any]] = {}
        #: Tests handed in, by worker and type.
        self._tries: Counter[tuple[str, str]] = Counter()

    def once(self, counts: dict[str, int]) -> int:
        """Finish what was begun, then take what is open; returns the number of answers sent."""
        sent = 0
        listed: dict[str, list[str]] = {}
        for worker, token in self._crew:
            home = self._json("GET", f"/w/{token}")
            for lease in home["in_progress"]:
                sent += self._do(worker, self._json("GET", f"/w/{token}/task/{lease['assignment_id']}"), counts)
            for offer in home.get("qualifications", ()):
                if offer["state"] == "open":
                    self._qualify(worker, offer)
        for _, token in self._crew:
            listed[token] = [task["hit_id"] for task in self._json("GET", f"/w/{token}")["open"]]
        for hit_id in dict.fromkeys(hit for hits in listed.values() for hit in hits):
            sent += self._fill(hit_id, listed, counts)
        return sent

    def _fill(self, hit_id: str, listed: Mapping[str, Sequence[str]], counts: dict[str, int]) -> int:
        """Give the places of one HIT to the workers whose turn it is."""
        viewer = next(token for token, hits in listed.items() if hit_id in hits)
        if hit_id not in self._tasks:
            answer = self._request("GET", f"/w/{viewer}/preview/{hit_id}")
            if answer.is_error:
                return 0  # it ended between the list and the look
            self._tasks[hit_id] = _task_in(answer.json()["question_html"] or "", f"HIT {hit_id}")
        key = _item_key(self._tasks[hit_id], self._start(self._tasks[hit_id]))
        sent = 0
        for worker, token in sorted(
            self._crew, key=lambda m: (generator(self._seed, "turn", key, m[0].name).random(), m[0].name)
        ):
            sees = hit_id in listed[token]
            if not sees and len(listed[token]) < LISTED:
                continue  # has answered or reported it, or lacks a qualification
            answer = self._request("POST", f"/w/{token}/accept/{hit_id}")
            if answer.status_code == httpx.codes.CONFLICT and sees:
                break  # no place is left
            if not answer.is_error:
                sent += self._do(worker, answer.json(), counts)
        return sent

    def _do(self, worker: SimulatedWorker, lease: Mapping[str, Any], counts: dict[str, int]) -> int:
        """Open the page, load some of the video, answer or report, as a browser would; 1 where an answer was sent."""
        if not lease.get("frame_url"):
            return 0  # the lease ran out meanwhile
        task = self._opened(lease, f"HIT {lease['hit_id']}")
        answer = self._answer(worker, task)
        rng = generator(self._seed, "report", _item_key(task, self._start(task)), worker.name)
        if rng.random() < worker.report:
            problem = {"kind": PROBLEMS[int(rng.integers(len(PROBLEMS)))], "text": f"{worker.name} cannot do this"}
            address = parse_qs(urlsplit(lease["frame_url"]).query).get("reportUrl")
            if address is not None:
                told = self._request("POST", address[0], json=problem)
                if told.is_error and told.status_code != httpx.codes.CONFLICT:
                    raise CrowdError(f"video {task['video_id']!r}: the endpoint refuses a report: {told.text[:200]!r}")
                return 0
            answer |= {"problem": problem}
        sent = self._handed_in(lease["assignment_id"], task, answer)
        counts[worker.name] += sent
        return int(sent)

    def _qualify(self, worker: SimulatedWorker, offer: Mapping[str, Any]) -> None:
        """Take a test of the gate, or ask for what has none. Spammers who failed do not come back."""
        if worker.spammer and offer["score"] is not None:
            return
        started = self._request("POST", offer["start_url"])
        if started.is_error or "frame_url" not in started.json():
            return  # not to be had any more, or asked for: the requester decides
        task = self._opened(started.json(), f"the test {offer['name']!r}")
        tries = self._tries[worker.name, offer["type_id"]]
        self._tries[worker.name, offer["type_id"]] += 1
        self._handed_in(started.json()["attempt_id"], task, self._answer(worker, task, tries))

    def _opened(self, lease: Mapping[str, Any], what: str) -> dict[str, Any]:
        """The task on the page of a lease or a test, whose video plays and can be sought in."""
        task = _task_in(self._request("GET", lease["frame_url"]).text, what)
        media = self._request("GET", lease["media_url"] or "", headers={"Range": "bytes=0-65535"})
        if media.status_code != httpx.codes.PARTIAL_CONTENT:
            raise CrowdError(
                f"video {task['video_id']!r}: the endpoint answers a range request with {media.status_code}, a browser "
                "could not seek in it"
            )
        return task

    def _handed_in(self, name: str, task: Mapping[str, Any], answer: Mapping[str, Any]) -> bool:
        """Send the answer of a lease or a test; ``False`` where it came too late."""
        sent = self._request("POST", "/mturk/externalSubmit", data={"assignmentId": name, "answer": json.dumps(answer)})
        if sent.status_code == httpx.codes.CONFLICT:
            return False  # the place is somebody else's
        if sent.is_error:
            raise CrowdError(f"video {task['video_id']!r}: the endpoint refuses an answer: {sent.text[:200]!r}")
        return True

    def _answer(self, worker: SimulatedWorker, task: Mapping[str, Any], tries: int = 0) -> dict[str, Any]:
        """What the worker answers; after ``tries`` failed ones they look anew."""
        video_id = task["video_id"]
        if video_id not in self._truth:
            raise UsageError(f"video {video_id!r}: simulated workers need its truth; import its annotation first")
        start = self._start(task)
        instances = [
            Instance(i.start - start, i.end - start, i.label, i.confidence) for i in self._truth[video_id].instances
        ]
        classes = [entry["name"] for entry in task["classes"]]
        prefill = [Instance(s["start"], s["end"], s["label"]) for s in task.get("prefill", ())]
        key = _item_key(task, start) + (f"|try {tries}" if tries else "")
        answer = simulated_answer(worker, self._seed, key, float(task["duration"]), instances, classes, prefill)
        return answer | {"guideline": task["guideline"]}

    def _start(self, task: Mapping[str, Any]) -> float:
        known = self._media_start
        return float(known.get(task["media_key"], known.get(task["video_id"], 0.0)))

    def _json(self, method: str, path: str) -> dict[str, Any]:
        answer = self._request(method, path)
        if answer.is_error:
            raise CrowdError(f"the endpoint answers {answer.status_code} to a worker: {answer.text[:200]!r}")
        body: dict[str, Any] = answer.json()
        return body

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """One request, repeated while the endpoint is away or asks for patience."""
        reason = ""
        for attempt in range(_TRIES):
            try:
                answer = self._http.request(method, path, **arguments)
            except httpx.TransportError as error:
                reason = str(error) or type(error).__name__
            else:
                if answer.status_code != httpx.codes.TOO_MANY_REQUESTS and answer.status_code < 500:
                    return answer
                reason = f"status {answer.status_code}"
            time.sleep(min(0.05 * 2**attempt, 2.0))
        raise CrowdError(f"the endpoint {self._http.base_url} does not answer simulated workers: {reason}")


def _item_key(task: Mapping[str, Any], start: float) -> str:
    return f"{task['video_id']}|{start:.3f}|{float(task['duration']):.3f}"


def _task_in(html: str, what: str) -> dict[str, Any]:
    """The task inside a page: the JSON of ``<script id="kloc-task">``."""
    reader = _TaskReader()
    reader.feed(html)
    try:
        task: dict[str, Any] = json.loads("".join(reader.text))
    except ValueError:
        raise CrowdError(f"{what}: its page holds no task of kloc; simulated workers cannot do it") from None
    return task


class _TaskReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script" and ("id", "kloc-task") in attrs

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.text.append(data)
