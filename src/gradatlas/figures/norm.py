"""The article's two figures: how long the summed gradient is, and how much that varies."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from gradatlas.figures.curves import draw_deviations, draw_intervals
from gradatlas.figures.reading import epochs_of, of_epoch, of_protocols
from gradatlas.figures.style import (
    COLUMN_WIDTH,
    REFERENCE,
    interval_label,
    legend_below,
    logarithmic_batch_axis,
    plain_logarithmic_ticks,
    trials_label,
)


def norm_vs_batch_size(statistics: pd.DataFrame, protocol: str) -> Figure:
    """Mean norm of S with error bars of one standard deviation, as the article drew it.

    Above on a linear axis, below on logarithmic ones. The dashed curves grow like sqrt(B) and go
    through the point of the largest batch size.

    Args:
        statistics: Table of statistics.
        protocol: The protocol to show.
    """
    rows = of_protocols(statistics, protocol)
    figure = Figure(figsize=(COLUMN_WIDTH, 4.6))
    linear, logarithmic = figure.subplots(2)
    for axes in (linear, logarithmic):
        draw_deviations(axes, rows, "mean_norm", "std_norm")
        axes.set_ylabel("gradient norm |S| (nats)")
    limits = _limits(rows, "mean_norm", "std_norm")
    _draw_square_root(linear, rows)
    linear.set_ylim(0, 1.05 * limits[1])
    linear.set_xlabel("batch size B (samples)")
    linear.set_title(f"mean ± 1 standard deviation, {trials_label(rows['trials'])}")
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
    rows = of_protocols(statistics, protocol)
    figure = Figure(figsize=(COLUMN_WIDTH, 4.6))
    linear, logarithmic = figure.subplots(2, sharey=True)
    for axes in (linear, logarithmic):
        draw_deviations(axes, rows, "normalised_mean", "normalised_std")
        axes.set_ylabel("scaled norm |S| (nats)")
    linear.set_ylim(0, 1.15 * _limits(rows, "normalised_mean", "normalised_std")[1])
    linear.set_xlabel("batch size B (samples)")
    linear.set_title(f"mean ± 1 standard deviation, {trials_label(rows['trials'])}")
    linear.legend()
    logarithmic_batch_axis(logarithmic, rows["batch_size"])
    logarithmic.set_title(f"each B scaled to the mean at B = {rows['batch_size'].max()}, log axis")
    return figure


def relative_spread(
    statistics: pd.DataFrame, protocols: Sequence[str], confidence: float
) -> Figure:
    """Standard deviation over mean of the norm, with confidence intervals.

    Args:
        statistics: Table of statistics.
        protocols: The protocol to show, then those to compare it with.
        confidence: Confidence level of the intervals.
    """
    rows = of_protocols(statistics, *protocols)
    figure = Figure(figsize=(COLUMN_WIDTH, 2.9))
    axes = figure.subplots()
    draw_intervals(axes, rows, "relative_std", protocols)
    logarithmic_batch_axis(axes, rows["batch_size"])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    axes.set_ylabel("standard deviation / mean of |S|")
    axes.set_title(f"{interval_label(confidence)}, {trials_label(rows['trials'])}")
    legend_below(figure, axes)
    return figure


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
