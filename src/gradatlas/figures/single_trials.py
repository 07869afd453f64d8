"""Single trials and single weights: distributions of the norm, maps, and the steps of one trial.

The first three figures show one protocol's batch sizes, a column of panels a checkpoint; the last
is the article's picture of arrows, drawn from the steps of a real trial.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import AsinhNorm, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from scipy.special import ndtr

from gradatlas.figures.inputs import Array, BatchSize
from gradatlas.figures.style import (
    COLUMN_WIDTH,
    CONTRAST,
    GREY,
    Look,
    batch_size_colours,
    checkpoints,
    colour_of,
    figure_width,
    logarithmic_batch_axis,
    looks,
    note,
    nothing_to_draw,
    shared_legend,
    trials_label,
)

GAUSSIAN_FROM, GAUSSIAN_TO = -2.5, 5.0  # standard deviations
# Colours span this share of the values: single extreme weights do not fade out all others.
SHOWN_SHARE = 0.995
LINEAR_SHARE = 0.02


def norm_distribution(batch_sizes: Sequence[BatchSize]) -> Figure:
    """Histograms of the norm's deviation from its mean, one a batch size and checkpoint."""
    if not any(item.has_spread for item in batch_sizes):
        return nothing_to_draw("too few trials for a distribution")
    columns = _by_checkpoint(batch_sizes)
    sizes = sorted({item.settings.batch_size for item in batch_sizes})
    figure = Figure(figsize=(figure_width(len(columns)), max(2.0, 1.1 + 0.22 * len(sizes))))
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axes, (look, members) in zip(panels, columns, strict=True):
        shown = [item for item in members if item.has_spread]
        for item in shown:
            _draw_ridge(axes, item, sizes.index(item.settings.batch_size), look.colour)
        if not shown:
            note(axes, "no trials to show")
        axes.set_title(look.label)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
        reach = max(map(abs, axes.get_xlim()))
        axes.set_xlim(-reach, reach)
    panels[0].set(ylabel="batch size B (samples)", yticks=range(len(sizes)), yticklabels=sizes)
    figure.supxlabel("deviation of |S| from its mean (%)")
    trials = trials_label([len(item.norm) for item in batch_sizes])
    figure.suptitle(f"{trials}; each histogram scaled to the same height")
    return figure


def _by_checkpoint(batch_sizes: Sequence[BatchSize]) -> list[tuple[Look, list[BatchSize]]]:
    """Batch sizes of each checkpoint, both ascending, and how they look."""
    ordered = sorted(batch_sizes, key=lambda item: item.settings.batch_size)
    return [
        (look, [item for item in ordered if item.settings.epoch == epoch])
        for epoch, look in looks(item.settings.epoch for item in ordered).items()
    ]


def _draw_ridge(axes: Axes, item: BatchSize, base: int, colour: str) -> None:
    """A histogram that stands on a line at ``base``."""
    counts, edges = np.histogram(item.norm / item.norm.mean() - 1, bins="sqrt")
    axes.stairs(
        base + 0.9 * counts / counts.max(),
        edges,
        baseline=base,
        fill=True,
        facecolor=colour,
        linewidth=0,
        label=str(item.settings.batch_size),
    )


def tails(batch_sizes: Sequence[BatchSize]) -> Figure:
    """Survival function of the standardised norm, and Hill's tail index against its k."""
    if not any(item.has_spread for item in batch_sizes):
        return nothing_to_draw("too few trials for tails")
    columns = _by_checkpoint(batch_sizes)
    sizes = [item.settings.batch_size for item in batch_sizes]
    figure = Figure(figsize=(figure_width(len(columns)), 4.0))
    panels = figure.subplots(2, len(columns), sharey="row", squeeze=False)
    colours = batch_size_colours(sizes)
    for (above, below), (look, members) in zip(panels.T, columns, strict=True):
        _draw_survival(above, members, colours)
        _draw_hill(below, members, colours)
        above.set_title(look.label)
    panels[0, 0].set_ylabel("share of trials above")
    panels[0, 0].legend(loc="lower left")
    panels[1, 0].set_ylabel("Hill tail index")
    bar = figure.colorbar(
        colours, ax=figure.axes, location="bottom", aspect=40, label="batch size B (samples)"
    )
    logarithmic_batch_axis(bar.ax, sizes)
    bar.ax.set_xlim(*colours.get_clim())
    figure.suptitle(trials_label([len(item.norm) for item in batch_sizes]))
    return figure


