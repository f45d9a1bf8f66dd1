"""ELAN: one ``.eaf`` file (EAF 3.0) for each video, one tier for each class, times in whole milliseconds.

Annotations on one tier cannot overlap in ELAN: instances of one class that do take a second tier (``jump (2)``). The
value of each annotation is its class, chosen from a controlled vocabulary of all classes, so the name of a tier is
but a heading. What else is known of the video stands in the header's PROPERTY ``kloc``, which ELAN keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from kloc.formats.common import Extra, Reading, rebased
from kloc.formats.interchange import (
    KEY,
    MILLISECONDS,
    Collector,
    all_classes,
    as_object,
    check_labels,
    dataset_facts,
    file_names,
    files_of,
    header_of,
    instances_of,
    media_paths,
    one_line,
    parse_facts,
    read_xml,
    rounded_to_milliseconds,
    video_facts,
    whole_milliseconds,
    write_folder,
)
from kloc.formats.losses import Aspect, sentences
from kloc.records import Dataset, Instance

LOST: frozenset[Aspect] = frozenset({"confidence"})
ROUNDED = MILLISECONDS

_VOCABULARY = "classes"
_TYPE = "instance"
#: The schema asks for a date; equal datasets give equal bytes.
_NO_DATE = "1970-01-01T00:00:00+00:00"
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"


def read(path: Path, *, name: str | None = None) -> Reading:
    """Read one ``.eaf`` file or a folder of them, also those that annotators made.

    The class is the value of an annotation, or the name of its tier where the value is empty. Annotations that refer
    to others, or whose time is not aligned, are counted and left out. Raises FormatError for a file that is no EAF.
    """
    collector = Collector(path, name)
    for file in files_of(path, ".eaf", collector):
        _read_file(file, collector)
    return collector.reading()


def _read_file(file: Path, collector: Collector) -> None:
    document = read_xml(file, "ANNOTATION_DOCUMENT")
    facts: Any = next((parse_facts(p.text) for p in document.iter("PROPERTY") if p.get("NAME") == KEY), None)
    collector.facts(facts)
    for vocabulary in document.iter("CONTROLLED_VOCABULARY"):
        if vocabulary.get("CV_ID") == _VOCABULARY:
            collector.classes(entry.text for entry in vocabulary.iter("CVE_VALUE"))
    slots = {slot.get("TIME_SLOT_ID", ""): slot.get("TIME_VALUE") for slot in document.iter("TIME_SLOT")}
    found: list[Instance] = []
    for tier in document.iter("TIER"):
        others = sum(1 for _ in tier.iter("REF_ANNOTATION"))
        if others:
            collector.problems.add("annotation that refers to another one, left out", f"{file.stem}: {others}")
        for one in tier.iter("ALIGNABLE_ANNOTATION"):
            found += _instance(one, tier, slots, file.stem, collector)
    collector.video(as_object(facts).get("video"), file.stem, found)


def _instance(
    one: Element, tier: Element, slots: Mapping[str, str | None], video_id: str, collector: Collector
) -> list[Instance]:
    start, end = (slots.get(one.get(f"TIME_SLOT_REF{k}", "")) for k in (1, 2))
    label = (one.findtext("ANNOTATION_VALUE") or "").strip() or tier.get("TIER_ID")
    found = collector.instance(video_id, start, end, label)
    return [Instance(i.start / 1000, i.end / 1000, i.label) for i in found]


def write(path: Path, dataset: Dataset, extra: Extra) -> list[str]:
    """Write the folder. Raises FormatError for a class whose name XML cannot hold."""
    check_labels(dataset, "ELAN")
    dataset = rebased(dataset, extra.origin)
    header = header_of(dataset, extra)
    paths, losses = media_paths(dataset, extra)
    entries = {label: f"cve{n}" for n, label in enumerate(all_classes(dataset))}
    # The same in every file, and long where there are many classes: made once, put in before the end of each.
    vocabulary = _vocabulary(entries)
    files: dict[str, bytes] = {}
    for video_id, file in file_names(dataset.videos).items():
        document = _document(instances_of(dataset, video_id), entries, paths[video_id])
        facts = one_line({**header, "video": video_facts(dataset, video_id)})
        SubElement(document[0], "PROPERTY", NAME=KEY).text = facts
        indent(document)
        text, end, _ = tostring(document, encoding="unicode").rpartition(f"</{document.tag}>")
        files[file] = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}{vocabulary}{end}\n'.encode()
    write_folder(path, files, ".eaf", dataset_facts(dataset, extra))
    return sentences(dataset, LOST, extra) + rounded_to_milliseconds(dataset) + losses


def _document(instances: Sequence[Instance], entries: Mapping[str, str], media: str) -> Element:
    """All but the vocabulary and the facts; the header is its first child."""
    root = Element("ANNOTATION_DOCUMENT", AUTHOR=KEY, DATE=_NO_DATE, FORMAT="3.0", VERSION="3.0")
    root.set("xmlns:xsi", _XSI)
    root.set("xsi:noNamespaceSchemaLocation", _SCHEMA)
    header = SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    kind = "video/mp4" if media.lower().endswith(".mp4") else "unknown"
    SubElement(header, "MEDIA_DESCRIPTOR", MEDIA_URL=media, MIME_TYPE=kind, RELATIVE_MEDIA_URL=media)
    SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(len(instances))
    order = SubElement(root, "TIME_ORDER")
    count = 0
    for (label, nth), found in _tiers(instances).items():
        tier_id = label if nth == 1 else f"{label} ({nth})"
        tier = SubElement(root, "TIER", LINGUISTIC_TYPE_REF=_TYPE, TIER_ID=_free(tier_id, root))
        for one in found:
            count += 1
            slots = [f"ts{2 * count - 1}", f"ts{2 * count}"]
            for slot, time in zip(slots, whole_milliseconds(one), strict=True):
                SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(time))
            row = SubElement(SubElement(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION", ANNOTATION_ID=f"a{count}")
            row.attrib |= {"CVE_REF": entries[label], "TIME_SLOT_REF1": slots[0], "TIME_SLOT_REF2": slots[1]}
            SubElement(row, "ANNOTATION_VALUE").text = label
    linguistic = SubElement(root, "LINGUISTIC_TYPE", LINGUISTIC_TYPE_ID=_TYPE, TIME_ALIGNABLE="true")
    linguistic.attrib |= {"GRAPHIC_REFERENCES": "false", "CONTROLLED_VOCABULARY_REF": _VOCABULARY}
    SubElement(root, "LANGUAGE", LANG_DEF="http://cdb.iso.org/lg/CDB-00130975-001", LANG_ID="und", LANG_LABEL="any")
    return root


def _vocabulary(entries: Mapping[str, str]) -> str:
    """The controlled vocabulary of all classes, as it stands in each file."""
    vocabulary = Element("CONTROLLED_VOCABULARY", CV_ID=_VOCABULARY)
    SubElement(vocabulary, "DESCRIPTION", LANG_REF="und")
    for label, entry in entries.items():
        SubElement(SubElement(vocabulary, "CV_ENTRY_ML", CVE_ID=entry), "CVE_VALUE", LANG_REF="und").text = label
    indent(vocabulary, level=1)
    return f"  {tostring(vocabulary, encoding='unicode')}\n"


def _tiers(instances: Sequence[Instance]) -> dict[tuple[str, int], list[Instance]]:
    """Instances by class, in as many rows as keep those of a row apart (in whole milliseconds)."""
    rows: dict[tuple[str, int], list[Instance]] = {}
    for one in instances:
        nth = 1
        while (one.label, nth) in rows and whole_milliseconds(rows[one.label, nth][-1])[1] > whole_milliseconds(one)[0]:
            nth += 1
        rows.setdefault((one.label, nth), []).append(one)
    return dict(sorted(rows.items()))


def _free(tier_id: str, root: Element) -> str:
    """A tier's name that no other tier has (a class may be called ``jump (2)`` too)."""
    taken = {tier.get("TIER_ID") for tier in root.iter("TIER")}
    while tier_id in taken:
        tier_id += "'"
    return tier_id
