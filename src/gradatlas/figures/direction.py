"""Where the summed gradient points: how much its steps cancel, how it turns with batch size."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from gradatlas.figures.curves import draw_intervals
from gradatlas.figures.reading import of_protocols
from gradatlas.figures.style import (
    COLUMN_WIDTH,
    interval_label,
    legend_below,
    logarithmic_batch_axis,
    trials_label,
)


def cancellation(statistics: pd.DataFrame, protocols: Sequence[str], confidence: float) -> Figure:
    """Norm of the sum over sum of the norms, 1 where all steps of a trial point the same way.

    Args:
        statistics: Table of statistics.
        protocols: The protocol to show, then those to compare it with.
        confidence: Confidence level of the intervals.
    """
    figure = _against_batch_size(statistics, "cancellation", protocols, confidence)
    figure.axes[0].set_ylabel("|S| / path length (1: no cancellation)")
    return figure


def direction(statistics: pd.DataFrame, protocol: str, confidence: float) -> Figure:
    """Mean cosine between S and the S of the same samples as one batch.

    Args:
        statistics: Table of statistics.
        protocol: The protocol to show.
        confidence: Confidence level of the intervals.
    """
    figure = _against_batch_size(statistics, "cosine_to_largest_batch", [protocol], confidence)
    largest = of_protocols(statistics, protocol)["batch_size"].max()
    figure.axes[0].set_ylabel(f"cosine to S at B = {largest}, same samples")
    return figure


def _against_batch_size(
    statistics: pd.DataFrame, column: str, protocols: Sequence[str], confidence: float
) -> Figure:
    rows = of_protocols(statistics, *protocols)
    figure = Figure(figsize=(COLUMN_WIDTH, 2.9))
    axes = figure.subplots()
    draw_intervals(axes, rows, column, protocols)
    logarithmic_batch_axis(axes, rows["batch_size"])
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.03)
    axes.set_title(f"mean, {interval_label(confidence)}, {trials_label(rows['trials'])}")
    legend_below(figure, axes)
    return figure
