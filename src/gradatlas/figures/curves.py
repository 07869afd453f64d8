"""Curves of the tables against batch size, and of the training run against its epochs.

Every function draws one figure. ``statistics`` is the table of statistics; ``protocol`` is the one
to show, of several the first, which the others are compared with; ``confidence`` is the level of
the table's intervals. One colour is one checkpoint, one line style one protocol.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from gradatlas.figures.inputs import Summary, of_protocols
from gradatlas.figures.style import (
    COLUMN_WIDTH,
    REFERENCE,
    Look,
    checkpoints,
    interval_label,
    logarithmic_batch_axis,
    looks,
    note,
    plain_logarithmic_ticks,
    share_limits,
    shared_legend,
    trials_label,
)

LINES = ("-", "--", ":", "-.")
GAUSSIAN = {"skewness": 0.0, "excess_kurtosis": 0.0, "l_skewness": 0.0, "l_kurtosis": 0.1226}
SPLITS = {"test": "-", "train": ":"}


def norm_vs_batch_size(statistics: pd.DataFrame, protocol: str) -> Figure:
    """Mean norm of S with error bars of one standard deviation, as the article drew it.

    Above on a linear axis, below on logarithmic ones. The dashed curves grow like sqrt(B) and go
    through the point of the largest batch size.
    """
    rows = of_protocols(statistics, protocol)
    figure, linear, logarithmic = _on_two_scales(rows, protocol, "mean_norm", "std_norm")
    low, high = _limits(rows, "mean_norm", "std_norm")
    plain_logarithmic_ticks(logarithmic)
    for axes in (linear, logarithmic):
        _draw_square_root(axes, rows)
        axes.set_ylabel("gradient norm |S| (nats)")
    linear.set_ylim(0, 1.05 * high)
    linear.legend()
    logarithmic.set(ylim=(0.8 * low, 1.2 * high), title="the same on logarithmic axes")
    return figure


def normalised_norm_vs_batch_size(statistics: pd.DataFrame, protocol: str) -> Figure:
    """Spread of the norm once every mean is scaled to that of the largest batch size."""
    rows = of_protocols(statistics, protocol)
    columns = "normalised_mean", "normalised_std"
    figure, linear, logarithmic = _on_two_scales(rows, protocol, *columns)
    for axes in (linear, logarithmic):
        axes.set(ylabel="scaled norm |S| (nats)", ylim=(0, 1.15 * _limits(rows, *columns)[1]))
    linear.legend()
    logarithmic.set_title(f"each B scaled to the mean at B = {rows['batch_size'].max()}, log axis")
    return figure


def relative_spread(
    statistics: pd.DataFrame, protocols: Sequence[str], confidence: float
) -> Figure:
    """Standard deviation over mean of the norm."""
    rows = of_protocols(statistics, *protocols)
    figure, axes = _with_intervals(rows, "relative_std", protocols, interval_label(confidence))
    axes.set(ylabel="standard deviation / mean of |S|", ylim=(0, None))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    return figure


def coherence(statistics: pd.DataFrame, protocols: Sequence[str], confidence: float) -> Figure:
    """Norm of the sum over sum of the norms, 1 where all steps of a trial point the same way."""
    rows = of_protocols(statistics, *protocols)
    title = f"mean, {interval_label(confidence)}"
    figure, axes = _with_intervals(rows, "coherence", protocols, title)
    axes.set(ylabel="coherence |S| / path length", ylim=share_limits(axes))
    return figure


def direction(statistics: pd.DataFrame, protocol: str, confidence: float) -> Figure:
    """Mean cosine between S and the S of the same samples as one batch."""
    rows = of_protocols(statistics, protocol)
    title = f"mean, {interval_label(confidence)}"
    figure, axes = _with_intervals(rows, "cosine_to_largest_batch", [protocol], title)
    name = f"cosine to S at B = {rows['batch_size'].max()}, same samples"
    axes.set(ylabel=name, ylim=share_limits(axes))
    return figure


def moments(statistics: pd.DataFrame, protocol: str, confidence: float) -> Figure:
    """Skewness and kurtosis of the norm over trials, and their robust counterparts."""
    rows = of_protocols(statistics, protocol)
    figure = Figure(figsize=(COLUMN_WIDTH, 3.6))
    panels = figure.subplots(2, 2, sharex=True)
    for axes, (column, gaussian) in zip(panels.flat, GAUSSIAN.items(), strict=True):
        axes.axhline(gaussian, label="Gaussian", **REFERENCE)
        draw_curves(axes, rows, column, [protocol])
        logarithmic_batch_axis(axes, rows["batch_size"], ticks=3)
        axes.set_title(column.replace("l_", "L-").replace("_", " "))
    for axes in panels[0]:
        axes.set_xlabel("")
    shared_legend(figure, panels[0, 0], columns=3)
    figure.suptitle(
        f"norm |S| over {trials_label(rows['trials'])}; bars: {interval_label(confidence)}"
    )
    return figure


def training(table: pd.DataFrame, kept: Iterable[int]) -> Figure:
    """Loss and accuracy of the training run after every epoch, the checkpoints marked.

    Args:
        table: Table of the training run.
        kept: Epochs of the checkpoints; one that stands there twice counts once.
    """
    figure = Figure(figsize=(COLUMN_WIDTH, 3.6))
    loss, accuracy = figure.subplots(2, sharex=True)
    _draw_training(loss, table, "loss", kept)
    _draw_training(accuracy, table, "accuracy", kept)
    loss.set(ylabel="mean loss (nats)", ylim=(0, None))
    loss.legend()
    accuracy.set(xlabel="epoch", ylabel="accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    accuracy.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def draw_curves(
    axes: Axes,
    table: pd.DataFrame,
    column: str,
    protocols: Sequence[str],
    deviation: str | None = None,
) -> None:
    """A curve a checkpoint and protocol, with error bars.

    Args:
        axes: Where to draw.
        table: Sorted by batch size; intervals are in the columns ``_low`` and ``_high``, if there
            are any.
        column: Column to draw.
        protocols: Protocols to compare; all but the first have open markers and broken lines.
        deviation: Column that error bars show in place of intervals.
    """
    for protocol, line in zip(protocols, LINES * len(protocols), strict=False):
        rows = of_protocols(table, protocol)
        curves = checkpoints(rows)
        for look, curve in curves:
            axes.errorbar(
                curve["batch_size"],
                curve[column],
                yerr=curve[deviation] if deviation else _interval_lengths(curve, column),
                fmt=look.marker + line,
                color=look.colour,
                markerfacecolor=look.colour if line == "-" else "white",
                label=look.label if len(protocols) == 1 else f"{protocol}, {look.label}",
            )
        _mark_diverged(axes, rows, column)
        _note_missing(axes, curves, column, protocol)


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
        label = "some trials diverged, left out"
        points = diverged["batch_size"], diverged[column]
        axes.plot(*points, "x", color="black", markersize=6, zorder=4, label=label)


def _note_missing(
    axes: Axes, curves: Sequence[tuple[Look, pd.DataFrame]], column: str, protocol: str
) -> None:
    """Say which checkpoints have no value at all; single missing values are gaps in a curve."""
    missing = [look.label for look, curve in curves if curve[column].isna().all()]
    if missing:
        note(axes, "\n".join(f"no value: {protocol}, {label}" for label in missing))


def _on_two_scales(
    rows: pd.DataFrame, protocol: str, mean: str, deviation: str
) -> tuple[Figure, Axes, Axes]:
    """Mean and standard deviation, above on a linear axis of batch sizes, then a logarithmic."""
    figure = Figure(figsize=(COLUMN_WIDTH, 4.6))
    linear, logarithmic = figure.subplots(2)
    for axes in (linear, logarithmic):
        draw_curves(axes, rows, mean, [protocol], deviation)
    title = f"mean ± 1 standard deviation, {trials_label(rows['trials'])}"
    linear.set(xlabel="batch size B (samples)", title=title)
    logarithmic_batch_axis(logarithmic, rows["batch_size"])
    return figure, linear, logarithmic


def _with_intervals(
    rows: pd.DataFrame, column: str, protocols: Sequence[str], title: str
) -> tuple[Figure, Axes]:
    """One panel with the intervals of the table."""
    figure = Figure(figsize=(COLUMN_WIDTH, 2.9))
    axes = figure.subplots()
    draw_curves(axes, rows, column, protocols)
    logarithmic_batch_axis(axes, rows["batch_size"])
    axes.set_title(f"{title}, {trials_label(rows['trials'])}")
    shared_legend(figure, axes)
    return figure, axes


def _draw_square_root(axes: Axes, rows: pd.DataFrame) -> None:
    """Through the largest batch size of each checkpoint, a curve that grows like sqrt(B)."""
    label: str | None = "∝ √B through the largest B"
    for _, curve in checkpoints(rows.dropna(subset="mean_norm")):
        largest = curve.iloc[-1]
        batch_sizes = np.geomspace(curve["batch_size"].iloc[0], largest["batch_size"], 200)
        square_root = largest["mean_norm"] * np.sqrt(batch_sizes / largest["batch_size"])
        axes.plot(batch_sizes, square_root, label=label, zorder=1, **REFERENCE)
        label = None


def _limits(rows: pd.DataFrame, mean: str, deviation: str) -> tuple[float, float]:
    """Lowest positive and highest end of the error bars; 1 where there is nothing to draw."""
    spread = rows[deviation].fillna(0)
    ends = pd.concat([rows[mean] - spread, rows[mean], rows[mean] + spread])
    positive = ends[ends > 0]
    return (1.0, 1.0) if positive.empty else (float(positive.min()), float(positive.max()))


def _draw_training(axes: Axes, table: pd.DataFrame, quantity: str, kept: Iterable[int]) -> None:
    for split, line in SPLITS.items():
        column = table[f"{split}_{quantity}"]
        axes.plot(table["epoch"], column, line, color="black", label=split)
    for epoch, look in looks(kept).items():
        axes.axvline(epoch, color=look.colour, linewidth=4, alpha=0.35, zorder=0)
        at = table[table["epoch"] == epoch]
        label = f"checkpoint, {look.label}"
        axes.plot(
            at["epoch"], at[f"test_{quantity}"], "o", color=look.colour, markersize=5, label=label
        )


#: What draws each figure, by its name. A further one needs an entry here, and a line in
#: ``workflow/rules/figures.smk``.
FIGURES: dict[str, Callable[[Summary], Figure]] = {
    "norm_vs_batch_size": lambda s: norm_vs_batch_size(s.tables["statistics"], s.main),
    "normalised_norm_vs_batch_size": lambda s: normalised_norm_vs_batch_size(
        s.tables["statistics"], s.main
    ),
    "relative_spread": lambda s: relative_spread(s.tables["statistics"], s.compared, s.confidence),
    "moments": lambda s: moments(s.tables["statistics"], s.main, s.confidence),
    "coherence": lambda s: coherence(s.tables["statistics"], s.compared, s.confidence),
    "direction": lambda s: direction(s.tables["statistics"], s.main, s.confidence),
    "training": lambda s: training(s.tables["training"], s.tables["statistics"]["epoch"]),
}
