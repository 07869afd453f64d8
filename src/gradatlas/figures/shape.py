"""How the norms of single trials are distributed: moments, distributions, tails."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.special import ndtr

from gradatlas.figures.curves import draw_intervals
from gradatlas.figures.reading import of_protocols
from gradatlas.figures.style import (
    COLUMN_WIDTH,
    REFERENCE,
    batch_size_colours,
    colour_of,
    epoch_colours,
    epoch_label,
    figure_width,
    interval_label,
    logarithmic_batch_axis,
    note,
    nothing_to_draw,
    trials_label,
)
from gradatlas.figures.trials import BatchSize, by_epoch

GAUSSIAN = {"skewness": 0.0, "excess_kurtosis": 0.0, "l_skewness": 0.0, "l_kurtosis": 0.1226}
GAUSSIAN_FROM, GAUSSIAN_TO = -2.5, 5.0  # standard deviations


def moments(statistics: pd.DataFrame, protocol: str, confidence: float) -> Figure:
    """Skewness and kurtosis of the norm over trials, and their robust counterparts.

    Args:
        statistics: Table of statistics.
        protocol: The protocol to show.
        confidence: Confidence level of the intervals.
    """
    rows = of_protocols(statistics, protocol)
    figure = Figure(figsize=(COLUMN_WIDTH, 3.6))
    panels = figure.subplots(2, 2, sharex=True)
    for axes, (column, gaussian) in zip(panels.flat, GAUSSIAN.items(), strict=True):
        axes.axhline(gaussian, color=REFERENCE, linestyle="--", linewidth=0.8, label="Gaussian")
        draw_intervals(axes, rows, column, [protocol])
        logarithmic_batch_axis(axes, rows["batch_size"], ticks=3)
        axes.set_title(_title(column))
    for axes in panels[0]:
        axes.set_xlabel("")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    figure.suptitle(
        f"norm |S| over {trials_label(rows['trials'])}; bars: {interval_label(confidence)}"
    )
    return figure


def _title(column: str) -> str:
    return column.replace("l_", "L-").replace("_", " ")


def norm_distribution(batch_sizes: Sequence[BatchSize]) -> Figure:
    """Histograms of the norm's deviation from its mean, one a batch size and checkpoint.

    Args:
        batch_sizes: One protocol's batch sizes at all checkpoints.
    """
    if not any(map(_has_spread, batch_sizes)):
        return nothing_to_draw("too few trials for a distribution")
    columns = by_epoch(batch_sizes)
    sizes = sorted({item.batch_size for item in batch_sizes})
    figure = Figure(figsize=(figure_width(len(columns)), max(2.0, 1.1 + 0.22 * len(sizes))))
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    colours = epoch_colours([*columns])
    for axes, (epoch, members) in zip(panels, columns.items(), strict=True):
        for item in members:
            _draw_ridge(axes, item, sizes.index(item.batch_size), colours[epoch])
        if not any(map(_has_spread, members)):
            note(axes, "no trials to show")
        axes.set_title(epoch_label(epoch, [*columns]))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
        axes.set_xlim(*_symmetric(axes.get_xlim()))
    panels[0].set_yticks(range(len(sizes)), [str(size) for size in sizes])
    panels[0].set_ylabel("batch size B (samples)")
    figure.supxlabel("deviation of |S| from its mean (%)")
    trials = trials_label([len(item.norm) for item in batch_sizes])
    figure.suptitle(f"{trials}; each histogram scaled to the same height")
    return figure


def _draw_ridge(axes: Axes, item: BatchSize, base: int, colour: str) -> None:
    """A histogram that stands on a line at ``base``; nothing without a spread to show."""
    if not _has_spread(item):
        return
    counts, edges = np.histogram(item.norm / item.norm.mean() - 1, bins="sqrt")
    axes.stairs(
        base + 0.9 * counts / counts.max(),
        edges,
        baseline=base,
        fill=True,
        facecolor=colour,
        linewidth=0,
        label=str(item.batch_size),
    )


def _has_spread(item: BatchSize) -> bool:
    return len(item.norm) > 1 and float(np.ptp(item.norm)) > 0


def _symmetric(limits: tuple[float, float]) -> tuple[float, float]:
    reach = max(map(abs, limits))
    return -reach, reach


def tails(batch_sizes: Sequence[BatchSize]) -> Figure:
    """Survival function of the standardised norm, and Hill's tail index against its k.

    Args:
        batch_sizes: One protocol's batch sizes at all checkpoints.
    """
    if not any(map(_has_spread, batch_sizes)):
        return nothing_to_draw("too few trials for tails")
    columns = by_epoch(batch_sizes)
    figure = Figure(figsize=(figure_width(len(columns)), 4.0))
    panels = figure.subplots(2, len(columns), sharey="row", squeeze=False)
    colours = batch_size_colours([item.batch_size for item in batch_sizes])
    for (above, below), (epoch, members) in zip(panels.T, columns.items(), strict=True):
        for item in members:
            colour = colour_of(item.batch_size, colours)
            _draw_survival(above, item, colour)
            _draw_hill(below, item, colour)
        _draw_gaussian_survival(above, members)
        above.set_title(epoch_label(epoch, [*columns]))
        above.set_yscale("log")
        above.set_xlabel("(|S| - mean) / std")
        below.set_xscale("log")
        below.set_yscale("log")
        if not any(np.isfinite(item.hill_plot).any() for item in members):
            below.set_ylim(1, 100)  # a logarithmic axis cannot find limits without data
        below.set_xlabel("largest values k")
    panels[0, 0].set_ylabel("share of trials above")
    panels[0, 0].legend(loc="lower left")
    panels[1, 0].set_ylabel("Hill tail index")
    _add_batch_size_bar(figure, colours, batch_sizes)
    figure.suptitle(trials_label([len(item.norm) for item in batch_sizes]))
    return figure


def _draw_survival(axes: Axes, item: BatchSize, colour: str) -> None:
    if not _has_spread(item):
        return
    values = np.sort((item.norm - item.norm.mean()) / item.norm.std(ddof=1))
    share = 1 - np.arange(len(values)) / len(values)
    axes.step(values, share, color=colour, linewidth=0.7, label=f"_B = {item.batch_size}")


def _draw_gaussian_survival(axes: Axes, members: Sequence[BatchSize]) -> None:
    lowest = 0.5 / max(1, *(len(item.norm) for item in members))
    x = np.linspace(GAUSSIAN_FROM, GAUSSIAN_TO, 200)
    survival = ndtr(-x)
    shown = survival > lowest
    axes.plot(x[shown], survival[shown], color="black", linestyle="--", label="Gaussian")


def _draw_hill(axes: Axes, item: BatchSize, colour: str) -> None:
    index = np.where(np.isfinite(item.hill_plot), item.hill_plot, np.nan)
    k = np.arange(1, len(index) + 1)
    axes.plot(k, index, color=colour, linewidth=0.7, label=f"_B = {item.batch_size}")


def _add_batch_size_bar(
    figure: Figure, colours: ScalarMappable, batch_sizes: Sequence[BatchSize]
) -> None:
    bar = figure.colorbar(
        colours, ax=figure.axes, location="bottom", aspect=40, label="batch size B (samples)"
    )
    logarithmic_batch_axis(bar.ax, [item.batch_size for item in batch_sizes])
    bar.ax.set_xlim(*colours.get_clim())
