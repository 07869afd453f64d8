"""The article's picture of arrows, drawn from the steps of a real trial."""

from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradatlas.figures.reading import epochs_of
from gradatlas.figures.style import (
    REFERENCE,
    batch_size_colours,
    colour_of,
    epoch_label,
    figure_width,
)

Point = NDArray[np.float64]
Place = Literal["outside upper center", "outside lower center"]

ONE_BY_ONE = "#D55E00"
TOGETHER = "black"


def steps(table: pd.DataFrame) -> Figure:
    """One step at batch size 2 beside two at batch size 1, and a whole trial at several sizes.

    Every panel looks at the plane that holds S at its largest batch size, the x axis, and as much
    as possible of everything else.

    Args:
        table: Table of ``gradatlas.collect.trajectory.trace_steps``.
    """
    epochs = epochs_of(table)
    figure = Figure(figsize=(figure_width(len(epochs)), 1.9 + 1.3 * len(epochs)))
    grid = figure.add_gridspec(1 + len(epochs), len(epochs))
    for place, epoch in enumerate(epochs):
        rows = table[table["epoch"] == epoch]
        pair = figure.add_subplot(grid[0, place])
        trial = figure.add_subplot(grid[1 + place, :])
        _draw_two_samples(pair, rows[rows["picture"] == "two samples"])
        _draw_trial(trial, rows[rows["picture"] == "trial"])
        pair.set_title(epoch_label(epoch, epochs))
        trial.set_title(f"{rows['samples'].max()} samples, {epoch_label(epoch, epochs)}")
        if place == 0:
            _add_legend(figure, pair, "outside upper center", columns=1)
            _add_legend(figure, trial, "outside lower center", columns=3)
    for axes in figure.axes:
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.1)
        axes.set_ylabel("across (nats)")
    figure.axes[-1].set_xlabel("along S of the largest batch size (nats)")
    return figure


def _draw_two_samples(axes: Axes, rows: pd.DataFrame) -> None:
    apart = rows[rows["batch_size"] == 1][["x", "y"]].to_numpy()  # (0, after 1, after 2)
    together = rows[rows["batch_size"] == 2][["x", "y"]].to_numpy()  # (0, after 2)
    _draw_arrow(axes, together[0], together[-1], TOGETHER, "2 samples in one step, B = 2")
    for start, end in pairwise(apart):
        _draw_arrow(axes, start, end, ONE_BY_ONE, "the same 2 in two steps, B = 1")
    # Without the first step the second gradient would have led to the sum of the one step.
    axes.plot(
        *np.stack([apart[1], together[-1]]).T,
        color=REFERENCE,
        linestyle=":",
        label="the second, had the weights not moved",
    )
    axes.update_datalim(np.concatenate([apart, together]))
    axes.autoscale_view()


def _draw_arrow(axes: Axes, start: Point, end: Point, colour: str, label: str) -> None:
    axes.quiver(
        *start,
        *(end - start),
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.012,
        color=colour,
        label=label,
        zorder=3,
    )


def _draw_trial(axes: Axes, rows: pd.DataFrame) -> None:
    colours = batch_size_colours(rows["batch_size"])
    for batch_size, path in rows.groupby("batch_size"):
        axes.plot(
            path["x"],
            path["y"],
            color=colour_of(int(path["batch_size"].iloc[0]), colours),
            marker="o",
            markevery=[-1],
            label=f"B = {batch_size}",
        )


def _add_legend(figure: Figure, axes: Axes, place: Place, columns: int) -> None:
    """One legend for all panels like this one, each name once."""
    handles, labels = axes.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    figure.legend([*named.values()], [*named], loc=place, ncols=columns)
