"""Whole chunks in and out of HDF5, past its filter pipeline.

The pipeline copies every chunk twice and sums it word by word; writing is twice as fast with the
same Fletcher-32 from NumPy, and what is written is the same to the byte. Reading leaves
Fletcher-32 to ``verify``, as the checksum of every trial is compared anyway. Compressed datasets
go through HDF5.
"""

import math
import sys
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gradatlas.archive.checksums import fletcher32

_CHECKSUM_BYTES = 4


def write_rows(
    dataset: h5py.Dataset, start: int, rows: NDArray[Any], batch: int | None = None
) -> None:
    """Write the rows of consecutive trials, in whole chunks.

    Args:
        dataset: Chunked dataset, trials along its first axis, or along its second behind a batch
            size axis.
        start: Position of the first row, the start of a chunk.
        rows: Shape (t, ...); t is a multiple of a chunk's trials unless they reach the end.
        batch: Index along the batch size axis, None where there is none.
    """
    place = () if batch is None else (batch,)
    if not _is_direct(dataset):
        dataset[(*place, slice(start, start + len(rows)))] = rows
        return
    chunk = dataset.chunks[len(place) :]
    data = np.empty(rows.itemsize * math.prod(chunk) + _CHECKSUM_BYTES, np.uint8)
    for trial, part in _corners(rows.shape, chunk):
        tile = rows[trial : trial + chunk[0], part : part + chunk[1]]
        data[: tile.nbytes] = tile.reshape(-1).view(np.uint8)
        data[tile.nbytes : -_CHECKSUM_BYTES] = 0  # beyond the edge of the dataset
        _stored_checksum(data)[0] = fletcher32(data[:-_CHECKSUM_BYTES])
        corner = (*place, start + trial, part, *(0 for _ in chunk[2:]))
        dataset.id.write_direct_chunk(corner, data)


def read_rows(
    dataset: h5py.Dataset,
    start: int,
    stop: int,
    batch: int | None = None,
    *,
    check_chunks: bool = False,
) -> NDArray[Any]:
    """Read the rows of consecutive trials; inverse of ``write_rows``.

    Args:
        dataset: As for ``write_rows``.
        start: Position of the first row.
        stop: Position behind the last row.
        batch: Index along the batch size axis, None where there is none.
        check_chunks: Whether to compare Fletcher-32 too where HDF5 does not do so itself.

    Returns:
        Rows, shape (stop - start, ...).

    Raises:
        OSError: If a chunk does not have its checksum.
    """
    place = () if batch is None else (batch,)
    if not _is_direct(dataset):
        return np.asarray(dataset[(*place, slice(start, stop))])
    chunk = dataset.chunks[len(place) :]
    rows = np.empty((stop - start, *dataset.shape[len(place) + 1 :]), dataset.dtype)
    data = np.empty(rows.itemsize * math.prod(chunk) + _CHECKSUM_BYTES, np.uint8)
    tile = data[:-_CHECKSUM_BYTES].view(rows.dtype).reshape(chunk)
    before = start % chunk[0]
    for trial, part in _corners((stop - start + before, *rows.shape[1:]), chunk):
        corner = (*place, start - before + trial, part, *(0 for _ in chunk[2:]))
        dataset.id.read_direct_chunk(corner, out=data)
        if check_chunks and _stored_checksum(data)[0] != fletcher32(data[:-_CHECKSUM_BYTES]):
            raise OSError(f"the chunk at {corner} does not have its checksum")
        first = max(0, trial - before)
        wanted = rows[first : trial - before + chunk[0], part : part + chunk[1]]
        skipped = first + before - trial
        wanted[:] = tile[skipped : skipped + len(wanted), : wanted.shape[1]]
    return rows


def _is_direct(dataset: h5py.Dataset) -> bool:
    """Whether the chunks in the file are the plain data and their checksum."""
    plain = dataset.compression is None and not dataset.shuffle and dataset.dtype.isnative
    return bool(plain and dataset.fletcher32 and sys.byteorder == "little")


def _corners(shape: tuple[int, ...], chunk: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """First trial and first row within the tensor of each chunk that rows of ``shape`` touch."""
    for trial in range(0, shape[0], chunk[0]):
        for part in range(0, shape[1], chunk[1]):
            yield trial, part


def _stored_checksum(data: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The checksum behind the data of a chunk."""
    return data[-_CHECKSUM_BYTES:].view("<u4")
