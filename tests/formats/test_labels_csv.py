"""Label tables as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kloc.errors import FormatError
from kloc.formats import labels_csv


def _read(tmp_path: Path, text: str, known: set[str] | None = None) -> labels_csv.Labels:
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode())
    return labels_csv.read(path, known)


@pytest.mark.parametrize(
    "text",
    [
        "video,label\na,run\na,jump\nb,run\n",
        "video,label\r\na,run;jump\r\nb,run\r\n",
        "\ufeffvideo,label\na, run ; jump\n\nb,run",
        "label\tvideo_id\nrun;jump\ta\nrun\tb\n",
        "Video ID;class\na;run\na;jump\nb;run\n",
        'who,file,label\nme,a,"run;jump"\nme,b,run\n',
    ],
)
def test_several_labels_in_rows_or_cells(tmp_path: Path, text: str) -> None:
    found = _read(tmp_path, text)
    assert found.labels == {"a": ("run", "jump"), "b": ("run",)}
    assert found.classes == ("jump", "run")
    assert found.problems == []


def test_subsets_are_read_and_may_be_empty(tmp_path: Path) -> None:
    found = _read(tmp_path, "video,label,split\na,run,val\nb,run,\n")
    assert found.subsets == {"a": "validation"}


def test_a_file_without_header_is_taken_where_it_is_clear(tmp_path: Path) -> None:
    assert _read(tmp_path, "a,run\nb,jump\n", {"a", "b"}).labels == {"a": ("run",), "b": ("jump",)}
    for known in (None, {"other"}):
        with pytest.raises(FormatError, match=r"first line 'a,run' is no header; add 'video,label'"):
            _read(tmp_path, "a,run\nb,jump\n", known)


def test_file_names_and_folders_match_ids(tmp_path: Path) -> None:
    found = _read(tmp_path, "file,label\nclips/a.mp4,run\nC:\\x\\b.avi,run\nzzz,run\n", {"a", "b.avi"})
    assert set(found.labels) == {"a", "b.avi"}
    assert found.problems == ["1 x row about a video that is not in the project, left out (zzz)"]


def test_what_is_doubtful_is_counted(tmp_path: Path) -> None:
    found = _read(tmp_path, "video,label\na,run\na,run\nb,\n")
    assert found.labels == {"a": ("run",), "b": ()}
    assert found.problems == ["1 x label given twice, counted once (a)", "1 x row without a label (b)"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; expected a header"),
        ("video,label\na\n", "line 2 has 1 columns"),
        ("video,label\n,run\n", "line 2 names no video"),
        ('video,label\n"a,run\n', "broken CSV at line"),
        ("video,label,subset\na,run,sometimes\n", "line 2: unknown subset 'sometimes'"),
        ("video,label,subset\na,run,train\na,jump,test\n", "line 3 puts a into testing, an earlier line into training"),
    ],
)
def test_what_cannot_be_read_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        _read(tmp_path, text)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"video,label\na,\xe9\n")
    with pytest.raises(FormatError, match=r"not UTF-8 at byte 14 \(line 2\)"):
        labels_csv.read(path)


_name = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=8)


@given(
    st.dictionaries(
        _name.map(str.strip).filter(bool),
        st.lists(_name.map(str.strip).filter(lambda s: bool(s) and ";" not in s), max_size=3, unique=True),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=80, deadline=None)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, labels: dict[str, list[str]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "labels.csv"
    subsets = dict.fromkeys(labels, "testing")
    labels_csv.write(path, labels, subsets)  # type: ignore[arg-type]
    found = labels_csv.read(path)
    assert found.labels == {k: tuple(v) for k, v in labels.items()}
    assert found.subsets == subsets


def test_a_label_with_the_divider_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="'run;jump' of a holds a ';'"):
        labels_csv.write(tmp_path / "x.csv", {"a": ["run;jump"]})
