"""Ranked search results: what is read, and which line is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from kloc.errors import FormatError
from kloc.formats import ranked_csv


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("divider", [",", "\t", ";"])
def test_columns_are_found_by_name(tmp_path: Path, divider: str) -> None:
    rows = [("Video", "url", "RANK", "class"), ("v 1", "x", "2", '"Jump, high"'), ("", "", "", ""), ("b", "", "1", "é")]
    path = write(tmp_path / "l.csv", "\ufeff" + "\r\n".join(divider.join(row) for row in rows))
    found = [(r.label, r.rank, r.video, r.line) for r in ranked_csv.read(path)]
    assert found == [("Jump, high", 2, "v 1", 2), ("é", 1, "b", 4)]


def test_one_video_may_stand_in_several_lists(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", "class,rank,video\na,1,v\nb,1,v\n")
    assert len(ranked_csv.read(path)) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no search results; expected a header 'class,rank,video'"),
        ("class,rank,video\n", "no search results"),
        ("class,place,video\na,1,v", "the first line has no column 'rank'"),
        ("class,rank,video\na,1", "line 2 has 2 columns, too few"),
        ("class,rank,video\na,1,v\n,2,w", "line 3 names no class"),
        ("class,rank,video\na,1,", "line 2 names no video"),
        ("class,rank,video\na,first,v", "line 2: rank 'first' is no whole number"),
        ("class,rank,video\na,0,v", "line 2: rank '0'"),
        ("class,rank,video\na,-1,v", "line 2: rank '-1'"),
        ("class,rank,video\na,1.5,v", "line 2: rank '1.5'"),
        (f"class,rank,video\na,{'9' * 5000},v", f"line 2: rank '{'9' * 20}...' is no whole number"),
        ("class,rank,video\na,²,v", "line 2: rank '²'"),
        ("class,rank,video\na,1,v\na,2,v", "line 3: video 'v' stands on line 2 too, in the list of 'a'"),
        ("class,rank,video\na,1,v\nb,1,v\na,1,w", "line 4: rank 1 stands on line 2 too"),
        ('class,rank,video\na,1,"v', "broken CSV at line 2"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path / "l.csv", text)
    with pytest.raises(FormatError) as caught:
        ranked_csv.read(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        ranked_csv.read(tmp_path / "absent.csv")
    (tmp_path / "l.csv").write_bytes(b"class,rank,video\n\xff")
    with pytest.raises(FormatError, match="not UTF-8"):
        ranked_csv.read(tmp_path / "l.csv")
