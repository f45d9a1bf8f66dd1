"""The training gate: gold videos as qualification types, made once, that workers pass before they are given tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from kloc.crowd import page
from kloc.crowd.client import RefusedError, call, pages
from kloc.crowd.plan import PublishItem, PublishSettings, task_of
from kloc.crowd.question import html_question
from kloc.errors import CrowdError
from kloc.files import fingerprint

if TYPE_CHECKING:
    from mypy_boto3_mturk import MTurkClient

KEY_NAMESPACE = "urn:kloc:gold-answer-key:1"
#: A boundary may be off by so much: seconds, and the share of the gold segment's duration that comes on top.
TOLERANCE_S, TOLERANCE_SHARE = 1.0, 0.1
#: After a try that failed a worker waits so long, seconds: long enough to watch again, too long to guess through.
RETRY_S = 60


@dataclass(frozen=True, slots=True)
class GoldTask:
    """A video with its known answer: ``{"label", "start", "end"}`` in media seconds."""

    entry: PublishItem
    segments: tuple[Mapping[str, Any], ...]


def requirements(
    client: MTurkClient,
    gate: Sequence[GoldTask],
    settings: PublishSettings,
    score: int,
    *,
    render: Callable[[Mapping[str, Any]], str] = page.render,
) -> tuple[dict[str, Any], ...]:
    """What a HIT type asks of workers so that they pass the gate; its qualification types are made where missing.

    A type is found again by its name, which carries campaign, video and a hash of what is asked and what is right: a
    run that was killed makes no second one, and another guideline or another truth makes another. Work can be
    looked at before the gate is passed.
    """
    if not gate:
        return ()
    known = _types(client, settings.campaign)
    found = []
    for task in gate:
        name, test, key = _test(task, settings, render)
        type_id = known.get(name) or _create(client, name, test, key, task, settings)
        found.append(
            {
                "QualificationTypeId": type_id,
                "Comparator": "GreaterThanOrEqualTo",
                "IntegerValues": [score],
                "ActionsGuarded": "Accept",
            }
        )
    return tuple(found)


def answer_key(segments: Sequence[Mapping[str, Any]]) -> str:
    """The key by which the endpoint grades (kloc's own namespace: standard keys know no times)."""
    key = {
        "version": 1,
        "segments": [dict(segment) for segment in segments],
        "tolerance_s": TOLERANCE_S,
        "tolerance_share": TOLERANCE_SHARE,
    }
    text = escape(json.dumps(key, ensure_ascii=False))
    return f'<GoldAnswerKey xmlns="{KEY_NAMESPACE}"><JSON>{text}</JSON></GoldAnswerKey>'


def _test(
    task: GoldTask, settings: PublishSettings, render: Callable[[Mapping[str, Any]], str]
) -> tuple[str, str, str]:
    """Name, test and answer key of a gold task's qualification type."""
    shown = task_of(task.entry, settings) | {"mode": "training", "reward": "", "prefill": []}
    key = answer_key(task.segments)
    # Not of the page's markup: a newer kloc must not send everybody through the gate again.
    mark = fingerprint([shown["guideline"], shown["media_key"], shown["duration"], key])[:12]
    video = task.entry.item.video_id
    # Query is a search in words at some endpoints: ids of any length and letters become one.
    name = f"kloc {settings.campaign} {''.join(c if c.isalnum() else '-' for c in video)[:60]} {mark}"
    return name, html_question(render(shown), f"gold video {video!r}"), key


def _types(client: MTurkClient, campaign: str) -> dict[str, str]:
    listed = pages(
        "looking for the gate's qualification types",
        client,
        "list_qualification_types",
        "QualificationTypes",
        Query=f"kloc {campaign}",
        MustBeRequestable=False,
        MustBeOwnedByCaller=True,
    )
    return {kind["Name"]: kind["QualificationTypeId"] for kind in listed}


def _create(client: MTurkClient, name: str, test: str, key: str, task: GoldTask, settings: PublishSettings) -> str:
    about = f"gold video {task.entry.item.video_id!r}"
    try:
        answer = call(
            about,
            client.create_qualification_type,
            Name=name,
            Description=f"Practice: {', '.join(task.entry.classes)}. You see at once what was right."[:2000],
            QualificationTypeStatus="Active",
            RetryDelayInSeconds=RETRY_S,
            Test=test,
            AnswerKey=key,
            TestDurationInSeconds=settings.time_limit_s,
        )
    except RefusedError as error:
        # A repetition by boto3 whose first try had got through.
        made = _types(client, settings.campaign).get(name)
        if made is None:
            raise CrowdError(str(error)) from None
        return made
    return answer["QualificationType"]["QualificationTypeId"]
