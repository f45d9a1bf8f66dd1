"""What a hostile worker could send: a small grammar, the same under the same seed.

Every answer that counts marks :data:`GOOD` exactly, whatever else it carries: what is counted can be checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import quote_plus, urlencode

import numpy as np

from kloc.crowd.answers import ANSWERS_NAMESPACE

LABEL = "jump"
#: Media seconds.
GOOD = (2.0, 5.0)
DURATION = 12.0
#: Larger than anything the endpoint takes.
HUGE = 10_000_000

#: submit: handed in. twice: handed in again, otherwise. raw: put into what the endpoint lists, as no server of ours
#: would write it. draft, report, foreign: tried, with a good answer handed in after it.
Way = Literal["submit", "twice", "raw", "draft", "report", "foreign"]
#: What must come of it: counted; kept and marked; refused with words; "either": bytes at random, kept or refused.
Expected = Literal["counted", "marked", "refused", "either"]


_FORM, _JSON = "application/x-www-form-urlencoded", "application/json"


@dataclass(frozen=True)
class Attack:
    """One thing to send. ``body`` holds ``%ID%`` for the assignment; ``raw`` ones go into what the endpoint lists."""

    kind: str
    way: Way
    expected: Expected
    body: bytes
    content_type: str = _FORM


T = TypeVar("T")


def _pick(rng: np.random.Generator, *choices: T) -> T:
    return choices[int(rng.integers(len(choices)))]


def script(rng: np.random.Generator, canary: str) -> str:
    """Markup that would call ``canary`` and set a global where anything takes it for more than text."""
    name = f"{canary}/{int(rng.integers(1 << 40)):x}"
    call = f"window.kloc_hit=1;new Image().src='{name}'"
    return _pick(
        rng,
        f"<script>{call}</script>",
        f'<img src=x onerror="{call}">',
        f'"><svg onload="{call}">',
        f"</textarea></script><script>{call}</script>",
        f"<img src='{name}'>",
        f"<iframe srcdoc=\"<script>parent.kloc_hit=1;new Image().src='{name}'</script>\"></iframe>",
        f'<a href="javascript:{call}" autofocus onfocus="{call}">x</a>',
        f"<style>@import '{name}';*{{background:url({name})}}</style>",
        f"<link rel=stylesheet href='{name}'>",
        f"<video src='{name}' autoplay></video>",
        f"';{call};//",
        f'${{{call}}}{{{{constructor.constructor("{call}")()}}}}',
        f"<meta http-equiv=refresh content='0;url={name}'>",
        f"]]><script>{call}</script><![CDATA[",
        f"\u202e\u2066<script>{call}</script>",
    )


def _answer(**changes: Any) -> dict[str, Any]:
    values = {
        "version": 1,
        "segments": [_segment()],
        "none": False,
        "seconds_spent": 30,
        "watched": [[0, DURATION]],
        "guideline": "g",
        "prefilled": False,
    }
    return values | changes


def _segment(**changes: Any) -> dict[str, Any]:
    return {"label": LABEL, "start": GOOD[0], "end": GOOD[1]} | changes


def _form(*fields: tuple[str, str]) -> bytes:
    return b"assignmentId=%ID%&" + urlencode(fields, quote_via=quote_plus, errors="surrogatepass").encode()


def sent(answer: Any, *more: tuple[str, str]) -> bytes:
    """The form that hands ``answer`` in."""
    return _form(("answer", answer if isinstance(answer, str) else json.dumps(answer)), *more)


#: What every honest worker hands in.
HONEST = sent(_answer())


def document(text: str, head: str = "", body: str = "") -> str:
    """An answer document as somebody's server could list it; ``text`` is put in as it is."""
    field = f"<Answer><QuestionIdentifier>answer</QuestionIdentifier><FreeText>{text}</FreeText></Answer>"
    return f'{head}<QuestionFormAnswers xmlns="{ANSWERS_NAMESPACE}">{body}{field}</QuestionFormAnswers>'


_OF_ANOTHER_TYPE: tuple[Any, ...] = ("text", True, [], {}, [[]], [1, 2], {"start": 1}, -7.5, "1", 10**30)


def _wrong_type(rng: np.random.Generator) -> dict[str, Any]:
    """One member of a good answer as something it can never be."""
    name = _pick(rng, "version", "segments", "none", "seconds_spent", "watched", "guideline", "discarded")
    fits: tuple[Any, ...] = {"watched": ([],), "guideline": ("text", "1")}.get(name, ())
    return _answer(**{name: _pick(rng, *[value for value in _OF_ANOTHER_TYPE if value not in fits])})


def _wrong_segment(rng: np.random.Generator) -> dict[str, Any]:
    return _answer(
        segments=[_segment(**{_pick(rng, "label", "start", "end", "origin"): _pick(rng, *_OF_ANOTHER_TYPE)})]
    )


