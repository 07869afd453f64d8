"""The gradient archive: a public file format, and the API that writes and reads it.

A *shard* holds consecutive trials of one protocol, epoch and batch size; an *atlas* shows all
shards of an experiment as one file of virtual datasets; an *export* is a self-contained copy of an
atlas or of a part of it. In come blocks of trials from ``gradatlas.collect``; out goes plain HDF5,
described in ``docs/archive-format.md``, and the ``Selection`` that statistics iterate over. Start
with ``format``, then ``write`` and ``read``.
"""

from gradatlas.archive.atlas import build_atlas
from gradatlas.archive.export import export
from gradatlas.archive.read import Archive, Selection, open, open_shards  # noqa: A004 - archive.open
from gradatlas.archive.verify import Finding, verify
from gradatlas.archive.write import ShardWriter, create_shard

__all__ = [
    "Archive",
    "Finding",
    "Selection",
    "ShardWriter",
    "build_atlas",
    "create_shard",
    "export",
    "open",
    "open_shards",
    "verify",
]
