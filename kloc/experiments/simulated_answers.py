"""A second generator of workers' answers, and the untrimmed videos that both generators are judged on.

Made to contradict what models of crowds like to assume: that workers err independently of each other, that a worker
is equally good on every video, that errors have short tails. The generator is frozen: a test holds the hash of this
file, which was written without a look at kloc's consolidation. What is computed from it is called *simulated*.

How people err here, and why:

- **Misreadings are shared.** Every instance has a run-up and an aftermath (gamma-distributed shares of its length).
  A third of the workers count the run-up in, a third the aftermath, in all videos: a minority shares the *same* wrong
  boundaries, and with few answers it is the majority now and then.
- **Hard boundaries are hard for all.** Each boundary of an instance carries an offset that all its annotators share
  (fades, occlusion); ends are vaguer than starts, as end rules are harder to word. Where a video's proxy or its
  soundtrack is off, all boundaries of the video move together.
- **Reaction time.** Marks come late, by a delay of the worker's own. Some workers mark on whole or half seconds.
- **Heavy tails.** A worker's own error is Student's t with 2.5 degrees of freedom; besides, one boundary in fifty
  is a slip (a forgotten or mistyped key) that lands anywhere in the video.
- **Difficulty.** Instances are faint or plain, videos are dark or clear, and short instances are easily missed: the
  logit of noticing adds the worker's attention and the same difficulty for everybody. What one misses, many miss.
- **Look-alikes.** A video can hold stretches that resemble an action. Each has an appeal, and all who fall for it
  mark about the same place. Private false alarms are rarer.
- **Confusable classes.** Every instance has a resemblance to one other class, the same for all workers.
- **Series.** Where instances of a class follow closely, some read "the whole series", by the gap, the video and
  their own leaning; then everything within one breath becomes one segment. Long instances may hold a pause, at the
  same place for all, where those who lean the other way cut.
- **Fatigue.** Each answer falls in a fresh or a tired hour. Tired answers miss more, are wider off, and may stop
  before the video's end: all errors of one answer go together.
- **Spammers.** One worker in ten. Some send the whole video, some nothing, some mark anything once; some look for
  the first instance, mark it properly and leave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kloc.records import Annotation, Instance, Item
from kloc.seeds import generator

#: What the videos are about; every answer is asked about all of them.
CLASSES = ("dive", "jump", "throw")

_SHORTEST_S = 0.2
_SPAM = ("whole", "nothing", "anything", "first")


# -- the videos --------------------------------------------------------------------------------------------------------


def truth(seed: int, n_videos: int) -> list[Annotation]:
    """Untrimmed videos of 20 to 240 s with 0 to 6 instances, drawn like ActivityNet's: many long, some short.

    About one video in eight has none. In half of the videos with several, they are repeated closely (gaps of 0.5 to
    4 s), so that it matters who merges. Some videos show two classes. Instances never overlap.
    """
    return [_video(generator(seed, "simulated answers", "video", i), f"video-{i:05d}") for i in range(n_videos)]


def _video(rng: np.random.Generator, name: str) -> Annotation:
    duration = round(float(np.clip(rng.lognormal(4.6, 0.6), 20, 240)), 3)
    item = Item(name, 0.0, duration)
    count = 0 if rng.random() < 0.12 else min(1 + int(rng.negative_binomial(1, 0.4)), 6)
    if not count:
        return Annotation(item, ())
    close = rng.random() < 0.5
    spans = np.clip(duration * rng.lognormal(-1.6 - 0.25 * count, 0.7, count), 1.0, None)
    gaps = rng.uniform(0.5, 4.0, count - 1) if close else duration * rng.lognormal(-2.6, 0.6, count - 1)
    room = 0.92 * duration
    if spans.sum() + gaps.sum() > room:
        shrink = room / (spans.sum() + gaps.sum())
        spans, gaps = np.maximum(spans * shrink, 0.8), gaps * shrink
    free = max(duration - float(spans.sum() + gaps.sum()), 0.0)
    main, second = (str(c) for c in rng.permutation(CLASSES)[:2])
    two = rng.random() < 0.1
    cursor, instances = free * float(rng.random()), []
    for index, span in enumerate(spans):
        label = second if two and rng.random() < 0.5 else main
        instances.append(Instance(round(cursor, 3), round(min(cursor + float(span), duration), 3), label))
        cursor += float(span) + (float(gaps[index]) if index < count - 1 else 0.0)
    return Annotation(item, tuple(instances))


# -- the workers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Person:
    """One worker's leanings. Logits unless said otherwise; seconds where ``_s``.

    attention: of noticing a plain instance. delay_s: how late marks come. hand: scale of the worker's own boundary
    error, in units of 0.4 s + 0.06 x the instance's length. early, late: the worker counts run-up and aftermath in.
    lumping: of taking a close series for one; negative ones cut at pauses instead. gullible: share of the look-alikes'
    appeal the worker feels. mixing: share of the resemblance between classes. grid_s: marks fall on multiples of it.
    stamina: probability that an answer falls in a fresh hour. spam: "" or what the spammer sends.
    """

    name: str
    attention: float
    delay_s: float
    hand: float
    early: bool
    late: bool
    lumping: float
    gullible: float
    mixing: float
    grid_s: float
    stamina: float
    spam: str = ""


def crowd(seed: int, n: int) -> tuple[Person, ...]:
    """``n`` workers, each drawn by its index alone."""
    people = []
    for index in range(n):
        rng = generator(seed, "simulated answers", "person", index)
        people.append(
            Person(
                name=f"person-{index + 1:03d}",
                attention=float(rng.normal(2.6, 0.8)),
                delay_s=float(rng.gamma(2.0, 0.12)),
                hand=float(rng.lognormal(-0.5, 0.5)),
                early=bool(rng.random() < 0.33),
                late=bool(rng.random() < 0.33),
                lumping=float(rng.normal(0, 1.2)),
                gullible=float(rng.beta(2, 3)),
                mixing=float(rng.beta(2, 3)),
                grid_s=float(rng.choice([0.0, 0.0, 0.0, 0.5, 1.0])),
                stamina=float(rng.beta(8, 2)),
                spam=str(rng.choice(_SPAM)) if rng.random() < 0.1 else "",
            )
        )
    return tuple(people)


# -- what a video does to everybody ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Seen:
    """One instance as it looks to all: seconds that each boundary seems off, logit of its faintness, and so on."""

    true: Instance
    run_up: float
    aftermath: float
    start_off: float
    end_off: float
    faint: float
    other: str
    resemblance: float
    pause: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class _Scene:
    """One video as it looks to all."""

    seen: tuple[_Seen, ...]
    #: Stretches that resemble an action, each with its appeal.
    alike: tuple[tuple[Instance, float], ...]
    #: Logit added to taking a series for one.
    series: float


def _scene(seed: int, key: str, duration: float, instances: Sequence[Instance], classes: Sequence[str]) -> _Scene:
    rng = generator(seed, "simulated answers", "scene", key)
    dark = float(rng.normal(0, 0.6))
    moved = float(rng.standard_t(3)) * 0.15
    seen = []
    for instance in instances:
        length = instance.duration
        unit = 0.4 + 0.06 * length
        other = [c for c in classes if c != instance.label]
        pause = None
        if rng.random() < 0.15 and length > 6:
            middle, half = instance.start + length * float(rng.uniform(0.3, 0.7)), float(rng.uniform(0.2, 0.8))
            pause = (middle - half, middle + half)
        seen.append(
            _Seen(
                true=instance,
                run_up=length * min(float(rng.gamma(1.2, 0.08)), 0.4),
                aftermath=length * min(float(rng.gamma(1.2, 0.12)), 0.5),
                start_off=moved + 0.4 * unit * float(rng.standard_t(3)),
                end_off=moved + 0.7 * unit * float(rng.standard_t(3)),
                faint=dark + float(rng.normal(0, 0.9)) + 1.4 / (0.5 + length / 2),
                other=other[int(rng.integers(len(other)))] if other else instance.label,
                resemblance=float(rng.beta(0.5, 6)),
                pause=pause,
            )
        )
    alike = []
    for _ in range(int(rng.poisson(0.35))):
        length = min(float(rng.lognormal(1.8, 0.6)), 0.3 * duration)
        start = float(rng.uniform(0, duration - length))
        label = instances[0].label if instances else classes[int(rng.integers(len(classes)))]
        appeal = float(rng.beta(1.5, 2))
        if all(min(start + length, i.end) - max(start, i.start) < 0.2 * length for i in instances):
            alike.append((Instance(start, start + length, label), appeal))
    return _Scene(tuple(seen), tuple(alike), float(rng.normal(0, 1.0)))


# -- one answer --------------------------------------------------------------------------------------------------------


def simulated_answer(
    person: Person, seed: int, item_key: str, duration: float, truth: Sequence[Instance], classes: Sequence[str]
) -> dict[str, Any]:
    """The one answer this person gives to this item under this seed, as the page's JSON; ``truth`` in media seconds.

    The same call as `kloc.crowd.simulate.simulated_answer`. The person knows nothing of classes that were not asked.
    """
    instances = sorted(i for i in truth if i.label in classes)
    scene = _scene(seed, item_key, duration, instances, classes)
    rng = generator(seed, "simulated answers", "answer", item_key, person.name)
    fresh = rng.random() < person.stamina
    looked, pace = duration, float(rng.lognormal(0.4, 0.3))
    if person.spam:
        looked, pace = 0.15 * duration, 0.2
        marks = _spam(person, scene, duration, classes, rng)
    else:
        marks = _marks(person, scene, duration, classes, fresh, rng)
        if not fresh and rng.random() < 0.25:
            looked = duration * float(rng.uniform(0.4, 0.9))
            marks = [m for m in marks if m.start < looked]
    segments = sorted({_tidy(m, duration, person.grid_s) for m in marks})
    return {
        "version": 1,
        "segments": [{"label": s.label, "start": s.start, "end": s.end, "origin": "own"} for s in segments],
        "none": not segments,
        "seconds_spent": round(5.0 + pace * looked + 4.0 * len(segments), 1),
        "watched": [[0.0, round(looked, 3)]],
        "guideline": "",
        "prefilled": False,
    }


def _marks(
    person: Person, scene: _Scene, duration: float, classes: Sequence[str], fresh: bool, rng: np.random.Generator
) -> list[Instance]:
    attention = person.attention if fresh else person.attention - 1.2
    hand = person.hand if fresh else 1.6 * person.hand
    noticed = [s for s in scene.seen if rng.random() < _logistic(attention - s.faint)]
    spans: list[Instance] = []
    for view in noticed:
        label = view.other if rng.random() < person.mixing * view.resemblance else view.true.label
        start = view.true.start + view.start_off - person.early * view.run_up
        end = view.true.end + view.end_off + person.late * view.aftermath
        cuts = view.pause is not None and rng.random() < _logistic(-0.5 - 1.5 * person.lumping)
        if cuts and view.pause is not None and start < view.pause[0] < view.pause[1] < end:
            spans += [Instance(start, view.pause[0], label), Instance(view.pause[1], end, label)]
        else:
            spans.append(Instance(start, end, label))
    spans = _lumped(person, scene, spans, rng)
    for stretch, appeal in scene.alike:
        if rng.random() < person.gullible * appeal * (1.0 if fresh else 1.4):
            spans.append(stretch)
    if rng.random() < (0.02 if fresh else 0.05):
        length = min(float(rng.lognormal(1.8, 0.6)), 0.5 * duration)
        start = float(rng.uniform(0, duration - length))
        label = scene.seen[0].true.label if scene.seen else classes[int(rng.integers(len(classes)))]
        spans.append(Instance(start, start + length, label))
    return [_drawn(person, span, duration, hand, rng) for span in spans]


def _lumped(person: Person, scene: _Scene, spans: Sequence[Instance], rng: np.random.Generator) -> list[Instance]:
    """Neighbours of a class that this person takes for one. Whoever reads "series" does so all through the video."""
    leaning = person.lumping + scene.series + float(rng.logistic(0, 0.5))
    lumped: list[Instance] = []
    for span in sorted(spans):
        near = [one for one in lumped if one.label == span.label]
        if near and leaning > 1.4 + 0.45 * max(span.start - near[-1].end, 0.0):
            lumped.remove(near[-1])
            lumped.append(Instance(near[-1].start, max(near[-1].end, span.end), span.label))
        else:
            lumped.append(span)
    return lumped


def _drawn(person: Person, span: Instance, duration: float, hand: float, rng: np.random.Generator) -> Instance:
    """The span as the hand marks it: late, unsteady, now and then a slip."""
    unit = 0.4 + 0.06 * span.duration
    low, high = 0.5 * hand * unit * rng.standard_t(2.5, 2)
    start, end = span.start + person.delay_s + float(low), span.end + person.delay_s + float(high)
    if rng.random() < 0.02:
        start = float(rng.uniform(max(start - 30, 0), max(start, 0.1)))
    if rng.random() < 0.02:
        end = float(rng.uniform(min(end, duration - 0.1), min(end + 30, duration)))
    return Instance(start, end, span.label)


def _spam(
    person: Person, scene: _Scene, duration: float, classes: Sequence[str], rng: np.random.Generator
) -> list[Instance]:
    label = classes[int(rng.integers(len(classes)))]
    if person.spam == "whole":
        return [Instance(0.0, duration, label)]
    if person.spam == "first":
        return [_drawn(person, scene.seen[0].true, duration, person.hand, rng)] if scene.seen else []
    if person.spam == "anything":
        start, end = np.sort(rng.uniform(0, duration, 2))
        return [Instance(float(start), float(end), label)]
    return []


def _tidy(mark: Instance, duration: float, grid_s: float) -> Instance:
    """On the worker's grid, inside the video, not empty, to the millisecond."""
    start, end = mark.start, mark.end
    if grid_s:
        start, end = grid_s * round(start / grid_s), grid_s * round(end / grid_s)
    shortest = min(_SHORTEST_S, duration)
    start = min(max(start, 0.0), duration - shortest)
    return Instance(round(start, 3), round(min(max(end, start + shortest), duration), 3), mark.label)


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))
