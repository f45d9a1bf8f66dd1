"""Strategies by name: ours, installed plug-ins, broken plug-ins."""

from __future__ import annotations

import sys

import pytest

from kloc.errors import KlocError, UsageError
from kloc.registry import Registry
from kloc.selection import available, available_policies, make_policy, make_strategy, select
from kloc.selection.base import Context

PLUGIN = """
from typing import ClassVar
import numpy as np
from kloc.selection import Scores

class Longest:
    name: ClassVar[str] = "longest"
    heads: ClassVar[frozenset[str]] = frozenset()

    def score(self, items, context):
        return Scores(np.array([item.duration for item in items]))

    def reason(self, index, score):
        return f"it lasts {score:g} s"

class Lacking:
    heads = frozenset()

def function():
    pass
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A real distribution on the path, with entry points as an installer writes them."""
    (tmp_path / "far_away.py").write_text(PLUGIN)
    (tmp_path / "crashing.py").write_text("raise OSError('no such disk\\nsecond line')\n")
    info = tmp_path / "kloc_far_away-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kloc-far-away\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[kloc.strategies]\nlongest = far_away:Longest\nlacking = far_away:Lacking\nfunction = far_away:function\n"
        "crashing = crashing:Any\ngone = not_there:Any\nus = far_away:Longest\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("far_away", "crashing"):
        sys.modules.pop(name, None)


def test_built_in():
    assert {"random", "us"} <= set(available())
    assert "top" in available_policies()
    assert make_strategy("us", bins=5).name == "us"
    assert make_policy("top").name == "top"


@pytest.mark.usefixtures("installed")
def test_a_plug_in_selects(pool):
    assert "longest" in available()
    chosen = select(pool(9), make_strategy("longest"), make_policy("top"), 2, Context())
    assert [pick.item.video_id for pick in chosen.picks] == ["v0008", "v0007"]
    assert chosen.picks[0].reason == "it lasts 18 s"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("crashing", "'crashing' (crashing:Any, from kloc-far-away) cannot be loaded: OSError: no such disk; fix or"),
        ("gone", "cannot be loaded: ModuleNotFoundError: No module named 'not_there'; fix or uninstall kloc-far-away"),
        ("lacking", "lacks score, reason; fix or uninstall kloc-far-away"),
        ("function", "lacks heads, score, reason; fix"),
    ],
)
def test_a_broken_plug_in_gives_one_clear_line(name, message):
    assert name in available()
    with pytest.raises(KlocError) as caught:
        make_strategy(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("installed")
def test_a_plug_in_cannot_take_a_built_in_name():
    assert type(make_strategy("us")).__module__ == "kloc.selection.us"


def test_unknown_names_and_parameters():
    with pytest.raises(UsageError, match=r"unknown strategy 'randon'; did you mean 'random'\? known: .*random, .*us"):
        make_strategy("randon")
    with pytest.raises(UsageError, match=r"strategy 'us': .*'bin'; its parameters: bins, mode, k"):
        make_strategy("us", bin=3)
    with pytest.raises(UsageError, match=r"policy 'top': .*; its parameters: none"):
        make_policy("top", k=3)
    with pytest.raises(UsageError, match=r"unknown policy 'best'; .*known: .*top"):
        make_policy("best")


def test_two_classes_of_one_name_are_refused():
    registry: Registry[object] = Registry("toy", ())
    registry.register("x")(type("A", (), {}))
    with pytest.raises(UsageError, match="two parts want to be the toy 'x'"):
        registry.register("x")(type("B", (), {}))
