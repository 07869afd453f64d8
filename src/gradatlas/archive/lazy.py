"""Archives as lazy xarray datasets: tensors are read, and checked, when they are asked for."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from gradatlas.archive.groups import DATASETS, row_dimensions, row_shape
from gradatlas.archive.layout import CHECKSUMS, LONG_NAMES, SCALARS, dimension_names
from gradatlas.archive.selection import BLOCK_BYTES, Selection

Index = int | slice | NDArray[np.integer[Any]]


class _Rows(BackendArray):
    """A large dataset of several selections, shape (batch_size, trial, ...)."""

    def __init__(self, selections: Sequence[Selection], name: str) -> None:
        first = selections[0]
        row = row_shape(name, first.shape, first.samples_per_trial)
        self._selections = selections
        self._name = name
        self.shape = (len(selections), len(first.trials), *row)
        self.dtype = DATASETS[name]

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:  # noqa: ANN401 - as its base class
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Index, ...]) -> NDArray[Any]:
        """Read whole trials, as a checksum covers all of a trial, and keep what is asked for."""
        positions = [np.atleast_1d(np.arange(n)[k]) for n, k in zip(self.shape, key, strict=True)]
        result = np.empty([len(axis) for axis in positions], self.dtype)
        for row, batch in enumerate(positions[0]):
            for part in _runs(positions[1], self._trials_at_once()):
                result[row, part] = self._read_run(batch, positions[1][part], positions[2:])
        return result[tuple(0 if isinstance(k, int | np.integer) else slice(None) for k in key)]

    def _trials_at_once(self) -> int:
        """Trials of whole tensors that are read for the part of them that is asked for."""
        return max(1, BLOCK_BYTES // (self.dtype.itemsize * math.prod(self.shape[2:])))

    def _read_run(
        self, batch: int, run: NDArray[np.intp], inner: Sequence[NDArray[np.intp]]
    ) -> NDArray[Any]:
        selection = self._selections[batch]
        trials = selection.trials[run]
        rows = selection.rows(self._name, int(trials[0]), int(trials[-1]))
        return rows[np.ix_(np.arange(len(rows)), *inner)]


def _runs(positions: NDArray[np.intp], most: int) -> Iterator[slice]:
    """Consecutive trials that are read at once, few enough for bounded memory."""
    starts = [0, *(np.flatnonzero(np.diff(positions) != 1) + 1), len(positions)]
    for start, stop in pairwise(starts):
        for first in range(start, stop, most):
            yield slice(first, min(first + most, stop))


def archive_dataset(selections: Sequence[Selection]) -> xr.Dataset:
    """Dataset of one protocol and epoch with a leading dimension batch_size.

    The tensors and sample indices are lazy; the scalars are read.

    Args:
        selections: Selections that hold the same trials.
    """
    first = selections[0]
    variables = {
        name: _variable(name, first.shape, indexing.LazilyIndexedArray(_Rows(selections, name)))
        for name in CHECKSUMS
    }
    for name in SCALARS:
        values = np.stack([selection.scalars[name] for selection in selections])
        variables[name] = _variable(name, first.shape, values)
    return xr.Dataset(
        variables,
        {
            "batch_size": [selection.batch_size for selection in selections],
            "trial": first.trials,
            **{
                name: np.arange(length)
                for name, length in zip(dimension_names(first.shape), first.shape, strict=True)
            },
            "sample": np.arange(first.samples_per_trial),
        },
        {name: value for name, value in first.attributes.items() if name != "batch_size"},
    )


def selection_dataset(selection: Selection) -> xr.Dataset:
    """Dataset of one selection; batch_size is a coordinate without a dimension."""
    return archive_dataset([selection]).isel(batch_size=0)


def _variable(name: str, shape: tuple[int, ...], values: Any) -> xr.Variable:  # noqa: ANN401 - lazy
    dimensions = ("batch_size", "trial", *row_dimensions(name, shape))
    return xr.Variable(dimensions, values, {"long_name": LONG_NAMES[name], "units": "1"})