def _draw_survival(axes: Axes, members: Sequence[BatchSize], colours: ScalarMappable) -> None:
    """Share of trials above each standardised norm, and a Gaussian's down to half a trial."""
    for item in filter(lambda item: item.has_spread, members):
        values = np.sort((item.norm - item.norm.mean()) / item.norm.std(ddof=1))
        share = 1 - np.arange(len(values)) / len(values)
        size = item.settings.batch_size
        axes.step(
            values, share, color=colour_of(size, colours), linewidth=0.7, label=f"_B = {size}"
        )
    lowest = 0.5 / max(1, *(len(item.norm) for item in members))
    x = np.linspace(GAUSSIAN_FROM, GAUSSIAN_TO, 200)
    shown = ndtr(-x) > lowest
    axes.plot(x[shown], ndtr(-x[shown]), "--", color="black", label="Gaussian")
    axes.set(xlabel="(|S| - mean) / std", yscale="log")


def _draw_hill(axes: Axes, members: Sequence[BatchSize], colours: ScalarMappable) -> None:
    for item in members:
        index = np.where(np.isfinite(item.hill_plot), item.hill_plot, np.nan)
        k = np.arange(1, len(index) + 1)
        size = item.settings.batch_size
        axes.plot(k, index, color=colour_of(size, colours), linewidth=0.7, label=f"_B = {size}")
    axes.set(xlabel="largest values k", xscale="log", yscale="log")
    if not any(np.isfinite(item.hill_plot).any() for item in members):
        axes.set_ylim(1, 100)  # a logarithmic axis cannot find limits without data


def weight_maps(batch_sizes: Sequence[BatchSize]) -> Figure:
    """Maps of mean and variance at the smallest and the largest batch size of each checkpoint.

    Input units are sorted by the norm of their mean gradient at the checkpoint's largest batch
    size; one colour scale serves all maps of a column.
    """
    rows = [
        (item, f"{look.label}, B = {item.settings.batch_size}", _unit_order(members[-1]))
        for look, members in _by_checkpoint(batch_sizes)
        for item in (members if len(members) == 1 else (members[0], members[-1]))
    ]
    figure = Figure(figsize=(COLUMN_WIDTH, 1.2 + 0.75 * len(rows)))
    panels = figure.subplots(len(rows), 2, sharex=True, sharey=True, squeeze=False)
    mean_scale, reach = _mean_scale([item.mean for item, *_ in rows])
    variance_scale = _variance_scale([item.variance for item, *_ in rows])
    for (left, right), (item, title, order) in zip(panels, rows, strict=True):
        means = _draw_map(left, item.mean, order, mean_scale, "PuOr_r")
        variances = _draw_map(right, item.variance, order, variance_scale, "cividis")
        is_last = item.settings.parameter.startswith("last.")
        left.set(title=title, ylabel="class" if is_last else "output unit")
    for axes in panels[-1]:
        axes.set_xlabel("input unit, sorted")
    # The last maps stand for all of their column: these share one scale.
    bars: dict[str, Any] = {"location": "bottom", "extend": "both"}
    decade = 10.0 ** math.floor(math.log10(reach))
    bars_of_means = {**bars, "ticks": [-decade, 0, decade], "format": "%g"}
    figure.colorbar(means, ax=panels[:, 0], label="mean (nats)", **bars_of_means)
    figure.colorbar(variances, ax=panels[:, 1], label="variance (nats²)", **bars)
    return figure


def _matrix(values: Array) -> Array:
    """A map as (output, input); a bias has one input, the constant 1."""
    return values.reshape(len(values), -1)


def _unit_order(item: BatchSize) -> NDArray[np.intp]:
    """Input units from the longest mean gradient to the shortest."""
    return np.argsort(-np.linalg.norm(_matrix(item.mean), axis=0), kind="stable")


