"""Write a shard: consecutive trials of one protocol, epoch and batch size."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gradatlas.archive.format import (
    CHUNK_BYTES,
    DATASETS,
    LARGE,
    SCALARS,
    add_coordinates,
    chunk_shape,
    describe,
    entry_dimensions,
    entry_shape,
    file_attributes,
    stored_bytes,
)
from gradatlas.core.errors import InputError
from gradatlas.core.files import failures_named, replacing, unsupported_ignored
from gradatlas.core.provenance import Provenance
from gradatlas.core.settings import TrialRange, TrialSettings, to_attributes

_CACHE_BYTES = CHUNK_BYTES  # of chunks that are not full yet, one a dataset


class ShardWriter:
    """Takes the trials of a shard in ascending order, in blocks of any size."""

    def __init__(self, file: h5py.File, path: Path, trials: TrialRange) -> None:
        self._file = file
        self._path = path
        self._trials = trials
        self._large: dict[str, h5py.Dataset] = {name: file[name] for name in LARGE}
        self._scalars: dict[str, list[NDArray[np.float64]]] = {name: [] for name in SCALARS}
        self._appended = 0

    def append(self, **block: NDArray[Any]) -> None:
        r"""Add the next t trials.

        Args:
            block: Every dataset by its name: ``gradient``, float32, shape (t, \*tensor_shape);
                ``sample_index``, uint32, shape (t, samples_per_trial); the scalars ``path_length``,
                ``sum_of_squares``, ``first_loss``, ``last_loss``, float64, shape (t,).

        Raises:
            InputError: If a shape or dtype is wrong, or there are more trials than announced.
            OSError: If the file cannot be written.
        """
        trials = len(block["gradient"])
        for name, dtype in DATASETS.items():
            entry = self._large[name].shape[1:] if name in LARGE else ()
            if block[name].shape != (trials, *entry):
                raise InputError(
                    f"{name} of a block of {trials} trials has shape {block[name].shape}, "
                    f"expected {(trials, *entry)}"
                )
            if block[name].dtype != dtype:
                raise InputError(f"{name} is {block[name].dtype}, expected {dtype}")
        self._check_count(self._appended + trials <= len(self._trials), self._appended + trials)
        with failures_named(self._path):
            for name, dataset in self._large.items():
                dataset[self._appended : self._appended + trials] = block[name]
        for name, blocks in self._scalars.items():
            # Copied, as the caller may fill the same arrays again; HDF5 has taken the others.
            blocks.append(block[name].copy())
        self._appended += trials

    def _check_count(self, is_right: bool, trials: int) -> None:
        if not is_right:
            raise InputError(
                f"{trials} trials were appended to {self._path}, "
                f"expected {len(self._trials)} ({self._trials})"
            )

    def finish(self) -> None:
        """Write the scalars; raises InputError if trials are missing."""
        self._check_count(self._appended == len(self._trials), self._appended)
        with failures_named(self._path):
            for name, blocks in self._scalars.items():
                values = np.concatenate(blocks)
                # A single chunk: Fletcher-32 exists for chunked datasets alone.
                dataset = self._file.create_dataset(
                    name, data=values, chunks=values.shape, fletcher32=True
                )
                describe(dataset, "trials", ("trial",))


@contextmanager
def create_shard(
    path: Path,
    settings: TrialSettings,
    provenance: Provenance,
    trials: TrialRange,
    tensor_shape: tuple[int, ...],
) -> Iterator[ShardWriter]:
    """Write a shard; it appears under its name when the block ends and every trial is there.

    On an exception nothing is left behind. The bytes depend on the arguments and the trials alone:
    no time, host or process is recorded. ``gradatlas.archive`` has an example.

    Args:
        path: Final name of the shard.
        settings: The record of the trials.
        provenance: How they came about.
        trials: The trials that will be appended.
        tensor_shape: Shape of one trial's tensor, (output, input) or (output,).

    Yields:
        A writer; memory use does not grow with the number of trials beyond the scalars.

    Raises:
        InputError: If trials are missing at the end, or a block does not fit.
        OSError: If the file cannot be written.
    """
    samples = settings.samples_per_trial
    with create_file(path, stored_bytes(len(trials), tensor_shape, samples)) as file:
        title = (
            f"Gradients of {settings.parameter}: protocol {settings.protocol}, epoch "
            f"{settings.epoch}, batch size {settings.batch_size}, trials {trials}"
        )
        file.attrs.update(
            {
                **file_attributes("shard", title),
                **to_attributes(settings),
                **provenance.to_attributes(),
                "experiment_digest": settings.digest,
                "first_trial": trials.first,
                "last_trial": trials.last,
            }
        )
        add_coordinates(file, trials, tensor_shape, samples)
        for name in LARGE:
            entry = entry_shape(name, tensor_shape, samples)
            chunk = chunk_shape(entry, len(trials))
            dataset = file.create_dataset(
                name, (len(trials), *entry), DATASETS[name], chunks=chunk, fletcher32=True
            )
            describe(dataset, "trials", ("trial", *entry_dimensions(name, tensor_shape)))
        # Datasets exist before the first trial, so that blocks of any size go straight to disk.
        writer = ShardWriter(file, path, trials)
        yield writer
        writer.finish()


@contextmanager
def create_file(path: Path, nbytes: int) -> Iterator[h5py.File]:
    """Write an HDF5 file that appears under its name, with its digest, once all of it is on disk.

    Its room is reserved first: HDF5 that meets a full disk in the middle of a write leaves an
    unreadable file behind, and may crash at exit.

    Args:
        path: Final name of the file; an existing file is replaced.
        nbytes: Bytes that the file will take at most.

    Raises:
        OSError: If the file cannot be written; the message names it and the reason.
    """
    with replacing(path, with_digest=True) as partial:
        with failures_named(path):
            _reserve(partial, nbytes)  # a file that cannot be had fails before HDF5 knows of it
            # Nobody else knows the partial file, and some file systems have no locks.
            file = h5py.File(partial, "w", locking=False, rdcc_nbytes=_CACHE_BYTES)
        with file:
            with failures_named(path):
                _reserve(partial, nbytes)  # again, as HDF5 has cut the file to nothing
            yield file
            with failures_named(path):
                # Once everything is written HDF5 knows the true size; what was reserved beyond it
                # is given back.
                file.flush()
                used = file.id.get_filesize()
        with failures_named(path):
            os.truncate(partial, used)


def _reserve(path: Path, nbytes: int) -> None:
    with path.open("r+b") as file, unsupported_ignored():  # a full disk is then met on the way
        os.posix_fallocate(file.fileno(), 0, nbytes)
