from __future__ import annotations

from dataclasses import replace

import defusedxml.ElementTree
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloc.crowd import page
from kloc.crowd.plan import PublishItem, PublishSettings, make_plan, task_of
from kloc.crowd.question import (
    HTML_QUESTION_NAMESPACE,
    MAX_QUESTION_BYTES,
    guideline_content,
    guideline_version,
    html_question,
)
from kloc.errors import UsageError
from kloc.records import Item

ENTRY = PublishItem(Item("v", 1.0, 11.0), ("run", "jump"), "key", 10.0, 0.04, media_start=1.0, round=2)
SETTINGS = PublishSettings("c", "Mark", "All of it.", {"run": "Fast."}, end_rules={"jump": "Feet down."})


def content(xml: str) -> str:
    root = defusedxml.ElementTree.fromstring(xml.encode())
    assert root.tag == f"{{{HTML_QUESTION_NAMESPACE}}}HTMLQuestion"
    assert root.findtext(f"{{{HTML_QUESTION_NAMESPACE}}}FrameHeight") == "0"
    return str(root.findtext(f"{{{HTML_QUESTION_NAMESPACE}}}HTMLContent"))


@given(st.text(alphabet=st.sampled_from("<>&]'\"é😀 \n]]>"), max_size=60))
def test_any_page_arrives_as_it_was(html: str) -> None:
    assert content(html_question(html, "v")) == html


def test_the_limit_is_in_bytes() -> None:
    room = MAX_QUESTION_BYTES - len(html_question("", "v").encode())
    assert len(html_question("é" * (room // 2), "v").encode()) <= MAX_QUESTION_BYTES
    with pytest.raises(UsageError, match=r"video 'v': the question has 65,5\d\d bytes, the protocol allows 65,535"):
        html_question("é" * (room // 2 + 1), "video 'v'")


def test_what_xml_cannot_carry_is_refused() -> None:
    with pytest.raises(UsageError, match=r"U\+0008"):
        html_question("a\x08b", "video 'v'")


def test_a_task_is_what_the_page_wants() -> None:
    task = task_of(ENTRY, SETTINGS)
    assert page.validate(task)["video_id"] == "v"
    assert task["classes"] == [
        {"name": "run", "definition": "Fast."},
        {"name": "jump", "definition": "", "end_rule": "Feet down."},
    ]
    assert (task["reward"], task["duration"], task["media_key"]) == ("$0.10", 10.0, "key")
    assert content(make_plan(ENTRY, SETTINGS, page.render).question) == page.render(task)


def test_a_guidelines_version_is_its_content() -> None:
    version = task_of(ENTRY, SETTINGS)["guideline"]
    assert task_of(replace(ENTRY, classes=("jump", "run")), SETTINGS)["guideline"] == version
    assert task_of(replace(ENTRY, round=3), replace(SETTINGS, reward_mills=50))["guideline"] == version
    changed = [
        replace(SETTINGS, instructions="All of it!"),
        replace(SETTINGS, title="Mark it"),
        replace(SETTINGS, definitions={"run": "Quick."}),
        replace(SETTINGS, end_rules={}),
    ]
    assert len({version, *(task_of(ENTRY, settings)["guideline"] for settings in changed)}) == 5
    told = guideline_content("t", "i", [{"name": "a"}])
    assert guideline_version(told) == guideline_version({"instructions": "i", "classes": [{"name": "a"}], "title": "t"})


def test_every_thing_that_is_sent_is_in_the_payloads_hash() -> None:
    def mark(entry: PublishItem, settings: PublishSettings) -> str:
        return make_plan(entry, settings, lambda task: f"<p>{task['guideline']}{task['media_key']}</p>").payload_hash

    others = [
        mark(ENTRY, replace(SETTINGS, reward_mills=50)),
        mark(ENTRY, replace(SETTINGS, assignments=4)),
        mark(ENTRY, replace(SETTINGS, lifetime_s=60)),
        mark(ENTRY, replace(SETTINGS, qualifications=({"QualificationTypeId": "X", "Comparator": "Exists"},))),
        mark(replace(ENTRY, media_key="other"), SETTINGS),
        mark(replace(ENTRY, media_start=2.0), SETTINGS),
    ]
    assert len({mark(ENTRY, SETTINGS), *others}) == 7
