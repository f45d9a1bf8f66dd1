"""The dataset card: front matter that parses, text that cannot break out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kloc.report.card import Card, render_card

CARD = Card(
    name="Jumps & runs",
    classes={"jump": 12, "run": 3},
    licence="CC-BY-4.0",
    simulated=True,
    description=("Two classes.",),
    splits={"train": {"videos": 800, "instances": 15, "hours": 1.25}, "validation": {"videos": 300, "instances": 9}},
    statistics={"instances per video": 1.5},
    collection={
        "strategy": "uncertainty",
        "rounds": 4,
        "agreement": {"pairwise F1@0.5": 0.71},
        "instructions": ["v1", "v2"],
    },
    metrics={"mAP@0.5": 0.4321},
    problems=("Starts are soft.",),
    citation="@misc{x,\n  title={Jumps}}",
    data_files={"train": "data/train.parquet"},
    features={"video": "string"},
    provenance={"seed": 7},
)


def _front(text: str) -> list[str]:
    assert text.startswith("---\n")
    return text.split("---\n")[1].splitlines()


def test_front_matter_holds_what_hugging_face_reads() -> None:
    front = _front(render_card(CARD))
    for line in (
        'pretty_name: "Jumps & runs"',
        'license: "cc-by-4.0"',
        "- machine-generated",
        '- "1K<n<10K"',
        "- video-classification",
        '  - split: "train"',
        '    path: "data/train.parquet"',
        '  - name: "video"',
        "    num_examples: 800",
    ):
        assert line in front
    assert "license_name" not in "\n".join(front)


def test_the_body_tells_all_of_it() -> None:
    text = render_card(CARD)
    for line in (
        "# Jumps &amp; runs",
        "| train | 800 | 15 | 1.25 |",
        "| jump | 12 |",
        "- **rounds**: 4",
        "- **agreement**: pairwise F1@0.5 0.71",
        "  - v2",
        "| mAP@0.5 | 0.4321 |",
        "- Starts are soft.",
        "  title={Jumps}}",
        "- seed: 7",
    ):
        assert line in text.splitlines()
    assert "| validation | 300 | 9 |  |" in text
    assert text == render_card(CARD)


def test_simulated_answers_are_called_simulated_and_only_they() -> None:
    assert "Simulated annotations" in render_card(CARD)
    honest = render_card(replace(CARD, simulated=False))
    assert "imulated" not in honest
    assert "- crowdsourced" in honest


def test_a_licence_of_ones_own_is_named() -> None:
    front = _front(render_card(replace(CARD, licence="Ask: us")))
    assert 'license: "other"' in front
    assert 'license_name: "Ask: us"' in front


@pytest.mark.parametrize(
    "name", ["x\n---\nevil: 1", 'a"b\\c', "<script>alert(1)</script>", "a|b\n# head", "{{ 7 * 7 }}"]
)
def test_hostile_names_stay_text(name: str) -> None:
    text = render_card(replace(CARD, name=name, classes=[name], problems=(name,), citation=f"```\n{name}"))
    assert "<script>" not in text.split("---\n", 2)[2].split("```bibtex")[0]
    assert not any(line.startswith(("evil", "# head")) for line in text.split("## Citation")[0].splitlines())
    assert "49" not in text
    assert text.split("## Citation")[1].count("```") == 2
    plain = render_card(CARD)
    assert text.split("## Citation")[0].count("\n---\n") == plain.split("## Citation")[0].count("\n---\n")


def test_a_bare_card_has_no_empty_sections() -> None:
    text = render_card(Card("Bare", ["a"], "mit"))
    assert "None are known." in text
    for heading in ("Benchmark", "Citation", "Provenance", "How the annotations"):
        assert heading not in text
    assert "\n\n\n" not in text
