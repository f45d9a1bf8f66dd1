"""``kloc.toml``: every setting once, with its default and its comment; a misspelt key names the nearest right one.

The file that ``kloc init`` writes is generated from these models, so that comments and defaults cannot drift.
"""

from __future__ import annotations

import difflib
import json
import textwrap
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from kloc.errors import UsageError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class General(_Section):
    name: str = Field("my-dataset", min_length=1, description="What the dataset is called in exports and on its card.")
    seed: int = Field(0, ge=0, description="All randomness comes from this one number.")
    store: str = Field(
        "", description='Campaign store: "" is store.sqlite in the workspace; or "postgresql://user@host/database".'
    )
    workers: int = Field(0, ge=0, description="Worker processes; 0 is one per core.")


class VideoSettings(_Section):
    decoder: Literal["auto", "decord", "pyav"] = Field(
        "auto", description='"auto" reads with decord and falls back to PyAV.'
    )
    time_limit_s: float = Field(600.0, gt=0, description="A video that takes longer than this is set aside.")


class FeatureConfig(_Section):
    backbone: str = Field(
        "efficientnet-lite0",
        description='"efficientnet-lite0" (real ImageNet weights inside kloc\'s dependencies) or "inception-v3".',
    )
    weights: str = Field("", description='A checkpoint file for the backbone; "" is its own default weights.')
    fps: float = Field(5.0, gt=0, description="Feature vectors per second of video.")
    max_frames: int = Field(
        0, ge=0, description="At most this many vectors per video (the rate is lowered); 0 is no limit."
    )


class ProposalConfig(_Section):
    method: Literal["sliding", "daps"] = Field(
        "sliding",
        description='"sliding" needs no training; "daps" trains once on the first annotations and stays frozen.',
    )


def _localizer_defaults() -> dict[str, bool | int | float | str]:
    return {"encoder": "context", "nms_tiou": 0.4}


class LocalizerConfig(_Section):
    model: str = Field("stagewise", description='Localizer to train ("stagewise").')
    settings: dict[str, bool | int | float | str] = Field(
        default_factory=_localizer_defaults,
        description="Settings of the model. The default sees what lies before and after a segment, which tells a part "
        'of an action from the whole; the paper\'s is {encoder = "mean"}.',
    )


class SelectionConfig(_Section):
    strategy: str = Field(
        "us",
        min_length=1,
        description='"random", "us" (uncertainty), "us-binary", "typiclust" (before there are annotations), "lal" '
        '(after `kloc lal bootstrap`), "mcle" (after `kloc prior`) or a plug-in\'s name; parameters follow it: '
        '"us,bins=20".',
    )
    policy: str = Field(
        "top",
        min_length=1,
        description='How scores become a batch: "top", "diverse" (also "diverse,method=badge"), "class-quota" or '
        '"cost-aware".',
    )
    batch: int = Field(64, ge=1, description="Videos per round.")
    epsilon: float = Field(0.0, ge=0, le=1, description="Share of every batch that is drawn at random.")
    cost_model: str = Field(
        "",
        description='What annotating a video takes: "" learns it from recorded working times (and writes cost.json); '
        "or the cost.json of another workspace.",
    )


