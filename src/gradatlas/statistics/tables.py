"""The row and maps that a job writes of one batch size, and the tables gathered from many."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from gradatlas.archive.format import dimension_names, read_attributes
from gradatlas.archive.read import Selection
from gradatlas.archive.shards import open_unlocked
from gradatlas.core.files import replace_file
from gradatlas.core.provenance import code_commit, library_versions
from gradatlas.core.settings import (
    TrialSettings,
    check_one_experiment,
    from_attributes,
    from_mapping,
    to_mapping,
)

Array = NDArray[np.float64]
Arrays = Mapping[str, Array]

KEY = ["protocol", "epoch", "batch_size"]
VERDICTS = ["reproduced", "not reproduced", "undecided"]


@dataclass(frozen=True)
class Description:
    """One row of the table of statistics: by column, the values and why there is none (NaN)."""

    settings: TrialSettings
    values: Mapping[str, float]
    reasons: Mapping[str, str]  # also remarks on values that are there


@dataclass(frozen=True, eq=False)
class TrialScalars:
    """The scalars of all trials of one protocol, epoch and batch size."""

    settings: TrialSettings
    columns: Arrays  # trial, norm, path_length, sum_of_squares ... each shape (T,)

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Trials that did not diverge, shape (T,)."""
        names = ("norm", "path_length", "sum_of_squares", "first_loss", "last_loss")
        return np.asarray(np.isfinite([self.columns[name] for name in names]).all(axis=0))


def key_of(settings: TrialSettings) -> tuple[str, int, int]:
    """Protocol, epoch and batch size, which tell rows of a table apart.

    Example:
        >>> from types import SimpleNamespace
        >>> key_of(SimpleNamespace(protocol="sgd", epoch=2, batch_size=8))
        ('sgd', 2, 8)
    """
    return settings.protocol, settings.epoch, settings.batch_size


