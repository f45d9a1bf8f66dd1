"""Packed shards against plain dictionaries, and against killed writers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kloc.errors import FormatError, KlocError, MismatchError, UsageError
from kloc.shards import Column, ShardReader, ShardWriter
from kloc.shards import reader as reader_module

COLUMNS = {"a": Column("<f4", (2,), "ab"), "b": Column("<i4", (), "ab"), "c": Column("<f2", (3,))}

ids = st.text(min_size=0, max_size=6)
lengths = st.one_of(st.none(), st.integers(0, 4))
contents = st.dictionaries(ids, st.tuples(lengths, lengths), max_size=25)


def rows_of(content: dict[str, tuple[int | None, int | None]]) -> dict[str, dict[str, np.ndarray]]:
    result: dict[str, dict[str, np.ndarray]] = {}
    for i, (key, (ab, c)) in enumerate(content.items()):
        result[key] = {}
        if ab is not None:
            result[key]["a"] = np.arange(2 * ab, dtype=np.float32).reshape(ab, 2) + 100 * i
            result[key]["b"] = np.arange(ab, dtype=np.int32) - i
        if c is not None:
            result[key]["c"] = (np.arange(3 * c).reshape(c, 3) + i).astype(np.float16)
    return result


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(
        left[k].dtype == right[k].dtype and np.array_equal(left[k], right[k]) for k in left
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=contents, block_rows=st.integers(1, 9), chunk=st.integers(1, 9), data=st.data())
def test_reads_what_was_written(tmp_path_factory, content, block_rows, chunk, data):
    folder = tmp_path_factory.mktemp("shard") / "s"
    rows = rows_of(content)
    with ShardWriter(folder, COLUMNS, {"round": 3}) as writer:
        for key, columns in rows.items():
            writer.append(key, columns)
    reader = ShardReader(folder)
    assert list(reader) == list(rows)
    assert reader.meta == {"round": 3}
    assert all(same(reader.get(key), rows[key]) for key in rows)

    asked = data.draw(st.lists(st.one_of(st.sampled_from([*rows, "absent"]), ids), max_size=30))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader_module, "CHUNK", chunk)
        for names in (["a"], ["b", "c"], ["a", "b", "c"]):
            seen: dict[int, list[np.ndarray]] = {}
            for block in reader.blocks(asked, names, block_rows):
                for column in names:
                    bounds = block.offsets[column]
                    assert len(block.arrays[column]) == bounds[-1]
                    assert bounds[-1] <= block_rows or len(block.positions) == 1
                    assert np.array_equal(np.bincount(block.owner(column), minlength=len(bounds) - 1), np.diff(bounds))
                for j, position in enumerate(block.positions.tolist()):
                    assert position not in seen
                    seen[position] = [
                        block.arrays[c][block.offsets[c][j] : block.offsets[c][j + 1]].copy() for c in names
                    ]
            assert sorted(seen) == [i for i, key in enumerate(asked) if key in rows]
            for position, values in seen.items():
                for column, value in zip(names, values, strict=True):
                    expected = rows[asked[position]].get(column, np.zeros((0, *COLUMNS[column].shape)))
                    assert np.array_equal(value, expected)
        everything = [i for block in reader.blocks(None, ["c"], block_rows) for i in block.positions.tolist()]
        assert everything == list(range(len(rows)))


def test_ids_whose_hashes_collide_are_told_apart(tmp_path, monkeypatch):
    for module in ("writer", "reader"):
        monkeypatch.setattr(f"kloc.shards.{module}.hash_id", lambda identifier: len(identifier) % 2)
    with ShardWriter(tmp_path / "s", {"x": ("<i8", ())}) as writer:
        for i in range(40):
            writer.append(f"v{i}", {"x": [i]})
    reader = ShardReader(tmp_path / "s")
    assert [int(reader.get(f"v{i}")["x"][0]) for i in range(40)] == list(range(40))
    assert "v40" not in reader
    assert reader.find(["v7", "w", "v3"]).tolist() == [7, -1, 3]


def test_appending_many_equals_appending_one_by_one(tmp_path):
    rows = rows_of({f"v{i}": (i % 3, None) for i in range(10)})
    with ShardWriter(tmp_path / "one", COLUMNS) as writer:
        for key, columns in rows.items():
            writer.append(key, columns)
    with ShardWriter(tmp_path / "many", COLUMNS) as writer:
        for keys in (list(rows)[:4], list(rows)[4:]):
            joined = {c: np.concatenate([rows[k][c] for k in keys]) for c in ("a", "b")}
            writer.append_many(keys, joined, {"ab": [len(rows[k]["a"]) for k in keys]})
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "many" / path.name).read_bytes(), path.name


def test_a_column_that_comes_late_is_absent_before(tmp_path):
    with ShardWriter(tmp_path / "s", {"x": ("<i8", ())}) as writer:
        writer.append("early", {"x": [1]})
        writer.add_column("late", Column("<f4"))
        writer.append("later", {"x": [2], "late": [0.5]})
    reader = ShardReader(tmp_path / "s")
    assert set(reader.get("early")) == {"x"}
    assert reader.get("later")["late"].tolist() == [0.5]


def test_only_the_columns_asked_for_are_opened(tmp_path):
    with ShardWriter(tmp_path / "s", COLUMNS) as writer:
        writer.append("v", rows_of({"v": (2, 1)})["v"])
    (tmp_path / "s" / "c.bin").unlink()
    reader = ShardReader(tmp_path / "s")
    assert [len(block.arrays["a"]) for block in reader.blocks(None, ["a", "b"])] == [2]
    with pytest.raises(FormatError, match=r"c\.bin is missing"):
        reader.get("v")


@pytest.mark.parametrize("file", ["a.bin", "ab.index", "ids.utf8", "ids.hash"])
def test_a_truncated_file_is_named(tmp_path, file):
    with ShardWriter(tmp_path / "s", COLUMNS) as writer:
        writer.append("v", rows_of({"v": (2, 1)})["v"])
    path = tmp_path / "s" / file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match=file.replace(".", r"\.")):
        ShardReader(tmp_path / "s").get("v", ["a"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": np.zeros((2, 3)), "b": np.zeros(2)}, "shape"),
        ({"a": np.zeros((2, 2)), "b": np.zeros(3)}, "differ in rows"),
        ({"a": np.zeros((2, 2))}, "missing"),
        ({"z": np.zeros(2)}, "unknown column 'z'"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, columns, message):
    writer = ShardWriter(tmp_path / "s", COLUMNS)
    with pytest.raises(MismatchError, match=message):
        writer.append("video 7", columns)
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_an_id_written_twice_leaves_nothing(tmp_path):
    writer = ShardWriter(tmp_path / "s", COLUMNS)
    for key in ("v", "w", "v"):
        writer.append(key, {})
    with pytest.raises(KlocError, match="'v' was written twice"):
        writer.close()
    assert list(tmp_path.iterdir()) == []


def fail_halfway(folder: Path) -> None:
    with ShardWriter(folder, COLUMNS, {"round": 2}, replace=True) as writer:
        writer.append("v", {})
        raise ZeroDivisionError


def test_an_error_inside_keeps_the_old_shard(tmp_path):
    with ShardWriter(tmp_path / "s", COLUMNS, {"round": 1}):
        pass
    with pytest.raises(UsageError, match="exists already"):
        ShardWriter(tmp_path / "s", COLUMNS)
    with pytest.raises(ZeroDivisionError):
        fail_halfway(tmp_path / "s")
    assert ShardReader(tmp_path / "s").meta == {"round": 1}
    with ShardWriter(tmp_path / "s", COLUMNS, {"round": 3}, replace=True) as writer:
        writer.append("v", {})
    assert ShardReader(tmp_path / "s").meta == {"round": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_killed_writer_leaves_nothing_that_readers_take_for_complete(tmp_path):
    script = """
