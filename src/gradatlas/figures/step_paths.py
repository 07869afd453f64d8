"""The article's picture of arrows, drawn from the steps of a real trial."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradatlas.figures.style import (
    CONTRAST,
    GREY,
    batch_size_colours,
    checkpoints,
    colour_of,
    figure_width,
    shared_legend,
)

Point = NDArray[np.float64]


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


def _draw_arrow(axes: Axes, start: Point, end: Point, colour: str, label: str) -> None:
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
