"""Other ways in which the same training videos could have been annotated (P2, section 5, and its control)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from kloc.records import Annotation, Instance
from kloc.report.benchmark import CLIP, FULL, SHUFFLED
from kloc.seeds import generator

#: Kinetics' clips are so long whatever the action's length, in seconds.
CLIP_S = 10.0

Annotations = Mapping[str, Annotation]


def full(annotations: Annotations, seed: int) -> dict[str, Annotation]:
    """The annotations as they are."""
    return {v: annotations[v] for v in sorted(annotations)}


def clips(annotations: Annotations, seed: int) -> dict[str, Annotation]:
    """The "10-second clip" regime: one clip a video is its only instance, all its other content is background.

    The clip lies at a random place inside a random instance. Where the instance is shorter the clip contains it at a
    random offset, cut to the stretch that was annotated (the whole video, as a rule). Videos without an instance have
    no clip and are left out. A video's clip depends on the seed and the video alone.
    """
    return {v: _clip(annotations[v], seed) for v in sorted(annotations) if annotations[v].instances}


def _clip(annotation: Annotation, seed: int) -> Annotation:
    item = annotation.item
    rng = generator(seed, "10-second clip", item.video_id)
    chosen = sorted(annotation.instances)[int(rng.integers(len(annotation.instances)))]
    # A window of 10 s slides between the instance's two ends: inside a longer one, around a shorter one.
    low, high = sorted((chosen.start, chosen.end - CLIP_S))
    start = float(rng.uniform(low, high))
    clip = Instance(max(start, item.start), min(start + CLIP_S, item.end), chosen.label)
    return replace(annotation, instances=(clip,))


def shuffled(annotations: Annotations, seed: int) -> dict[str, Annotation]:
    """The control: every video gets the annotation of another one, its times stretched to the video's length.

    Annotations are dealt out by a random cyclic permutation: none stays where it belongs (but for a single video),
    and each is used once, so that classes, lengths and counts are those of the truth. Nothing of a video's content
    is left to learn from: neither what is seen nor when.
    """
    ids = sorted(annotations)
    order = generator(seed, "shuffled labels").permutation(len(ids)).tolist()
    of = {ids[a]: ids[b] for a, b in zip(order, [*order[1:], *order[:1]], strict=True)}
    return {v: _moved(annotations[of[v]], annotations[v]) for v in ids}


def _moved(said: Annotation, onto: Annotation) -> Annotation:
    """What was said of one stretch as if it had been said of another, longer or shorter one."""
    scale = onto.item.duration / said.item.duration if said.item.duration > 0 else 0.0

    def moved(time: float) -> float:
        return min(max(onto.item.start + (time - said.item.start) * scale, onto.item.start), onto.item.end)

    instances = tuple(replace(i, start=moved(i.start), end=moved(i.end)) for i in said.instances)
    return Annotation(onto.item, instances, said.exhaustive_for)


#: What each regime makes of the training annotations with a seed.
MAKERS: dict[str, Callable[[Annotations, int], dict[str, Annotation]]] = {FULL: full, CLIP: clips, SHUFFLED: shuffled}
