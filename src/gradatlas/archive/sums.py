"""The loops behind the checksums, compiled: as fast as memory gives the data.

Apart from ``checksums``, as importing numba takes longer than to open an archive.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def weighted_sums(words: NDArray[Any], first_weight: int) -> NDArray[Any]:
    """Sum over i of (first_weight + i) w_i modulo 2^64 for each row of 32-bit words, uint64."""
    sums = np.zeros(len(words), np.uint64)
    for row in range(len(words)):
        total = np.uint64(0)
        weight = np.uint32(first_weight)
        for column in range(words.shape[1]):
            total += np.uint64(words[row, column]) * np.uint64(weight + np.uint32(column))
        sums[row] = total
    return sums


@njit(cache=True)
def row_and_column_sums(words: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sums of a matrix of 16-bit words along both axes, uint64."""
    rows = np.zeros(len(words), np.uint64)
    columns = np.zeros(words.shape[1], np.uint64)
    for row in range(len(words)):
        total = np.uint64(0)
        for column in range(words.shape[1]):
            word = np.uint64(words[row, column])
            total += word
            columns[column] += word
        rows[row] = total
    return rows, columns
