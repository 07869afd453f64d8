"""Where the spread comes from, and how noisy the gradient of a single sample is."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from gradatlas.figures.curves import draw_intervals
from gradatlas.figures.reading import epochs_of, of_protocols
from gradatlas.figures.style import (
    COLUMN_WIDTH,
    REFERENCE,
    epoch_colours,
    epoch_label,
    epoch_markers,
    interval_label,
    legend_below,
    logarithmic_batch_axis,
    nothing_to_draw,
    plain_logarithmic_ticks,
)


def variance_sources(table: pd.DataFrame, protocol: str, confidence: float) -> Figure:
    """Share of the samples in the variance of the norm; the rest is their order.

    Args:
        table: Table of the sources of variance.
        protocol: A protocol whose trials share sample sets.
        confidence: Confidence level of the intervals.
    """
    rows = of_protocols(table, protocol)
    if rows.empty:
        return nothing_to_draw(f"too few trials of {protocol} to split their variance")
    figure = Figure()
    axes = figure.subplots()
    axes.axhline(0.5, color=REFERENCE, linestyle="--", linewidth=0.8, label="half and half")
    draw_intervals(axes, rows, "sample_share", [protocol])
    logarithmic_batch_axis(axes, rows["batch_size"])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.03)
    axes.set_ylabel("variance of |S| due to samples (%)")
    sets, orders = rows["sample_sets"].iloc[0], rows["orders"].iloc[0]
    axes.set_title(f"{interval_label(confidence)}, {sets} sample sets in {orders:g} orders each")
    axes.legend()
    return figure


def noise_scale(table: pd.DataFrame, protocol: str, confidence: float) -> Figure:
    """Gradient noise scale of each checkpoint, by two independent estimators.

    Args:
        table: Table of noise scales.
        protocol: A protocol whose weights stay at the checkpoint.
        confidence: Confidence level of the intervals.
    """
    rows = of_protocols(table, protocol)
    if rows.empty:
        return nothing_to_draw(f"too few trials of {protocol} for a noise scale")
    epochs = epochs_of(rows)
    figure = Figure(figsize=(COLUMN_WIDTH, 3.2))
    axes = figure.subplots()
    for epoch in epochs:
        members = rows[rows["epoch"] == epoch]
        two_sizes = members["estimator"] == "two batch sizes"
        _draw_estimates(axes, members[two_sizes], epochs, "two batch sizes", "white")
        _draw_estimates(axes, members[~two_sizes], epochs, "covariance of trials", None)
    logarithmic_batch_axis(axes, rows["small_batch"])
    axes.set_xlabel("smaller batch size B (samples)")
    if (rows["noise_scale"] > 0).all():
        plain_logarithmic_ticks(axes)
    axes.set_ylabel("noise scale tr Σ / |G|² (samples)")
    axes.set_title(f"{interval_label(confidence)}; arrows: no upper end")
    legend_below(figure, axes, columns=1)
    return figure


def _draw_estimates(
    axes: Axes, rows: pd.DataFrame, epochs: list[int], estimator: str, fill: str | None
) -> None:
    """Points with intervals; one without an upper end, |G|^2 being too near 0, is an arrow."""
    if rows.empty:
        return
    epoch = int(rows["epoch"].iloc[0])
    estimate = rows["noise_scale"].to_numpy()
    below = np.maximum(estimate - rows["noise_scale_low"].to_numpy(), 0)
    above = np.maximum(rows["noise_scale_high"].to_numpy() - estimate, 0)
    unbounded = np.isnan(above) & ~np.isnan(below)
    colour = epoch_colours(epochs)[epoch]
    axes.errorbar(
        rows["small_batch"],
        estimate,
        yerr=[below, np.where(unbounded, np.abs(estimate) / 3, above)],
        lolims=unbounded,
        color=colour,
        marker=epoch_markers(epochs)[epoch],
        markerfacecolor=fill or colour,
        linestyle="none",
        label=f"{epoch_label(epoch, epochs)}, {estimator}",
    )
