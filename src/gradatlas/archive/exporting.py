"""Copy an archive, or a part of it, into one self-contained file."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import h5py
from tqdm import tqdm

from gradatlas.archive.atomic import create_file, refuse_input
from gradatlas.archive.chunks import RowWriter
from gradatlas.archive.errors import ArchiveError
from gradatlas.archive.groups import DATASETS, create_group, row_dimensions, row_shape
from gradatlas.archive.layout import (
    CHECKSUMS,
    chunks,
    describe,
    file_attributes,
    write_attributes,
)
from gradatlas.archive.reading import Archive
from gradatlas.archive.reading import open as open_archive
from gradatlas.archive.selection import BLOCK_BYTES, Selection
from gradatlas.sharding import TrialRange

_COMPRESSION = {"compression": "gzip", "compression_opts": 4, "shuffle": True}


def export(
    atlas: Path,
    target: Path,
    protocol: str | None = None,
    epoch: int | None = None,
    batch_size: int | None = None,
    *,
    compress: bool = False,
    progress: bool = False,
) -> None:
    """Copy an archive, or what is chosen of it, into one self-contained file.

    Everything is checked as it is copied. The file appears whole or not at all.

    Args:
        atlas: Atlas, export or shard to copy.
        target: File to write; an existing one is replaced.
        protocol: Copy this protocol only.
        epoch: Copy this epoch only.
        batch_size: Copy this batch size only.
        compress: Whether to compress the tensors (shuffle and gzip), for handing on: smaller by
            about a quarter, and several times slower to write.
        progress: Whether to draw a progress bar on standard error.

    Raises:
        OSError: If a file is missing or unreadable, or the target cannot be written.
        ArchiveError: If the archive is damaged, nothing fits, or the target is one of its files.
    """
    target = Path(target)
    archive = open_archive(atlas)
    wanted = {"protocol": protocol, "epoch": epoch, "batch_size": batch_size}
    chosen = _choose(archive, {name: value for name, value in wanted.items() if value is not None})
    _check_target(target, archive)
    with (
        create_file(target) as new,
        tqdm(
            total=sum(map(_nbytes, chosen)),
            desc="export",
            unit="B",
            unit_scale=True,
            disable=not progress,
        ) as bar,
    ):
        write_attributes(new.hdf5, file_attributes("export", "Gradient Atlas"))
        for _, members in groupby(chosen, lambda item: (item.protocol, item.epoch)):
            selections = list(members)
            group = _create_group(new.hdf5, archive, selections, compress=compress)
            for batch, selection in enumerate(selections):
                for name in DATASETS:
                    for copied in _copy(group[name], batch, selection, name):
                        new.check()
                        bar.update(copied)


def _choose(archive: Archive, wanted: dict[str, Any]) -> list[Selection]:
    chosen = archive.matching(**wanted)
    if not chosen:
        what = ", ".join(f"{name} {value}" for name, value in wanted.items())
        present = {name: {s.attributes[name] for s in archive.selections} for name in wanted}
        lists = (f"{name} {', '.join(map(str, sorted(there)))}" for name, there in present.items())
        raise ArchiveError(
            f"{archive.path} holds nothing with {what}, expected of: {'; '.join(lists)}"
        )
    return chosen


def _check_target(target: Path, archive: Archive) -> None:
    """Refuse to write over what is being read."""
    parts = {segment.path for item in archive.selections for segment in item.segments}
    refuse_input(target, (archive.path, *parts, *archive.checkpoints))


def _nbytes(selection: Selection) -> int:
    """Bytes that are copied of a selection."""
    entries = (
        dtype.itemsize * math.prod(row_shape(name, selection.shape, selection.samples_per_trial))
        for name, dtype in DATASETS.items()
    )
    return len(selection.trials) * sum(entries)


def _create_group(
    file: h5py.File, archive: Archive, selections: Sequence[Selection], *, compress: bool
) -> h5py.Group:
    """Create a group with empty datasets for the selections, which hold the same trials."""
    first = selections[0]
    key = (first.protocol, first.epoch)
    batch_sizes = [selection.batch_size for selection in selections]
    sources = [
        source
        for source in archive.sources
        if (source.protocol, source.epoch) == key and source.batch_size in batch_sizes
    ]
    attributes = {name: value for name, value in first.attributes.items() if name != "checkpoint"}
    trials = TrialRange(first.first, first.last)
    group = create_group(file, attributes, batch_sizes, trials, first.shape, sources)
    for name, dtype in DATASETS.items():
        entry = row_shape(name, first.shape, first.samples_per_trial)
        dataset = group.create_dataset(
            name,
            (len(selections), len(trials), *entry),
            dtype,
            chunks=(1, *_chunk(name, first)),
            fletcher32=True,
            **(_COMPRESSION if compress and name in CHECKSUMS else {}),
        )
        names = ("batch_size", "trial", *row_dimensions(name, first.shape))
        describe(dataset, [group[name] for name in names])
    return group


def _chunk(name: str, selection: Selection) -> tuple[int, ...]:
    """Chunk of one batch size of a dataset."""
    trials = len(selection.trials)
    gradient, index = chunks(selection.shape, selection.samples_per_trial, trials)
    return {"gradient": gradient, "sample_index": index}.get(name, (trials,))


def _copy(dataset: h5py.Dataset, batch: int, selection: Selection, name: str) -> Iterator[int]:
    """Copy a dataset of one selection in whole chunks; yields the bytes of each step."""
    chunk = _chunk(name, selection)
    writer = RowWriter(dataset, batch)
    step = chunk[0] * max(1, BLOCK_BYTES // (4 * math.prod(chunk)))
    for first in range(selection.first, selection.last + 1, step):
        rows = selection.rows(name, first, min(first + step - 1, selection.last))
        if name in CHECKSUMS:
            writer.write(first - selection.first, rows)
        else:
            dataset[batch] = rows
        yield rows.nbytes
