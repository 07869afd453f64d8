"""The gradient archive: a public file format, and the API that writes and reads it.

A *shard* holds consecutive trials of one protocol, epoch and batch size; an *atlas* shows all
shards of an experiment as one file of virtual datasets; an *export* is a self-contained copy of an
atlas or of a part of it. All three are plain HDF5 and are read through ``open``. The format is
described in ``docs/archive-format.md``.
"""

from gradatlas.archive.atlas import build_atlas
from gradatlas.archive.errors import ArchiveError
from gradatlas.archive.exporting import export
from gradatlas.archive.layout import ShardAttributes
from gradatlas.archive.reading import Archive, open, open_shards  # noqa: A004 - archive.open
from gradatlas.archive.selection import Selection
from gradatlas.archive.shard import ShardWriter, create_shard
from gradatlas.archive.verifying import Finding, verify

__all__ = [
    "Archive",
    "ArchiveError",
    "Finding",
    "Selection",
    "ShardAttributes",
    "ShardWriter",
    "build_atlas",
    "create_shard",
    "export",
    "open",
    "open_shards",
    "verify",
]
