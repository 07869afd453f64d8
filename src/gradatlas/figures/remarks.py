"""What a reader must know about a curve that is not all there."""

import pandas as pd
from matplotlib.axes import Axes

from gradatlas.figures.reading import epochs_of, of_epoch
from gradatlas.figures.style import epoch_label, note


def mark_diverged(axes: Axes, rows: pd.DataFrame, column: str) -> None:
    """A cross on every point whose trials diverged in part; such trials are left out of it."""
    diverged = rows[rows["diverged_trials"] > 0].dropna(subset=column)
    if not diverged.empty:
        axes.plot(
            diverged["batch_size"],
            diverged[column],
            color="black",
            linestyle="none",
            marker="x",
            markersize=6,
            label="some trials diverged, left out",
        )


def note_missing(axes: Axes, rows: pd.DataFrame, column: str) -> None:
    """Say which checkpoints have no value at all; single missing values are gaps in a curve."""
    epochs = epochs_of(rows)
    missing = [epoch for epoch in epochs if of_epoch(rows, epoch)[column].isna().all()]
    if missing:
        names = ", ".join(epoch_label(epoch, epochs) for epoch in missing)
        note(axes, f"no value for {names}")