import sys
from pathlib import Path
from kloc.shards import ShardWriter
writer = ShardWriter(Path(sys.argv[1]), {"x": ("<f4", (4,))})
for i in range(20_000):
    writer.append(f"v{i}", {"x": [[i, 0, 0, 0]]})
print("written", flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "s")], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"written\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    left = list(tmp_path.iterdir())
    assert left, "the killed writer should have left its hidden folder, or this test tests nothing"
    with pytest.raises(KlocError, match="no complete shard"):
        ShardReader(tmp_path / "s")
    for path in left:
        with pytest.raises(KlocError, match="no complete shard"):
            ShardReader(path)
    with ShardWriter(tmp_path / "s", {"x": ("<f4", (4,))}) as writer:
        writer.append("v", {"x": np.ones((1, 4))})
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert len(ShardReader(tmp_path / "s")) == 1


def test_unknown_column_lists_the_known_ones(tmp_path: Path):
    with ShardWriter(tmp_path / "s", COLUMNS):
        pass
    with pytest.raises(UsageError, match="it has a, b, c"):
        list(ShardReader(tmp_path / "s").blocks(["v"], ["nope"]))
    with pytest.raises(KlocError, match="holds nothing of 'v'"):
        ShardReader(tmp_path / "s").get("v")
