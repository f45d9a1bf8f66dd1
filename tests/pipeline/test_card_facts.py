"""What the card reads off the campaign store, held against plain loops over it; what is hostile there stays out."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from kloc.errors import UsageError
from kloc.formats import coco
from kloc.formats.common import Extra
from kloc.formats.guessing import load
from kloc.pipeline import card_campaign, card_checks, carding, exporting, pool
from kloc.pipeline.common import SIMULATED
from kloc.records import SIMULATED_WORKERS, Annotation, Dataset, Instance, Item, Video
from kloc.report.card import Card, render_card
from kloc.report.card_files import data_files
from kloc.store import crowd, meta, revisions, rounds
from kloc.store.tables import AssignmentRow, GuidelineRow, ReportRow, VideoRow
from kloc.workspace import Workspace
from tests.pipeline.campaign_world import World


def found(card: Card) -> dict[str, tuple[str, ...]]:
    """What each check found, by its name's first words."""
    return {check.name.split(" (")[0]: check.found for check in card.checks}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A round of two videos, answered by people: one by two who agree, one by two who do not."""
    made = World(
        tmp_path_factory.mktemp("card") / "w",
        **{"task.definitions": {"jump": "Feet off the ground."}, "task.reward": "0.30"},
    )
    made.up()
    made.hire()
    made.publish(2)
    first, second = made.hits()
    made.answer(0, first, (2, 7))
    made.answer(1, first, (2.2, 7.1))
    made.answer(0, second, (1, 4), seconds_spent=120)
    made.answer(1, second, (20, 29), seconds_spent=5, watched=[[0, 1]])
    made.ingest()
    made.down()
    made.workspace.close()
    return made.workspace.root


@pytest.fixture
def campaign(finished: Path, tmp_path: Path) -> Workspace:
    """A copy of it, to be changed."""
    return Workspace.open(shutil.copytree(finished, tmp_path / "copy"))


def test_the_campaign_is_told_as_it_was(campaign: Workspace) -> None:
    card = carding.of_workspace(campaign)
    made, spent = card.campaign, card.statistics.campaign
    assert made is not None
    assert spent is not None
    assert (made.workers, made.answers, made.rejected, made.wanted, made.extra) == (2, 4, 0, "2", 0)
    assert (made.per_video.low, made.per_video.median, made.per_video.high) == (2, 2, 2)
    assert made.seconds is not None
    assert (made.seconds.low, made.seconds.median, made.seconds.high) == (5, 60, 120)
    assert (made.rewards, made.paid, made.paid_per_video) == (("0.30 USD",), "1.20 USD", "0.60 USD")
    assert made.hourly == "18.00 USD", "the median of 18, 18, 9 and 216"
    assert [round_.videos for round_ in spent.rounds] == [2]
    assert card.origins == {"crowd": 2, "import": 3}
    assert card.classes[0].definition == "Feet off the ground."
    assert made.period is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", made.period[0])
    assert not card.simulated
    with campaign.store.transaction() as session:
        meta.put(session, SIMULATED, "yes")
    simulated = carding.of_workspace(campaign)
    assert simulated.simulated
    assert simulated.campaign is not None
    assert simulated.campaign.period is None
    assert found(simulated)["simulated answers"] == (
        "2 of 5 videos carry the answers of simulated workers: no person marked them",
    )


def test_known_problems_are_collected(campaign: Workspace) -> None:
    clean = found(carding.of_workspace(campaign))
    (torn,) = (line for line in clean["agreement of workers"] if "videos" in line)
    assert torn.startswith("in 1 of 2 videos two answers agree by less")
    assert clean["answers with signs of haste"][0] == "1 of 4 answers took less than 30% of the video's duration"
    for name in ("videos that workers reported", "answers that could not be read", "rounds under way"):
        assert clean[name] == ()
    with campaign.store.transaction() as session:
        hit = crowd.hits(session)[0]
        answer = crowd.assignments_of(session, hit.token)[0]
        session.get_one(VideoRow, "v7").state = "quarantined"
        session.get_one(VideoRow, "v7").reason = "/secret/path/v7.mp4 cannot be decoded"
        for i, kind in enumerate(("disturbing", "disturbing", "does-not-play")):
            session.add(
                ReportRow(id=i, token=hit.token, worker_id=f"W{i}", kind=kind, text="<b>", at=0.0, handled=i > 0)
            )
        session.get_one(AssignmentRow, answer.assignment_id).problem = "no JSON"
    told = found(carding.of_workspace(campaign))
    assert told["videos that workers reported"] == (
        f"1 video, 1 not looked at since: {hit.video_id} (disturbing: 2, does-not-play: 1)",
    )
    assert told["answers that could not be read"] == ("1 were left out",)
    assert told["videos set aside because they cannot be decoded"] == ("1 video left out: v7",)
    assert told["videos with fewer answers than were asked for"]
    text = carding.card_text(campaign)
    assert "/secret" not in text, "no path of this machine leaves it"
    assert "W0" not in text, "no worker either"


def test_late_answers_are_counted_where_the_endpoint_is_ones_own(campaign: Workspace) -> None:
    late, database = "answers that came too late", campaign.crowd / "endpoint.sqlite"
    assert found(carding.of_workspace(campaign))[late] == ()
    with sqlite3.connect(database) as endpoint:
        endpoint.execute("UPDATE assignments SET late_answer = 'x' WHERE id = (SELECT min(id) FROM assignments)")
    told = ("1 came after their task had closed and do not count",)
    assert found(carding.of_workspace(campaign))[late] == told
    database.rename(database.with_name("elsewhere.sqlite"))
    elsewhere = carding.of_workspace(campaign)
    assert late not in found(elsewhere)
    assert any("came too late" in line for line in elsewhere.unchecked)


def test_a_round_under_way_is_told_and_does_not_count(campaign: Workspace) -> None:
    with campaign.store.transaction() as session:
        row = rounds.add(session, "random", "top", 0, {})
        row.state = "published"
        moved = crowd.hits(session)[0]
        moved.round = row.index
    facts = carding.of_workspace(campaign)
    assert found(facts)["rounds under way"] == ("round 1: answers to come change the dataset",)
    assert facts.campaign is not None
    assert facts.campaign.answers == 2


def _told(
    workspace: Workspace, *classes: list[tuple[str, str]], title: str = "Mark"
) -> list[tuple[int, tuple[str, ...]]]:
    """Answers and descriptions of each version, where the hits were told of these classes, in turn."""
    with workspace.store.transaction() as session:
        for index, (hit, told) in enumerate(zip(crowd.hits(session), classes, strict=True)):
            entries = [{"name": name, "definition": text} for name, text in told]
            content = {"title": title, "instructions": "Watch.", "classes": entries}
            session.add(GuidelineRow(version=f"version {index}", content=content))
            hit.guideline, hit.intended_at = f"version {index}", float(index)
    facts = card_campaign.campaign(workspace, simulated=False)
    assert facts is not None
    return [(guideline.answers, guideline.described) for guideline in facts.guidelines]


def test_one_guideline_for_many_sets_of_classes_is_one_version(campaign: Workspace) -> None:
    """The store keeps a version for each set of classes; the card tells versions of the guideline."""
    assert _told(campaign, [("jump", "Up.")], [("run", ""), ("jump", "Up.")]) == [(4, ())]


def test_a_changed_definition_is_another_version_and_told(campaign: Workspace) -> None:
    assert _told(campaign, [("jump", "Up."), ("run", "")], [("jump", "*Higher*.")]) == [
        (2, ()),
        (2, ("jump: *Higher*.",)),
    ]


def test_a_card_of_nothing_is_refused(tmp_path: Path) -> None:
    pool.init(tmp_path / "empty")
    with pytest.raises(UsageError, match="nothing is annotated yet"):
        carding.card(Workspace.open(tmp_path / "empty"))


def test_imported_annotations_make_a_card_without_a_campaign(tmp_path: Path) -> None:
    made = World(tmp_path / "w").workspace
    facts = carding.of_workspace(made)
    assert facts.campaign is None
    assert facts.origins == {"import": 3}
    text = carding.card_text(made)
    assert "how they were made is not known here" in text
    assert "Not checked: what only answers of workers show" in text


def test_the_written_card_is_the_same_every_time(campaign: Workspace) -> None:
    folder = campaign.dataset
    summary = carding.card(campaign, answers={"uses.done": "Nothing yet."})
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert {"README.md", "croissant.json", "data/train.parquet", "pictures/coverage.png"} <= set(names)
    before = {name: (folder / name).read_bytes() for name in names}
    assert b"Nothing yet." in before["README.md"]
    assert any("questions of the datasheet are open" in line for line in summary.problems)
    carding.card(campaign)
    assert {name: (folder / name).read_bytes() for name in names} == before
    shown = re.findall(r"!\[.*?\]\((.*?)\)", before["README.md"].decode())
    assert shown
    assert set(shown) <= set(names)


def test_doubt_and_rare_classes_are_told_of_any_dataset(campaign: Workspace) -> None:
    with campaign.store.transaction() as session:
        known = Annotation(Item("v0", 1.0, 31.0), (Instance(3.0, 8.0, "jump", 0.6), Instance(3.0, 3.2, "jump")), None)
        revisions.append(session, known, "review")
    dataset = carding.published(campaign)
    told = found(carding.of_dataset(replace(dataset, classes=("jump", "fly"))))
    assert told["instances with a confidence below 0.7"][0].startswith("1 of ")
    assert told[f"classes with fewer than {card_checks.FEW} instances"] == (
        f"2 of 2 classes: fly (0), jump ({sum(len(a.instances) for a in dataset.annotations.values())})",
    )
    assert any("shorter than" in line for line in told["labels"])


def test_only_simulated_workers_make_a_card_say_simulated(campaign: Workspace) -> None:
    dataset = carding.published(campaign)
    told = carding.of_dataset(replace(dataset, origin="Flickr"))
    text = render_card(told)
    assert "\nOrigin: Flickr.\n" in text
    assert not re.search("simulated (?!answers)|machine-generated", text)
    assert (told.creators, found(told)["simulated answers"]) == (["found"], ())
    simulated = carding.of_dataset(replace(dataset, origin=SIMULATED_WORKERS))
    assert simulated.creators == ["machine-generated"]
    assert "Origin:" not in render_card(simulated)


def test_card_and_tables_of_a_file_agree_on_what_nobody_annotated(tmp_path: Path) -> None:
    videos = {v: Video(v, 0.0, 9.0, subset=s) for v, s in {"a": "training", "b": "training", "c": "testing"}.items()}  # type: ignore[arg-type]
    known = {"a": Annotation(videos["a"].item, (Instance(1.0, 2.0, "jump"),))}
    coco.write(tmp_path / "theirs.json", Dataset(("jump",), videos, known, "theirs"), Extra())
    exporting.export_file(tmp_path / "theirs.json", out=tmp_path / "out", formats=("huggingface",))
    text = (tmp_path / "out" / "README.md").read_text()
    assert "The tables hold 2 more videos that nobody has annotated. Version" in text
    assert "the tables hold videos that nobody has annotated: 1 in train, 1 in test.\n" in text
    described = json.loads((tmp_path / "out" / "croissant.json").read_text())["description"]
    assert "2 more videos in the tables have no annotation" in described


def test_the_card_of_a_file_says_what_its_reader_found_and_what_nobody_annotated(tmp_path: Path) -> None:
    segments = [{"segment": [1, 200], "label": "jump"}, {"segment": [5, 5], "label": "jump"}]
    told = {
        "a": {"duration": 100, "subset": "training", "annotations": segments},
        "b": {"duration": 50, "subset": "testing", "annotations": []},
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"version": "1.3", "database": told}))
    exporting.export_file(path, out=tmp_path / "out", formats=("huggingface",), origin="first-frame")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "1 x end beyond the video's duration, clipped (a)" in text
    assert "1 x zero-length segment, dropped (a)" in text
    assert "counted from each video's first frame" in text
    assert "Not checked: what only a campaign's store shows" in text
    dataset = load(path).dataset
    facts = data_files(carding.of_dataset(dataset), tmp_path / "out")
    bare = sum(file.rows for file in facts.files) - len(dataset.annotations)
    assert ("1 row is of a video that nobody has annotated" in text) == (bare == 1)
    assert f"{len(dataset.annotations)} untrimmed video" in text
