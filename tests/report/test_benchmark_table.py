"""The table: 80 columns, the paper's figures marked as another dataset's, names that stay in their cells."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from kloc.errors import FormatError
from kloc.evaluation.presets import PRESETS
from kloc.report.benchmark import CLIP, FULL, PAPER, PAPER_NOTE, REGIMES, SHUFFLED, BenchmarkRow, BenchmarkTable, Gain

THRESHOLDS = PRESETS["kinetics-localization"].thresholds


def row(model: str, regime: str, average: float, *, reach: float | None = 0.015) -> BenchmarkRow:
    low, high = (None, None) if reach is None else (average - reach, average + reach)
    values = tuple(round(min(1.0, average * (1.9 - t)), 9) for t in THRESHOLDS)
    return BenchmarkRow(model, regime, values, average, low, high, (0, 1, 2), (average,) * 3)


TABLE = BenchmarkTable(
    "mine",
    tuple(row("stagewise", regime, average) for regime, average in zip(REGIMES, (0.3, 0.1, 0.02), strict=True)),
    THRESHOLDS,
    (0, 1, 2),
    "testing",
    40,
    12,
    5,
    "lite0",
    (Gain("stagewise", 0.2, 0.11, 0.29),),
    0.01,
    0.03,
)


def printed(table: BenchmarkTable) -> list[str]:
    console = Console(width=80, record=True, file=io.StringIO())
    table.terminal(console)
    return console.export_text().splitlines()


def test_it_fits_a_terminal_of_80_columns() -> None:
    wide = replace(TABLE, rows=(*TABLE.rows, row("a-plug-in-with-a-long-name", FULL, 1.0, reach=0.123)))
    lines = printed(wide)
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert any(line.split() == ["full", *("100",) * 10, "±12.3"] for line in lines)


def test_the_papers_rows_are_marked_as_another_datasets() -> None:
    lines = printed(TABLE)
    first = next(i for i, line in enumerate(lines) if line.startswith("paper: Stage-Wise"))
    assert lines[first + 1].split() == [
        "full",
        "72.1",
        "59.2",
        "52.8",
        "48.7",
        "45.1",
        "31.0",
        "26.4",
        "17.7",
        "3.9",
        "21.3",
    ]
    assert " ".join(PAPER_NOTE.split()) in " ".join(" ".join(lines).split())
    text = TABLE.markdown()
    assert "| *the paper's SSN* | *10-second clip* | *59.4* |" in text
    assert PAPER_NOTE in text
    assert len(PAPER) == 4


def test_what_it_says_in_words() -> None:
    told = TABLE.sentences()
    assert told[0] == (
        "mAP (%) on 12 testing videos of 5 classes after training on 40; features lite0; mean of 3 seeds."
    )
    assert (
        "stagewise: full annotation is worth +20.0 points Avg (+11.0 to +29.0) over clips; in the paper +13.1." in told
    )
    assert any("shuffled labels, 2.0" in line and line.endswith("no more than chance.") for line in told)
    unsure = replace(TABLE, rows=(*TABLE.rows[:2], row("stagewise", SHUFFLED, 0.04)))
    assert any("shuffled labels, 4.0" in line and "not told from chance" in line for line in unsure.sentences())
    leaking = replace(TABLE, rows=(*TABLE.rows[:2], row("stagewise", SHUFFLED, 0.1)))
    assert any("MORE than chance" in line for line in leaking.sentences())
    assert "simulated" not in " ".join(told)
    assert "simulated" in replace(TABLE, simulated=True).sentences()[0]
    assert "simulated" in replace(TABLE, simulated=True).markdown()


def test_one_seed_has_no_interval() -> None:
    alone = replace(TABLE, seeds=(0,), rows=tuple(row("m", r, 0.2, reach=None) for r in (FULL, CLIP)), gains=())
    assert "±" not in "\n".join([*printed(alone), alone.markdown()])


def test_json_round_trip_and_nothing_else() -> None:
    text = json.dumps(TABLE.to_json())
    assert BenchmarkTable.from_json(json.loads(text)) == TABLE
    assert json.loads(text)["paper"]["rows"][0]["average"] == 21.3
    for other in ({}, {"rows": [{}]}, {**TABLE.to_json(), "gains": [1]}):
        with pytest.raises(FormatError, match="kloc benchmark"):
            BenchmarkTable.from_json(other)


def test_a_plug_ins_name_cannot_leave_its_cell() -> None:
    evil = replace(TABLE, rows=(row("a|b <img src=x>\n# c", FULL, 0.1),), gains=(), name="x")
    line = next(line for line in evil.markdown().splitlines() if "img" in line)
    assert line.startswith("| a\\|b &lt;img src=x> # c | full |")
    assert "a|b <img src=x>" in printed(replace(evil, rows=(row("a|b <img src=x>", FULL, 0.1),)))[1]
