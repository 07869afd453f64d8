"""What comes of comparing batch sizes: laws, sources of the spread, noise scale, verdicts.

Every function draws one figure from the table of its name; ``protocol`` is the one to show and
``confidence`` the level of the table's intervals.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from gradatlas.figures.curves import draw_curves
from gradatlas.figures.inputs import of_protocols
from gradatlas.figures.style import (
    COLUMN_WIDTH,
    CONTRAST,
    EARLY,
    GREY,
    REFERENCE,
    Look,
    checkpoints,
    interval_label,
    logarithmic_batch_axis,
    looks,
    nothing_to_draw,
    plain_logarithmic_ticks,
    shared_legend,
)

LAWS = {"power": ("--", "power law c·Bᵖ"), "relaxation": ("-", "relaxation law")}

# Each claim in few words, and what its estimate is.
HEADINGS = {
    1: ("The norm rises with batch size", "log-log slope"),
    2: ("It rises as √B", "log-log slope, ½ by the claim"),
    3: ("The relative spread rises with B", "its log-log slope"),
    4: ("Early gradients are larger than late ones", "smallest ratio"),
    5: ("Larger batches have heavier tails", "change of L-kurtosis"),
    6: ("Samples of a batch compete", "norm at largest / smallest B"),
    7: ("Spread: samples, not their order", "samples' smallest share"),
}
VERDICTS = {"reproduced": ("✓", EARLY), "not reproduced": ("✗", CONTRAST), "undecided": ("?", GREY)}
LINE_HEIGHT = 0.165  # inches
HEADING_LINES = 1.2


def scaling_laws(law_curves: pd.DataFrame, protocol: str) -> Figure:
    """Power law and relaxation law on logarithmic axes, and their residuals."""
    curves = of_protocols(law_curves, protocol)
    if curves.empty:
        return nothing_to_draw(f"too few batch sizes of {protocol} to fit laws")
    figure = Figure(figsize=(COLUMN_WIDTH, 5.0))
    above, *residuals = figure.subplots(
        1 + len(LAWS), sharex=True, height_ratios=[2.4, *([1.0] * len(LAWS))]
    )
    _draw_laws(above, curves)
    for axes, (law, (_, formula)) in zip(residuals, LAWS.items(), strict=True):
        _draw_residuals(axes, curves[curves["law"] == law])
        axes.set_title(formula)
    logarithmic_batch_axis(residuals[-1], curves["batch_size"])
    figure.align_ylabels()
    return figure


def _draw_laws(axes: Axes, curves: pd.DataFrame) -> None:
    plain_logarithmic_ticks(axes)
    last = curves["epoch"].max()
    for look, rows in checkpoints(curves):
        measured = rows[rows["law"] == "power"].dropna(subset="root_mean_square_norm")
        axes.plot(
            measured["batch_size"],
            measured["root_mean_square_norm"],
            color=look.colour,
            marker=look.marker,
            linestyle="none",
            label=look.label,
        )
        for law, (line, formula) in LAWS.items():
            fit = rows[rows["law"] == law]
            axes.plot(
                fit["batch_size"],
                fit["fitted_norm"],
                color=look.colour,
                linestyle=line,
                linewidth=0.9,
                label=formula if look.epoch == last else None,
            )
    axes.set_ylabel("root mean square of |S| (nats)")
    axes.legend()


def _draw_residuals(axes: Axes, curves: pd.DataFrame) -> None:
    axes.axhline(0, color="black", linewidth=0.6)
    for look, rows in checkpoints(curves):
        residuals = rows.dropna(subset="relative_error")
        axes.plot(
            residuals["batch_size"],
            100 * residuals["relative_error"],
            color=look.colour,
            marker=look.marker,
            linewidth=0.7,
            label=look.label,
        )
    axes.margins(y=0.15)
    axes.set_ylabel("fit off by (%)")


def variance_sources(table: pd.DataFrame, protocol: str, confidence: float) -> Figure:
    """Share of the samples in the variance of the norm; the rest is their order.

    The protocol is one whose trials share sample sets.
    """
    rows = of_protocols(table, protocol)
    if rows.empty:
        return nothing_to_draw(f"too few trials of {protocol} to split their variance")
    figure = Figure()
    axes = figure.subplots()
    axes.axhline(0.5, label="half and half", **REFERENCE)
    draw_curves(axes, rows, "sample_share", [protocol])
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

    The protocol is one whose weights stay at the checkpoint.
    """
    rows = of_protocols(table, protocol)
    if rows.empty:
        return nothing_to_draw(f"too few trials of {protocol} for a noise scale")
    figure = Figure(figsize=(COLUMN_WIDTH, 3.2))
    axes = figure.subplots()
    for look, members in checkpoints(rows):
        two_sizes = members["estimator"] == "two batch sizes"
        _draw_estimates(axes, members[two_sizes], look, "two batch sizes", "white")
        _draw_estimates(axes, members[~two_sizes], look, "covariance of trials", look.colour)
    logarithmic_batch_axis(axes, rows["small_batch"])
    axes.set_xlabel("smaller batch size B (samples)")
    if (rows["noise_scale"] > 0).all():
        plain_logarithmic_ticks(axes)
    axes.set_ylabel("noise scale tr Σ / |G|² (samples)")
    axes.set_title(f"{interval_label(confidence)}; arrows: no upper end")
    shared_legend(figure, axes, columns=1)
    return figure


