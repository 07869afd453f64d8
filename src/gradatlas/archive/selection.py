"""The trials of one protocol, epoch and batch size, wherever they are stored."""

import math
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from gradatlas.archive.errors import ArchiveError
from gradatlas.archive.layout import ROW_DATASETS, SCALARS, chunk_trials
from gradatlas.archive.segment import Segment

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

BLOCK_BYTES = 4 << 20  # blocks of this size get the same memory again and again: no page faults


@dataclass(frozen=True, eq=False)
class Selection:
    """The trials of one protocol, epoch and batch size, in ascending order without a gap.

    Attributes:
        attributes: What identifies the data, as stored (see docs/archive-format.md).
        shape: Shape of one trial's tensor.
        segments: The files' parts that hold the trials.
    """

    attributes: Mapping[str, str | int | float]
    shape: tuple[int, ...]
    segments: tuple[Segment, ...]

    @property
    def protocol(self) -> str:
        """Name of the protocol."""
        return str(self.attributes["protocol"])

    @property
    def epoch(self) -> int:
        """Epoch of the checkpoint."""
        return int(self.attributes["epoch"])

    @property
    def batch_size(self) -> int:
        """Samples of one minibatch; the last one of a trial may have fewer."""
        return int(self.attributes["batch_size"])

    @property
    def samples_per_trial(self) -> int:
        """Samples of one trial."""
        return int(self.attributes["samples_per_trial"])

    @property
    def batches_per_trial(self) -> int:
        """Minibatches of one trial, K, the remainder included."""
        return math.ceil(self.samples_per_trial / self.batch_size)

    @property
    def learning_rate(self) -> float:
        """Step size of the trials; 0 where the weights stay at the checkpoint."""
        return float(self.attributes["learning_rate"])

    @property
    def sample_sets(self) -> int | None:
        """Number of sample sets the trials share; None: each trial has samples of its own."""
        value = self.attributes.get("sample_sets")
        return None if value is None else int(value)

    @property
    def first(self) -> int:
        """Number of the first trial."""
        return self.segments[0].trials.first

    @property
    def last(self) -> int:
        """Number of the last trial."""
        return self.segments[-1].trials.last

    @property
    def trials(self) -> NDArray[np.int64]:
        """Numbers of the trials, shape (T,)."""
        return np.arange(self.first, self.last + 1)

    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[NDArray[np.float32]]:
        r"""Iterate over all tensors in bounded memory.

        How trials are divided into blocks depends on ``block_bytes`` alone, not on the files.

        Args:
            block_bytes: Most bytes of a block, unless a single tensor is larger.

        Yields:
            Tensors of consecutive trials, in ascending order, shape (t, \*shape).

        Raises:
            ArchiveError: If a file is damaged.
        """
        step = self._trials_per_block(block_bytes)
        for first in range(self.first, self.last + 1, step):
            yield self.rows("gradient", first, min(first + step - 1, self.last))

    def _trials_per_block(self, block_bytes: int) -> int:
        """Whole chunks, as a chunk that is cut in two would be read twice."""
        trials = max(1, block_bytes // (4 * math.prod(self.shape)))
        chunk = chunk_trials(self.shape, self.samples_per_trial)[0]
        return trials - trials % chunk if trials > chunk else trials

    def rows(self, name: str, first: SupportsIndex, last: SupportsIndex) -> NDArray[Any]:
        """Rows of a dataset for the trials ``first`` to ``last`` (included).

        Args:
            name: ``gradient``, ``sample_index`` or the name of a scalar.
            first: Number of the first trial.
            last: Number of the last trial.

        Returns:
            Shape (last - first + 1, ...).

        Raises:
            ArchiveError: If there is no such dataset, there are no such trials, or a file is
                damaged.
        """
        if name not in ROW_DATASETS:
            raise ArchiveError(
                f"there is no dataset {name!r}, expected one of: {', '.join(ROW_DATASETS)}"
            )
        first, last = self._known_trial(first), self._known_trial(last)
        if first > last:
            raise ArchiveError(f"trials {first} to {last}: expected the first number not above")
        parts = [
            segment.read(name, max(first, segment.trials.first), min(last, segment.trials.last))
            for segment in self.segments
            if segment.trials.first <= last and segment.trials.last >= first
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def gradient(self, trial: SupportsIndex) -> NDArray[np.float32]:
        """Tensor of one trial.

        Args:
            trial: Number of the trial.

        Raises:
            ArchiveError: If there is no such trial, or its file is damaged.
        """
        return self._row("gradient", trial)

    def sample_index(self, trial: SupportsIndex) -> NDArray[np.uint32]:
        """Sample indices of one trial in processing order, shape (samples_per_trial,).

        Raises:
            ArchiveError: If there is no such trial, or its file is damaged.
        """
        return self._row("sample_index", trial)

    def _row(self, name: str, trial: SupportsIndex) -> NDArray[Any]:
        return np.asarray(self.rows(name, trial, trial)[0])

    def _known_trial(self, number: SupportsIndex) -> int:
        """The number as Python's integer: one of NumPy's of few bits would overflow."""
        trial = operator.index(number)
        if not self.first <= trial <= self.last:
            raise ArchiveError(
                f"there is no trial {trial}, expected one of {self.first} to {self.last}"
            )
        return trial

    @cached_property
    def scalars(self) -> Mapping[str, NDArray[np.float64]]:
        """path_length, sum_of_squares, first_loss and last_loss of every trial, each (T,)."""
        return {name: self.rows(name, self.first, self.last) for name in SCALARS}

    def norms(self) -> NDArray[np.float64]:
        """Euclidean norm of every trial's tensor, accumulated in float64, shape (T,)."""
        return np.concatenate([_norms(block) for block in self.blocks()])

    def to_dataframe(self) -> "pd.DataFrame":
        """One row per trial: protocol, epoch, batch_size, trial and the scalars."""
        import pandas as pd

        return pd.DataFrame(
            {
                "protocol": self.protocol,
                "epoch": self.epoch,
                "batch_size": self.batch_size,
                "trial": self.trials,
                **self.scalars,
            }
        )

    def to_xarray(self) -> "xr.Dataset":
        """Lazy dataset with named dimensions: gradient (trial, output, input), the scalars ...

        Raises:
            ModuleNotFoundError: If xarray is not installed.
        """
        from gradatlas.archive.lazy import selection_dataset

        return selection_dataset(self)


def _norms(block: NDArray[np.float32]) -> NDArray[np.float64]:
    rows = block.reshape(len(block), -1)
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)))
