"""All formats of the registry keep the same promise: what is written is read again, up to what is told as lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kloc.errors import FormatError
from kloc.formats.common import Extra, Media, rebased
from kloc.formats.guessing import guess, load
from kloc.formats.losses import forget, sentences
from kloc.formats.registry import FORMATS, Format
from kloc.records import Annotation, Dataset, Instance, Item, Video

T = TypeVar("T")

#: Names that break careless writers: of files, of cells, of markup, of lines, of lists, and plain ones.
HOSTILE = [
    "v_--1DO2V4K74", "../../etc/passwd", "a/b", "CON", "two words", 'say "hi", now', "semi;colon\\", "größer",
    "跳躍", "🏊", "<script>alert(1)</script>", "a & b", "]]>", "--> x", "{{ x }}", "=1+1", "all", "Ambiguous", "no",
    "nan", "null", "_", ".", "..", "x.mp4", "a_test", "x" * 180, "i\u0307", "I", "i", "e\u0301", "é", "tab\there",
    "%20", "-", "#", "line\nbreak", "carriage\rreturn", " edges ", "a\u2028b", "bell\x07", "nul\x00",
]  # fmt: skip
_names = st.sampled_from(HOSTILE) | st.text(min_size=1, max_size=6).filter(lambda s: s.strip())
_micro = st.integers(0, 90_000_000).map(lambda n: n / 1_000_000)


def _rounded(value: float) -> float:
    return round(value, 6)


@st.composite
def _datasets(draw: st.DrawFn, names: st.SearchStrategy[str] = _names) -> Dataset:
    """Small datasets with everything that a format may forget; times in whole microseconds."""
    classes = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    videos: dict[str, Video] = {}
    annotations: dict[str, Annotation] = {}
    for video_id in draw(st.lists(names, max_size=4, unique=True)):
        start = draw(st.sampled_from([0.0, 0.0, 2.0, 0.04, 1.466667]))
        length = draw(st.sampled_from([90.0, 123.456789, 90.1]))
        end = _rounded(start + length)
        ends = draw(st.lists(st.tuples(_micro, _micro, st.sampled_from(classes)), max_size=4, unique=True))
        sure = st.sampled_from([1.0, 1.0, 0.5, 0.987654])
        found = {(_rounded(start + a), _rounded(start + b), c): draw(sure) for a, b, c in ends if b - a > 0.0015}
        instances = tuple(sorted(Instance(a, b, c, confidence) for (a, b, c), confidence in found.items()))
        labels = {i.label for i in instances} | draw(st.sets(st.sampled_from(classes), max_size=2))
        subset = draw(st.sampled_from(["training", "validation", "testing"]))
        url = draw(st.sampled_from([None, "https://example.org/?v=1&t=<2>"]))
        video = Video(video_id, start, end, None, tuple(sorted(labels)), subset, url)
        videos[video_id] = video
        if draw(st.integers(0, 3)):
            item = video.item if draw(st.integers(0, 3)) else Item(video_id, start, _rounded(end - 1.5))
            exhaustive = draw(st.none() | st.frozensets(st.sampled_from(classes)))
            annotations[video_id] = Annotation(item, instances, exhaustive)
        else:
            labels_only = tuple(sorted(labels - {i.label for i in instances}))
            videos[video_id] = replace(video, labels=labels_only)
    return Dataset(tuple(classes), videos, annotations, "plain", draw(st.sampled_from(["", "simulated workers"])))


_extras = st.builds(
    Extra,
    origin=st.sampled_from(["stream", "first-frame"]),
    version=st.sampled_from(["1", "12"]),
    media=st.just({}),
)


def _with_media(dataset: Dataset, extra: Extra, known: bool) -> Extra:
    """What is known of files, for half of the cases, and where simulated answers come from."""
    media = {v: Media(path=f"videos/{i}.mp4", fps=25.0, frames=2500, width=320, height=240)
             for i, v in enumerate(dataset.videos)} if known else {}  # fmt: skip
    return replace(extra, media=media, header={"origin": dataset.origin} if dataset.origin else {})


@pytest.fixture(params=sorted(FORMATS))
def format(request: pytest.FixtureRequest) -> Format:
    return FORMATS[request.param]


def _target(folder: Path, format: Format) -> Path:
    return folder / (format.file if format.file != "." else "tables")


def _try(work: Callable[[], T]) -> tuple[T | None, str]:
    """What the work gives, or the words in which it refuses."""
    try:
        return work(), ""
    except FormatError as error:
        return None, str(error)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _held(again: Dataset) -> Dataset:
    """What was read, without what does not travel by promise: paths."""
    return forget(again, ())


@given(dataset=_datasets(), extra=_extras, known=st.booleans())
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_what_is_written_is_read_again_up_to_what_is_told(
    format: Format, dataset: Dataset, extra: Extra, known: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    module = format.module
    folder = tmp_path_factory.mktemp("round")
    path = _target(folder, format)
    extra = _with_media(dataset, extra, known)
    said, refused = _try(lambda: module.write(path, dataset, extra))
    if said is None:  # a format may refuse names that it cannot hold, before it writes anything
        assert "\n" not in refused
        assert not list(folder.rglob("*"))
        return
    assert not [p for p in folder.rglob("*") if not p.resolve().is_relative_to(folder.resolve())]
    written = rebased(dataset, extra.origin)
    lost = sentences(written, module.LOST, extra)
    assert set(lost) <= set(said) or any(line.startswith("left out") for line in said), "a loss that is not told"
    if not forget(written, module.LOST).videos:
        return  # nothing is left that a folder of files could hold
    again, _ = module.read(path, name="plain")
    if said == lost:
        assert _held(again) == forget(written, module.LOST)
        assert (_held(again) == forget(written, ())) == (not lost), "a loss told, but not suffered, or the reverse"
    other = _target(tmp_path_factory.mktemp("twice"), format)
    module.write(other, dataset, extra)
    assert _bytes(other.parent) == _bytes(folder)


def _plain() -> tuple[Dataset, Extra]:
    """What a campaign gives: good names, all files known, times in milliseconds, one video in each state."""
    long_jump, pole = "Long jump", "Pole vault"
    videos = {
        "a": Video("a", 0.04, 60.04, None, (long_jump,), "training", "https://example.org/a"),
        "b": Video("b", 0.0, 30.4, None, (long_jump, pole), "validation"),
        "c": Video("c", 0.0, 12.0, None, (), "testing"),
        "d": Video("d", 0.0, 45.0, None, (pole,), "training"),
    }
    found = {
        "a": ((1.5, 8.25, long_jump, 0.875), (20.0, 31.125, long_jump, 1.0)),
        "b": ((0.0, 30.4, long_jump, 1.0), (3.0, 4.0, pole, 1.0)),
        "c": (),
    }
    annotations = {
        v: Annotation(
            videos[v].item, tuple(Instance(*one) for one in rows), frozenset([long_jump]) if v == "a" else None
        )
        for v, rows in found.items()
    }
    media = {v: Media(f"videos/{v}.mp4", 25.0, round(25 * video.duration), 320, 240) for v, video in videos.items()}
    return Dataset((pole, long_jump, "Unused"), videos, annotations, "plain"), Extra(media=media)


def test_a_plain_dataset_loses_what_the_format_is_said_to_lose(format: Format, tmp_path: Path) -> None:
    dataset, extra = _plain()
    path = _target(tmp_path, format)
    said = format.module.write(path, dataset, extra)
    assert said == sentences(dataset, format.module.LOST, extra)
    again, _ = format.module.read(path, name="plain")
    assert _held(again) == forget(dataset, format.module.LOST)
    assert bool(format.loss) == bool(said) == (_held(again) != dataset)
    assert path.is_dir() == (format.kind == "folder")
    assert guess(path).name == {"hacs": "activitynet"}.get(format.name, format.name)
    assert load(path).dataset == replace(again, name=path.stem)


def test_a_duration_that_nobody_knows_is_not_made_up(format: Format, tmp_path: Path) -> None:
    dataset, extra = _plain()
    last = dataset.annotations["a"].instances[-1].end
    video = replace(dataset.videos["a"], end=last, start=0.0)
    known = Annotation(video.item, dataset.annotations["a"].instances)
    open_ended = replace(dataset, videos={"a": video}, annotations={"a": known}, open_ended=frozenset("a"))
    path = _target(tmp_path, format)
    format.module.write(path, open_ended, replace(extra, media={}))
    again, problems = format.module.read(path)
    assert not again.is_timed("a")
    assert again.videos["a"].end == pytest.approx(last, abs=0.02)
    assert any(line.startswith("1 x video without a duration") for line in problems)


def test_simulated_answers_are_said_or_their_loss_is(format: Format, tmp_path: Path) -> None:
    dataset, extra = _plain()
    path = _target(tmp_path, format)
    said = format.module.write(path, dataset, replace(extra, header={"origin": "simulated workers"}))
    again, _ = format.module.read(path)
    assert (again.origin == "simulated workers") != any("simulated workers" in line for line in said)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"[" * 5000, b"{}", b"<a>", b"a,b\n1,2\n", b'"', b"\x00" * 10]
)
def test_rubbish_is_refused_in_one_line_or_read_as_nothing(format: Format, tmp_path: Path, content: bytes) -> None:
    """Never a traceback: whatever the file's name promises, its content is rubbish."""
    dataset, extra = _plain()
    path = _target(tmp_path, format)
    format.module.write(path, dataset, extra)
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        whole = file.read_bytes()
        for broken in (content, whole[: len(whole) // 2] + content):
            file.write_bytes(broken)
            found, refused = _try(lambda: format.module.read(path))
            assert "\n" not in refused
            if found is None:
                assert file.name in refused or path.name in refused
            else:
                assert not any("\n" in line for line in found.problems)
                assert all(i.start < i.end for a in found.dataset.annotations.values() for i in a.instances)
        file.write_bytes(whole)


def test_what_is_not_there_is_named(format: Format, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="nothere"):
        format.module.read(tmp_path / "nothere")