def _nested(rng: np.random.Generator) -> str:
    depth = int(rng.integers(2_000, 40_000))
    return _pick(rng, "[" * depth, "[" * depth + "]" * depth, '{"a":' * depth)


def _too_many(rng: np.random.Generator) -> dict[str, Any]:
    return _pick(
        rng,
        _answer(segments=[_segment(start=i * 0.01, end=i * 0.01 + 0.005) for i in range(501)]),
        _answer(watched=[[0, 1]] * 20_001),
        _answer(guideline=["x"] * 5000),
    )


def _times(rng: np.random.Generator) -> dict[str, Any]:
    a, b = sorted(float(t) for t in rng.uniform(0.5, 11.5, 2))
    start, end = _pick(
        rng, (-a - 1.1, b), (b, a), (a, a), (a, DURATION + 1.1 + b), (1e12, 2e12), (-5e8, 5e8), (1e-320, -1e-320)
    )
    return _answer(segments=[_segment(start=start, end=end)])


def _no_number(rng: np.random.Generator) -> str:
    number = _pick(
        rng, "NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "9" * 5000, "0x10", "1_0", "\u0661", "--1", "1e", ".5"
    )
    return json.dumps(_answer()).replace(_pick(rng, "2.0", "5.0", "30"), number, 1)


