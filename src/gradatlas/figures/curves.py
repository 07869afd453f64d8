"""Curves against batch size: one colour a checkpoint, one line style a protocol."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from gradatlas.figures.reading import epochs_of, of_epoch, of_protocols
from gradatlas.figures.style import epoch_colours, epoch_label, epoch_markers, note

LINES = ("-", "--", ":", "-.")


def draw_deviations(axes: Axes, rows: pd.DataFrame, mean: str, deviation: str) -> None:
    """A curve a checkpoint with error bars of one standard deviation."""
    epochs = epochs_of(rows)
    for epoch in epochs:
        curve = of_epoch(rows, epoch)
        _draw(axes, curve, mean, curve[deviation].to_numpy(), epochs, epoch_label(epoch, epochs))
    _mark_diverged(axes, rows, mean)
    _note_missing(axes, rows, mean)


def draw_intervals(
    axes: Axes, statistics: pd.DataFrame, column: str, protocols: Sequence[str]
) -> None:
    """A curve a checkpoint and protocol, with confidence intervals as error bars.

    Args:
        axes: Where to draw.
        statistics: Table of statistics; intervals are in the columns ``_low`` and ``_high``, if
            there are any.
        column: Column to draw.
        protocols: Protocols to compare; all but the first have open markers and broken lines.
    """
    for protocol, line in zip(protocols, LINES * len(protocols), strict=False):
        rows = of_protocols(statistics, protocol)
        epochs = epochs_of(rows)
        for epoch in epochs:
            curve = of_epoch(rows, epoch)
            label = epoch_label(epoch, epochs)
            _draw(
                axes,
                curve,
                column,
                _interval_lengths(curve, column),
                epochs,
                label if len(protocols) == 1 else f"{protocol}, {label}",
                line=line,
            )
        _mark_diverged(axes, rows, column)
        _note_missing(axes, rows, column)


def _draw(
    axes: Axes,
    curve: pd.DataFrame,
    column: str,
    errors: NDArray[np.float64] | None,
    epochs: Sequence[int],
    label: str,
    line: str = "-",
) -> None:
    epoch = int(curve["epoch"].iloc[0])
    colour = epoch_colours(epochs)[epoch]
    axes.errorbar(
        curve["batch_size"],
        curve[column],
        yerr=errors,
        color=colour,
        marker=epoch_markers(epochs)[epoch],
        markerfacecolor=colour if line == "-" else "white",
        linestyle=line,
        label=label,
    )


def _interval_lengths(curve: pd.DataFrame, column: str) -> NDArray[np.float64] | None:
    """How far the interval reaches below and above the estimate, shape (2, B)."""
    if f"{column}_low" not in curve:
        return None
    lengths = [curve[column] - curve[f"{column}_low"], curve[f"{column}_high"] - curve[column]]
    # A BCa interval need not hold the estimate; error bars cannot show that, they start at it.
    return np.stack([np.maximum(length, 0) for length in lengths])


def _mark_diverged(axes: Axes, rows: pd.DataFrame, column: str) -> None:
    """A cross on every point whose trials diverged in part; such trials are left out of it."""
    if "diverged_trials" not in rows:  # not a table of statistics
        return
    diverged = rows[rows["diverged_trials"] > 0].dropna(subset=column)
    if not diverged.empty:
        axes.plot(
            diverged["batch_size"],
            diverged[column],
            color="black",
            linestyle="none",
            marker="x",
            markersize=6,
            zorder=4,
            label="some trials diverged, left out",
        )


def _note_missing(axes: Axes, rows: pd.DataFrame, column: str) -> None:
    """Say which checkpoints have no value at all; single missing values are gaps in a curve."""
    epochs = epochs_of(rows)
    missing = [epoch for epoch in epochs if of_epoch(rows, epoch)[column].isna().all()]
    if missing:
        protocol = rows["protocol"].iloc[0]
        lines = (f"no value: {protocol}, {epoch_label(epoch, epochs)}" for epoch in missing)
        note(axes, "\n".join(lines))
