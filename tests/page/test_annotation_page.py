"""The page as text: what it refuses, what it escapes, how large it gets."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloc.crowd.page import MAX_BYTES, embed, render, validate
from kloc.errors import UsageError

NASTY = "</script><script>alert(1)</script> <!-- ]]> & \u2028 \u2029 \" ' {{ 7*7 }}"


def embedded(page: str) -> Any:
    (text,) = re.findall(r'<script type="application/json" id="kloc-task">(.*?)</script>', page, re.S)
    return json.loads(text)


def packed(page: str) -> dict[str, str]:
    (text,) = re.findall(r'<script type="text/plain" id="kloc-app">(.*?)</script>', page, re.S)
    return json.loads(zlib.decompress(base64.b64decode(text)))


def test_the_task_comes_back_out_of_the_page(task: dict[str, Any]) -> None:
    task["prefill"] = [{"label": "long jump", "start": 1.5, "end": 2.0}]
    assert embedded(render(task)) == task


def test_the_same_task_gives_the_same_bytes_whatever_the_order_of_its_keys(task: dict[str, Any]) -> None:
    backwards = dict(reversed(task.items()))
    assert list(backwards) != list(task)
    assert render(backwards) == render(task)


def test_a_page_leaves_room_for_the_texts_of_a_task(task: dict[str, Any]) -> None:
    assert len(render(task).encode()) < 40_000
    rules = {"definition": "d" * 200, "start_rule": "s" * 60, "end_rule": "e" * 60}
    many = [{"name": f"class {i}", **rules} for i in range(40)]
    assert len(render({**task, "classes": many}).encode()) < MAX_BYTES


def test_a_page_that_would_not_fit_is_refused_with_its_size(task: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"'v_jump' has \d\d,\d{3} bytes and must stay below 60,000: shorten"):
        render({**task, "instructions": "word " * 6000})


def test_nothing_is_fetched_and_the_policy_names_exactly_what_the_page_runs(task: dict[str, Any]) -> None:
    page = render(task)
    assert not re.search(r"""(src|href)=["'](?!#)""", page)
    parts = packed(page)
    assert not re.search(r"""(src|href)=["'](?!#)|<script|<style|on\w+=""", parts["html"])
    assert "@import" not in parts["css"]
    assert "url(" not in parts["css"]
    (boot,) = re.findall(r'<script type="module">(.*?)</script>', page, re.S)
    for text in (boot, parts["css"], parts["script"]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in page
    assert "unsafe-inline" not in page


def test_hostile_texts_stay_text(task: dict[str, Any]) -> None:
    task["title"] = task["instructions"] = task["contact"] = NASTY
    task["classes"] = [{"name": NASTY, "definition": NASTY, "start_rule": NASTY, "end_rule": NASTY}]
    page = render(task)
    assert page.count("<script") == 3
    assert "alert(1)</script>" not in page
    assert embedded(page)["classes"][0]["name"] == NASTY
    assert "]]>" not in page
    question = ElementTree.fromstring(f"<HTMLContent><![CDATA[{page}]]></HTMLContent>")
    assert question.text == page


@given(st.recursive(st.text() | st.booleans(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_embedding_keeps_the_value_and_drops_every_dangerous_character(value: Any) -> None:
    text = str(embed(value))
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version"),
        ({"duration": "12"}, "duration: Input should be a valid number"),
        ({"duration": float("nan")}, "duration"),
        ({"duration": 0.0}, "duration: Input should be greater than 0"),
        ({"frame_period": 13.0}, "frame_period 13.0 s is longer than the video"),
        ({"classes": []}, "classes"),
        (
            {"classes": [{"name": "a", "definition": ""}] * 2},
            "the class 'a' is given twice",
        ),
        ({"classes": [{"name": "", "definition": ""}]}, r"classes\.0\.name"),
        ({"clases": []}, "clases: Extra inputs"),
        ({"media_type": "text/html"}, "media_type"),
        ({"title": "bell\x07"}, r"title: holds the character U\+0007"),
        ({"instructions": "half \ud83d"}, r"instructions: holds the character U\+D83D"),
        ({"prefill": [{"label": "dive", "start": 0.0, "end": 1.0}]}, "prefill has the class 'dive'"),
        ({"prefill": [{"label": "long jump", "start": 3.0, "end": 3.0}]}, r"prefill has the segment \[3.0, 3.0\)"),
        ({"prefill": [{"label": "long jump", "start": 3.0, "end": 13.0}]}, "outside the video's 12.0 s"),
    ],
)
def test_a_bad_task_is_refused_in_one_line(task: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        validate({**task, **change})
    assert "the task 'v_jump' cannot be shown: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(task: dict[str, Any]) -> None:
    del task["guideline"]
    with pytest.raises(UsageError, match="guideline: Field required"):
        render(task)
