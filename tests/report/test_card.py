"""The dataset card: front matter that parses, text that cannot break out, sentences that hold."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from markdown_it import MarkdownIt

from kloc.records import Annotation, Dataset, Instance, Video
from kloc.report.campaign import Agreement, RoundRow
from kloc.report.campaign import Campaign as Spent
from kloc.report.card import (
    Answer,
    Campaign,
    Card,
    Check,
    Choice,
    ClassFacts,
    DataFile,
    Guideline,
    Spread,
    markdown,
    render_card,
)
from kloc.report.croissant import croissant
from kloc.report.front_matter import front_matter, to_yaml
from kloc.report.statistics import Statistics, compute

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (huggingface_hub brings it)")


def statistics(name: str = "Jumps & runs", labels: tuple[str, str] = ("jump", "run")) -> Statistics:
    """Of four videos in two splits, two instances in each, of a campaign of one round."""
    videos = {f"v{i}": Video(f"v{i}", 0.0, 90.0, subset="training" if i < 3 else "validation") for i in range(4)}
    found = (Instance(1.0, 31.0, labels[0]), Instance(40.0, 45.5, labels[1]))
    known = {v: Annotation(video.item, found) for v, video in videos.items()}
    spent = Spent(True, (RoundRow(0, "random", "done", 3, 31.5, 27, 2.7),), (), Agreement(27, 0.71, 0.66, 0.2, 0.3), ())
    return compute(Dataset(labels, videos, known, name), campaign=spent)


CAMPAIGN = Campaign(
    choices={0: Choice("top", ("a note",))},
    guidelines=(Guideline("Mark jumps", "From the take-off to the landing.", 27, ("jump: redefined",)),),
    workers=4,
    answers=27,
    rejected=1,
    per_video=Spread(9, 2, 3, 4),
    wanted="3",
    extra=2,
    consolidation="By the median.",
    approval="All were paid.",
    rewards=("0.10 USD",),
    fee_percent=20.0,
    paid="2.70 USD",
    paid_per_video="0.30 USD",
    bonuses=0,
    seconds=Spread(27, 20, 60, 90),
    pace=33.0,
    hours=0.45,
    hourly="6.00 USD",
    worker_agreement=Spread(4, 0.5, 0.7, 0.9),
    gold_videos=2,
    gold_answers=8,
    gold_f1=Spread(4, 0.6, 0.8, 1.0),
    practice=(2, 80),
    period=("2026-01-05", "2026-02-07"),
)
CARD = Card(
    statistics(),
    licence="CC-BY-4.0",
    simulated=True,
    description="Two classes.\n\nAnd a second paragraph.",
    classes=(ClassFacts("jump", 7, 12, "From the take-off to the landing."), ClassFacts("run", 2, 3)),
    origins={"crowd": 3, "import": 1},
    partial=3,
    campaign=CAMPAIGN,
    checks=(Check("labels", ("2 x reversed",)), Check("splits")),
    datasheet=(Answer("motivation.purpose", "Why?", "To jump.\n\nAnd run."), Answer("uses.done", "What for?")),
    citation="@misc{x,\n  title={Jumps}}",
    files=(DataFile("train", "data/train.parquet", 800, 9000, 4000, "0" * 64),),
    provenance={"seed": "7"},
)


def front(text: str) -> dict[str, Any]:
    """The front matter, as a YAML reader sees it."""
    assert text.startswith("---\n")
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def body(text: str) -> str:
    return text.split("---\n", 2)[2]


def shown(text: str) -> str:
    """The HTML that a Markdown reader makes of the body."""
    return str(MarkdownIt("commonmark").enable("table").render(body(text)))


def test_front_matter_holds_what_hugging_face_reads() -> None:
    found = front(render_card(CARD))
    assert found == front_matter(CARD)
    assert found["pretty_name"] == "Jumps & runs"
    assert (found["license"], found["size_categories"], found["language"]) == ("cc-by-4.0", ["n<1K"], ["en"])
    assert found["annotations_creators"] == ["machine-generated", "found"]
    assert "license_name" not in found
    assert found["configs"][0]["data_files"] == [{"split": "train", "path": "data/train.parquet"}]
    instances = found["dataset_info"]["features"][-1]
    assert instances["list"][1]["dtype"]["class_label"]["names"] == {"0": "jump", "1": "run"}
    assert found["dataset_info"]["splits"] == [{"name": "train", "num_bytes": 9000, "num_examples": 800}]


def test_the_hub_accepts_the_front_matter() -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    loaded = hub.DatasetCard(render_card(CARD))
    assert isinstance(loaded.data, hub.DatasetCardData)
    assert loaded.data.to_dict() == front_matter(CARD)


def test_the_body_tells_all_of_it() -> None:
    text = render_card(CARD, {"pictures/a.png": "What it shows"})
    for line in (
        "# Jumps &amp; runs",
        "And a second paragraph.",
        "| training | train | 3 | 6 | 0.07 |",
        "| jump | 7 | 12 |",
        "| 0 | chance (random) | top | 3 | 31.5 | 27 | 2.70 USD |",
        "- Round 0: a note.",
        "| Krippendorff's alpha over time | 0.660 |",
        "- **labels**: 2 x reversed",
        "Checked, nothing found: splits.",
        "![What it shows](pictures/a.png)",
        "- What for?",
        "  title={Jumps}}",
        "- seed: 7",
    ):
        assert line in text.splitlines(), line
    assert "**Purpose.** To jump." in text
    assert "4 workers gave 27 answers that count, from 2026-01-05 to 2026-02-07." in text
    assert "(and 20 % of it as the endpoint's fee)" in text
    assert "2 videos with a known answer were hidden" in text
    assert "1 answer was turned down and does not count." in text
    assert text == render_card(CARD, {"pictures/a.png": "What it shows"})
    assert "\n\n\n" not in text


def test_simulated_answers_are_called_simulated_and_only_they() -> None:
    text = render_card(CARD)
    assert "Simulated annotations" in text
    assert "simulated" in front(text)["tags"]
    for heading in ("Rounds", "Agreement", "Who answered, and how often"):
        assert f"### {heading} (simulated)" in text
    assert "simulated" in json.dumps(croissant(CARD))
    honest = replace(CARD, simulated=False)
    assert "imulated" not in render_card(honest)
    assert "imulated" not in json.dumps(croissant(honest))
    assert "crowdsourced" in front(render_card(honest))["annotations_creators"]


def test_none_are_known_is_said_only_where_checks_ran() -> None:
    clean = replace(CARD, checks=(Check("labels"), Check("splits")))
    assert "None are known: none of the checks below found any." in render_card(clean)
    assert "Checked, nothing found: labels; splits." in render_card(clean)
    unchecked = replace(CARD, checks=(), unchecked=("agreement: there is no store",))
    assert "None are known" not in render_card(unchecked)
    assert "No check has run." in render_card(unchecked)
    assert "Not checked: agreement: there is no store." in render_card(unchecked)
    assert "None are known" not in render_card(CARD)


def test_a_licence_of_ones_own_is_named() -> None:
    found = front(render_card(replace(CARD, licence="Ask: us")))
    assert (found["license"], found["license_name"]) == ("other", "Ask: us")
    assert front(render_card(replace(CARD, licence="https://a.example/l")))["license_link"] == "https://a.example/l"


HOSTILE = [
    "x\n---\nevil: 1",
    'a"b\\c: {d}',
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a|b\n# head",
    "# head",
    "- list",
    "1. list",
    "===",
    "[a](javascript:alert(1))",
    "![a](http://x.example/y.png)",
    "```\n**x**",
    "~~~ x",
    "{{ 7 * 7 }}{% raw %}",
    "$x$ `y` *z* __q__",
    "x\u2028\x85\x7f\x00\ufeffy",
    "\ud800 lone",
    "@id",
]


def every(text: str) -> Card:
    """A card that holds ``text`` wherever text comes from outside."""
    return replace(
        CARD,
        statistics=statistics(text, (text, "run")),
        licence=text,
        description=text,
        source=text,
        citation=text,
        classes=(ClassFacts(text, 1, 2, text, text, text),),
        campaign=replace(CAMPAIGN, guidelines=(Guideline(text, text, 1, (text,)),)),
        checks=(Check("labels", (text,)), Check("more", (text, text))),
        datasheet=(
            *(Answer(key, "Q", text) for key in ("motivation.purpose", "motivation.creators", "distribution.place")),
            Answer("uses.done", text),
        ),
        provenance={"made with": text},
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    made, plain = render_card(every(text)), render_card(every("plain"))
    assert front(made) == front_matter(every(text.encode("utf-8", "replace").decode()))
    assert front(made).keys() - {"license_name"} == front(plain).keys() - {"license_name"}
    tags = re.findall(r"<(/?\w+)", shown(made))
    assert tags == re.findall(r"<(/?\w+)", shown(plain)), "markup came in with the text"
    assert not re.search(r'(?:href|src)="(?!pictures/)', shown(made))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_a_literal_in_croissant(text: str) -> None:
    made, plain = croissant(every(text)), croissant(every("plain"))

    def skeleton(value: Any) -> Any:
        """Keys, ids and types; any other text is a literal."""
        if isinstance(value, dict):
            named = {k: v for k, v in value.items() if k.startswith("@") and isinstance(v, str)}
            return {k: named.get(k, skeleton(v)) for k, v in value.items()}
        return [skeleton(v) for v in value] if isinstance(value, list) else type(value).__name__

    assert skeleton(made) == skeleton(plain)
    json.dumps(made, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_value_reads_as_it_was_written(text: str) -> None:
    inline = html.unescape(re.sub(r"</?p>", "", MarkdownIt("commonmark").render(str(markdown(text))))).strip()
    assert inline.split() == re.sub(r"[\x00\x7f\x85\u2028]", " ", text).split()


def test_yaml_is_read_back_as_it_was() -> None:
    value = {"a": ["x", {"b": "y: z", "c": ["1", {"d": "e"}]}], "2": {"n": 3, "t": True}, "e": "é\u2028😀"}
    assert yaml.safe_load(to_yaml(value)) == value


def test_facts_survive_json() -> None:
    assert Card.from_json(json.loads(json.dumps(CARD.to_json()))) == CARD


def test_a_bare_card_has_no_empty_sections() -> None:
    alone = replace(statistics(), campaign=None)
    text = render_card(Card(alone, classes=(ClassFacts("jump", 4, 4),), origins={"import": 4}))
    assert "how they were made is not known here" in text
    for heading in ("Benchmark", "Citation", "Provenance", "Rounds", "Open questions"):
        assert heading not in text
    assert "configs" not in front(text)
    assert "\n\n\n" not in text
