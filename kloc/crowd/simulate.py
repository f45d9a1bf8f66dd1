"""Simulated workers: what they answer is a pure function here, how they hand it in goes through HTTP like a browser.

Who answers which item, and the answer itself, depend on (seed, item, worker) alone: never on the clock, the order of
arrival, or on how often the simulation was interrupted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import httpx
import numpy as np

from kloc.errors import CrowdError, UsageError
from kloc.records import Annotation, Instance
from kloc.seeds import generator

#: No simulated segment is shorter (seconds).
SHORTEST_S = 0.1
#: Seconds between two looks at the open tasks while there is nothing to do.
POLL_S = 0.5
#: A worker's list of open tasks may be cut off at this length.
LISTED = 100

_TRIES = 8


@dataclass(frozen=True, slots=True)
class SimulatedWorker:
    """One worker's habits. Probabilities are per instance unless said otherwise.

    miss: overlooks it. false_alarms: segments marked per answer where nothing is (a Poisson mean).
    bias, spread: systematic and random error of a boundary, in units of 0.5 s + 0.1 x the instance's duration.
    merge: takes two neighbours for one. split: takes one for two. confusion: names another class that was asked.
    laziness: probability per answer of marking the first instance only, half watched. spammer: does not look at all.
    pace: seconds of work per second of video.
    """

    name: str
    miss: float = 0.05
    false_alarms: float = 0.05
    bias: float = 0.0
    spread: float = 0.3
    merge: float = 0.02
    split: float = 0.02
    confusion: float = 0.02
    laziness: float = 0.02
    spammer: bool = False
    pace: float = 1.5

    def __post_init__(self) -> None:
        for key in ("miss", "merge", "split", "confusion", "laziness"):
            if not 0 <= getattr(self, key) <= 1:
                raise UsageError(f"simulated worker {self.name!r}: {key} {getattr(self, key)} is not a probability")
        if min(self.false_alarms, self.spread, self.pace) < 0:
            raise UsageError(f"simulated worker {self.name!r}: false_alarms, spread and pace are not below 0")

    def answer(
        self, duration: float, truth: Sequence[Instance], classes: Sequence[str], rng: np.random.Generator
    ) -> dict[str, Any]:
        """The answer's JSON for media of ``duration`` seconds; ``truth`` in media seconds.

        The worker knows nothing of classes that were not asked about.
        """
        asked = sorted(i for i in truth if i.label in classes and i.end > 0 and i.start < duration)
        spent = (10.0 + self.pace * duration + 4.0 * len(asked)) * float(rng.lognormal(0.0, 0.2))
        watched = [[0.0, round(duration, 3)]]
        if self.spammer:
            segments = _spam(duration, classes, rng)
            spent, watched = 0.1 * duration, [[0.0, round(0.1 * duration, 3)]]
        else:
            if rng.random() < self.laziness:
                asked = asked[:1]
                spent, watched = 0.4 * spent, [[0.0, round(0.5 * duration, 3)]]
            segments = self._honest(duration, asked, classes, rng)
        marked = sorted({_fit(s, duration) for s in segments})
        return {
            "version": 1,
            "segments": [{"label": s.label, "start": s.start, "end": s.end} for s in marked],
            "none": not marked,
            "seconds_spent": round(spent, 1),
            "watched": watched,
            "guideline": "",
            "prefilled": False,
        }

    def _honest(
        self, duration: float, truth: Sequence[Instance], classes: Sequence[str], rng: np.random.Generator
    ) -> list[Instance]:
        seen = [i for i in truth if rng.random() >= self.miss]
        seen = _merged(seen, self.merge, rng)
        marked: list[Instance] = []
        for instance in seen:
            label = instance.label
            others = sorted(set(classes) - {label})
            if others and rng.random() < self.confusion:
                label = others[int(rng.integers(len(others)))]
            parts = [(instance.start, instance.end)]
            if rng.random() < self.split:
                cut = instance.start + instance.duration * float(rng.uniform(0.3, 0.7))
                parts = [(instance.start, cut), (cut, instance.end)]
            unit = 0.5 + 0.1 * instance.duration
            for start, end in parts:
                low, high = rng.normal(self.bias, self.spread, 2) * unit
                marked.append(Instance(start + float(low), end + float(high), label))
        for _ in range(int(rng.poisson(self.false_alarms))):
            length = duration * float(rng.uniform(0.05, 0.3))
            start = float(rng.uniform(0, duration - length))
            marked.append(Instance(start, start + length, classes[int(rng.integers(len(classes)))]))
        return marked


def default_crew(seed: int, n: int) -> tuple[SimulatedWorker, ...]:
    """``n`` workers of different skill; the last one of four or more is a spammer."""
    crew = []
    for index in range(n):
        rng = generator(seed, "crew", index)
        crew.append(
            SimulatedWorker(
                name=f"simulated-{index + 1:02d}",
                miss=round(float(rng.beta(2, 16)), 3),
                false_alarms=round(float(rng.gamma(2, 0.05)), 3),
                bias=round(float(rng.normal(0, 0.1)), 3),
                spread=round(float(rng.uniform(0.15, 0.7)), 3),
                merge=round(float(rng.uniform(0, 0.08)), 3),
                split=round(float(rng.uniform(0, 0.08)), 3),
                confusion=round(float(rng.uniform(0, 0.05)), 3),
                laziness=round(float(rng.beta(1, 20)), 3),
                spammer=n >= 4 and index == n - 1,
                pace=round(float(rng.uniform(1.1, 2.5)), 2),
            )
        )
    return tuple(crew)


def simulated_answer(
    worker: SimulatedWorker,
    seed: int,
    item_key: str,
    duration: float,
    truth: Sequence[Instance],
    classes: Sequence[str],
) -> dict[str, Any]:
    """The one answer this worker gives to this item under this seed; ``truth`` in media seconds."""
    return worker.answer(duration, truth, classes, generator(seed, "answer", item_key, worker.name))


def _spam(duration: float, classes: Sequence[str], rng: np.random.Generator) -> list[Instance]:
    label = classes[int(rng.integers(len(classes)))]
    if rng.random() < 0.5:
        return [Instance(0.0, duration, label)]
    start, end = sorted(rng.uniform(0, duration, 2))
    return [Instance(float(start), float(end), label)]


def _merged(instances: Sequence[Instance], probability: float, rng: np.random.Generator) -> list[Instance]:
    merged: list[Instance] = []
    for instance in instances:
        if merged and merged[-1].label == instance.label and rng.random() < probability:
            merged[-1] = Instance(merged[-1].start, max(merged[-1].end, instance.end), instance.label)
        else:
            merged.append(instance)
    return merged


def _fit(segment: Instance, duration: float) -> Instance:
    """Inside the media, not shorter than :data:`SHORTEST_S`, to the millisecond."""
    shortest = min(SHORTEST_S, duration)
    start = min(max(segment.start, 0.0), duration - shortest)
    end = min(max(segment.end, start + shortest), duration)
    return Instance(round(start, 3), round(end, 3), segment.label)


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

    def once(self, counts: dict[str, int]) -> int:
        """Finish what was begun, then take what is open; returns the number of answers sent."""
        sent = 0
        listed: dict[str, list[str]] = {}
        for worker, token in self._crew:
            for lease in self._json("GET", f"/w/{token}")["in_progress"]:
                sent += self._do(worker, self._json("GET", f"/w/{token}/task/{lease['assignment_id']}"), counts)
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
            self._tasks[hit_id] = _task_in(answer.json()["question_html"] or "", hit_id)
        key = _item_key(self._tasks[hit_id], self._start(self._tasks[hit_id]))
        sent = 0
        for worker, token in sorted(
            self._crew, key=lambda m: (generator(self._seed, "turn", key, m[0].name).random(), m[0].name)
        ):
            sees = hit_id in listed[token]
            if not sees and len(listed[token]) < LISTED:
                continue  # has answered it already
            answer = self._request("POST", f"/w/{token}/accept/{hit_id}")
            if answer.status_code == httpx.codes.CONFLICT and sees:
                break  # no place is left
            if not answer.is_error:
                sent += self._do(worker, answer.json(), counts)
        return sent

    def _do(self, worker: SimulatedWorker, lease: Mapping[str, Any], counts: dict[str, int]) -> int:
        """Open the page, load some of the video, answer, as a browser would; 1 where an answer was sent."""
        if not lease.get("frame_url"):
            return 0  # the lease ran out meanwhile
        task = _task_in(self._request("GET", lease["frame_url"]).text, lease["hit_id"])
        media = self._request("GET", lease["media_url"] or "", headers={"Range": "bytes=0-65535"})
        if media.status_code != httpx.codes.PARTIAL_CONTENT:
            raise CrowdError(
                f"video {task['video_id']!r}: the endpoint answers a range request with {media.status_code}, a browser "
                "could not seek in it"
            )
        answer = self._answer(worker, task)
        form = {"assignmentId": lease["assignment_id"], "answer": json.dumps(answer)}
        sent = self._request("POST", "/mturk/externalSubmit", data=form)
        if sent.status_code == httpx.codes.CONFLICT:
            return 0  # too late, the place is somebody else's
        if sent.is_error:
            raise CrowdError(f"video {task['video_id']!r}: the endpoint refuses an answer: {sent.text[:200]!r}")
        counts[worker.name] += 1
        return 1

    def _answer(self, worker: SimulatedWorker, task: Mapping[str, Any]) -> dict[str, Any]:
        video_id = task["video_id"]
        if video_id not in self._truth:
            raise UsageError(f"video {video_id!r}: simulated workers need its truth; import its annotation first")
        start = self._start(task)
        instances = [
            Instance(i.start - start, i.end - start, i.label, i.confidence) for i in self._truth[video_id].instances
        ]
        classes = [entry["name"] for entry in task["classes"]]
        key = _item_key(task, start)
        answer = simulated_answer(worker, self._seed, key, float(task["duration"]), instances, classes)
        return answer | {"guideline": task["guideline"], "prefilled": bool(task.get("prefill"))}

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


def _task_in(html: str, hit_id: str) -> dict[str, Any]:
    """The task inside a page: the JSON of ``<script id="kloc-task">``."""
    reader = _TaskReader()
    reader.feed(html)
    try:
        task: dict[str, Any] = json.loads("".join(reader.text))
    except ValueError:
        raise CrowdError(f"HIT {hit_id}: its page holds no task of kloc; simulated workers cannot do it") from None
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
