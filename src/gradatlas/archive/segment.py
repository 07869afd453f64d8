"""Consecutive trials in one file, and how they are read and checked."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gradatlas.archive.chunks import RowIndex, check_chunks, check_rows, index_rows, read_rows
from gradatlas.archive.errors import ArchiveError
from gradatlas.archive.layout import CHECKSUMS
from gradatlas.sharding import TrialRange


@dataclass(frozen=True)
class Segment:
    """Consecutive trials in one file.

    Attributes:
        path: The file.
        group: HDF5 group that holds the datasets.
        batch: Index along the leading batch size axis; None where a group has no such axis.
        trials: The trials, the first of which is the first row.
    """

    path: Path
    group: str
    batch: int | None
    trials: TrialRange
    _indices: dict[str, RowIndex | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def read(self, name: str, first: int, last: int) -> NDArray[Any]:
        """Rows of trials ``first`` to ``last`` (included) of a dataset, checked.

        Args:
            name: Name of the dataset.
            first: Number of the first trial.
            last: Number of the last trial.

        Raises:
            ArchiveError: If the file is damaged.
            OSError: If it is gone.
        """
        start, stop = first - self.trials.first, last + 1 - self.trials.first
        with self._failures_named(name, first, last):
            if name not in CHECKSUMS:
                with h5py.File(self.path, "r") as file:
                    return self._column(file, name)[start:stop]
            index = self._index(name)
            if index is None:
                return self._read_compressed(name, start, stop)
            with self.path.open("rb") as binary:
                return read_rows(binary, index, start, stop)

    def check(self, name: str, first: int, last: int) -> None:
        """Read trials ``first`` to ``last`` (included), and compare HDF5's own checksums too.

        Args:
            name: Name of the dataset.
            first: Number of the first trial.
            last: Number of the last trial.

        Raises:
            ArchiveError: If the file is damaged.
            OSError: If it is gone.
        """
        self.read(name, first, last)
        if name in CHECKSUMS:
            start, stop = first - self.trials.first, last + 1 - self.trials.first
            with self._failures_named(name, first, last), h5py.File(self.path, "r") as file:
                check_chunks(file[self.group][name], start, stop, self.batch)

    def _index(self, name: str) -> RowIndex | None:
        """Where the rows of a dataset lie; found once, as it takes longer than to read a trial."""
        if name not in self._indices:
            with h5py.File(self.path, "r") as file:
                checksums = self._column(file, CHECKSUMS[name])
                self._indices[name] = index_rows(file[self.group][name], checksums, self.batch)
        return self._indices[name]

    def _read_compressed(self, name: str, start: int, stop: int) -> NDArray[Any]:
        with h5py.File(self.path, "r", rdcc_nbytes=0) as file:
            dataset = file[self.group][name]
            rows = np.asarray(dataset[self.batch, start:stop])
            check_rows(rows, self._column(file, CHECKSUMS[name])[start:stop])
        return rows

    def _column(self, file: h5py.File, name: str) -> NDArray[Any]:
        """One value per trial."""
        column = file[self.group][name]
        return np.asarray(column[() if self.batch is None else self.batch])

    @contextmanager
    def _failures_named(self, name: str, first: int, last: int) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self.path} is gone since it was opened") from error
        except (OSError, KeyError) as error:
            raise ArchiveError(
                f"{self.path} is damaged: {name} of trials {first}-{last} cannot be read "
                f"({error}); restore the file from a copy or make it again"
            ) from error
