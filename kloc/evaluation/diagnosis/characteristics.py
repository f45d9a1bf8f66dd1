"""Coverage, length and number of instances of every judged instance."""

from __future__ import annotations

import numpy as np

from kloc.attributes import AttributeTable
from kloc.evaluation.tables import TruthTable
from kloc.records import Dataset


def characteristics(dataset: Dataset, truth: TruthTable) -> AttributeTable:
    """Attributes of the rows of ``truth``, in their order.

    As `kloc.attributes.attributes_of`, but of the instances that are judged: the number of instances counts those
    of the video that are. Instances are cut to their video (DETAD's program leaves out those longer than it).
    """
    spans = np.full((len(truth.videos), 2), np.nan)
    for row, video_id in enumerate(truth.videos):
        if video_id in dataset.videos and dataset.is_timed(video_id):
            spans[row] = dataset.videos[video_id].start, dataset.videos[video_id].end
    low, high = spans[truth.video].T
    start, end = np.fmax(truth.start, low), np.fmin(truth.end, high)
    length = np.maximum(end - start, 0.0)
    return AttributeTable(
        tuple(truth.videos[v] for v in truth.video.tolist()),
        tuple(truth.classes[c] for c in truth.label.tolist()),
        start,
        end,
        length / (high - low),
        length,
        np.bincount(truth.video, minlength=len(truth.videos))[truth.video].astype(np.float64),
    )
