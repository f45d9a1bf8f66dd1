"""Kinetics lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from kloc.errors import FormatError
from kloc.formats.kinetics import Clip, labels_of, read_clips, write_clips


def _read(tmp_path: Path, text: str) -> tuple[list[Clip], list[str]]:
    path = tmp_path / "k.csv"
    path.write_text(text, encoding="utf-8")
    return read_clips(path)


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


def test_without_its_columns_it_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no column youtube_id, time_start, time_end"):
        _read(tmp_path, "a,b\n1,2\n")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("run,x,a,2", "k.csv: line 2: 'a' is not a number"),
        ("run,,1,2", "k.csv: line 2, youtube_id: expected a name, found ''"),
        ("run,x,1", "k.csv: line 2, time_end: expected a name, found ''"),
        ("run,x,1,nan", "k.csv: line 2: 'nan' is not a finite number"),
    ],
)
def test_a_row_that_cannot_be_read_is_counted(tmp_path: Path, row: str, message: str) -> None:
    clips, problems = _read(tmp_path, f"label,youtube_id,time_start,time_end\n{row}\nrun,y,1,2\n")
    assert clips == [Clip("y", 1, 2, "run", "training")]
    assert problems == [f"1 x clip that cannot be read, left out ({message})"]


def test_written_lists_are_read_again(tmp_path: Path) -> None:
    clips = [Clip("y", 1.25, 11.25, "run, fast", "validation"), Clip("x", 3, 13, "jump", "testing")]
    write_clips(tmp_path / "k.csv", clips)
    assert read_clips(tmp_path / "k.csv") == (clips, [])
    assert (tmp_path / "k.csv").read_text().splitlines()[2] == "jump,x,3,13,test"


@pytest.mark.realdata
def test_the_real_list(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "annotations" / "kinetics600-val.csv"
    clips, problems = read_clips(path)
    assert len(clips) == 30_000
    assert not problems
    assert {c.subset for c in clips} == {"validation"}
    write_clips(tmp_path / "again.csv", clips)
    assert (tmp_path / "again.csv").read_text() == path.read_text().replace("\r\n", "\n")
