"""What a statistics job writes for one batch size: a row of the table, maps, scalars of trials."""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
from numpy.typing import NDArray

from gradatlas.archive.format import dimension_names
from gradatlas.core.files import replace_file
from gradatlas.core.provenance import code_commit, library_versions

if TYPE_CHECKING:
    from gradatlas.archive.read import Selection

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Description:
    """One row of the table of statistics.

    Attributes:
        protocol: Name of the protocol.
        epoch: Epoch of the checkpoint.
        batch_size: Samples per minibatch.
        values: Statistics by column; NaN where there is none.
        reasons: Why, for every column that is NaN, and remarks on others.
    """

    protocol: str
    epoch: int
    batch_size: int
    values: Mapping[str, float]
    reasons: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class TrialScalars:
    """The scalars of all trials of one protocol, epoch and batch size.

    Attributes:
        protocol: Name of the protocol.
        epoch: Epoch of the checkpoint.
        batch_size: Samples per minibatch.
        update: What the weights do between minibatches, ``sgd`` or ``none``.
        learning_rate: Step size of ``sgd``.
        samples_per_trial: Samples of one trial.
        training_samples: Samples of the training set.
        sample_sets: Number of sample sets the trials share; None: each its own.
        columns: ``trial``, ``norm``, ``path_length``, ``sum_of_squares`` ... each shape (T,).
    """

    protocol: str
    epoch: int
    batch_size: int
    update: str
    learning_rate: float
    samples_per_trial: int
    training_samples: int
    sample_sets: int | None
    columns: Mapping[str, Array]

    @property
    def batches_per_trial(self) -> int:
        """Minibatches of one trial, the remainder included."""
        return math.ceil(self.samples_per_trial / self.batch_size)

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Trials that did not diverge, shape (T,)."""
        names = ("norm", "path_length", "sum_of_squares", "first_loss", "last_loss")
        return np.asarray(np.isfinite([self.columns[name] for name in names]).all(axis=0))


def write_description(path: Path, description: Description) -> None:
    """Write a row as JSON, whole or not at all; NaN and infinity become null."""
    content = asdict(description)
    content["values"] = {
        column: value if math.isfinite(value) else None
        for column, value in description.values.items()
    }
    replace_file(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def read_description(path: Path) -> Description:
    """Inverse of ``write_description``."""
    content = json.loads(path.read_text())
    content["values"] = {
        column: math.nan if value is None else value for column, value in content["values"].items()
    }
    return Description(**content)


def write_maps(
    path: Path,
    selection: "Selection",
    weights: Mapping[str, Array],
    trials: Mapping[str, Array],
    hill_plot: Array,
) -> None:
    """Write statistics of each weight and scalars of each trial as HDF5, whole or not at all.

    Args:
        path: File to write.
        selection: The trials described; its attributes become those of the file.
        weights: Maps by name, each of the tensor's shape.
        trials: Scalars by name, each shape (T,).
        hill_plot: Hill's tail index at 1, 2, ... upper order statistics of the norms.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs.update(selection.attributes)
        file.attrs["statistics_code_commit"] = code_commit()
        file.attrs["statistics_library_versions"] = json.dumps(library_versions(), sort_keys=True)
        _write_scale(file, "trial", selection.trials)
        names = dimension_names(selection.shape)
        for name, length in zip(names, selection.shape, strict=True):
            _write_scale(file, name, np.arange(length))
        for name, values in weights.items():
            _write(file, name, values, names)
        for name, values in trials.items():
            _write(file, name, values, ("trial",))
        _write_scale(file, "upper_order_statistics", np.arange(1, len(hill_plot) + 1))
        _write(file, "hill_plot", hill_plot, ("upper_order_statistics",))
    replace_file(path, buffer.getvalue())


def _write_scale(file: h5py.File, name: str, values: NDArray[np.integer]) -> None:
    file.create_dataset(name, data=values).make_scale(name)


def _write(file: h5py.File, name: str, values: Array, dimensions: tuple[str, ...]) -> None:
    dataset = file.create_dataset(name, data=values)
    for axis, dimension in zip(dataset.dims, dimensions, strict=True):
        axis.label = dimension
        axis.attach_scale(file[dimension])


def read_trials(path: Path) -> TrialScalars:
    """Read the scalars of all trials from a file of ``write_maps``; no map is read."""
    with h5py.File(path, "r") as file:
        attributes = dict(file.attrs)
        trial = file["trial"]
        columns = {
            name: np.asarray(dataset[()])
            for name, dataset in file.items()
            if dataset is not trial and dataset.dims[0].label == "trial"
        }
        columns["trial"] = np.asarray(trial[()])
    sets = attributes.get("sample_sets")
    return TrialScalars(
        protocol=str(attributes["protocol"]),
        epoch=int(attributes["epoch"]),
        batch_size=int(attributes["batch_size"]),
        update=str(attributes["update"]),
        learning_rate=float(attributes["learning_rate"]),
        samples_per_trial=int(attributes["samples_per_trial"]),
        training_samples=int(attributes["training_samples"]),
        sample_sets=None if sets is None else int(sets),
        columns=columns,
    )
