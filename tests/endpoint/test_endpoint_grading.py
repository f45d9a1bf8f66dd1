"""Grading: gold videos with tolerance, the standard key, and answers and keys that mean harm."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kloc.crowd.endpoint.answers import answer_document, question_form_answers
from kloc.crowd.endpoint.faults import RequestError
from kloc.crowd.endpoint.grading import GOLD, STANDARD, Grade, grade, read_key


def seg(start: float, end: float, label: str = "jump") -> dict[str, Any]:
    return {"label": label, "start": start, "end": end}


def gold_key(*segments: dict[str, Any], **more: Any) -> str:
    key = json.dumps({"version": 1, "segments": segments, "tolerance_s": 1.0, "tolerance_share": 0.1, **more})
    return f'<GoldAnswerKey xmlns="{GOLD}"><JSON>{key.replace("<", "&lt;")}</JSON></GoldAnswerKey>'


def marked(*segments: Any) -> str:
    return question_form_answers([("answer", json.dumps({"version": 1, "segments": segments}))])


def told(result: Grade) -> list[tuple[Any, ...]]:
    return [(each["kind"], each.get("start"), each.get("off")) for each in result.feedback]


@pytest.mark.parametrize(
    ("marks", "score", "feedback"),
    [
        # Each gold segment (2-6 and 10-20) lets its boundaries be off by 1.4 and 2.0 seconds.
        ((seg(2, 6), seg(10, 20)), 100, [("good", 2, None), ("good", 10, None)]),
        ((seg(3.4, 7.4), seg(8, 22)), 100, [("good", 3.4, None), ("good", 8, None)]),
        ((seg(3.5, 6), seg(10, 20)), 50, [("good", 10, None), ("start", 3.5, 1.5)]),
        ((seg(2, 6), seg(7.5, 22.5)), 50, [("good", 2, None), ("start", 7.5, -2.5), ("end", 7.5, 2.5)]),
        ((seg(2, 6),), 67, [("good", 2, None), ("missed", None, None)]),
        ((seg(2, 6), seg(10, 20), seg(30, 31)), 80, [("good", 2, None), ("good", 10, None), ("extra", 30, None)]),
        ((seg(2, 6), seg(2.1, 6)), 50, [("good", 2, None), ("extra", 2.1, None), ("missed", None, None)]),
        ((seg(2, 6, "throw"), seg(10, 20)), 50, [("good", 10, None), ("extra", 2, None), ("missed", None, None)]),
        # Everything from start to end would be told where everything is; it is not.
        ((seg(0, 200),), 0, [("extra", 0, None), ("missed", None, None), ("missed", None, None)]),
        ((), 0, [("missed", None, None), ("missed", None, None)]),
    ],
)
def test_gold(marks: tuple[Any, ...], score: int, feedback: list[tuple[Any, ...]]) -> None:
    result = grade(gold_key(seg(2, 6), seg(10, 20)), marked(*marks))
    assert (result.score, told(result)) == (score, feedback)
    assert result.gold == [seg(2, 6), seg(10, 20)]


def test_where_nothing_happens_nothing_is_right() -> None:
    assert grade(gold_key(), marked()).score == 100
    assert grade(gold_key(), marked(seg(1, 2))).score == 0


def test_as_many_as_possible_are_paired() -> None:
    # The first mark fits both, the second only the first: taken greedily, one would be left.
    result = grade(gold_key(seg(10, 20), seg(13, 23)), marked(seg(11.5, 21.5), seg(8.5, 18.5)))
    assert result.score == 100


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"segments": {}}',
        "[" * 100_000,
        '{"segments": [{"label": "jump", "start": 1e999, "end": 2}]}',
        '{"segments": [{"label": "jump", "start": NaN, "end": 2}, {"label": "jump", "start": 5, "end": 2}]}',
        '{"segments": [{"label": {}, "start": 2, "end": 6}, 7, null, {"label": "jump", "start": true, "end": 6}]}',
        json.dumps({"segments": [seg(2, 6, "x" * 5000)]}),
        json.dumps({"segments": [seg(2, 6, "\ud800")]}),
        json.dumps({"segments": [seg(2, 6, "high\udc00\x00")]}),
    ],
)
def test_hostile_answers_are_worth_nothing(answer: str) -> None:
    result = grade(gold_key(seg(2, 6)), question_form_answers([("answer", answer)]))
    assert result.score == 0
    json.dumps(result.feedback, ensure_ascii=False).encode()


def test_marking_everything_everywhere_is_worth_little() -> None:
    many = [seg(k / 10, k / 10 + 4) for k in range(20_000)]
    result = grade(gold_key(*(seg(10 * k, 10 * k + 4) for k in range(200))), marked(*many))
    assert result.score < 3
    assert result.feedback == [{"kind": "many"}]


def test_marks_all_over_the_video_learn_nothing_of_the_gold() -> None:
    gold = (seg(12.3, 17.9), seg(31, 33.2))
    tiles = [seg(k * size, (k + 1) * size) for size in (1.5, 6, 15) for k in range(int(60 / size))]
    result = grade(gold_key(*gold), marked(*tiles))
    assert 0 < result.score < 50
    assert result.feedback == [{"kind": "many"}]
    few = grade(gold_key(*gold), marked(*gold, *tiles[:4]))
    assert [each["kind"] for each in few.feedback] == ["good"] * 2 + ["extra"] * 4
    assert grade(gold_key(*gold), marked(*gold, *tiles[:5])).feedback == [{"kind": "many"}]


def form_key(mapping: str = "") -> str:
    one = (
        "<Question><QuestionIdentifier>one</QuestionIdentifier>"
        "<AnswerOption><SelectionIdentifier>a</SelectionIdentifier><AnswerScore>10</AnswerScore></AnswerOption>"
        "<AnswerOption><SelectionIdentifier>b</SelectionIdentifier><AnswerScore>4</AnswerScore></AnswerOption>"
        "<DefaultScore>1</DefaultScore></Question>"
    )
    two = (
        "<Question><QuestionIdentifier>two</QuestionIdentifier><AnswerOption><SelectionIdentifier>x"
        "</SelectionIdentifier><SelectionIdentifier>y</SelectionIdentifier><AnswerScore>10</AnswerScore>"
        "</AnswerOption></Question>"
    )
    text = (
        "<Question><QuestionIdentifier>text</QuestionIdentifier><AnswerOption><FreeText>High Jump</FreeText>"
        "<AnswerScore>5</AnswerScore></AnswerOption></Question>"
    )
    mapped = f"<QualificationValueMapping>{mapping}</QualificationValueMapping>" if mapping else ""
    return f'<AnswerKey xmlns="{STANDARD}">{one}{two}{text}{mapped}</AnswerKey>'


def chosen(one: str = "", two: str = "", text: str = "") -> str:
    selected = {"one": one, "two": two}
    answers = [(name, [("SelectionIdentifier", each) for each in ids]) for name, ids in selected.items()]
    return answer_document([*answers, ("text", [("FreeText", text)])])


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        (chosen("a", "xy", " high jump "), 25),
        (chosen("b", "yx", "Long jump"), 14),
        (chosen("a", "x", ""), 10),
        (chosen("", "xyz", ""), 1),
        (question_form_answers([]), 1),
    ],
)
def test_the_standard_key(answer: str, score: int) -> None:
    assert grade(form_key(), answer) == Grade(score)


@pytest.mark.parametrize(
    ("mapping", "score"),
    [
        ("<PercentageMapping><MaximumSummedScore>25</MaximumSummedScore></PercentageMapping>", 56),
        ("<ScaleMapping><SummedScoreMultiplier>2.5</SummedScoreMultiplier></ScaleMapping>", 35),
        (
            "<RangeMapping><SummedScoreRange><InclusiveLowerBound>10</InclusiveLowerBound><InclusiveUpperBound>14"
            "</InclusiveUpperBound><QualificationValue>7</QualificationValue></SummedScoreRange>"
            "<OutOfRangeQualificationValue>0</OutOfRangeQualificationValue></RangeMapping>",
            7,
        ),
    ],
)
def test_what_a_sum_of_scores_is_worth(mapping: str, score: int) -> None:
    assert grade(form_key(mapping), chosen("b", "xy")).score == score


@pytest.mark.parametrize(
    "key",
    [
        "",
        "<AnswerKey",
        "<AnswerKey/>",
        f'<!DOCTYPE a [<!ENTITY b "c">]><AnswerKey xmlns="{STANDARD}"/>',
        f'<AnswerKey xmlns="{STANDARD}"/>',
        form_key("<PercentageMapping><MaximumSummedScore>0</MaximumSummedScore></PercentageMapping>"),
        form_key("<ScaleMapping><SummedScoreMultiplier>nan</SummedScoreMultiplier></ScaleMapping>"),
        form_key("<RangeMapping/>"),
        form_key("<Else/>"),
        form_key().replace(">10<", ">ten<"),
        form_key().replace("<SelectionIdentifier>b</SelectionIdentifier>", ""),
        form_key().replace("two", "one"),
        f'<GoldAnswerKey xmlns="{GOLD}"/>',
        f'<GoldAnswerKey xmlns="{GOLD}"><JSON>{{"version": 2, "segments": []}}</JSON></GoldAnswerKey>',
        gold_key(seg(6, 2)),
        gold_key({"label": "jump"}),
        gold_key(tolerance_s=-1),
        gold_key(tolerance_share="0.1"),
        gold_key(*[seg(k, k + 1) for k in range(201)]),
    ],
)
def test_keys_that_cannot_be(key: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_key(key)
    assert caught.value.code == "AWS.MechanicalTurk.XMLParseError"


def test_a_key_has_a_limit() -> None:
    with pytest.raises(RequestError, match="at most 65535"):
        read_key(" " * 65_536)
