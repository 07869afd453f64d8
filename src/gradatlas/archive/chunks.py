"""Whole chunks in and out of HDF5, past its filter pipeline.

The pipeline copies every chunk twice and sums it word by word; writing is twice as fast with the
same Fletcher-32 from NumPy, and what is written is the same to the byte. Rows are read from where
HDF5 says that their chunk lies; their own checksum protects them, so Fletcher-32 is left to
``verify``. Compressed datasets go through HDF5.
"""

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from gradatlas.archive.checksums import fletcher32

_CHECKSUM_BYTES = 4


class RowWriter:
    """Writes the rows of consecutive trials to a dataset, in whole chunks.

    Args:
        dataset: Chunked dataset, trials along its first axis, or along its second behind a batch
            size axis.
        batch: Index along the batch size axis, None where there is none.
    """

    def __init__(self, dataset: h5py.Dataset, batch: int | None = None) -> None:
        self._dataset = dataset
        self._place = () if batch is None else (batch,)
        self._chunk: tuple[int, ...] = dataset.chunks[len(self._place) :]
        self._direct = _is_direct(dataset)
        chunk_bytes = dataset.dtype.itemsize * math.prod(self._chunk)
        self._data = np.empty(chunk_bytes + _CHECKSUM_BYTES, np.uint8)

    def write(self, start: int, rows: NDArray[Any]) -> None:
        """Write rows.

        Args:
            start: Position of the first row, the start of a chunk.
            rows: Shape (t, ...); t is a multiple of a chunk's trials unless they reach the end.
        """
        if not self._direct:
            self._dataset[(*self._place, slice(start, start + len(rows)))] = rows
            return
        trials, entries = self._chunk[:2]
        for first in range(0, len(rows), trials):
            for part in range(0, rows.shape[1], entries):
                tile = rows[first : first + trials, part : part + entries]
                self._write_chunk(_corner(self._place, start + first, part, self._chunk), tile)

    def _write_chunk(self, corner: tuple[int, ...], tile: NDArray[Any]) -> None:
        data = self._data
        data[: tile.nbytes] = tile.reshape(-1).view(np.uint8)
        data[tile.nbytes : -_CHECKSUM_BYTES] = 0  # beyond the edge of the dataset
        _stored_checksum(data)[0] = fletcher32(data[:-_CHECKSUM_BYTES])
        self._dataset.id.write_direct_chunk(corner, data)


@dataclass(frozen=True, eq=False)
class RowIndex:
    """Where the rows of a dataset lie in its file, so that they can be read without HDF5.

    Attributes:
        dtype: Type of the values.
        shape: Shape of the rows, (t, ...).
        chunk: Shape of a chunk of rows.
        offsets: Of each chunk, in bytes; shape (chunks along trials, chunks along the next axis).
        checksums: Of each row, shape (t,).
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    offsets: NDArray[np.int64]
    checksums: NDArray[np.uint64]


def index_rows(
    dataset: h5py.Dataset, checksums: NDArray[np.uint64], batch: int | None = None
) -> RowIndex | None:
    """Find the chunks of a dataset.

    Args:
        dataset: As for ``RowWriter``.
        checksums: Of each row.
        batch: Index along the batch size axis, None where there is none.

    Returns:
        The index, or None if the dataset is compressed and only HDF5 can read it.
    """
    if not _is_direct(dataset):
        return None
    place = () if batch is None else (batch,)
    chunk, shape = dataset.chunks[len(place) :], dataset.shape[len(place) :]
    offsets = [
        [
            dataset.id.get_chunk_info_by_coord(_corner(place, first, part, chunk)).byte_offset
            for part in range(0, shape[1], chunk[1])
        ]
        for first in range(0, shape[0], chunk[0])
    ]
    return RowIndex(dataset.dtype, shape, chunk, np.array(offsets), checksums)


def read_rows(file: BinaryIO, index: RowIndex, start: int, stop: int) -> NDArray[Any]:
    """Read the rows of consecutive trials; inverse of ``RowWriter.write``.

    Args:
        file: The file, open for reading.
        index: Where its rows lie.
        start: Position of the first row.
        stop: Position behind the last row.

    Returns:
        Rows, shape (stop - start, ...).

    Raises:
        OSError: If the file ends too early.
    """
    rows = np.empty((stop - start, *index.shape[1:]), index.dtype)
    row_bytes = math.prod(rows.shape[1:]) * rows.itemsize
    per_chunk, part_length = index.chunk[:2]
    for number in range(start // per_chunk, math.ceil(stop / per_chunk)):
        first = number * per_chunk
        begin, end = max(first, start), min(first + per_chunk, stop)
        run = rows[begin - start : end - start]
        for part, offset in enumerate(index.offsets[number].tolist()):
            tile = run[:, part * part_length : (part + 1) * part_length]
            _read_exactly(file, tile, offset + (begin - first) * row_bytes)
    return rows


def _read_exactly(file: BinaryIO, target: NDArray[Any], offset: int) -> None:
    """Fill contiguous rows with what lies at an offset of the file."""
    buffer = target.reshape(-1).view(np.uint8).data
    while buffer:
        count = os.preadv(file.fileno(), [buffer], offset)
        if count == 0:
            raise OSError("the file ends too early")
        buffer = buffer[count:]
        offset += count


def damaged_chunks(dataset: h5py.Dataset, batch: int | None = None) -> Iterator[range]:
    """Compare all chunks with their Fletcher-32.

    Args:
        dataset: As for ``RowWriter``.
        batch: Index along the batch size axis, None where there is none.

    Yields:
        Positions of the rows of each chunk that does not have its checksum.
    """
    if not _is_direct(dataset):
        return  # HDF5 compares them whenever it reads
    place = () if batch is None else (batch,)
    chunk, shape = dataset.chunks[len(place) :], dataset.shape[len(place) :]
    data = np.empty(dataset.dtype.itemsize * math.prod(chunk) + _CHECKSUM_BYTES, np.uint8)
    for first in range(0, shape[0], chunk[0]):
        for part in range(0, shape[1], chunk[1]):
            dataset.id.read_direct_chunk(_corner(place, first, part, chunk), out=data)
            if _stored_checksum(data)[0] != fletcher32(data[:-_CHECKSUM_BYTES]):
                yield range(first, min(first + chunk[0], shape[0]))


def _corner(
    place: tuple[int, ...], first: int, part: int, chunk: tuple[int, ...]
) -> tuple[int, ...]:
    """Position in the dataset of a chunk's first value."""
    return (*place, first, part, *(0 for _ in chunk[2:]))


def _is_direct(dataset: h5py.Dataset) -> bool:
    """Whether the chunks in the file are the plain data and their checksum."""
    plain = dataset.compression is None and not dataset.shuffle and dataset.dtype.isnative
    return bool(plain and dataset.fletcher32 and sys.byteorder == "little")


def _stored_checksum(data: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The checksum behind the data of a chunk."""
    return data[-_CHECKSUM_BYTES:].view("<u4")
