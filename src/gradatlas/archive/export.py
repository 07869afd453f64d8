"""Copy an archive, or a part of it, into one self-contained file."""

import json
import math
import stat
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import h5py
from tqdm import tqdm

from gradatlas.archive.atlas import create_group, refuse_input
from gradatlas.archive.format import (
    DATASETS,
    LARGE,
    checkpoint_attributes,
    chunk_shape,
    describe,
    entry_dimensions,
    entry_shape,
    file_attributes,
    project_attributes,
    stored_bytes,
)
from gradatlas.archive.read import BLOCK_BYTES, Archive, Selection
from gradatlas.archive.read import open as open_archive
from gradatlas.archive.shards import open_hdf5
from gradatlas.archive.write import create_file
from gradatlas.core.errors import InputError
from gradatlas.core.files import digest_path, failures_named, has_digest
from gradatlas.core.settings import TrialRange

# Filters that HDF5 itself has, so that every program reads the file. Shuffling puts the bytes of
# equal significance side by side, where exponents repeat.
_COMPRESSION = {"compression": "gzip", "compression_opts": 4, "shuffle": True}


def export(
    atlas: Path,
    target: Path,
    protocol: str | None = None,
    epoch: int | None = None,
    batch_size: int | None = None,
    *,
    compress: bool = False,
    force: bool = False,
    progress: bool = False,
) -> None:
    """Copy an archive, or what is chosen of it, into one self-contained file.

    Everything is checked as it is copied. The file appears whole or not at all.

    Args:
        atlas: Atlas, export or shard to copy.
        target: File to write; an export that is there is replaced.
        protocol: Copy this protocol only.
        epoch: Copy this epoch only.
        batch_size: Copy this batch size only.
        compress: Whether to compress the tensors (shuffle and gzip), for handing on: smaller by
            about a quarter, and several times slower to write.
        force: Whether to replace whatever is there, also what is write-protected.
        progress: Whether to draw a progress bar on standard error.

    Raises:
        OSError: If a file is missing or unreadable, or the target cannot be written.
        InputError: If the archive is damaged, nothing fits, the target is one of its files, or
            something else than an export and ``force`` is not set.
    """
    target = Path(target).expanduser()
    archive = open_archive(atlas)
    wanted = {"protocol": protocol, "epoch": epoch, "batch_size": batch_size}
    chosen = _choose(archive, {name: value for name, value in wanted.items() if value is not None})
    # Of the whole archive, not what is chosen: an atlas needs all of its shards.
    parts = {segment.path for item in archive.selections for segment in item.segments}
    refuse_input(target, (archive.path, *parts, *archive.checkpoints))
    if not force:
        _check_replaceable(target)
    nbytes = sum(
        stored_bytes(len(item.trials), item.shape, item.settings.samples_per_trial)
        for item in chosen
    )
    with (
        create_file(target, nbytes) as file,
        tqdm(total=nbytes, desc="export", unit="B", unit_scale=True, disable=not progress) as bar,
    ):
        file.attrs.update(file_attributes("export", "Gradient Atlas") | project_attributes())
        for _, members in groupby(chosen, lambda item: (item.protocol, item.epoch)):
            selections = list(members)
            group = _create_group(file, archive, selections, compress=compress)
            for batch, selection in enumerate(selections):
                for name in DATASETS:
                    for copied in _copy(group[name], batch, selection, target):
                        bar.update(copied)


def _check_replaceable(target: Path) -> None:
    """Refuse to replace what is not an export of ours, or is meant to stay."""
    beside = digest_path(target)
    what = None
    if target.is_file() and not _is_export(target):
        what = f"{target} is there and is no export"
    elif target.is_file() and not target.stat().st_mode & stat.S_IWUSR:
        what = f"{target} is write-protected"
    elif beside.exists() and not has_digest(target):
        what = f"{beside} is there and is no digest of an export"
    if what:
        raise InputError(f"{what}; choose another name to write to, or replace it by --force")


def _is_export(path: Path) -> bool:
    try:
        with open_hdf5(path) as file:
            return bool(file.attrs["kind"] == "export")
    except (InputError, OSError):
        return False


def _choose(archive: Archive, wanted: dict[str, Any]) -> list[Selection]:
    chosen = archive.matching(**wanted)
    if not chosen:
        what = ", ".join(f"{name} {value}" for name, value in wanted.items())
        present = {name: {s.attributes[name] for s in archive.selections} for name in wanted}
        lists = (f"{name} {', '.join(map(str, sorted(there)))}" for name, there in present.items())
        raise InputError(
            f"{archive.path} holds nothing with {what}, expected of: {'; '.join(lists)}"
        )
    return chosen


def _create_group(
    file: h5py.File, archive: Archive, selections: Sequence[Selection], *, compress: bool
) -> h5py.Group:
    """Create a group with empty datasets for the selections, which hold the same trials."""
    first = selections[0]
    # The table of an export lists the shards it was copied from, and no others.
    wanted = {selection.settings for selection in selections}
    shards = [shard for shard in archive.sources if shard.settings in wanted]
    trials = TrialRange(first.first, first.last)
    # Paths in the table are relative to the archive's own folder, not that of a link to it.
    folder = archive.path.resolve().parent
    group = create_group(file, shards, trials, folder)
    facts = first.attributes.get("checkpoint_facts")
    group.attrs.update(checkpoint_attributes(json.loads(str(facts)) if facts else {}))
    for name, dtype in DATASETS.items():
        entry = entry_shape(name, first.shape, first.settings.samples_per_trial)
        dataset = group.create_dataset(
            name,
            (len(selections), len(trials), *entry),
            dtype,
            # One batch size a chunk: to read one of them touches no other. Scalars of a batch size
            # are one chunk.
            chunks=(1, *(chunk_shape(entry, len(trials)) if name in LARGE else (len(trials),))),
            fletcher32=True,
            **(_COMPRESSION if compress and name in LARGE else {}),
        )
        describe(dataset, "trials", ("batch_size", "trial", *entry_dimensions(name, first.shape)))
    return group


def _copy(dataset: h5py.Dataset, batch: int, selection: Selection, target: Path) -> Iterator[int]:
    """Copy a dataset of one selection in whole chunks; yields the bytes of each step."""
    name = dataset.name.rpartition("/")[2]
    chunk = dataset.chunks[1:]
    # Whole chunks: one that is written in two parts would be read back and filtered twice.
    step = chunk[0] * max(1, BLOCK_BYTES // (dataset.dtype.itemsize * math.prod(chunk)))
    for start in range(0, dataset.shape[1], step):
        stop = min(start + step, dataset.shape[1])
        rows = selection.rows(name, selection.first + start, selection.first + stop - 1)
        with failures_named(target):
            dataset[batch, start:stop] = rows
        yield rows.nbytes
