"""Hostile answers become problems in words; good ones arrive in video seconds."""

from __future__ import annotations

import json
import math
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloc.crowd.answers import ANSWERS_NAMESPACE, Marked, ParsedAnswer, is_report, parse, storable

BOUNDS = {"start": 5.0, "end": 65.0, "media_start": 5.0, "classes": {"jump", "run"}}
GOOD: dict[str, Any] = {
    "version": 1,
    "segments": [{"label": "jump", "start": 1.0, "end": 2.5}],
    "none": False,
    "seconds_spent": 70,
    "watched": [[0, 60]],
    "guideline": "abc",
    "prefilled": False,
}


def document(*fields: tuple[str, str]) -> str:
    body = "".join(
        f"<Answer><QuestionIdentifier>{escape(name)}</QuestionIdentifier><FreeText>{escape(text)}</FreeText></Answer>"
        for name, text in fields
    )
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f'{head}<QuestionFormAnswers xmlns="{ANSWERS_NAMESPACE}">{body}</QuestionFormAnswers>'


def wrapped(answer: Any) -> str:
    return document(("answer", json.dumps(answer)))


def problem_of(raw: str) -> str:
    answer, problem = parse(raw, **BOUNDS)
    assert answer is None
    assert problem is not None
    assert "\n" not in problem
    return problem


def answer_of(raw: str) -> ParsedAnswer:
    answer, problem = parse(raw, **BOUNDS)
    assert problem is None
    assert answer is not None
    return answer


def test_a_good_answer_arrives_in_video_seconds() -> None:
    answer = answer_of(wrapped(GOOD))
    assert answer.segments == (Marked(6.0, 7.5, "jump"),)
    assert (answer.none, answer.seconds_spent, answer.watched) == (False, 70.0, ((5.0, 65.0),))
    assert (answer.guideline, answer.prefilled, answer.signs) == ("abc", False, ())
    assert answer.to_json()["segments"] == [{"start": 6.0, "end": 7.5, "label": "jump"}]
    assert json.loads(json.dumps(answer.to_json())) == answer.to_json()


def test_other_fields_prefixes_and_encodings_do_not_matter() -> None:
    plain = document(("browser", "<x> & ]]>"), ("answer", json.dumps(GOOD)))
    prefixed = plain.replace("<", "<q:").replace("<q:/", "</q:").replace("<q:?", "<?").replace("xmlns=", "xmlns:q=")
    for raw in (
        plain,
        prefixed,
        plain.replace("UTF-8", "UTF-16"),
        f"\n {plain} \n",
        plain.replace("<?xml", "\x00<?xml"),
    ):
        assert answer_of(raw).segments == (Marked(6.0, 7.5, "jump"),)


def test_none_is_an_answer_and_the_whole_video_too() -> None:
    assert answer_of(wrapped(GOOD | {"segments": [], "none": True})).none
    whole = answer_of(wrapped(GOOD | {"segments": [{"label": "run", "start": 0, "end": 60}]}))
    assert whole.segments == (Marked(5.0, 65.0, "run"),)
    assert whole.signs == ("whole-video",)


def test_signs_are_recorded() -> None:
    assert answer_of(wrapped(GOOD | {"seconds_spent": 17.9})).signs == ("hasty",)
    assert answer_of(wrapped(GOOD | {"seconds_spent": 18})).signs == ()
    # Watching the same ten seconds twice is ten seconds.
    assert answer_of(wrapped(GOOD | {"watched": [[0, 10], [0, 10]]})).signs == ("unwatched",)
    # Who shows no proof of watching has none.
    assert answer_of(wrapped(GOOD | {"watched": []})).signs == ("unwatched",)
    assert answer_of(wrapped({k: v for k, v in GOOD.items() if k != "watched"})).signs == ("unwatched",)


def test_what_became_of_a_prefill_is_read_where_it_is_told() -> None:
    told = [{"label": "jump", "start": 1, "end": 2, "origin": origin} for origin in ("own", "kept", "corrected")]
    answers = [answer_of(wrapped(GOOD | {"segments": [s], "prefilled": True, "discarded": 2})) for s in told]
    assert [answer.segments[0].origin for answer in answers] == ["own", "kept", "corrected"]
    kept = answers[1].to_json()
    assert kept["segments"] == [{"start": 6.0, "end": 7.0, "label": "jump", "origin": "kept"}]
    assert (kept["prefilled"], kept["discarded"]) == (True, 2)
    # The same stretch twice is one, whatever its origins.
    assert len(answer_of(wrapped(GOOD | {"segments": told})).segments) == 1
    assert "discarded" not in answer_of(wrapped(GOOD)).to_json()