class TaskConfig(_Section):
    title: str = Field(
        "Mark when an action happens in a video", min_length=1, max_length=128, description="Title of the HIT."
    )
    instructions: str = Field(
        "Watch the whole video. Mark every time the action happens: from the first frame in which it is under way "
        "to the first frame in which it is over. Two occurrences with a pause between them are two segments. "
        "If the action does not occur at all, say so.",
        min_length=1,
        description="What workers are told. A change makes a new guideline version.",
    )
    definitions: dict[str, str] = Field(
        default_factory=dict,
        description='One sentence per class, e.g. {"High jump" = "From the take-off to the landing."}.',
    )
    start_rules: dict[str, str] = Field(
        default_factory=dict,
        description='When each class starts, e.g. {"High jump" = "The first foot leaves the ground."}.',
    )
    end_rules: dict[str, str] = Field(default_factory=dict, description="When each class ends.")
    examples: dict[str, list[str]] = Field(
        default_factory=dict,
        description='Clips that show a class, of videos of the workspace, e.g. {"High jump" = ["VIDEO@12.0-15.5"]}.',
    )
    labels_are_complete: bool = Field(
        False,
        description="true: a video's labels name every class in it, so all others are known to be absent. "
        "false: a class nobody was asked about is unknown there.",
    )
    assignments: int = Field(3, ge=1, le=100, description="Workers per video.")
    reward: str = Field("0.10", pattern=r"^\d+(\.\d{1,2})?$", description="Dollars per answer.")
    expected_minutes: float = Field(3.0, gt=0, description="How long one task takes, told to workers.")
    time_limit_minutes: float = Field(
        60.0, ge=0.5, description="A task not submitted within this time is handed out again."
    )
    lifetime_days: float = Field(30.0, gt=0, le=365, description="How long tasks stay open.")
    contact: str = Field("", description="Whom workers can write to.")
    gate: int = Field(
        0,
        ge=0,
        le=10,
        description="So many of the gold videos (`kloc crowd gold`) are practice that workers pass first.",
    )
    gate_score: int = Field(80, ge=0, le=100, description="What has to be reached in each, in percent.")
    gold_per_round: int = Field(
        0, ge=0, description="So many of the other gold videos are hidden among a round's tasks, to judge workers."
    )
    prefill_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="With `kloc publish-hits --prefill`: the share of videos that get proposals, drawn at random; "
        "below 1 `kloc stats` can compare answers with and without.",
    )


class CrowdConfig(_Section):
    endpoint: str = Field(
        "http://127.0.0.1:8765",
        pattern=r"^https?://[^/:\s]+(:\d{1,5})?(/\S*)?$",
        description="An MTurk-compatible endpoint; `kloc crowd serve` is one.",
    )
    public_url: str = Field(
        "",
        pattern=r"^(https?://[^/\s]+(/[^\s?#]*)?)?$",
        description='How workers reach `kloc crowd serve` behind a proxy, e.g. "https://lab.example/kloc"; "" is '
        "the address it listens on.",
    )
    max_spend: str = Field(
        "", pattern=r"^(\d+(\.\d{1,2})?)?$", description='Cap in dollars that nothing exceeds; "" is no cap.'
    )
    fee_percent: float = Field(0.0, ge=0, description="The endpoint's fee on every reward (kloc's own takes none).")
    approve: Literal["readable", "quality", "manual"] = Field(
        "readable",
        description='"readable" pays every answer that can be read; "quality" does too, but turns down proven spam; '
        '"manual" leaves everything to you (`kloc review`). kloc never decides on what cannot be read; what you do not '
        "decide on, the endpoint approves and pays after auto_approve_days.",
    )
    grace_hours: float = Field(
        0.0, ge=0, le=672, description="Nothing is approved or rejected by kloc sooner after it was handed in."
    )
    auto_approve_days: float = Field(
        7.0, ge=0, le=30, description="What nobody has decided on by then is approved by the endpoint."
    )
    extra_answers: int = Field(
        1,
        ge=0,
        le=10,
        description="A video whose outcome is in doubt gets so many more answers at most, while max_spend lasts; "
        "without max_spend only where answers cost nothing.",
    )
    bonus: str = Field(
        "0", pattern=r"^\d+(\.\d{1,2})?$", description="Dollars on top of each answer of workers whose quality is high."
    )
    bonus_quality: float = Field(
        0.9,
        ge=0,
        le=1,
        description="How high: F1 on gold videos, or with the other workers where there is too little gold.",
    )
    consolidation: Literal["em", "median"] = Field(
        "em", description='"em" weighs workers by their reliability; "median" is plain cluster and median.'
    )


