"""The damaged-file table, through `kloc add` and `kloc extract`: each file is used or set aside with its reason."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from kloc.errors import UsageError
from kloc.pipeline import features, pool, state
from kloc.pipeline.telling import Silent, Summary
from kloc.video.write import write_video
from kloc.workspace import Workspace


def frames(count: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    ramp = np.linspace(0, 255, size[0], dtype=np.uint8)[None, None, :, None]
    picture = np.broadcast_to(ramp, (count, size[1], size[0], 3)).copy()
    for index in range(count):
        picture[index, :, : 1 + index % size[0]] = 255 - picture[index, :, : 1 + index % size[0]]
    return picture


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    pool.init(tmp_path / "workspace", **{"general.workers": 2, "features.fps": 2.0})
    return Workspace.open(tmp_path / "workspace")


def add(workspace: Workspace, *sources: Path, **options: object) -> Summary:
    return pool.add(workspace, [str(s) for s in sources], reporter=Silent(), **options)  # type: ignore[arg-type]


def test_a_folder_of_everything_that_can_be_wrong(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "good.mp4", frames(30), 10)
    write_video(folder / "one frame.mp4", frames(1), 10)
    write_video(folder / "späßig 動画.mp4", frames(20), 10)
    write_video(folder / "late.mp4", frames(20), 10, pts=[2 + i / 10 for i in range(20)])
    write_video(folder / "uneven.mp4", frames(20), 10, pts=[0.05 * i * (1 + i / 10) for i in range(20)])
    write_video(folder / "rotated.mp4", frames(20), 10, rotation=90)
    write_video(folder / "ten-bit.mp4", frames(20), 10, codec="libx265", pixel_format="yuv420p10le")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "page.mp4").write_text("<!doctype html><html><title>404</title></html>")
    whole = (folder / "good.mp4").read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 3])
    (folder / "notes.txt").write_text("not a video")
    outside = tmp_path / "outside.mp4"
    write_video(outside, frames(10), 10)
    (folder / "link.mp4").symlink_to(outside)
    (folder / "nested").mkdir()
    write_video(folder / "nested" / "good.mp4", frames(10), 10)

    summary = add(workspace, folder)
    bad = {"empty.mp4", "page.mp4", "truncated.mp4"}
    said = "\n".join(summary.problems)
    for name in bad:
        assert name in said
    assert "link.mp4: a symbolic link that leads out of" in said
    assert "already has the id 'good'" in said
    assert summary.facts["other files"] == 1
    assert all("\n" not in line for line in summary.problems)
    assert summary.facts["quarantined"] == len(bad)
    assert summary.facts["usable"] == 7

    extracted = features.extract(workspace, reporter=Silent())
    assert extracted.facts["extracted"].startswith("7 videos")
    with workspace.store.transaction() as session:
        from kloc.store import videos

        rows = {row.id: row for row in videos.rows(session)}
    assert rows["late"].start == pytest.approx(2.0)
    assert rows["late"].end == pytest.approx(4.0)
    assert rows["one frame"].end == pytest.approx(0.1)
    assert rows["empty"].state == "quarantined"
    listed = "\n".join(state.status(workspace).problems)
    assert all(Path(name).stem in listed for name in bad)


def test_a_mended_file_comes_back(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"")
    assert add(workspace, path).facts["quarantined"] == 1
    write_video(path, frames(10), 10)
    summary = add(workspace, path)
    assert summary.facts["usable"] == 1
    assert state.status(workspace).problems == []


def test_a_changed_file_is_extracted_again(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, frames(10), 10)
    add(workspace, path)
    features.extract(workspace, reporter=Silent())
    assert features.extract(workspace, reporter=Silent()).facts["unchanged"] == 1
    write_video(path, frames(20), 10)
    os.utime(path, ns=(1, 1))
    add(workspace, path)
    assert features.extract(workspace, reporter=Silent()).facts["extracted"].startswith("1 videos")


def test_links_and_names_by_choice(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    (folder / "b").mkdir(parents=True)
    write_video(folder / "x.mp4", frames(5), 10)
    write_video(folder / "b" / "x.mp4", frames(6), 10)
    outside = tmp_path / "outside.mp4"
    write_video(outside, frames(7), 10)
    (folder / "link.mp4").symlink_to(outside)
    summary = add(workspace, folder, ids="path", follow_symlinks=True)
    assert summary.facts["usable"] == 3
    assert summary.problems == []


def test_what_does_not_exist_is_wrong_use(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file, folder or pattern"):
        add(workspace, tmp_path / "nothing*.mp4")
