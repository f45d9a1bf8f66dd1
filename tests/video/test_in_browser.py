"""What a browser shows is what kloc says: start, rotation, and the proxy's times."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from kloc.video import make_proxy, open_video, probe, write_video

pytestmark = pytest.mark.browser

_LOAD = """async data => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  const v = document.createElement('video'); v.muted = true; window.v = v;
  v.src = URL.createObjectURL(new Blob([bytes], {type: 'video/mp4'}));
  await new Promise((ok, no) => { v.onloadeddata = ok; v.onerror = () => no(new Error('cannot play')); });
  return v.duration;
}"""
_SHOW = """async t => {
  const seeked = new Promise(ok => { v.onseeked = ok; });
  v.currentTime = t; await seeked;
  await new Promise(ok => setTimeout(ok, 30));
  const c = document.createElement('canvas'); c.width = v.videoWidth; c.height = v.videoHeight;
  c.getContext('2d').drawImage(v, 0, 0);
  return c.toDataURL('image/png').split(',')[1];
}"""


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    tab = chromium.new_page()
    yield tab
    tab.close()


def show(page: Any, time: float) -> NDArray[np.uint8]:
    png = base64.b64decode(page.evaluate(_SHOW, time))
    with av.open(io.BytesIO(png), format="png_pipe") as container:
        return np.asarray(next(container.decode(video=0)).to_ndarray(format="rgb24"), dtype=np.uint8)


def load(page: Any, path: Path) -> float:
    return float(page.evaluate(_LOAD, base64.b64encode(path.read_bytes()).decode()))


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_the_browsers(page: Any, tmp_path: Path, helpers: Any, rotation: int) -> None:
    path = tmp_path / "phone.mp4"
    write_video(path, helpers.corners(25), 25, rotation=rotation)
    load(page, path)
    with open_video(path) as video:
        ours = video.frames([5])[0]
    theirs = show(page, 0.22)
    assert theirs.shape == ours.shape
    assert helpers.corner_names(theirs) == helpers.corner_names(ours)


@pytest.mark.parametrize("name", ["variable.mp4", "late.mp4", "one_gop.mp4", "sound_first.mp4", "ntsc.mkv"])
def test_the_browser_shows_the_video_at_proxy_time_plus_offset(
    page: Any, clips: dict[str, Path], tmp_path: Path, helpers: Any, name: str
) -> None:
    source = clips[name]
    times, numbers, _ = helpers.truth(name)
    made = make_proxy(source, tmp_path / "p.mp4", probe(source))
    assert load(page, made.path) == pytest.approx(made.duration, abs=0.01)
    for k in (0, 7, 23, 41, 58):
        middle = (times[k] + times[k + 1]) / 2
        step = made.frame_period
        shown = helpers.read(show(page, middle - made.offset))
        near = numbers[np.abs(np.clip(middle, times, np.append(times[1:], np.inf)) - middle) <= step]
        assert shown in near, f"{name} at {middle:.3f} s"


def test_the_browser_shows_late_sound_first_video_at_our_times(page: Any, clips: dict[str, Path], helpers: Any) -> None:
    load(page, clips["sound_first.mp4"])
    with open_video(clips["sound_first.mp4"]) as video:
        for k in (3, 30, 50):
            assert helpers.read(show(page, float(video.timestamps[k]) + 0.02)) == k
