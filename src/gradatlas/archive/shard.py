"""Write a shard: consecutive trials of one protocol, epoch and batch size."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatlas.archive.atomic import NewFile, create_file
from gradatlas.archive.checksums import row_checksums
from gradatlas.archive.chunks import RowWriter
from gradatlas.archive.errors import ArchiveError
from gradatlas.archive.layout import (
    CHECKSUMS,
    SCALARS,
    ShardAttributes,
    add_coordinates,
    chunks,
    describe,
    dimension_names,
    encode_attributes,
    file_attributes,
    write_attributes,
)
from gradatlas.sharding import TrialRange


class _ChunkedRows:
    """Rows of one dataset, written in whole chunks whatever blocks they come in."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._writer = RowWriter(dataset)
        self.dtype = dataset.dtype
        self.chunk_rows: int = dataset.chunks[0]
        self._rows = np.empty((self.chunk_rows, *dataset.shape[1:]), dataset.dtype)
        self._filled = 0
        self._written = 0
        self.checksums: list[NDArray[np.uint64]] = []

    def append(self, rows: NDArray[Any]) -> None:
        """Take rows that do not reach beyond the current chunk."""
        if len(rows) == len(self._rows):
            self._write(rows)
            return
        self._rows[self._filled : self._filled + len(rows)] = rows
        self._filled += len(rows)
        if self._filled == len(self._rows):
            self.flush()

    def flush(self) -> None:
        """Write what is there."""
        if self._filled > 0:
            self._write(self._rows[: self._filled])
        self._filled = 0

    def _write(self, rows: NDArray[Any]) -> None:
        rows = np.ascontiguousarray(rows)
        self._writer.write(self._written, rows)
        self.checksums.append(row_checksums(rows))
        self._written += len(rows)


class ShardWriter:
    """Takes the trials of a shard in ascending order, in blocks of any size."""

    def __init__(
        self,
        new: NewFile,
        attributes: ShardAttributes,
        trials: TrialRange,
        tensor_shape: tuple[int, ...],
    ) -> None:
        self._new = new
        self._trials = trials
        self._shapes: dict[str, tuple[int, ...]] = {
            "gradient": tensor_shape,
            "sample_index": (attributes.samples_per_trial,),
            **dict.fromkeys(SCALARS, ()),
        }
        self._appended = 0
        self._scalars: dict[str, list[NDArray[np.float64]]] = {name: [] for name in SCALARS}
        _write_header(new.hdf5, attributes, trials, tensor_shape)
        self._rows = {name: _ChunkedRows(new.hdf5[name]) for name in CHECKSUMS}
        self._step = min(rows.chunk_rows for rows in self._rows.values())

    def append(
        self,
        *,
        gradient: NDArray[np.float32],
        path_length: ArrayLike,
        sum_of_squares: ArrayLike,
        first_loss: ArrayLike,
        last_loss: ArrayLike,
        sample_index: NDArray[np.uint32],
    ) -> None:
        r"""Add the next trials. The file does not depend on how they are divided into blocks.

        Args:
            gradient: Tensors, shape (t, \*tensor_shape), float32.
            path_length: Sum of the minibatches' gradient norms, shape (t,).
            sum_of_squares: Sum of the minibatches' squared gradient norms, shape (t,).
            first_loss: Mean loss of the first minibatch, shape (t,).
            last_loss: Mean loss of the last minibatch, shape (t,).
            sample_index: Samples in processing order, shape (t, samples_per_trial), uint32.

        Raises:
            ArchiveError: If a shape or dtype is wrong, or there are more trials than announced.
            OSError: If the disk is full or the file cannot grow.
        """
        large = {"gradient": gradient, "sample_index": sample_index}
        scalars = {
            "path_length": np.asarray(path_length, np.float64),
            "sum_of_squares": np.asarray(sum_of_squares, np.float64),
            "first_loss": np.asarray(first_loss, np.float64),
            "last_loss": np.asarray(last_loss, np.float64),
        }
        self._check_block({**large, **scalars})
        for name, values in scalars.items():
            self._scalars[name].append(values.copy())
        self._append_rows(large, len(gradient))
        self._new.check()

    def _check_block(self, block: dict[str, NDArray[Any]]) -> None:
        trials = len(block["gradient"])
        for name, values in block.items():
            expected = (trials, *self._shapes[name])
            if values.shape != expected:
                raise ArchiveError(
                    f"{name} of a block of {trials} trials has shape {values.shape}, "
                    f"expected {expected}"
                )
        for name, rows in self._rows.items():
            if block[name].dtype != rows.dtype:
                raise ArchiveError(f"{name} is {block[name].dtype}, expected {rows.dtype}")
        if self._appended + trials > len(self._trials):
            raise ArchiveError(
                f"{self._appended + trials} trials were appended to {self._new.path}, "
                f"expected {len(self._trials)} ({self._trials})"
            )

    def _append_rows(self, block: dict[str, NDArray[Any]], trials: int) -> None:
        """Fill both datasets in step, chunk by chunk, so that chunks lie in the same order."""
        start = 0
        while start < trials:
            stop = min(trials, start + self._step - self._appended % self._step)
            for name, rows in self._rows.items():
                rows.append(block[name][start:stop])
            self._appended += stop - start
            start = stop

    def finish(self) -> None:
        """Write what is left and check that every trial is there.

        Raises:
            ArchiveError: If trials are missing.
        """
        if self._appended != len(self._trials):
            raise ArchiveError(
                f"{self._appended} trials were appended to {self._new.path}, "
                f"expected {len(self._trials)} ({self._trials})"
            )
        columns = {}
        for name, rows in self._rows.items():
            rows.flush()
            columns[CHECKSUMS[name]] = np.concatenate(rows.checksums)
        for name, blocks in self._scalars.items():
            columns[name] = np.concatenate(blocks)
        _write_columns(self._new.hdf5, columns)


