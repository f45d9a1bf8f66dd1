"""Untrimmed videos joined from trimmed clips: real pixels whose boundaries are known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kloc.records import Annotation, Instance, Subset, Video
from kloc.video import open_video, probe, write_video

#: Frames per second, and width and height in pixels, of what is joined.
FPS, SIZE = 10, (160, 120)


@dataclass(frozen=True)
class Cut:
    """Frames uint8 ``(n, 120, 160, 3)`` at 10 per second; label: the action they show, ``None`` for background."""

    frames: NDArray[np.uint8]
    label: str | None


def clip_frames(path: Path) -> NDArray[np.uint8]:
    """A whole clip at 10 frames per second, by time: uint8 ``(n, 120, 160, 3)``."""
    with open_video(path, size=SIZE) as source:
        times = np.arange(source.timestamps[0], source.timestamps[-1], 1 / FPS)
        return source.frames(np.abs(source.timestamps[:, None] - times[None]).argmin(axis=0))


def join(cuts: Sequence[Cut], out: Path) -> list[Instance]:
    """Join cuts end to end; neighbours of one class are one instance, since no boundary can be seen there."""
    found: list[Instance] = []
    n_frames = 0
    for cut in cuts:
        begin, n_frames = n_frames / FPS, n_frames + len(cut.frames)
        if cut.label is None:
            continue
        if found and found[-1].label == cut.label and found[-1].end == begin:
            found[-1] = Instance(found[-1].start, n_frames / FPS, cut.label)
        else:
            found.append(Instance(begin, n_frames / FPS, cut.label))
    write_video(out, (frame for cut in cuts for frame in cut.frames), FPS)
    return found


def joined_video(cuts: Sequence[Cut], out: Path, subset: Subset) -> tuple[Video, Annotation]:
    """Join cuts into the file ``out``: the video, labelled with all that it shows, and its exact annotation."""
    instances = join(cuts, out)
    found = probe(out)
    labels = tuple(sorted({i.label for i in instances}))
    video = Video(out.stem, found.start, found.end, labels=labels, subset=subset)
    return video, Annotation(video.item, tuple(instances))
