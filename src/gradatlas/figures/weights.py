"""Mean and variance of every single weight's gradient."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import AsinhNorm, LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradatlas.figures.style import COLUMN_WIDTH, epoch_label
from gradatlas.figures.trials import BatchSize, by_epoch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Colours:
    """From value to colour: a scale of values and the name of a colour map."""

    norm: Normalize
    cmap: str

    @property
    def mappable(self) -> ScalarMappable:
        """What a colour bar shows."""
        return ScalarMappable(self.norm, self.cmap)


# Colours span this share of the values: single extreme weights do not fade out all others.
SHOWN_SHARE = 0.995
LINEAR_SHARE = 0.02


def weight_maps(batch_sizes: Sequence[BatchSize]) -> Figure:
    """Maps of mean and variance at the smallest and the largest batch size of each checkpoint.

    Input units are sorted by the norm of their mean gradient at the checkpoint's largest batch
    size; one colour scale serves all maps of a column.

    Args:
        batch_sizes: One protocol's batch sizes at all checkpoints.
    """
    columns = by_epoch(batch_sizes)
    rows = [item for members in columns.values() for item in _smallest_and_largest(members)]
    orders = {epoch: _unit_order(members[-1]) for epoch, members in columns.items()}
    figure = Figure(figsize=(COLUMN_WIDTH, 1.2 + 0.75 * len(rows)))
    panels = figure.subplots(len(rows), 2, sharex=True, sharey=True, squeeze=False)
    mean_colours, variance_colours = _mean_colours(rows), _variance_colours(rows)
    for (left, right), item in zip(panels, rows, strict=True):
        order = orders[item.epoch]
        _draw_map(left, item.mean, order, mean_colours)
        _draw_map(right, item.variance, order, variance_colours)
        left.set_title(f"{epoch_label(item.epoch, [*columns])}, B = {item.batch_size}")
        left.set_ylabel("class" if item.parameter.startswith("last.") else "output unit")
    for axes in panels[-1]:
        axes.set_xlabel("input unit, sorted")
    figure.colorbar(
        mean_colours.mappable,
        ax=panels[:, 0],
        location="bottom",
        extend="both",
        label="mean (nats)",
        ticks=_round_ticks(mean_colours.norm),
        format="%g",
    )
    figure.colorbar(
        variance_colours.mappable,
        ax=panels[:, 1],
        location="bottom",
        extend="both",
        label="variance (nats²)",
    )
    return figure


def _smallest_and_largest(members: Sequence[BatchSize]) -> list[BatchSize]:
    return [members[0], members[-1]] if len(members) > 1 else [*members]


def _matrix(values: Array) -> Array:
    """A map as (output, input); a bias has one input, the constant 1."""
    return values.reshape(len(values), -1)


def _unit_order(item: BatchSize) -> NDArray[np.intp]:
    """Input units from the longest mean gradient to the shortest."""
    return np.argsort(-np.linalg.norm(_matrix(item.mean), axis=0), kind="stable")


def _mean_colours(rows: Sequence[BatchSize]) -> Colours:
    values = np.abs(np.concatenate([item.mean.ravel() for item in rows]))
    finite = values[np.isfinite(values)]
    reach = float(np.quantile(finite, SHOWN_SHARE)) if finite.any() else 1.0
    # Nearly logarithmic on both sides of zero, so that the late checkpoint's small means show too.
    return Colours(AsinhNorm(LINEAR_SHARE * reach, -reach, reach), "PuOr_r")


def _round_ticks(norm: Normalize) -> list[float]:
    """Zero, and a power of ten on both sides of it."""
    decade = 10.0 ** math.floor(math.log10(norm.vmax or 1.0))
    return [-decade, 0.0, decade]


def _variance_colours(rows: Sequence[BatchSize]) -> Colours:
    values = np.concatenate([item.variance.ravel() for item in rows])
    positive = values[values > 0]
    if not len(positive):
        return Colours(LogNorm(1, 10), "cividis")
    low, high = np.quantile(positive, [1 - SHOWN_SHARE, SHOWN_SHARE])
    return Colours(LogNorm(low, max(high, 1.01 * low)), "cividis")


def _draw_map(axes: Axes, values: Array, order: NDArray[np.intp], colours: Colours) -> None:
    axes.imshow(
        _matrix(values)[:, order],
        norm=colours.norm,
        cmap=colours.cmap,
        aspect="auto",
        interpolation="nearest",
        origin="lower",
    )
    axes.grid(visible=False)
    axes.set_yticks([0, len(values) - 1])
