"""The front matter of a card: what Hugging Face's hub and ``datasets`` read at its head."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kloc.formats.huggingface import COLUMNS, Column

if TYPE_CHECKING:
    from kloc.report.card import Card

#: Licences that the hub knows by these ids; any other is "other" with its name.
LICENCES = frozenset(
    {
        "apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "cc-by-3.0", "odc-by", "odbl", "cdla-permissive-2.0",
        "unknown",
    }
)  # fmt: skip
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
# What YAML does not read raw inside quotes: control characters and line breaks beyond \n.
_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def front_matter(card: Card) -> dict[str, Any]:
    """The fields, as plain data; those of the tables only where there are tables."""
    licence = card.licence.strip()
    known = licence.lower() in LICENCES
    in_rounds = card.statistics.campaign is not None and card.statistics.campaign.rounds
    rows = sum(file.rows for file in card.files) or card.videos
    tags = ["video", "temporal-action-localization", *(["active-learning"] if in_rounds else []), "kloc"]
    fields: dict[str, Any] = {
        "pretty_name": card.name,
        "language": [card.language],
        "license": licence.lower() if known else "other",
        **({} if known else {"license_name": licence}),
        **({"license_link": licence} if re.fullmatch(r"https?://\S+", licence) else {}),
        "annotations_creators": card.creators,
        "source_datasets": ["extended" if card.answer("composition.extends") else "original"],
        "size_categories": [next((name for limit, name in _SIZES if rows < limit), "n>1M")],
        "task_categories": ["video-classification"],
        "tags": [*tags, *(["simulated"] if card.simulated else [])],
    }
    if card.files:
        files = [{"split": file.split, "path": file.path} for file in card.files]
        fields["configs"] = [{"config_name": "default", "data_files": files}]
        names = {str(i): row.name for i, row in enumerate(card.classes)}
        fields["dataset_info"] = {
            "features": _features(COLUMNS, names),
            "splits": [
                {"name": file.split, "num_bytes": file.memory, "num_examples": file.rows} for file in card.files
            ],
            "download_size": sum(file.size for file in card.files),
            "dataset_size": sum(file.memory for file in card.files),
        }
    return fields


def _features(columns: Mapping[str, Column], names: Mapping[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name, column in columns.items():
        type_: Any = {"class_label": {"names": dict(names)}} if column.dtype == "class" else column.dtype
        inner = _features(column.fields, names) if column.fields else type_
        found.append({"name": name, "list" if column.many else "dtype": inner})
    return found


def to_yaml(value: Any, indent: str = "") -> str:
    """Dictionaries, lists, numbers and text as YAML; text is always quoted, so that none of it is read as markup."""
    lines = []
    for key, one in value.items() if isinstance(value, dict) else ((None, one) for one in value):
        head = f"{indent}- " if key is None else f"{indent}{key if re.fullmatch(r'[a-z_]+', key) else _quoted(key)}:"
        if not isinstance(one, dict | list):
            lines.append(f"{head}{'' if key is None else ' '}{_quoted(one)}\n")
        elif key is None:  # the first of its lines stands beside the dash
            lines.append(head + to_yaml(one, f"{indent}  ").removeprefix(f"{indent}  "))
        else:
            lines.append(f"{head}\n{to_yaml(one, f'{indent}  ')}")
    return "".join(lines)


def _quoted(value: object) -> str:
    """JSON's scalars are YAML's, once what YAML cannot hold raw is escaped."""
    if not isinstance(value, str):
        return json.dumps(value)
    text = value.encode("utf-8", "replace").decode("utf-8")
    return _NOT_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))
