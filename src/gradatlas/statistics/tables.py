"""The tables of all batch sizes, gathered from what the statistics jobs wrote."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from gradatlas.core.files import replace_file
from gradatlas.statistics.description import read_description

KEY = ["protocol", "epoch", "batch_size"]


def gather(rows: Sequence[Path], table: Path, notes: Path) -> None:
    """Write the table of statistics, and the table that says why a number is missing.

    Args:
        rows: JSON files of ``gradatlas.statistics.batch_size.describe_batch_size``.
        table: CSV file to write, one row per protocol, epoch and batch size.
        notes: CSV file to write: protocol, epoch, batch_size, column, reason.
    """
    descriptions = [read_description(row) for row in rows]
    keys = [(item.protocol, item.epoch, item.batch_size) for item in descriptions]
    statistics = pd.DataFrame(
        [
            dict(zip(KEY, key, strict=True)) | dict(item.values)
            for key, item in zip(keys, descriptions, strict=True)
        ]
    ).sort_values(KEY, ignore_index=True)
    normalised = normalise(statistics)
    reasons = [
        (*key, column, reason)
        for key, item in zip(keys, descriptions, strict=True)
        for column, reason in item.reasons.items()
    ] + _missing_normalisations(normalised)
    remarks = pd.DataFrame(reasons, columns=[*KEY, "column", "reason"])
    write_csv(table, normalised)
    write_csv(notes, remarks.sort_values([*KEY, "column"]))


def normalise(statistics: pd.DataFrame) -> pd.DataFrame:
    """Bring every row to the mean norm of the largest batch size of its protocol and epoch.

    Mean and standard deviation are multiplied by m_max / m, as if all batch sizes had moved the
    same mean distance.

    Args:
        statistics: At least the columns protocol, epoch, batch_size, mean_norm and std_norm.

    Returns:
        The table with columns normalised_mean and normalised_std behind those of the norm.
    """
    largest = statistics.groupby(KEY[:2])["batch_size"].transform("idxmax")
    target = statistics["mean_norm"].loc[largest].to_numpy()
    factor = target / statistics["mean_norm"].to_numpy()
    place = [*statistics].index("relative_std_high") + 1
    result = statistics.copy()
    result.insert(place, "normalised_mean", statistics["mean_norm"] * factor)
    result.insert(place + 1, "normalised_std", statistics["std_norm"] * factor)
    return result


def _missing_normalisations(table: pd.DataFrame) -> list[tuple[object, ...]]:
    """Key, column and reason of what could not be brought to the largest batch size's mean."""
    return [
        (*key, column, f"{needed} or the mean norm at the largest batch size is missing")
        for column, needed in (("normalised_mean", "mean_norm"), ("normalised_std", "std_norm"))
        for key in table.loc[table[column].isna(), KEY].itertuples(index=False, name=None)
    ]


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table whole or not at all; numbers in full precision, NaN as ``nan``."""
    replace_file(path, table.to_csv(index=False, na_rep="nan").encode())