@contextmanager
def create_shard(
    path: Path, attributes: ShardAttributes, trials: TrialRange, tensor_shape: tuple[int, ...]
) -> Iterator[ShardWriter]:
    """Write a shard; it appears under its name when the block ends and every trial is there.

    On an exception nothing is left behind. The bytes depend on the arguments and the trials alone:
    no time, host or process is recorded.

    Args:
        path: Final name of the shard.
        attributes: What the shard holds.
        trials: The trials that will be appended.
        tensor_shape: Shape of one trial's tensor, (output, input) or (output,).

    Yields:
        A writer; memory use does not grow with the number of trials beyond the scalars.

    Raises:
        ArchiveError: If trials are missing at the end, or a block does not fit.
        OSError: If the file cannot be written.
    """
    with create_file(path) as new:
        writer = ShardWriter(new, attributes, trials, tensor_shape)
        yield writer
        writer.finish()


def _write_header(
    file: h5py.File,
    attributes: ShardAttributes,
    trials: TrialRange,
    tensor_shape: tuple[int, ...],
) -> None:
    title = (
        f"Gradients of {attributes.parameter}: protocol {attributes.protocol}, epoch "
        f"{attributes.epoch}, batch size {attributes.batch_size}, trials {trials}"
    )
    write_attributes(file, file_attributes("shard", title))
    write_attributes(file, encode_attributes(attributes))
    write_attributes(file, {"first_trial": trials.first, "last_trial": trials.last})
    add_coordinates(file, trials, tensor_shape, attributes.samples_per_trial)
    samples = attributes.samples_per_trial
    gradient, index = chunks(tensor_shape, samples, len(trials))
    _create_rows(file, "gradient", np.float32, gradient, dimension_names(tensor_shape))
    _create_rows(file, "sample_index", np.uint32, index, ("sample",))


def _create_rows(
    file: h5py.File,
    name: str,
    dtype: type[np.generic],
    chunk: tuple[int, ...],
    dimensions: tuple[str, ...],
) -> None:
    scales = [file[dimension] for dimension in ("trial", *dimensions)]
    shape = tuple(map(len, scales))
    dataset = file.create_dataset(name, shape, dtype, chunks=chunk, fletcher32=True)
    describe(dataset, scales)


def _write_columns(file: h5py.File, columns: Mapping[str, NDArray[Any]]) -> None:
    trial = file["trial"]
    for name, values in columns.items():
        dataset = file.create_dataset(name, data=values, chunks=values.shape, fletcher32=True)
        describe(dataset, [trial])
