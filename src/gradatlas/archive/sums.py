"""The loops behind the checksums, compiled: as fast as memory gives the data.

Apart from ``checksums``, as importing numba takes longer than to open an archive.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatlas.compiling import compiled

FLETCHER_MODULUS = 65535
_BLOCK = 256  # words whose weighted sum fits 32 bits, so that eight are added at once


@compiled()
def weighted_sums(words: NDArray[Any], first_weight: int) -> NDArray[Any]:
    """Sum over i of (first_weight + i) w_i modulo 2^64 for each row of 32-bit words, uint64."""
    sums = np.zeros(len(words), np.uint64)
    for row in range(len(words)):
        line = words[row]
        total = np.uint64(0)
        for column in range(len(line)):
            weight = np.uint32(np.uint32(first_weight) + np.uint32(column))
            total += np.uint64(line[column]) * np.uint64(weight)
        sums[row] = total
    return sums


@compiled()
def fletcher_sums(words: NDArray[Any]) -> tuple[np.uint64, np.uint64]:
    """Sum of n 16-bit words, and a number that is sum over i of (n - i) w_i modulo 65535."""
    first = np.uint64(0)
    second = np.uint64(0)
    whole = len(words) - len(words) % _BLOCK
    for start in range(0, whole, _BLOCK):
        total = np.uint32(0)
        weighted = np.uint32(0)
        for i in range(_BLOCK):
            word = words[start + i]
            total = np.uint32(total + word)
            weighted = np.uint32(weighted + np.uint32(word * np.uint32(_BLOCK - i)))
        behind = np.uint64((len(words) - start - _BLOCK) % FLETCHER_MODULUS)
        first += total
        second += np.uint64(total) * behind + np.uint64(weighted)
    for i in range(whole, len(words)):
        first += words[i]
        second += np.uint64(words[i]) * np.uint64(len(words) - i)
    return first, second
