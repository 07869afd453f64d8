"""Checksums of what HDF5 stores: one per trial, ours, and one per chunk, HDF5's."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FIRST_WEIGHT = 1 << 31


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
    the sums are taken over the words as they lie in memory.

    Args:
        data: Bytes, an even number, less than 4 GB, shape (2 n,).

    Returns:
        Second sum in the upper, first sum in the lower 16 bits.
    """
    from gradatlas.archive.sums import FLETCHER_MODULUS, fletcher_sums

    def encoded(total: int) -> int:
        """HDF5 keeps a remainder of 0 as 65535, unless all words are 0."""
        return 0 if total == 0 else total * 256 % FLETCHER_MODULUS or FLETCHER_MODULUS

    first, second = fletcher_sums(data.view("<u2"))
    return encoded(int(second)) << 16 | encoded(int(first))
