"""The tables that lie beside a card, as they really are: split, rows, size, hash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from kloc.files import sha256_file
from kloc.formats.huggingface import FOLDER, SPLITS
from kloc.report.card import Card, DataFile


def data_files(card: Card, folder: Path) -> Card:
    """The card with the tables that `kloc.formats.huggingface` wrote into ``folder``, in the order of the splits."""
    paths = [(split, folder / FOLDER / f"{split}.parquet") for split in SPLITS.values()]
    return replace(card, files=tuple(_file(split, path) for split, path in paths if path.exists()))


def _file(split: str, path: Path) -> DataFile:
    table = pq.read_table(path)
    return DataFile(
        split, f"{FOLDER}/{path.name}", table.num_rows, table.nbytes, path.stat().st_size, sha256_file(path)
    )
