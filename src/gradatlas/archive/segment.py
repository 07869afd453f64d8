"""Consecutive trials in one file, and how they are read and checked."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gradatlas.archive.checksums import row_checksums
from gradatlas.archive.chunks import RowIndex, damaged_chunks, index_rows, read_rows
from gradatlas.archive.errors import ArchiveError
from gradatlas.archive.layout import CHECKSUMS
from gradatlas.errors import reworded
from gradatlas.sharding import TrialRange

_NAMED_TRIALS = 10  # more are counted

#: Inode, size and time of the last change: what tells a file from another in its place.
FileIdentity = tuple[int, int, int]


@dataclass(frozen=True)
class Segment:
    """Consecutive trials in one file.

    Attributes:
        path: The file, absolute.
        group: HDF5 group that holds the datasets.
        batch: Index along the leading batch size axis; None where a group has no such axis.
        trials: The trials, the first of which is the first row.
        identity: The file that was opened; None if it was missing.
    """

    path: Path
    group: str
    batch: int | None
    trials: TrialRange
    identity: FileIdentity | None
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
            ArchiveError: If the file is damaged, or another than the one that was opened.
            OSError: If it is gone or unreadable.
        """
        start, stop = first - self.trials.first, last + 1 - self.trials.first
        with self._failures_named(name, first, last):
            self._check_identity()
            if name not in CHECKSUMS:
                with h5py.File(self.path, "r") as file:
                    return self._column(file, name)[start:stop]
            rows, checksums = self._rows(name, start, stop)
        wrong = np.flatnonzero(row_checksums(rows) != checksums)
        if wrong.size:
            raise ArchiveError(
                f"{self.path} is damaged: {name} of {_trials(wrong + first)} does not have its "
                "checksum; restore the file from a copy or make it again"
            )
        return rows

    def check_chunks(self, name: str) -> None:
        """Compare HDF5's own checksums too, those of whole chunks.

        Args:
            name: Name of a dataset of ``CHECKSUMS``.

        Raises:
            ArchiveError: If the file is damaged, or another than the one that was opened.
            OSError: If it is gone or unreadable.
        """
        with self._failures_named(name, self.trials.first, self.trials.last):
            self._check_identity()
            with h5py.File(self.path, "r") as file:
                chunk = next(damaged_chunks(file[self.group][name], self.batch), None)
        if chunk is not None:
            first, last = self.trials.first + chunk[0], self.trials.first + chunk[-1]
            raise ArchiveError(
                f"{self.path} is damaged: the Fletcher-32 checksum of the chunk of {name} with "
                f"trials {first}-{last} differs, though every trial is sound; restore the file "
                "from a copy or make it again"
            )

    def _rows(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.uint64]]:
        """Rows and their checksums, not yet compared."""
        index = self._index(name)
        if index is not None:
            with self.path.open("rb") as binary:
                return read_rows(binary, index, start, stop), index.checksums[start:stop]
        with h5py.File(self.path, "r", rdcc_nbytes=0) as file:
            rows = np.asarray(file[self.group][name][self.batch, start:stop])
            return rows, self._column(file, CHECKSUMS[name])[start:stop]

    def _index(self, name: str) -> RowIndex | None:
        """Where the rows of a dataset lie; found once, as it takes longer than to read a trial."""
        if name not in self._indices:
            with h5py.File(self.path, "r") as file:
                checksums = self._column(file, CHECKSUMS[name])
                self._indices[name] = index_rows(file[self.group][name], checksums, self.batch)
        return self._indices[name]

    def _column(self, file: h5py.File, name: str) -> NDArray[Any]:
        """One value per trial."""
        column = file[self.group][name]
        return np.asarray(column[() if self.batch is None else self.batch])

    def _check_identity(self) -> None:
        if _identity(self.path.stat()) != self.identity:
            raise ArchiveError(f"{self.path} has changed since it was opened; open it again")

    @contextmanager
    def _failures_named(self, name: str, first: int, last: int) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self.path} is gone since it was opened") from error
        except (OSError, KeyError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                reason = f"{self.path} cannot be read ({os.strerror(error.errno)})"
                raise reworded(error, reason) from error
            raise ArchiveError(
                f"{self.path} is damaged: {name} of trials {first}-{last} cannot be read "
                f"({error}); restore the file from a copy or make it again"
            ) from error


def segment_of(path: Path, group: str, batch: int | None, trials: TrialRange) -> Segment:
    """A segment of the file that is there now."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
    try:
        identity = _identity(path.stat())
    except OSError:
        identity = None  # reading it, or checking it before, says why
    return Segment(path, group, batch, trials, identity)


def _identity(status: os.stat_result) -> FileIdentity:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _trials(numbers: NDArray[np.integer[Any]]) -> str:
    """Numbers of damaged trials in words."""
    if len(numbers) == 1:
        return f"trial {numbers[0]}"
    named = ", ".join(map(str, numbers[:_NAMED_TRIALS]))
    rest = len(numbers) - _NAMED_TRIALS
    return f"each of the trials {named}{f' and {rest} more' if rest > 0 else ''}"
