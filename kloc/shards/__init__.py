"""Packed shards: arrays of very many videos in a few plain files, read head by head.

A shard is a folder. Every column is one raw little-endian file of all rows of all ids, one after the other;
columns that share a *group* have equally many rows per id and share one index of ``(offset, length)`` pairs.

==================  ==========================================================================
``shard.json``      format, number of ids, columns, groups, the writer's ``meta``
``ids.utf8``        all ids, joined
``ids.ends``        int64 ``(n,)``: where each id ends in ``ids.utf8``
``ids.hash``        uint64 ``(n,)``: sorted hashes of the ids ...
``ids.place``       int64 ``(n,)``: ... and the place of the id each hash belongs to
``GROUP.index``     int64 ``(n, 2)``: first row and number of rows per id; -1 rows: has none
``COLUMN.bin``      the rows
==================  ==========================================================================

A million ids need no million Python objects: everything above is a memory-mapped array.
"""

from __future__ import annotations

from kloc.shards.layout import Column
from kloc.shards.reader import Block, ShardReader
from kloc.shards.writer import ShardWriter

__all__ = ["Block", "Column", "ShardReader", "ShardWriter"]
