"""Checksums of what HDF5 stores: one per trial, ours, and one per chunk, HDF5's."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FIRST_WEIGHT = 1 << 31
_MODULUS = 65535
_COLUMNS = 1024


def row_checksums(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """Sum over i of (2^31 + i) w_i modulo 2^64, with w_i the 32-bit words of a row.

    It covers a whole trial, so it also tells a trial from another one in its place, which the
    checksum of a chunk cannot. Any change of a single word changes it, and so does an exchange of
    two different words.

    Args:
        rows: Contiguous rows of 32-bit values, shape (t, ...).

    Returns:
        One checksum per row, shape (t,).
    """
    # Here, as it imports numba, which opening a file need not wait for.
    from gradatlas.archive.sums import weighted_sums

    return weighted_sums(rows.reshape(len(rows), -1).view(np.uint32), FIRST_WEIGHT)


def fletcher32(data: NDArray[np.uint8]) -> int:
    """Fletcher-32 as HDF5 computes it, over big-endian 16-bit words.

    With words w_0 ... w_{n-1}, both modulo 65535 (Fletcher 1982): the first sum is sum_i w_i, the
    second sum_i (n - i) w_i. Swapping the bytes of a word multiplies it by 256 modulo 65535, so
    the sums are taken over the words as they lie in memory. With the words in rows of 1024,
    sum_i i w_i follows from the sums of rows and columns.

    Args:
        data: Bytes, an even number, shape (2 n,).

    Returns:
        Second sum in the upper, first sum in the lower 16 bits.
    """
    words = data.view("<u2")
    body = len(words) - len(words) % _COLUMNS
    first, second = _sums_of_matrix(words[:body].reshape(-1, _COLUMNS))
    tail = words[body:].astype(np.int64)
    second += first * len(tail) + int(tail @ np.arange(len(tail), 0, -1))
    first += int(tail.sum())
    return _encode(second) << 16 | _encode(first)


def _sums_of_matrix(words: NDArray[np.uint16]) -> tuple[int, int]:
    from gradatlas.archive.sums import row_and_column_sums

    rows, columns = (sums.astype(np.int64) for sums in row_and_column_sums(words))
    first = int(rows.sum())
    positions = _COLUMNS * int((rows % _MODULUS) @ np.arange(len(rows)))
    positions += int((columns % _MODULUS) @ np.arange(_COLUMNS))
    return first, first * words.size - positions


def _encode(total: int) -> int:
    """HDF5 keeps a remainder of 0 as 65535, unless all words are 0."""
    return 0 if total == 0 else total * 256 % _MODULUS or _MODULUS