def test_a_report_is_told_from_a_defect() -> None:
    said = problem_of(wrapped({"version": 1, "problem": {"kind": "does-not-play", "text": "It stays\nblack"}}))
    assert said == "the worker reports 'does-not-play': 'It stays black'"
    assert is_report(said)
    assert is_report(problem_of(wrapped({"problem": {"kind": {"a": [1]}, "text": ["x" * 999]}})))
    assert not is_report(problem_of(wrapped({})))
    assert not is_report(None)


def test_ends_just_outside_are_clipped_and_far_outside_are_a_problem() -> None:
    clipped = answer_of(wrapped(GOOD | {"segments": [{"label": "jump", "start": -0.9, "end": 60.9}]}))
    assert clipped.segments == (Marked(5.0, 65.0, "jump"),)
    for start, end in ((-1.1, 3), (3, 61.1), (60.2, 60.8)):
        problem = problem_of(wrapped(GOOD | {"segments": [{"label": "jump", "start": start, "end": end}]}))
        assert "outside [5, 65)" in problem


BOMB = (
    '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]>'
    f'<QuestionFormAnswers xmlns="{ANSWERS_NAMESPACE}"><Answer>&y;</Answer></QuestionFormAnswers>'
)
OUTSIDE = BOMB.replace('<!ENTITY x "ha">', '<!ENTITY x SYSTEM "file:///etc/passwd">')


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("", "not well-formed"),
        ("<a", "not well-formed"),
        ("{}", "not well-formed"),
        (BOMB, "forbidden"),
        (OUTSIDE, "forbidden"),
        ("<a/>", "not QuestionFormAnswers"),
        (document().replace(ANSWERS_NAMESPACE, "http://example.org"), "not QuestionFormAnswers"),
        (document(), "no field 'answer'"),
        (document(("answer", "{}"), ("answer", "{}")), "comes twice"),
        (f'<QuestionFormAnswers xmlns="{ANSWERS_NAMESPACE}"><Answer/></QuestionFormAnswers>', "no QuestionIdentifier"),
        ("x" * 10_000_000, "more than 2,000,000"),
        ("<a>" * 100_000, "not well-formed"),
        (document(("answer", "")), "not JSON"),
        (document(("answer", "[" * 100_000)), "not JSON"),
        (document(("answer", '{"version": NaN}')), "NaN is not a number"),
        (document(("answer", json.dumps(GOOD).replace("70", "1" * 5000))), "not JSON"),
        (wrapped([]), "is a list, not an object"),
        (wrapped({}), "unknown version"),
        (wrapped(GOOD | {"version": True}), "unknown version"),
        (wrapped({"problem": "the video does not play"}), "the worker reports: 'the video does not play'"),
        (wrapped({"problem": "bad \ud800\x00 text"}), "the worker reports: 'bad"),
        (wrapped({"problem": [[[[]]]]}), "the worker reports: a list"),
        (wrapped(GOOD | {"segments": None}), "'segments' is missing"),
        (wrapped(GOOD | {"segments": {"a": 1}}), "'segments' is an object"),
        (wrapped(GOOD | {"segments": [3]}), "segment 1 is a number"),
        (wrapped(GOOD | {"segments": [{"start": 1, "end": 2}]}), "unknown class None"),
        (wrapped(GOOD | {"segments": [{"label": "fly", "start": 1, "end": 2}]}), "unknown class 'fly'"),
        (wrapped(GOOD | {"segments": [{"label": ["jump"], "start": 1, "end": 2}]}), "unknown class a list"),
        (wrapped(GOOD | {"segments": [{"label": "jump", "start": "1", "end": 2}]}), "start of segment 1 is text"),
        (wrapped(GOOD | {"segments": [{"label": "jump", "start": True, "end": 2}]}), "a truth value"),
        (wrapped(GOOD | {"segments": [{"label": "jump", "start": 1}]}), "end of segment 1 is missing"),
        (wrapped(GOOD | {"segments": [{"label": "jump", "start": 3, "end": 2}]}), "ends (7 s) before it starts (8 s)"),
        (wrapped(GOOD | {"segments": [{"label": "jump", "start": 2, "end": 2}]}), "before it starts"),
        (document(("answer", json.dumps(GOOD).replace("2.5", "1e999"))), "not a usable number"),
        (document(("answer", json.dumps(GOOD).replace("2.5", "9" * 400))), "not a usable number"),
        (wrapped(GOOD | {"segments": GOOD["segments"] * 501}), "501 segments, more than 500"),
        (wrapped(GOOD | {"none": True}), "nothing occurs and marks 1 segments"),
        (wrapped(GOOD | {"segments": []}), "marks nothing and does not say"),
        (wrapped(GOOD | {"none": 1}), "'none' is a number"),
        (wrapped(GOOD | {"seconds_spent": -1}), "negative seconds_spent"),
        (wrapped(GOOD | {"seconds_spent": "long"}), "seconds_spent is text"),
        (wrapped(GOOD | {"watched": "all"}), "'watched' is not a list"),
        (wrapped(GOOD | {"watched": [[1, 2, 3]]}), "not [start, end]"),
        (wrapped(GOOD | {"guideline": 7}), "'guideline' is a number"),
        (wrapped(GOOD | {"discarded": -1}), "'discarded' is -1"),
        (wrapped(GOOD | {"discarded": True}), "'discarded' is True"),
        (wrapped(GOOD | {"segments": [GOOD["segments"][0] | {"origin": "mine"}]}), "unknown origin 'mine'"),
        (wrapped(GOOD | {"segments": [GOOD["segments"][0] | {"origin": {}}]}), "unknown origin an object"),
        ("<a>" * 200_000 + "</a>" * 200_000, "not QuestionFormAnswers"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_what_is_wrong_becomes_a_problem_in_words(raw: str, words: str) -> None:
    assert words in problem_of(raw)


def test_control_characters_do_not_spoil_a_good_answer() -> None:
    raw = wrapped(GOOD).replace("<FreeText>", "<FreeText>\x01\ud800&#0;&#x1F;")
    assert answer_of(raw).segments == (Marked(6.0, 7.5, "jump"),)
    told = answer_of(wrapped(GOOD | {"guideline": "a\x00b\ud800" + "c" * 100}))
    assert told.guideline == "ab" + "c" * 62


def test_the_same_segment_twice_is_one() -> None:
    assert len(answer_of(wrapped(GOOD | {"segments": GOOD["segments"] * 2})).segments) == 1


def test_raw_text_is_kept_as_both_databases_can() -> None:
    kept = storable("a\x00b\udc80c\x01é")
    assert kept == "a\\u0000b\\udc80c\x01é"
    kept.encode()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from([*GOOD, "problem"])
segment = st.fixed_dictionaries(
    {
        "label": st.sampled_from(["jump", "fly"]) | anything,
        "start": st.floats() | anything,
        "end": st.floats() | anything,
    }
)


@given(st.dictionaries(keys, anything | st.lists(segment, max_size=4)))
def test_no_json_ever_raises_and_what_is_accepted_is_sane(changes: dict[str, Any]) -> None:
    answer, problem = parse(wrapped(GOOD | changes), **BOUNDS)
    assert (answer is None) != (problem is None)
    if answer is None:
        assert problem is not None
        problem.encode()
        return
    for s in answer.segments:
        assert 5.0 <= s.start < s.end <= 65.0
        assert s.label in {"jump", "run"}
    assert answer.none == (not answer.segments)
    assert answer.seconds_spent is None or (math.isfinite(answer.seconds_spent) and answer.seconds_spent >= 0)
    json.dumps(answer.to_json(), allow_nan=False).encode()


@given(st.text(alphabet=st.characters(), max_size=200))
def test_no_text_ever_raises(raw: str) -> None:
    assert parse(raw, **BOUNDS)[1]
    assert parse(document(("answer", raw)), **BOUNDS)[1]
    storable(raw).encode()


@given(
    st.lists(st.tuples(st.floats(0, 59), st.floats(0.01, 60), st.sampled_from(["jump", "run"])), min_size=1, max_size=8)
)
def test_every_sane_answer_is_accepted_as_it_is(marks: list[tuple[float, float, str]]) -> None:
    segments = [{"label": label, "start": s, "end": min(s + d, 60.0)} for s, d, label in marks]
    answer = answer_of(wrapped(GOOD | {"segments": segments}))
    expected = {(s["start"] + 5.0, s["end"] + 5.0, s["label"]) for s in segments}
    assert {(s.start, s.end, s.label) for s in answer.segments} == expected
