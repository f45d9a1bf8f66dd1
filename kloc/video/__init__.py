"""Open, probe, sample and write videos; proxies and thumbnails. Time is seconds on the video stream's clock."""

from .probe import Probe, probe
from .proxy import Proxy, make_proxy
from .sampling import nearest_frames, sample_times
from .source import VideoSource, open_video
from .thumbnails import thumbnail, thumbnail_strip
from .write import write_video

__all__ = [
    "Probe",
    "Proxy",
    "VideoSource",
    "make_proxy",
    "nearest_frames",
    "open_video",
    "probe",
    "sample_times",
    "thumbnail",
    "thumbnail_strip",
    "write_video",
]