class EvaluationConfig(_Section):
    thresholds: tuple[float, ...] = Field(
        (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
        min_length=1,
        description="tIoU thresholds of the average mAP.",
    )


class PublicationConfig(_Section):
    licence: str = Field("unknown", min_length=1, description='Licence of the annotations, e.g. "cc-by-4.0".')
    language: str = Field(
        "en", pattern=r"^[a-z]{2,3}$", description="Language of class names and instructions (ISO 639), for the card."
    )
    source: str = Field("", description="Where the videos come from, for the card.")
    description: str = Field("", description="What the dataset is for, in a sentence or two.")
    citation: str = Field("", description="How to cite it (BibTeX).")


class Settings(_Section):
    """All settings of a workspace."""

    general: General = General()
    video: VideoSettings = VideoSettings()
    features: FeatureConfig = FeatureConfig()
    proposals: ProposalConfig = ProposalConfig()
    localizer: LocalizerConfig = LocalizerConfig()
    selection: SelectionConfig = SelectionConfig()
    task: TaskConfig = TaskConfig()
    crowd: CrowdConfig = CrowdConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    publication: PublicationConfig = PublicationConfig()


def load_settings(path: Path) -> Settings:
    """Read and check ``kloc.toml``.

    Raises :class:`UsageError` naming the file and the key: for a misspelt key the nearest right one, for a
    bad value what would be right.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; make a workspace with `kloc init DIR`") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from None
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        raise UsageError(f"{path}: {_explain(error)}") from None


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if first["type"] != "extra_forbidden":
        return f"{'.'.join(where)} = {first['input']!r}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    model: type[BaseModel] = Settings
    for part in where[:-1]:
        model = model.model_fields[part].annotation  # type: ignore[assignment]
    known = list(model.model_fields)
    everywhere = [f"{section}.{key}" for section, info in Settings.model_fields.items() for key in _fields(info)]
    near = difflib.get_close_matches(where[-1], known, 1, 0.5)
    elsewhere = [name for name in everywhere if name.endswith(f".{where[-1]}")]
    kind = "section" if len(where) == 1 and isinstance(first["input"], dict) else "key"
    if near:
        return f"unknown {kind} {'.'.join(where)!r}; did you mean {'.'.join([*where[:-1], near[0]])!r}?"
    if elsewhere:
        return f"unknown {kind} {'.'.join(where)!r}; it belongs in its section: {elsewhere[0]!r}"
    return f"unknown {kind} {'.'.join(where)!r}; known here: {', '.join(known)}"


def _fields(section: FieldInfo) -> dict[str, FieldInfo]:
    model: type[BaseModel] = section.annotation  # type: ignore[assignment]
    return dict(model.model_fields)


def template(**changes: Any) -> str:
    """The text of a fresh ``kloc.toml``; ``changes`` replace defaults, e.g. ``{"general.name": "jumps"}``.

    Changed settings stand there as live lines; defaults as commented ones, so that a later version's better
    default reaches everybody who never cared.
    """
    unknown = set(changes) - {f"{s}.{k}" for s, info in Settings.model_fields.items() for k in _fields(info)}
    if unknown:
        raise UsageError(f"unknown setting {sorted(unknown)[0]!r}")
    lines = ["# Settings of this kloc workspace. A line that is commented out shows the default.", ""]
    for section, info in Settings.model_fields.items():
        lines.append(f"[{section}]")
        defaults = getattr(Settings(), section)
        for key, field in _fields(info).items():
            name = f"{section}.{key}"
            lines += _wrapped(field.description or "")
            value = changes.get(name, getattr(defaults, key))
            lines.append(f"{'' if name in changes else '# '}{key} = {toml_value(value)}")
        lines.append("")
    return "\n".join(lines)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="# ", subsequent_indent="# ")


def toml_value(value: Any) -> str:
    """A value as TOML writes it, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k, ensure_ascii=False)} = {toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    return repr(value)