def _draw_estimates(axes: Axes, rows: pd.DataFrame, look: Look, estimator: str, fill: str) -> None:
    """Points with intervals; one without an upper end, |G|^2 being too near 0, is an arrow."""
    if rows.empty:
        return
    estimate = rows["noise_scale"].to_numpy()
    below = np.maximum(estimate - rows["noise_scale_low"].to_numpy(), 0)
    above = np.maximum(rows["noise_scale_high"].to_numpy() - estimate, 0)
    unbounded = np.isnan(above) & ~np.isnan(below)
    axes.errorbar(
        rows["small_batch"],
        estimate,
        yerr=[below, np.where(unbounded, np.abs(estimate) / 3, above)],
        lolims=unbounded,
        color=look.colour,
        marker=look.marker,
        markerfacecolor=fill,
        linestyle="none",
        label=f"{look.label}, {estimator}",
    )


def claims(table: pd.DataFrame, confidence: float) -> Figure:
    """One line a claim and checkpoint: the estimate with its interval, and the verdict."""
    present = {number: table[table["claim"] == number] for number in HEADINGS}
    lines = sum(HEADING_LINES + max(len(rows), 1) for rows in present.values()) + 1
    figure = Figure(figsize=(COLUMN_WIDTH, LINE_HEIGHT * lines))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(lines + 0.2, 0)
    level = f"{100 * confidence:g} %"
    axes.text(0.35, 0.6, f"verdict at {level}", va="center", size=6.5)
    axes.text(0.99, 0.6, f"estimate [{level} interval]", ha="right", va="center", size=6.5)
    line = 0.5 + HEADING_LINES
    for number, rows in present.items():
        _write_claim(axes, line, number, rows, looks(table["epoch"]))
        line += HEADING_LINES + max(len(rows), 1)
    return figure


def _write_claim(
    axes: Axes, line: float, number: int, rows: pd.DataFrame, of_epoch: Mapping[int, Look]
) -> None:
    """A claim, and below it the verdict of each protocol and checkpoint."""
    claim, estimate = HEADINGS[number]
    axes.text(0.01, line, f"{number}  {claim}", size=7, weight="bold", va="center")
    axes.text(0.99, line, estimate, size=6.5, color="#444", ha="right", va="center")
    axes.axhline(line - 0.75, color="#cccccc", linewidth=0.5)
    if rows.empty:
        axes.text(0.06, line + 1, "no protocol here can test it", size=6.5, va="center")
    several = rows["protocol"].nunique() > 1
    for offset, row in enumerate(rows.to_dict("records"), start=1):
        look = of_epoch[row["epoch"]]
        label = f"{row['protocol']}, epoch {row['epoch']}" if several else look.label
        _write_verdict(axes, line + offset, row, label, look.colour)


def _write_verdict(
    axes: Axes, line: float, row: Mapping[Hashable, Any], label: str, epoch_colour: str
) -> None:
    symbol, colour = VERDICTS[row["verdict"]]
    axes.plot(0.03, line, marker="o", color=epoch_colour, markersize=4)
    axes.text(0.06, line, label, size=6.5, va="center")
    axes.text(
        0.35, line, f"{symbol} {row['verdict']}", color=colour, weight="bold", size=6.5, va="center"
    )
    estimate, low, high = (f"{row[end]:#.3g}" for end in ("estimate", "low", "high"))
    axes.text(0.99, line, f"{estimate} [{low}, {high}]", ha="right", size=6.5, va="center")
