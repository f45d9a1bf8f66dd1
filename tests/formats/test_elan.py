"""ELAN: what pympi sees of ours, and what is read of annotators' documents."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from kloc.errors import FormatError
from kloc.formats import elan
from kloc.formats.common import Extra, Media
from kloc.records import Instance
from tests.formats.interchange_helpers import one_video, opened


def test_pympi_sees_every_annotation(tmp_path: Path) -> None:
    opened("pympi-ling", tmp_path)


def test_instances_of_one_class_that_overlap_take_a_second_tier(tmp_path: Path) -> None:
    found = (Instance(1, 4, "jump"), Instance(2, 3, "jump"), Instance(4, 5, "jump"), Instance(2, 6, "jump (2)"))
    elan.write(tmp_path / "out", one_video(*found), Extra())
    root = ElementTree.parse(tmp_path / "out" / "v.eaf").getroot()
    times = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE", "")) for slot in root.iter("TIME_SLOT")}
    tiers = {
        tier.get("TIER_ID"): [
            (times[a.get("TIME_SLOT_REF1")], times[a.get("TIME_SLOT_REF2")]) for a in tier.iter("ALIGNABLE_ANNOTATION")
        ]
        for tier in root.iter("TIER")
    }
    assert tiers == {
        "jump": [(1000, 4000), (4000, 5000)],
        "jump (2)": [(2000, 3000)],
        "jump (2)'": [(2000, 6000)],
    }
    assert elan.read(tmp_path / "out").dataset.annotations["v"].instances == tuple(sorted(found))


def test_the_document_is_in_the_schemas_order(tmp_path: Path) -> None:
    media = {"v": Media("videos/v.webm")}
    elan.write(tmp_path / "out", one_video(Instance(1, 2, "jump")), Extra(media=media))
    root = ElementTree.parse(tmp_path / "out" / "v.eaf").getroot()
    assert [child.tag for child in root] == [
        "HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LANGUAGE", "CONTROLLED_VOCABULARY",
    ]  # fmt: skip
    vocabulary = {e.get("CVE_ID"): e.findtext("CVE_VALUE") for e in root.iter("CV_ENTRY_ML")}
    assert vocabulary == {"cve0": "jump", "cve1": "run"}
    (annotation,) = root.iter("ALIGNABLE_ANNOTATION")
    assert vocabulary[annotation.get("CVE_REF")] == annotation.findtext("ANNOTATION_VALUE") == "jump"
    (linked,) = root.iter("MEDIA_DESCRIPTOR")
    assert (linked.get("RELATIVE_MEDIA_URL"), linked.get("MIME_TYPE")) == ("videos/v.webm", "unknown")


_DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2020-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="500"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="1750"/>
<TIME_SLOT TIME_SLOT_ID="ts3"/></TIME_ORDER>
<TIER TIER_ID="hands" LINGUISTIC_TYPE_REF="t">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE>wave</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE/></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts3">
<ANNOTATION_VALUE>wave</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
<TIER TIER_ID="gloss" LINGUISTIC_TYPE_REF="t" PARENT_REF="hands">
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a1"><ANNOTATION_VALUE>hi</ANNOTATION_VALUE>
</REF_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>
"""


def test_a_document_as_an_annotator_makes_it(tmp_path: Path) -> None:
    (tmp_path / "talk.eaf").write_text(_DOCUMENT, encoding="utf-8")
    dataset, problems = elan.read(tmp_path)
    assert dataset.annotations["talk"].instances == (Instance(0.5, 1.75, "hands"), Instance(0.5, 1.75, "wave"))
    assert problems == [
        "1 x segment that cannot be read, left out (talk: end: None is not a number)",
        "1 x annotation that refers to another one, left out (talk: 1)",
        "1 x video without a duration (the last annotated end is taken; probe the video) (talk)",
    ]


_BOMB = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]><ANNOTATION_DOCUMENT>&y;</ANNOTATION_DOCUMENT>'
_OUTSIDE = '<!DOCTYPE a SYSTEM "file:///etc/passwd"><ANNOTATION_DOCUMENT/>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_BOMB, "defines entities or a document type"),
        (_OUTSIDE, "defines entities or a document type"),
        ("<ANNOTATION_DOCUMENT>", "broken XML: no element found"),
        ("<annotations/>", "the document is 'annotations', expected 'ANNOTATION_DOCUMENT'"),
        ("", "broken XML"),
    ],
)
def test_hostile_and_broken_documents_are_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.eaf").write_text(content)
    with pytest.raises(FormatError, match=rf"a\.eaf: {message}") as caught:
        elan.read(tmp_path)
    assert "\n" not in str(caught.value)