def _mean_scale(maps: Sequence[Array]) -> tuple[Normalize, float]:
    """Scale of the colours of all means, and how far it reaches on both sides of zero."""
    values = np.abs(np.concatenate([values.ravel() for values in maps]))
    finite = values[np.isfinite(values)]
    reach = float(np.quantile(finite, SHOWN_SHARE)) if finite.any() else 1.0
    # Nearly logarithmic on both sides of zero, so that the late checkpoint's small means show too.
    return AsinhNorm(LINEAR_SHARE * reach, -reach, reach), reach


def _variance_scale(maps: Sequence[Array]) -> Normalize:
    """Scale of the colours of all variances."""
    values = np.concatenate([values.ravel() for values in maps])
    positive = values[values > 0]
    if not len(positive):
        return LogNorm(1, 10)
    low, high = np.quantile(positive, [1 - SHOWN_SHARE, SHOWN_SHARE])
    return LogNorm(low, max(high, 1.01 * low))


def _draw_map(
    axes: Axes, values: Array, order: NDArray[np.intp], scale: Normalize, colours: str
) -> AxesImage:
    axes.grid(visible=False)
    axes.set_yticks([0, len(values) - 1])
    return axes.imshow(
        _matrix(values)[:, order], norm=scale, cmap=colours, aspect="auto", origin="lower"
    )


def steps(table: pd.DataFrame) -> Figure:
    """One step at batch size 2 beside two at batch size 1, and a whole trial at several sizes.

    Every panel looks at the plane that holds S at its largest batch size, the x axis, and as much
    as possible of everything else.

    Args:
        table: Table of ``gradatlas.collect.trajectory.trace_steps``.
    """
    members = checkpoints(table)
    figure = Figure(figsize=(figure_width(len(members)), 1.9 + 1.3 * len(members)))
    grid = figure.add_gridspec(1 + len(members), len(members))
    for place, (look, rows) in enumerate(members):
        pair = figure.add_subplot(grid[0, place])
        trial = figure.add_subplot(grid[1 + place, :])
        _draw_two_samples(pair, rows[rows["picture"] == "two samples"])
        _draw_trial(trial, rows[rows["picture"] == "trial"])
        pair.set_title(look.label)
        trial.set_title(f"{rows['samples'].max()} samples, {look.label}")
    shared_legend(figure, figure.axes[0], 1, "outside upper center")
    shared_legend(figure, figure.axes[1], 3)
    for axes in figure.axes:
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.1)
        axes.set_ylabel("across (nats)")
    figure.axes[-1].set_xlabel("along S of the largest batch size (nats)")
    return figure


def _draw_two_samples(axes: Axes, rows: pd.DataFrame) -> None:
    apart = rows[rows["batch_size"] == 1][["x", "y"]].to_numpy()  # (0, after 1, after 2)
    together = rows[rows["batch_size"] == 2][["x", "y"]].to_numpy()  # (0, after 2)
    _draw_arrow(axes, together[0], together[-1], "black", "2 samples in one step, B = 2")
    for start, end in pairwise(apart):
        _draw_arrow(axes, start, end, CONTRAST, "the same 2 in two steps, B = 1")
    # Without the first step the second gradient would have led to the sum of the one step.
    unmoved = np.stack([apart[1], together[-1]]).T
    axes.plot(*unmoved, ":", color=GREY, label="the second, had the weights not moved")
    axes.update_datalim(np.concatenate([apart, together]))
    axes.autoscale_view()


def _draw_arrow(axes: Axes, start: Array, end: Array, colour: str, label: str) -> None:
    to_scale: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1}
    axes.quiver(
        *start, *(end - start), width=0.012, color=colour, label=label, zorder=3, **to_scale
    )


def _draw_trial(axes: Axes, rows: pd.DataFrame) -> None:
    colours = batch_size_colours(rows["batch_size"])
    for batch_size in sorted(rows["batch_size"].unique()):
        path = rows[rows["batch_size"] == batch_size]
        colour, label = colour_of(batch_size, colours), f"B = {batch_size}"
        axes.plot(path["x"], path["y"], "o-", color=colour, markevery=[-1], label=label)
