"""Checksums against HDF5's own and against integer arithmetic."""

import io

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from gradatlas.archive.checksums import FIRST_WEIGHT, fletcher32, row_checksums


def hdf5_fletcher32(data: NDArray[np.uint8]) -> int:
    """The checksum that HDF5 itself stores behind a chunk."""
    with h5py.File(io.BytesIO(), "w") as file:
        dataset = file.create_dataset("data", data=data, chunks=data.shape, fletcher32=True)
        file.flush()
        chunk = dataset.id.read_direct_chunk((0,))[1]
    return int.from_bytes(chunk[-4:], "little")


@pytest.mark.parametrize("size", [2, 2046, 2048, 2050, 40960, 1 << 20])
@pytest.mark.parametrize("kind", ["random", "zeros", "ones", "half"])
def test_fletcher32_is_that_of_hdf5(size: int, kind: str) -> None:
    data = {
        "random": np.random.default_rng(size).integers(0, 256, size, np.uint8),
        "zeros": np.zeros(size, np.uint8),
        "ones": np.full(size, 255, np.uint8),
        "half": np.repeat(np.array([0, 255], np.uint8), size // 2),
    }[kind]
    assert fletcher32(data) == hdf5_fletcher32(data)


@settings(deadline=None)  # the first example waits for the compiled loop
@given(st.binary(min_size=2, max_size=5000).map(lambda data: data[: len(data) // 2 * 2]))
def test_fletcher32_is_that_of_hdf5_for_any_bytes(data: bytes) -> None:
    array = np.frombuffer(data, np.uint8)
    assert fletcher32(array) == hdf5_fletcher32(array)


def exact_checksum(row: NDArray[np.uint32]) -> int:
    return sum((FIRST_WEIGHT + i) * int(word) for i, word in enumerate(row.ravel())) % 2**64


@given(hnp.arrays(np.uint32, hnp.array_shapes(min_dims=2, max_dims=3)))
def test_row_checksums_are_weighted_sums(rows: NDArray[np.uint32]) -> None:
    expected = [exact_checksum(row) for row in rows]
    assert row_checksums(rows).tolist() == expected
    assert row_checksums(rows.view(np.float32)).tolist() == expected


@given(
    hnp.arrays(np.uint32, (1, 40)),
    st.integers(0, 39),
    st.integers(1, 2**32 - 1),
)
def test_row_checksum_sees_any_change_of_a_word(
    rows: NDArray[np.uint32], place: int, change: int
) -> None:
    changed = rows.copy()
    changed[0, place] ^= np.uint32(change)
    assert row_checksums(changed) != row_checksums(rows)


@given(hnp.arrays(np.uint32, (1, 40)), st.integers(0, 39), st.integers(0, 39))
def test_row_checksum_sees_an_exchange(rows: NDArray[np.uint32], a: int, b: int) -> None:
    exchanged = rows.copy()
    exchanged[0, [a, b]] = rows[0, [b, a]]
    same = rows[0, a] == rows[0, b]
    assert (row_checksums(exchanged) == row_checksums(rows)) == same


def test_row_checksum_sees_what_fletcher32_does_not() -> None:
    zeros = np.zeros((1, 8), np.uint32)
    zeros[0, 0] = 1
    ones = zeros.copy()
    ones[0, 3] = 0xFFFFFFFF
    assert fletcher32(zeros.view(np.uint8)[0]) == fletcher32(ones.view(np.uint8)[0])
    assert row_checksums(zeros) != row_checksums(ones)
