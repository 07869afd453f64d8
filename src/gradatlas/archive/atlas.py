"""Build the atlas: one file with virtual datasets over all shards."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import h5py
import numpy as np

from gradatlas.archive.atomic import create_file, refuse_input
from gradatlas.archive.errors import ArchiveError
from gradatlas.archive.groups import DATASETS, create_group, row_dimensions, row_shape
from gradatlas.archive.layout import (
    describe,
    encode_attributes,
    file_attributes,
    write_attributes,
)
from gradatlas.archive.sources import (
    Source,
    StoredShard,
    check_provenance,
    check_selection,
    read_shard,
    relative_path,
)
from gradatlas.provenance import file_digest
from gradatlas.sharding import TrialRange

_FILL_VALUES = {"f": np.nan, "u": 0}


def build_atlas(path: Path, shards: Sequence[Path], checkpoints: Mapping[int, Path]) -> None:
    """Build an atlas over shards; existing shards and their bytes stay as they are.

    Args:
        path: File of the atlas, written whole or not at all. Shards and checkpoints must lie in
            its folder or below, as the atlas refers to them by relative paths.
        shards: Shards of any protocols, epochs, batch sizes and trials, in any order. At one
            protocol and epoch every batch size needs the same trials, without a gap.
        checkpoints: Checkpoint file of each epoch.

    Raises:
        OSError: If a file is missing or unreadable, or the atlas cannot be written.
        ArchiveError: If a shard is damaged, shards and checkpoints do not belong together,
            or the atlas would replace one of them.
    """
    if not shards:
        raise ArchiveError(f"no shards were given for {path}, expected at least one")
    refuse_input(path, [*shards, *checkpoints.values()])
    stored = [read_shard(shard) for shard in shards]
    check_provenance(stored)
    _check_checkpoints(stored, checkpoints)
    with create_file(path) as new:
        write_attributes(new.hdf5, file_attributes("atlas", "Gradient Atlas"))
        for (_, epoch), members in groupby(sorted(stored, key=_group_key), _group_key):
            checkpoint = relative_path(checkpoints[epoch], path.parent)
            _write_group(new.hdf5, list(members), checkpoint, path.parent)


def _group_key(shard: StoredShard) -> tuple[str, int]:
    return shard.attributes.protocol, shard.attributes.epoch


def _check_checkpoints(shards: Sequence[StoredShard], checkpoints: Mapping[int, Path]) -> None:
    digests = {epoch: file_digest(checkpoint) for epoch, checkpoint in checkpoints.items()}
    for shard in shards:
        epoch = shard.attributes.epoch
        if epoch not in digests:
            raise ArchiveError(f"{shard.path} needs the checkpoint of epoch {epoch}, none is given")
        if shard.attributes.checkpoint_sha256 != digests[epoch]:
            raise ArchiveError(
                f"{shard.path} was not collected from {checkpoints[epoch]}: the checkpoint's "
                f"SHA-256 is {digests[epoch]}, expected {shard.attributes.checkpoint_sha256}; "
                "collect the shard again or restore the checkpoint"
            )


def _write_group(
    file: h5py.File, shards: Sequence[StoredShard], checkpoint: str, folder: Path
) -> None:
    rows = _rows(shards)
    trials = TrialRange(rows[0][0].trials.first, rows[0][-1].trials.last)
    first = shards[0]
    group = create_group(
        file,
        {**encode_attributes(first.attributes), "checkpoint": checkpoint},
        [row[0].attributes.batch_size for row in rows],
        trials,
        first.shape,
        [shard.source(folder) for row in rows for shard in row],
    )
    sources = [[shard.source(folder) for shard in row] for row in rows]
    for name in DATASETS:
        entry = row_shape(name, first.shape, first.attributes.samples_per_trial)
        dataset = _write_virtual(group, name, sources, trials, entry)
        names = ("batch_size", "trial", *row_dimensions(name, first.shape))
        describe(dataset, [group[name] for name in names])


def _rows(shards: Sequence[StoredShard]) -> list[list[StoredShard]]:
    """The shards of each batch size in order of trials, ascending batch sizes.

    Raises:
        ArchiveError: If a batch size lacks trials that another has.
    """
    by_batch_size = groupby(
        sorted(shards, key=lambda shard: shard.attributes.batch_size),
        lambda shard: shard.attributes.batch_size,
    )
    rows = [check_selection(list(members)) for _, members in by_batch_size]
    first = rows[0]
    for row in rows[1:]:
        if (row[0].trials.first, row[-1].trials.last) != (
            first[0].trials.first,
            first[-1].trials.last,
        ):
            a, b = row[0].attributes, first[0].attributes
            raise ArchiveError(
                f"batch size {a.batch_size} of protocol {a.protocol}, epoch {a.epoch} has trials "
                f"{row[0].trials.first}-{row[-1].trials.last}, but batch size {b.batch_size} has "
                f"{first[0].trials.first}-{first[-1].trials.last}; collect the missing trials"
            )
    return rows


def _write_virtual(
    group: h5py.Group,
    name: str,
    sources: Sequence[Sequence[Source]],
    trials: TrialRange,
    entry: tuple[int, ...],
) -> h5py.Dataset:
    dtype = DATASETS[name]
    layout = h5py.VirtualLayout((len(sources), len(trials), *entry), dtype)
    layout.dcpl.set_obj_track_times(False)  # unlike other datasets, they record the time otherwise
    for index, row in enumerate(sources):
        for source in row:
            start = source.trials.first - trials.first
            layout[index, start : start + len(source.trials)] = h5py.VirtualSource(
                source.path.replace("%", "%%"), name, (len(source.trials), *entry), dtype
            )
    return group.create_virtual_dataset(name, layout, fillvalue=_FILL_VALUES[dtype.kind])
