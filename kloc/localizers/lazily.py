"""Training videos that are read from the disk when a localizer asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from kloc.localizers.base import TrainingVideo

if TYPE_CHECKING:
    from kloc.features.bank import VideoFeatures
    from kloc.proposals import Proposals
    from kloc.records import Annotation


class Readable(Protocol):
    """Anything that knows features and proposals by video id."""

    def features(self, video_id: str, /) -> VideoFeatures:
        """Features of one video."""
        ...

    def proposals(self, video_id: str, /) -> Proposals:
        """Proposals of one video."""
        ...


@dataclass(frozen=True)
class LazyVideos(Sequence[TrainingVideo]):
    """The training videos ``ids`` of ``source``, annotated as ``annotations`` say."""

    source: Readable
    annotations: Mapping[str, Annotation]
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return LazyVideos(self.source, self.annotations, self.ids[index])
        video_id = self.ids[index]
        return TrainingVideo(
            self.source.features(video_id), self.source.proposals(video_id), self.annotations[video_id]
        )

    def __iter__(self) -> Iterator[TrainingVideo]:
        return (self[index] for index in range(len(self.ids)))
