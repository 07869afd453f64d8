"""Whole chunks in and out of HDF5, past its filter pipeline.

The pipeline copies every chunk twice and sums it word by word; writing is twice as fast with the
same Fletcher-32 from NumPy, and what is written is the same to the byte. Rows are read from where
HDF5 says that their chunk lies; their own checksum protects them, so Fletcher-32 is left to
``verify``. Compressed datasets go through HDF5.
"""

import math
import os
import sys
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from gradatlas.archive.checksums import fletcher32, row_checksums

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
    for first in range(0, len(rows), chunk[0]):
        for part in range(0, rows.shape[1], chunk[1]):
            tile = rows[first : first + chunk[0], part : part + chunk[1]]
            data[: tile.nbytes] = tile.reshape(-1).view(np.uint8)
            data[tile.nbytes : -_CHECKSUM_BYTES] = 0  # beyond the edge of the dataset
            _stored_checksum(data)[0] = fletcher32(data[:-_CHECKSUM_BYTES])
            corner = (*place, start + first, part, *(0 for _ in chunk[2:]))
            dataset.id.write_direct_chunk(corner, data)


def read_rows(
    file: BinaryIO, dataset: h5py.Dataset, start: int, stop: int, batch: int | None = None
) -> tuple[NDArray[Any], NDArray[np.uint64]]:
    """Read the rows of consecutive trials; inverse of ``write_rows``.

    Args:
        file: The dataset's file, open for reading.
        dataset: As for ``write_rows``.
        start: Position of the first row.
        stop: Position behind the last row.
        batch: Index along the batch size axis, None where there is none.

    Returns:
        Rows, shape (stop - start, ...), and their checksums, shape (stop - start,).

    Raises:
        OSError: If the file ends too early, or HDF5 cannot read a compressed chunk.
    """
    place = () if batch is None else (batch,)
    if not _is_direct(dataset):
        rows = np.asarray(dataset[(*place, slice(start, stop))])
        return rows, row_checksums(rows)
    chunk = dataset.chunks[len(place) :]
    rows = np.empty((stop - start, *dataset.shape[len(place) + 1 :]), dataset.dtype)
    sums = np.empty(len(rows), np.uint64)
    for first in range(start - start % chunk[0], stop, chunk[0]):
        begin, end = max(first, start), min(first + chunk[0], stop)
        run = slice(begin - start, end - start)
        for part in range(0, rows.shape[1], chunk[1]):
            corner = (*place, first, part, *(0 for _ in chunk[2:]))
            offset = dataset.id.get_chunk_info_by_coord(corner).byte_offset
            skipped = (begin - first) * math.prod(rows.shape[1:]) * rows.itemsize
            _read_exactly(file, rows[run, part : part + chunk[1]], offset + skipped)
        sums[run] = row_checksums(rows[run])  # now, while the rows are in the processor's cache
    return rows, sums


def _read_exactly(file: BinaryIO, target: NDArray[Any], offset: int) -> None:
    """Fill contiguous rows with what lies at an offset of the file."""
    buffer = target.reshape(-1).view(np.uint8).data
    while buffer:
        count = os.preadv(file.fileno(), [buffer], offset)
        if count == 0:
            raise OSError("the file ends too early")
        buffer = buffer[count:]
        offset += count


def check_chunks(dataset: h5py.Dataset, start: int, stop: int, batch: int | None = None) -> None:
    """Compare the chunks of consecutive trials with their Fletcher-32.

    Args:
        dataset: As for ``write_rows``.
        start: Position of the first row.
        stop: Position behind the last row.
        batch: Index along the batch size axis, None where there is none.

    Raises:
        OSError: If a chunk does not have its checksum.
    """
    if not _is_direct(dataset):
        return  # HDF5 compares them whenever it reads
    place = () if batch is None else (batch,)
    chunk = dataset.chunks[len(place) :]
    shape = dataset.shape[len(place) :]
    data = np.empty(dataset.dtype.itemsize * math.prod(chunk) + _CHECKSUM_BYTES, np.uint8)
    for first in range(start - start % chunk[0], stop, chunk[0]):
        for part in range(0, shape[1], chunk[1]):
            corner = (*place, first, part, *(0 for _ in chunk[2:]))
            dataset.id.read_direct_chunk(corner, out=data)
            if _stored_checksum(data)[0] != fletcher32(data[:-_CHECKSUM_BYTES]):
                raise OSError(f"the chunk at {corner} does not have its checksum")


def _is_direct(dataset: h5py.Dataset) -> bool:
    """Whether the chunks in the file are the plain data and their checksum."""
    plain = dataset.compression is None and not dataset.shuffle and dataset.dtype.isnative
    return bool(plain and dataset.fletcher32 and sys.byteorder == "little")


def _stored_checksum(data: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The checksum behind the data of a chunk."""
    return data[-_CHECKSUM_BYTES:].view("<u4")