def _bomb(rng: np.random.Generator) -> str:
    levels = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    text = json.dumps(_answer())
    return _pick(
        rng,
        document("&e9;", f'<!DOCTYPE a [<!ENTITY e0 "ha">{levels}]>'),
        document("&x;", '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
        document(text, '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">'),
        document("&x;" * 100, f'<!DOCTYPE a [<!ENTITY x "{"A" * 100_000}">]>'),
        document(text, '<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:9/p"> %p;]>'),
        document(text, '<!DOCTYPE a [<!ATTLIST QuestionFormAnswers xmlns CDATA "x">]>'),
    )


def _not_xml(rng: np.random.Generator) -> str:
    text = json.dumps(_answer())
    return _pick(
        rng,
        "",
        "{}",
        text,
        "<a>" * 30_000,
        "<a>" * 30_000 + "</a>" * 30_000,
        document(text)[:-5],
        document(text).replace(ANSWERS_NAMESPACE, "urn:else"),
        document(text).replace("QuestionIdentifier", "questionidentifier"),
        document("&undefined;"),
        document(text, body="<Answer/>"),
        document(text, body="<Answer><QuestionIdentifier>answer</QuestionIdentifier></Answer>"),
    )


def _odd_xml(rng: np.random.Generator) -> str:
    """Strange documents whose answer is good all the same."""
    text = json.dumps(_answer())
    return _pick(
        rng,
        document(text, head='<?xml version="1.0" encoding="UTF-16"?>'),
        document(text, head='<?xml version="1.0"?><?xml version="1.0"?>'),
        document(text, head="\ufeff"),
        document(text, head="\n\t <!-- <!DOCTYPE --> "),
        document(f"<![CDATA[{text}]]>"),
        document(f"&#0;&#x1F;\x01\x0b{text}"),
        document(text, body="<x:y xmlns:x='urn:x' onload='alert(1)'/>"),
        document("".join(f"&#{ord(c)};" for c in text)),
    )


def _fuzzed(rng: np.random.Generator) -> bytes:
    body = bytearray(HONEST)
    for place in rng.integers(len(b"assignmentId=%ID%&"), len(body), 4):
        body[int(place)] = int(rng.integers(256))
    return bytes(body)


def _encoded(rng: np.random.Generator) -> bytes:
    encoding = _pick(rng, "utf-16", "utf-32", "utf-7", "cp037")
    return b"assignmentId=%ID%&answer=" + json.dumps(_answer()).encode(encoding)


Make = Callable[[np.random.Generator], Any]


def _kinds(canary: str) -> dict[str, Callable[[np.random.Generator], Attack]]:
    kinds: dict[str, Callable[[np.random.Generator], Attack]] = {}

    def attack(kind: str, way: Way, expected: Expected, make: Make, content_type: str = _FORM) -> None:
        def one(rng: np.random.Generator) -> Attack:
            made = make(rng)
            return Attack(kind, way, expected, made if isinstance(made, bytes) else made.encode(), content_type)

        kinds[kind] = one

    def submit(kind: str, expected: Expected, make: Make) -> None:
        attack(kind, "submit", expected, lambda rng: sent(make(rng)))

    def evil(rng: np.random.Generator) -> str:
        return script(rng, canary)

    def everywhere(rng: np.random.Generator) -> bytes:
        extra = {evil(rng): evil(rng), "events": {evil(rng): evil(rng)}, "guideline": evil(rng)}
        return sent(_answer(**extra), (evil(rng), evil(rng)), ("browser", evil(rng)))

    def as_json(rng: np.random.Generator) -> str:
        return json.dumps({"assignmentId": "%ID%", "answer": _answer(events=evil(rng)), "\ud800": evil(rng)})

    def one_segment(**changes: Any) -> dict[str, Any]:
        return _answer(segments=[_segment(**changes)])

    submit("good", "counted", lambda rng: _answer(seconds_spent=float(rng.uniform(1, 99))))
    attack("script in every field", "submit", "counted", everywhere)
    submit("script as class", "marked", lambda rng: one_segment(label=evil(rng)))
    submit("script as version", "marked", lambda rng: _answer(version=evil(rng)))
    submit("script as time", "marked", lambda rng: one_segment(start=evil(rng)))
    submit("script as problem", "marked", lambda rng: {"version": 1, "problem": evil(rng)})
    submit("script as report", "marked", lambda rng: {"problem": {"kind": evil(rng), "text": evil(rng)}})
    submit("script instead of JSON", "marked", evil)
    submit("wrong type", "marked", _wrong_type)
    submit("wrong type in a segment", "marked", _wrong_segment)
    submit("times", "marked", _times)
    submit("no number", "marked", _no_number)
    submit("deep nesting", "marked", _nested)
    submit("too many", "marked", _too_many)
    versions = (0, 2, -1, 1.5, None, "1", True, 10**40)
    submit("wrong version", "marked", lambda rng: _answer(version=_pick(rng, *versions)))
    labels = ("Jump", "jump ", "jum\u0440", "", "\u202ejump", "__proto__", "jump\ud800")
    submit("unknown class", "marked", lambda rng: one_segment(label=_pick(rng, *labels)))
    submit("contradiction", "marked", lambda rng: _pick(rng, _answer(none=True), _answer(segments=[])))
    submit("surrogates", "counted", lambda rng: _answer(guideline="a\ud800b\udfff", events="\udcff"))
    controls = "\x00\x07\x1b[2J\x9b"
    submit("control characters", "counted", lambda rng: json.dumps(_answer(guideline=controls)) + "\x00\x01\x0b")
    submit("prototype", "counted", lambda rng: _answer(__proto__={"kloc_hit": 1}, constructor={"prototype": 1}))
    attack("answer twice", "submit", "marked", lambda rng: sent(_answer(), ("answer", json.dumps(_answer()))))
    attack("no answer", "submit", "marked", lambda rng: _form(("other", evil(rng))))
    attack("as JSON", "submit", "counted", as_json, _JSON)
    attack("as plain text", "submit", "refused", lambda rng: json.dumps(_answer()), "text/plain")
    nothing = ("[", "[" * 50_000, "null", '{"a": NaN}', '"%ID%"')
    attack("JSON that is none", "submit", "refused", lambda rng: _pick(rng, *nothing), _JSON)
    attack("bytes", "submit", "either", _fuzzed)
    attack("other encodings", "submit", "either", _encoded)
    attack("handed in twice", "twice", "counted", lambda rng: sent(_answer(events=evil(rng))))
    attack("another's assignment", "foreign", "counted", lambda rng: HONEST)
    attack("XML bomb", "raw", "marked", _bomb)
    attack("not XML", "raw", "marked", _not_xml)
    attack("odd XML", "raw", "counted", _odd_xml)
    attack("script instead of XML", "raw", "marked", evil)
    attack(
        "draft",
        "draft",
        "either",
        lambda rng: _pick(rng, json.dumps({evil(rng): evil(rng)}), evil(rng), _nested(rng)),
        _JSON,
    )
    reports = ("other", "disturbing", ["other"], {}, None)
    attack(
        "report", "report", "either", lambda rng: json.dumps({"kind": _pick(rng, *reports), "text": evil(rng)}), _JSON
    )
    attack("10 MB over HTTP", "submit", "refused", lambda rng: sent(_answer(guideline="x" * HUGE)))
    attack("10 MB listed", "raw", "marked", lambda rng: document(json.dumps(_answer(guideline="x" * HUGE))))
    return kinds


def attacks(seed: int, count: int, canary: str) -> list[Attack]:
    """``count`` attacks, every kind in turn, in an order of their own; of those of 10 MB a few."""
    rng = np.random.default_rng(seed)
    kinds = list(_kinds(canary).values())
    usual = kinds[:-2]
    made = []
    for index in range(count):
        huge = kinds[-2 + index % 200] if index % 200 < 2 else None
        made.append((huge or usual[index % len(usual)])(rng))
    return [made[i] for i in rng.permutation(count)]
