"""The tables that figures are drawn from."""

from pathlib import Path

import pandas as pd

from gradatlas.core.errors import InputError


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of the workflow, a CSV file with a header.

    Raises:
        InputError: The file is no such table.
    """
    try:
        return pd.read_csv(path)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as a table ({error}); remove it, and the workflow writes it "
            "again"
        ) from error


def left_out(trials: pd.DataFrame) -> str:
    """How many trials diverged, which no figure shows, a line a protocol; empty where none did.

    Args:
        trials: At least the columns protocol, trials and diverged_trials.
    """
    counts = trials.groupby("protocol", sort=False)[["diverged_trials", "trials"]].sum()
    return "\n".join(
        f"{diverged} of {total} trials of {protocol} diverged and are left out"
        for protocol, diverged, total in counts.itertuples()
        if diverged
    )


def epochs_of(table: pd.DataFrame) -> list[int]:
    """Checkpoints of a table, in ascending order."""
    return sorted(int(epoch) for epoch in table["epoch"].unique())


def of_protocols(table: pd.DataFrame, *protocols: str) -> pd.DataFrame:
    """Rows of the protocols named."""
    return table[table["protocol"].isin(protocols)]


def of_epoch(table: pd.DataFrame, epoch: int) -> pd.DataFrame:
    """Rows of one checkpoint by ascending batch size."""
    return table[table["epoch"] == epoch].sort_values("batch_size")
