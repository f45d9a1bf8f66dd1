"""Croissant metadata (https://docs.mlcommons.org/croissant) of a dataset and its tables, from the facts of its card.

Version 1.0 of the format, which every reader knows, with the properties of its responsible-AI extension that the facts
answer.
"""

from __future__ import annotations

import re
from typing import Any

from kloc.formats.huggingface import COLUMNS, Column
from kloc.report.card import Card

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES = {"string": "sc:Text", "bool": "sc:Boolean", "class": "cr:Int64", "float64": "cr:Float64"}
_PARQUET = "application/x-parquet"
#: Where a licence is written down, for those that Hugging Face's ids name.
_LICENCES = {
    "apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "mit": "https://opensource.org/licenses/MIT",
    "bsd-3-clause": "https://opensource.org/licenses/BSD-3-Clause",
    "cc0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "odc-by": "https://opendatacommons.org/licenses/by/1-0/",
    "odbl": "https://opendatacommons.org/licenses/odbl/1-0/",
    "cdla-permissive-2.0": "https://cdla.dev/permissive-2-0/",
}


def croissant(card: Card) -> dict[str, Any]:
    """The document as JSON-LD. Equal facts make equal documents; what no fact answers is left out.

    Text from outside stands only where JSON-LD takes a literal: never as a key, an ``@id`` or a type.
    """
    document: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": _text(card.name),
        "description": _description(card),
        "license": _licence(card.licence),
        "version": card.version if re.fullmatch(r"\d+\.\d+\.\d+", card.version) else f"{card.version}.0",
        "inLanguage": card.language,
        "keywords": ["video", "temporal action localization", *(["simulated"] if card.simulated else [])],
        "isLiveDataset": False,
        **({"citeAs": _text(card.citation)} if card.citation else {}),
        **_published(card),
        **_responsible(card),
    }
    if card.files:
        document["distribution"] = [*(_file(card, i) for i in range(len(card.files))), _tables()]
        document["recordSet"] = [_splits(card), _videos(card)]
    return document


def _description(card: Card) -> str:
    what = (
        f"{card.videos:,} untrimmed videos with the start and end of instances of {len(card.classes):,} action classes."
    )
    if more := sum(card.unannotated.values()):
        what += f" {more:,} more videos in the tables have no annotation."
    warning = "The annotations are simulated: no person marked these videos." if card.simulated else ""
    return " ".join(part for part in (warning, _text(card.description), what) if part)


def _published(card: Card) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if makers := card.answer("motivation.creators"):
        found["creator"] = {"@type": "sc:Organization", "name": _text(makers)}
    date = card.answer("distribution.date")
    if re.fullmatch(r"\d{4}-\d\d-\d\d", date):
        found["datePublished"] = date
    place = card.answer("distribution.place")
    if re.fullmatch(r"https?://[^\s<>\"{}|\\^`]+", place):
        found["url"] = place
    return found


def _licence(name: str) -> str:
    key = name.strip().lower()
    if made := re.fullmatch(r"cc-(by(?:-nc)?(?:-sa|-nd)?)-(\d\.\d)", key):
        return f"https://creativecommons.org/licenses/{made[1]}/{made[2]}/"
    return _LICENCES.get(key, _text(name))


