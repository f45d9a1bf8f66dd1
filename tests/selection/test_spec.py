"""Strategies and policies as they are written on a command line."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloc.errors import UsageError
from kloc.selection import policy_from, strategy_from
from kloc.selection.spec import Spec, parse


def test_names_and_values():
    assert parse("us") == Spec("us", {})
    assert parse(" us , mode = binary,k=5,x=0.5, on=true,off=False,no=none,e=1e-3") == Spec(
        "us", {"mode": "binary", "k": 5, "x": 0.5, "on": True, "off": False, "no": None, "e": 0.001}
    )
    assert isinstance(parse("a,k=5").params["k"], int)
    assert parse("diverse,method=k-means++").params == {"method": "k-means++"}


words = st.text(string.ascii_lowercase + "-+", min_size=1, max_size=8)
values = st.one_of(words, st.booleans(), st.none(), st.integers(-99, 99), st.floats(allow_nan=False, width=32))


@given(st.builds(Spec, words, st.dictionaries(st.text(string.ascii_lowercase, min_size=1), values, max_size=4)))
def test_what_is_written_is_read_again(spec):
    if not any(
        isinstance(v, str) and v in ("true", "false", "none", "inf", "nan", "infinity") for v in spec.params.values()
    ):
        assert parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "begin with a name"),
        ("mode=binary", "begin with a name"),
        (",k=5", "begin with a name"),
        ("us,", "'' is not key=value; write us,key=value"),
        ("us,binary", "'binary' is not key=value"),
        ("us,k=", "'k=' is not key=value"),
        ("us,=5", "'=5' is not key=value"),
        ("us,k=1,k=2", "k is given twice"),
        ("us,mode=trinary", "strategy 'us': mode is 'histogram' or 'binary', not 'trinary'"),
        ("us,bins=ten", "strategy 'us': bins is a whole number, not 'ten'"),
        ("us,bins=true", "bins is a whole number, not True"),
        ("us,bins=1", "bins must be from 2 to 1,000"),
        ("us,color=red", "its parameters: bins, mode, k"),
        ("us-binary,mode=histogram", "its parameters: k"),
        ("us-binnary", "unknown strategy 'us-binnary'; did you mean 'us-binary'?"),
    ],
)
def test_wrong_strategies_say_what_is_right(text, said):
    with pytest.raises(UsageError) as caught:
        strategy_from(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("diverse,method=far", "policy 'diverse': method is 'k-center' or 'k-means++' or 'badge', not 'far'"),
        ("diverse,prefilter=half", "prefilter is a whole number or none, not 'half'"),
        ("diverse,prefilter=-1", "prefilter is a multiple of the batch"),
        ("top,k=3", "its parameters: none"),
    ],
)
def test_wrong_policies_say_what_is_right(text, said):
    with pytest.raises(UsageError) as caught:
        policy_from(text)
    assert said in str(caught.value)


def test_parameters_arrive():
    assert strategy_from("us,mode=binary,k=3").k == 3
    assert (strategy_from("us-binary").name, strategy_from("us-binary").mode) == ("us-binary", "binary")
    assert policy_from("diverse,method=badge,prefilter=none").prefilter == 0