def write_description(path: Path, description: Description) -> None:
    """Write a row as JSON, whole or not at all; NaN and infinity become null.

    Raises:
        OSError: The file cannot be written.
    """
    # JSON has neither NaN nor infinity; what Python writes for them other programs refuse.
    values = {c: v if math.isfinite(v) else None for c, v in description.values.items()}
    content = {
        "settings": to_mapping(description.settings),
        "values": values,
        "reasons": description.reasons,
    }
    replace_file(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def read_description(path: Path) -> Description:
    """Inverse of ``write_description``."""
    content = json.loads(path.read_text())
    values = {c: math.nan if v is None else v for c, v in content["values"].items()}
    return Description(from_mapping(content["settings"]), values, content["reasons"])


def write_maps(
    path: Path, selection: Selection, weights: Arrays, trials: Arrays, hill_plot: Array
) -> None:
    """Write maps of the weights and scalars of the trials (T,) as HDF5, whole or not at all.

    The selection's attributes become those of the file. The Hill plot is the tail index of the
    norms at 1, 2, ... upper order statistics.

    Args:
        path: File to write; an existing one is replaced.
        selection: What is described.
        weights: Maps by name, each of the tensor's shape.
        trials: Scalars of the trials by name, shape (T,).
        hill_plot: Shape (finite trials - 1,), or empty.

    Raises:
        OSError: The file cannot be written.
    """
    # Made in memory, as it is small, and written like every file: whole or not at all.
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs.update(selection.attributes)
        file.attrs["statistics_code_commit"] = code_commit()
        file.attrs["statistics_library_versions"] = json.dumps(library_versions(), sort_keys=True)
        names = dimension_names(selection.shape)
        ranks = np.arange(1, len(hill_plot) + 1)
        scales = {"trial": selection.trials, "upper_order_statistics": ranks}
        scales |= zip(names, map(np.arange, selection.shape), strict=True)
        for name, positions in scales.items():
            file.create_dataset(name, data=positions).make_scale(name)
        _write(file, weights, *names)
        _write(file, trials, "trial")
        _write(file, {"hill_plot": hill_plot}, "upper_order_statistics")
    replace_file(path, buffer.getvalue())


def _write(file: h5py.File, arrays: Arrays, *dimensions: str) -> None:
    for name, values in arrays.items():
        dataset = file.create_dataset(name, data=values)
        for axis, dimension in zip(dataset.dims, dimensions, strict=True):
            axis.label = dimension
            axis.attach_scale(file[dimension])


def read_trials(path: Path) -> TrialScalars:
    """Read the scalars of all trials from a file of ``write_maps``; no map is read."""
    with open_unlocked(path) as file:
        columns = {
            name: np.asarray(dataset[()])
            for name, dataset in file.items()
            if name == "trial" or dataset.dims[0].label == "trial"
        }
        return TrialScalars(from_attributes(read_attributes(file)), columns)


def gather(rows: Sequence[Path], table: Path, notes: Path) -> None:
    """Write rows of all batch sizes as one table, and why numbers of it are missing as another.

    Args:
        rows: JSON files of ``write_description``, in any order.
        table: CSV file to write, one row a batch size.
        notes: CSV file to write, one row per number that is missing or needs a remark.

    Raises:
        InputError: Rows are of different experiments.
    """
    descriptions = sorted(map(read_description, rows), key=lambda item: key_of(item.settings))
    check_one_experiment(item.settings for item in descriptions)
    keys = [key_of(item.settings) for item in descriptions]
    values = pd.DataFrame([item.values for item in descriptions])
    statistics = normalise(pd.concat([pd.DataFrame(keys, columns=KEY), values], axis=1))
    reasons = [
        (*key, column, reason)
        for key, item in zip(keys, descriptions, strict=True)
        for column, reason in item.reasons.items()
    ]
    for column, needed in (("normalised_mean", "mean_norm"), ("normalised_std", "std_norm")):
        reason = f"{needed} or the mean norm at the largest batch size is missing"
        missing = (key for key, gap in zip(keys, statistics[column].isna(), strict=True) if gap)
        reasons += ((*key, column, reason) for key in missing)
    remarks = pd.DataFrame(reasons, columns=[*KEY, "column", "reason"])
    write_csv(table, statistics)
    write_csv(notes, remarks.sort_values([*KEY, "column"]))


def normalise(statistics: pd.DataFrame) -> pd.DataFrame:
    """Bring every row to the mean norm of the largest batch size of its protocol and epoch.

    Mean and standard deviation are multiplied by m_max / m, as if all batch sizes had moved the
    same mean distance, and stand behind those of the norm. The relative standard deviation stays.

    Args:
        statistics: With columns ``mean_norm``, ``std_norm`` and ``relative_std_high``, one row per
            protocol, epoch and batch size.

    Returns:
        A copy with ``normalised_mean`` and ``normalised_std``; NaN where either mean is missing.

    Example:
        >>> statistics = pd.DataFrame(
        ...     [("sgd", 2, 1, 10.0, 1.0, 0.2), ("sgd", 2, 64, 80.0, 4.0, 0.1)],
        ...     columns=[*KEY, "mean_norm", "std_norm", "relative_std_high"])
        >>> normalise(statistics)[["normalised_mean", "normalised_std"]].to_numpy().tolist()
        [[80.0, 8.0], [80.0, 4.0]]
    """
    mean = statistics["mean_norm"]
    # The row of the largest batch size, for every row of the same protocol and epoch.
    largest = statistics.groupby(KEY[:2])["batch_size"].transform("idxmax")
    factor = mean.loc[largest].to_numpy() / mean.to_numpy()
    place, result = [*statistics].index("relative_std_high") + 1, statistics.copy()
    result.insert(place, "normalised_mean", mean * factor)
    result.insert(place + 1, "normalised_std", statistics["std_norm"] * factor)
    return result


def compare_seeds(
    statistics: Sequence[Path],
    claims: Sequence[Path],
    statistics_table: Path,
    claims_table: Path,
    *,
    confidence: float,
) -> None:
    """Write how statistics and verdicts, tables of each training seed, differ between them.

    Trials take the same samples in every run, so what is left between them is the training. One
    row per statistic of a batch size, and one per claim with the number of seeds of each verdict;
    intervals are of the means over seeds, by Student's t: there are far too few for a bootstrap.

    Args:
        statistics: ``statistics.csv`` of each training seed.
        claims: ``claims.csv`` of each training seed.
        statistics_table: CSV file to write.
        claims_table: CSV file to write.
        confidence: Level of the intervals, between 0 and 1.
    """
    rows = pd.concat(map(pd.read_csv, statistics), ignore_index=True)
    names = [str(name) for name in rows]
    measured = [name for name in names if name not in KEY and not name.endswith(("_low", "_high"))]
    long = rows.melt(id_vars=KEY, value_vars=measured, var_name="statistic")
    write_csv(statistics_table, _spread(long, [*KEY, "statistic"], "value", confidence))
    key = ["claim", *KEY[:2]]
    verdicts = pd.concat(map(pd.read_csv, claims), ignore_index=True)
    verdicts = verdicts.assign(**{name: verdicts["verdict"] == name for name in VERDICTS})
    counts = verdicts.groupby(key, sort=False)[VERDICTS].sum().reset_index()
    write_csv(claims_table, _spread(verdicts, key, "estimate", confidence).merge(counts, on=key))


def _spread(rows: pd.DataFrame, key: list[str], value: str, confidence: float) -> pd.DataFrame:
    """Mean, standard deviation (ddof 1) and Student's t interval of a value over training seeds.

    One row per key, in the order they first appear, of the seeds that have a number; NaN where
    fewer than two have one, and mean where none has.

    Example:
        Two seeds: the quantile of t with one degree of freedom is 12.7.

        >>> rows = pd.DataFrame({"statistic": ["mean_norm", "mean_norm"], "value": [9.0, 11.0]})
        >>> _spread(rows, ["statistic"], "value", 0.95).round(1).to_numpy().tolist()
        [['mean_norm', 2, 10.0, 1.4, -2.7, 22.7]]
    """
    found = rows.groupby(key, sort=False)[value].agg(["count", "mean", "std"])
    degrees = (found["count"] - 1).clip(lower=1)  # of freedom; std is NaN where there are none
    half = stats.t.ppf((1 + confidence) / 2, degrees) * found["std"] / np.sqrt(found["count"])
    found = found.assign(low=found["mean"] - half, high=found["mean"] + half)
    return found.rename(columns={"count": "training_seeds"}).reset_index()


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table whole or not at all; numbers in full precision, NaN as ``nan``.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "table.csv")
        ...     write_csv(path, pd.DataFrame({"batch_size": [1, 4], "mean": [0.1 + 0.2, math.nan]}))
        ...     path.read_text().splitlines()
        ['batch_size,mean', '1,0.30000000000000004', '4,nan']
    """
    replace_file(path, table.to_csv(index=False, na_rep="nan").encode())