def _responsible(card: Card) -> dict[str, Any]:
    """The responsible-AI properties that facts or the datasheet's answers fill."""
    made, simulated = card.campaign, "simulated " if card.simulated else ""
    found: dict[str, str | list[str]] = {
        "dataCollection": card.answer("collection.videos") or card.source,
        "dataLimitations": [f"{check.name}: {line}" for check in card.checks for line in check.found],
        "dataBiases": card.answer("composition.sampling"),
        "dataUseCases": [card.answer(key) for key in ("motivation.purpose", "uses.suitable")],
        "personalSensitiveInformation": [
            card.answer(key) for key in ("composition.people", "composition.sensitive", "collection.consent")
        ],
        "annotatorDemographics": card.answer("collection.annotators"),
        "dataReleaseMaintenancePlan": card.answer("maintenance.updates"),
        "dataPreprocessingProtocol": card.answer("preprocessing.videos"),
    }
    if card.partial:
        found["dataCollectionMissingData"] = (
            f"In {card.partial:,} of {card.videos:,} videos only some classes were looked for; the absence of any "
            "other class is unknown there."
        )
    if made is not None:
        each = made.per_video
        found |= {
            "dataAnnotationProtocol": [guideline.instructions for guideline in made.guidelines],
            "dataAnnotationPlatform": f"{simulated}workers at an MTurk-compatible endpoint (kloc)",
            "annotationsPerItem": f"{each.low:g} to {each.high:g} (median {each.median:g})",
            "dataAnnotationAnalysis": [made.consolidation, *_analysis(card)],
            "machineAnnotationTools": f"{made.prefilled} answers started from a localizer's proposals."
            if made.prefilled
            else "",
        }
        if made.period:
            found["dataCollectionTimeFrame"] = list(made.period)
    return {f"rai:{key}": told for key, value in found.items() if (told := _told(value))}


def _analysis(card: Card) -> list[str]:
    agreed = card.statistics.campaign.agreement if card.statistics.campaign else None
    if agreed is None or agreed.f1 is None:
        return []
    alpha = "" if agreed.alpha is None else f", Krippendorff's alpha over time {agreed.alpha:.3f}"
    simulated = ", simulated" if card.simulated else ""
    return [f"Over {agreed.pairs:,} pairs of answers{simulated}: F1 {agreed.f1:.3f} at tIoU 0.5{alpha}."]


def _told(value: str | list[str]) -> str | list[str]:
    if isinstance(value, str):
        return _text(value)
    return [_text(part) for part in value if part]


def _text(value: str) -> str:
    """Text that any JSON reader takes: lone surrogates cannot be encoded."""
    return value.strip().encode("utf-8", "replace").decode("utf-8")


# -- the tables ----------------------------------------------------------------------------------------------------


def _file(card: Card, index: int) -> dict[str, Any]:
    file = card.files[index]
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": file.path,
        "description": f"the {file.split} split, {file.rows:,} videos",
        "contentUrl": file.path,
        "contentSize": f"{file.size} B",
        "encodingFormat": _PARQUET,
        "sha256": file.sha256,
    }


def _tables() -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": "tables",
        "name": "tables",
        "description": "all splits",
        "encodingFormat": _PARQUET,
        "includes": "data/*.parquet",
    }


def _splits(card: Card) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "description": "names of the splits",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [{"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"}],
        "data": [{"splits/name": file.split} for file in card.files],
    }


def _videos(card: Card) -> dict[str, Any]:
    names = "|".join(file.split for file in card.files)
    split = {
        "@type": "cr:Field",
        "@id": "videos/split",
        "name": "split",
        "description": "the split, which the file's name tells",
        "dataType": "sc:Text",
        "references": {"field": {"@id": "splits/name"}},
        "source": {
            "fileSet": {"@id": "tables"},
            "extract": {"fileProperty": "fullpath"},
            "transform": {"regex": rf"^(?:.*/)?({names})(?:\.parquet)?$"},
        },
    }
    return {
        "@type": "cr:RecordSet",
        "@id": "videos",
        "name": "videos",
        "description": "one record for each video, with all its instances",
        "field": [split, *(_column(name, column) for name, column in COLUMNS.items())],
    }


def _column(name: str, column: Column) -> dict[str, Any]:
    field: dict[str, Any] = {"@type": "cr:Field", "@id": f"videos/{name}", "name": name, "description": column.what}
    field |= {"repeated": True} if column.many else {}
    source = {"fileSet": {"@id": "tables"}, "extract": {"column": name}}
    if not column.fields:
        return field | {"dataType": _TYPES[column.dtype], "source": source}
    parts = [
        {
            "@type": "cr:Field",
            "@id": f"videos/{name}/{part}",
            "name": part,
            "description": inner.what,
            "dataType": _TYPES[inner.dtype],
            "source": source | {"transform": {"jsonPath": part}},
        }
        for part, inner in column.fields.items()
    ]
    return field | {"subField": parts}
