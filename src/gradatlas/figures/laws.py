"""Laws of the norm against batch size, and what they leave unexplained."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradatlas.figures.reading import epochs_of, of_protocols
from gradatlas.figures.style import (
    COLUMN_WIDTH,
    epoch_colours,
    epoch_label,
    epoch_markers,
    logarithmic_batch_axis,
    nothing_to_draw,
    plain_logarithmic_ticks,
)

LINES = {"power": "--", "relaxation": "-"}
FORMULAS = {"power": "power law c·Bᵖ", "relaxation": "relaxation law"}


def scaling_laws(law_curves: pd.DataFrame, protocol: str) -> Figure:
    """Power law and relaxation law on logarithmic axes, and their residuals.

    Args:
        law_curves: Table of fitted laws.
        protocol: The protocol to show.
    """
    curves = of_protocols(law_curves, protocol)
    if curves.empty:
        return nothing_to_draw(f"too few batch sizes of {protocol} to fit laws")
    figure = Figure(figsize=(COLUMN_WIDTH, 5.0))
    above, *residuals = figure.subplots(
        1 + len(LINES), sharex=True, height_ratios=[2.4, *([1.0] * len(LINES))]
    )
    _draw_laws(above, curves)
    for axes, law in zip(residuals, LINES, strict=True):
        _draw_residuals(axes, curves[curves["law"] == law])
        axes.set_title(FORMULAS[law])
        axes.set_ylabel("fit off by (%)")
    logarithmic_batch_axis(residuals[-1], curves["batch_size"])
    figure.align_ylabels()
    return figure


def _draw_laws(axes: Axes, curves: pd.DataFrame) -> None:
    epochs = epochs_of(curves)
    colours, markers = epoch_colours(epochs), epoch_markers(epochs)
    plain_logarithmic_ticks(axes)
    for epoch in epochs:
        fits = {law: _of_law(curves, epoch, law) for law in LINES}
        measured = fits["power"].dropna(subset="root_mean_square_norm")
        axes.plot(
            measured["batch_size"],
            measured["root_mean_square_norm"],
            color=colours[epoch],
            marker=markers[epoch],
            linestyle="none",
            label=epoch_label(epoch, epochs),
        )
        for law, fit in fits.items():
            axes.plot(
                fit["batch_size"],
                fit["fitted_norm"],
                color=colours[epoch],
                linestyle=LINES[law],
                linewidth=0.9,
                label=FORMULAS[law] if epoch == epochs[-1] else None,
            )
    axes.set_ylabel("root mean square of |S| (nats)")
    axes.legend()


def _draw_residuals(axes: Axes, curves: pd.DataFrame) -> None:
    epochs = epochs_of(curves)
    colours, markers = epoch_colours(epochs), epoch_markers(epochs)
    axes.axhline(0, color="black", linewidth=0.6)
    for epoch in epochs:
        residuals = curves[curves["epoch"] == epoch].dropna(subset="relative_error")
        axes.plot(
            residuals["batch_size"],
            100 * residuals["relative_error"],
            color=colours[epoch],
            marker=markers[epoch],
            linewidth=0.7,
            label=epoch_label(epoch, epochs),
        )
    axes.margins(y=0.15)


def _of_law(curves: pd.DataFrame, epoch: int, law: str) -> pd.DataFrame:
    return curves[(curves["epoch"] == epoch) & (curves["law"] == law)]
