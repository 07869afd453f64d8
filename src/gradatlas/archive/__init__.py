"""The gradient archive: a public file format, and the API that writes and reads it.

A *shard* holds consecutive trials of one protocol, epoch and batch size; an *atlas* shows all
shards of an experiment as one file of virtual datasets; an *export* is a self-contained copy of an
atlas or of a part of it. In come blocks of trials from ``gradatlas.collect``; out goes plain HDF5,
described in ``docs/archive-format.md``, and the ``Selection`` that statistics iterate over. Start
with ``format``, then ``write`` and ``read``.

Example:
    Two trials of 16 samples with a tensor of three weights, written, read, checked and copied:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from gradatlas import archive
    >>> from gradatlas.archive.format import DATASETS, entry_shape
    >>> from gradatlas.core.provenance import Provenance
    >>> from gradatlas.core.settings import TrialRange, TrialSettings
    >>> from gradatlas.core.updates import Frozen
    >>> settings = TrialSettings(
    ...     protocol="frozen", epoch=2, batch_size=4, update=Frozen(), samples_per_trial=16,
    ...     sample_sets=None, parameter="last.bias", seed=0, training_seed=0, dataset="MNIST",
    ...     training_samples=60_000, model={"hidden": [8]}, training=None)
    >>> facts = Provenance(
    ...     checkpoint_sha256="0" * 64, device="cpu", code_commit="unknown", library_versions={})
    >>> block = {n: np.ones((2, *entry_shape(n, (3,), 16)), t) for n, t in DATASETS.items()}
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name, "trials0-1.h5")
    >>> with archive.create_shard(path, settings, facts, TrialRange(0, 1), (3,)) as shard:
    ...     shard.append(**block)

    The digest stands beside the file, which opens like an atlas or an export of many shards:

    >>> sorted(each.name for each in path.parent.iterdir())
    ['trials0-1.h5', 'trials0-1.h5.sha256']
    >>> opened = archive.open(path)
    >>> opened.kind, opened.protocols, opened.batch_sizes()
    ('shard', ('frozen',), (4,))
    >>> selection = opened.select(protocol="frozen", epoch=2, batch_size=4)
    >>> selection.gradient(trial=1).tolist()
    [1.0, 1.0, 1.0]
    >>> [block.shape for block in selection.blocks()]  # (trial, weight), in bounded memory
    [(2, 3)]
    >>> archive.open_shards([path]).trials.tolist()  # what statistics read, compared with digests
    [0, 1]

    A copy in one file; then one byte of the shard is changed:

    >>> archive.export(path, path.with_name("export.h5"), batch_size=4)
    >>> archive.verify(path.with_name("export.h5")), archive.verify(path)
    ([], [])
    >>> damaged = bytearray(path.read_bytes())
    >>> damaged[-1] ^= 1
    >>> written = path.write_bytes(damaged)
    >>> [finding.what.split(":")[0].endswith("was altered") for finding in archive.verify(path)]
    [True]
    >>> folder.cleanup()
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
