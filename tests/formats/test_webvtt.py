"""WebVTT: what webvtt-py sees of ours, and what is read of other people's."""

from __future__ import annotations

from pathlib import Path

import pytest

from kloc.errors import FormatError, UsageError
from kloc.formats import webvtt
from kloc.formats.common import Extra
from kloc.records import Instance
from tests.formats.interchange_helpers import one_video, opened


def test_webvtt_py_sees_every_cue(tmp_path: Path) -> None:
    opened("webvtt-py", tmp_path)


def test_a_file_as_others_write_it(tmp_path: Path) -> None:
    path = tmp_path / "clip.vtt"
    path.write_bytes(
        b"\xef\xbb\xbfWEBVTT - anything\r\nKind: metadata\r\n\r\nSTYLE\r\n::cue { color: red }\r\n\r\n"
        b"NOTE by hand\r\n\r\n"
        b"first\r\n00:01.500 --> 00:03.250 align:start line:0\r\n<v Anna><b>jump</b> &amp; run\r\n\r\n"
        b"100:00:00.000 --> 100:00:01.000\r\nrun\r\n\r\nsecond\r\n00:99.000 --> 01:00.000\r\nrun\r\n\r\n"
        b"00:05.000 --> 00:04.000\r\nrun\r\n\r\n00:06.000 --> 00:07.000\r\n"
    )
    dataset, problems = webvtt.read(path)
    assert dataset.classes == ("jump & run", "run")
    assert dataset.annotations["clip"].instances == (
        Instance(1.5, 3.25, "jump & run"),
        Instance(360_000.0, 360_001.0, "run"),
    )
    assert [p.split(" (")[0] for p in problems] == [
        "1 x cue whose times cannot be read, left out",
        "1 x segment that cannot be read, left out",
        "1 x reversed segment, dropped",
        "1 x video without a duration",
    ]


def test_times_between_milliseconds_are_told(tmp_path: Path) -> None:
    dataset = one_video(Instance(1.0004, 2.0, "jump"), Instance(3.0, 3.0001, "run", 0.5))
    said = webvtt.write(tmp_path / "out", dataset, Extra())
    assert said == [
        "not held: confidences (1 videos: v)",
        "times are whole milliseconds: 1 of 4 boundaries move by half a one or less",
        "1 boundaries lie before 0 or closer together than a millisecond: they are moved",
    ]
    assert webvtt.read(tmp_path / "out").dataset.annotations["v"].instances == (
        Instance(1.0, 2.0, "jump"),
        Instance(3.0, 3.001, "run"),
    )


def test_where_answers_come_from_stands_in_every_file(tmp_path: Path) -> None:
    webvtt.write(tmp_path / "out", one_video(Instance(1, 2, "jump")), Extra(header={"origin": "simulated workers"}))
    assert '"origin": "simulated workers"' in (tmp_path / "out" / "v.vtt").read_text().splitlines()[2]
    assert webvtt.read(tmp_path / "out" / "v.vtt").dataset.origin == "simulated workers"


def test_an_earlier_export_gives_way_and_nothing_else_does(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    webvtt.write(folder, one_video(Instance(1, 2, "jump")), Extra())
    (folder / "gone.vtt").write_text("WEBVTT\n")
    webvtt.write(folder, one_video(Instance(1, 2, "jump")), Extra())
    assert sorted(p.name for p in folder.iterdir()) == ["kloc.json", "v.vtt"]
    (folder / "thesis.txt").write_text("three years of work")
    with pytest.raises(UsageError, match=r"holds 'thesis\.txt', which is no \.vtt file; name an empty folder"):
        webvtt.write(folder, one_video(Instance(1, 2, "jump")), Extra())
    assert (folder / "thesis.txt").read_text() == "three years of work"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"WEBVTTX\n", "does not begin with WEBVTT"), (b"\xff\xfe", "not UTF-8 at byte 0")],
)
def test_what_is_no_webvtt_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.vtt").write_bytes(content)
    with pytest.raises(FormatError, match=rf"a\.vtt: {message}"):
        webvtt.read(tmp_path / "a.vtt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match=r"empty: holds no \.vtt file"):
        webvtt.read(tmp_path / "empty")


@pytest.mark.parametrize("label", ["two\nlines", " edge", "bell\x07", "\u2028"])
def test_class_names_that_a_cue_cannot_hold_are_refused_before_anything_is_written(tmp_path: Path, label: str) -> None:
    with pytest.raises(FormatError, match="rename the class"):
        webvtt.write(tmp_path / "out", one_video(Instance(1, 2, label)), Extra())
    assert not (tmp_path / "out").exists()
