"""Kinetics lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from kloc.errors import FormatError
from kloc.formats.kinetics import Clip, labels_of, read, write


def _read(tmp_path: Path, text: str) -> tuple[list[Clip], list[str]]:
    path = tmp_path / "k.csv"
    path.write_text(text, encoding="utf-8")
    return read(path)


def test_clips_are_read_in_order_with_their_problems(tmp_path: Path) -> None:
    clips, problems = _read(
        tmp_path,
        'label,youtube_id,time_start,time_end,split\n"a, b",x,3,13,train\nrun,y,5,5,val\nrun,y,1.5,11.5,val\n'
        "run,y,1.5,11.5,val\n",
    )
    assert clips == [Clip("x", 3, 13, "a, b", "training"), Clip("y", 1.5, 11.5, "run", "validation")]
    assert problems == [
        "1 x clip that ends before it starts or starts before 0, dropped (y)",
        "1 x clip given twice, counted once (y)",
    ]


def test_a_withheld_label_and_a_missing_split(tmp_path: Path) -> None:
    clips, _ = _read(tmp_path, "youtube_id,time_start,time_end\nx,0,10\n")
    assert clips == [Clip("x", 0, 10, "", "training")]
    assert labels_of(clips) == {"x": ()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no column youtube_id, time_start, time_end"),
        ("label,youtube_id,time_start,time_end\nrun,x,a,2\n", "line 2: 'a' is not a number"),
        ("label,youtube_id,time_start,time_end\nrun,,1,2\n", "line 2 names no video"),
        ("label,youtube_id,time_start,time_end\nrun,x,1\n", "line 2: None is not a number"),
    ],
)
def test_what_cannot_be_read_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        _read(tmp_path, text)


def test_written_lists_are_read_again(tmp_path: Path) -> None:
    clips = [Clip("y", 1.25, 11.25, "run, fast", "validation"), Clip("x", 3, 13, "jump", "testing")]
    write(tmp_path / "k.csv", clips)
    assert read(tmp_path / "k.csv") == (clips, [])
    assert (tmp_path / "k.csv").read_text().splitlines()[2] == "jump,x,3,13,test"


@pytest.mark.realdata
def test_the_real_list(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "annotations" / "kinetics600-val.csv"
    clips, problems = read(path)
    assert len(clips) == 30_000
    assert not problems
    assert {c.subset for c in clips} == {"validation"}
    write(tmp_path / "again.csv", clips)
    assert (tmp_path / "again.csv").read_text() == path.read_text().replace("\r\n", "\n")
