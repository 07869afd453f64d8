"""The article's two figures: how long the summed gradient is, and how much that varies."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradatlas.figures.reading import epochs_of, of_epoch, of_protocol
from gradatlas.figures.remarks import mark_diverged, note_missing
from gradatlas.figures.style import (
    COLUMN_WIDTH,
    REFERENCE,
    count_label,
    epoch_colours,
    epoch_label,
    epoch_markers,
    logarithmic_batch_axis,
    plain_logarithmic_ticks,
)


def norm_vs_batch_size(statistics: pd.DataFrame, protocol: str) -> Figure:
    """Mean norm of S with error bars of one standard deviation, as the article drew it.

    Above on a linear axis, below on logarithmic ones. The dashed curves grow like sqrt(B) and go
    through the point of the largest batch size.

    Args:
        statistics: Table of statistics.
        protocol: The protocol to show.
    """
    rows = of_protocol(statistics, protocol)
    figure = Figure(figsize=(COLUMN_WIDTH, 4.6))
    linear, logarithmic = figure.subplots(2)
    for axes in (linear, logarithmic):
        _draw_epochs(axes, rows, "mean_norm", "std_norm")
        axes.set_ylabel("gradient norm |S| (nats)")
    limits = _limits(rows, "mean_norm", "std_norm")
    _draw_square_root(linear, rows)
    linear.set_ylim(0, 1.05 * limits[1])
    linear.set_xlabel("batch size B (samples)")
    linear.set_title(f"mean ± 1 standard deviation, {count_label(rows['trials'], 'trials')}")
    linear.legend()
    logarithmic_batch_axis(logarithmic, rows["batch_size"])
    plain_logarithmic_ticks(logarithmic)
    _draw_square_root(logarithmic, rows)
    logarithmic.set_ylim(0.8 * limits[0], 1.2 * limits[1])
    logarithmic.set_title("the same on logarithmic axes")
    return figure


def normalised_norm_vs_batch_size(statistics: pd.DataFrame, protocol: str) -> Figure:
    """Spread of the norm once every mean is scaled to that of the largest batch size.

    Args:
        statistics: Table of statistics.
        protocol: The protocol to show.
    """
    rows = of_protocol(statistics, protocol)
    figure = Figure(figsize=(COLUMN_WIDTH, 4.6))
    linear, logarithmic = figure.subplots(2, sharey=True)
    for axes in (linear, logarithmic):
        _draw_epochs(axes, rows, "normalised_mean", "normalised_std")
        axes.set_ylabel(f"|S| scaled to the mean at B = {rows['batch_size'].max()} (nats)")
    linear.set_ylim(0, 1.15 * _limits(rows, "normalised_mean", "normalised_std")[1])
    linear.set_xlabel("batch size B (samples)")
    linear.set_title(f"mean ± 1 standard deviation, {count_label(rows['trials'], 'trials')}")
    linear.legend()
    logarithmic_batch_axis(logarithmic, rows["batch_size"])
    logarithmic.set_title("the same on a logarithmic axis of batch sizes")
    return figure


def _draw_epochs(axes: Axes, rows: pd.DataFrame, mean: str, deviation: str) -> None:
    epochs = epochs_of(rows)
    colours, markers = epoch_colours(epochs), epoch_markers(epochs)
    for epoch in epochs:
        curve = of_epoch(rows, epoch)
        axes.errorbar(
            curve["batch_size"],
            curve[mean],
            yerr=curve[deviation],
            color=colours[epoch],
            marker=markers[epoch],
            label=epoch_label(epoch, epochs),
        )
    mark_diverged(axes, rows, mean)
    note_missing(axes, rows, mean)


def _draw_square_root(axes: Axes, rows: pd.DataFrame) -> None:
    """Through the largest batch size of each checkpoint, a curve that grows like sqrt(B)."""
    label: str | None = "∝ √B through the largest B"
    for epoch in epochs_of(rows):
        curve = of_epoch(rows, epoch).dropna(subset="mean_norm")
        if curve.empty:
            continue
        largest = curve.iloc[-1]
        batch_sizes = np.geomspace(curve["batch_size"].iloc[0], largest["batch_size"], 200)
        axes.plot(
            batch_sizes,
            largest["mean_norm"] * np.sqrt(batch_sizes / largest["batch_size"]),
            color=REFERENCE,
            linestyle="--",
            linewidth=0.8,
            label=label,
            zorder=1,
        )
        label = None


def _limits(rows: pd.DataFrame, mean: str, deviation: str) -> tuple[float, float]:
    """Lowest positive and highest end of the error bars; 1 where there is nothing to draw."""
    spread = rows[deviation].fillna(0)
    ends = pd.concat([rows[mean] - spread, rows[mean], rows[mean] + spread])
    positive = ends[ends > 0]
    return (1.0, 1.0) if positive.empty else (float(positive.min()), float(positive.max()))
