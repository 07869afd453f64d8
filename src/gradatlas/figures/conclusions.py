"""What comes of comparing batch sizes: laws, sources of the spread, noise scale, verdicts.

Every function draws one figure from one table; ``protocol`` is the one to show and ``confidence``
the level of the table's intervals.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from gradatlas.figures.curves import draw_curves
from gradatlas.figures.inputs import Summary, of_protocols
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
    share_limits,
    shared_legend,
)

LAWS = {"power": ("--", "power law c·Bᵖ"), "relaxation": ("-", "relaxation law")}

# Each claim in few words, and what its estimate is.
HEADINGS = {
    1: ("The norm rises with batch size", "norm at largest / smallest B"),
    2: ("It rises as √B", "farthest mean / fitted √B law"),
    3: ("The relative spread rises with B", "spread at largest / smallest B"),
    4: ("Early gradients are larger than late ones", "smallest ratio"),
    5: ("Larger batches have heavier tails", "rise of L-kurtosis"),
    6: ("Samples of a batch compete", "norm at largest / another B"),
    7: ("Spread: samples, not their order", "samples' smallest share"),
}
VERDICTS = {"reproduced": ("✓", EARLY), "not reproduced": ("✗", CONTRAST), "undecided": ("?", GREY)}
LINE_HEIGHT = 0.165  # inches
HEADING_LINES = 1.2
LABEL_AT, VERDICT_AT, ESTIMATE_AT = 0.06, 0.35, 0.99  # of the width, the last at its right end


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
        axes.set(title=formula, ylabel="fit off by (%)")
    logarithmic_batch_axis(residuals[-1], curves["batch_size"])
    figure.align_ylabels()
    return figure


def _draw_laws(axes: Axes, curves: pd.DataFrame) -> None:
    plain_logarithmic_ticks(axes)
    last = curves["epoch"].max()
    for look, rows in checkpoints(curves):
        measured = rows[rows["law"] == "power"].dropna(subset="root_mean_square_norm")
        points = measured["batch_size"], measured["root_mean_square_norm"]
        axes.plot(*points, look.marker, color=look.colour, label=look.label)
        for law, (line, formula) in LAWS.items():
            fit = rows[rows["law"] == law]
            label = formula if look.epoch == last else None
            curve = fit["batch_size"], fit["fitted_norm"]
            axes.plot(*curve, line, color=look.colour, linewidth=0.9, label=label)
    axes.set_ylabel("root mean square of |S| (nats)")
    axes.legend()


def _draw_residuals(axes: Axes, curves: pd.DataFrame) -> None:
    axes.axhline(0, color="black", linewidth=0.6)
    for look, rows in checkpoints(curves):
        residuals = rows.dropna(subset="relative_error")
        points = residuals["batch_size"], 100 * residuals["relative_error"]
        axes.plot(*points, f"{look.marker}-", color=look.colour, linewidth=0.7, label=look.label)
    axes.margins(y=0.15)


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
    axes.set(ylabel="variance of |S| due to samples (%)", ylim=share_limits(axes))
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
    if (rows["noise_scale"] > 0).all():
        plain_logarithmic_ticks(axes)
    axes.set_title(f"{interval_label(confidence)}; arrows: no upper end")
    axes.set(xlabel="smaller batch size B (samples)", ylabel="noise scale tr Σ / |G|² (samples)")
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
        fmt=look.marker,
        color=look.colour,
        markerfacecolor=fill,
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
    axes.set(xlim=(0, 1), ylim=(lines + 0.2, 0))
    level = f"{100 * confidence:g} %"
    _write(axes, VERDICT_AT, 0.6, f"verdict at {level}")
    _write(axes, ESTIMATE_AT, 0.6, f"estimate [{level} interval]", ha="right")
    line = 0.5 + HEADING_LINES
    for number, rows in present.items():
        _write_claim(axes, line, number, rows, looks(table["epoch"]))
        line += HEADING_LINES + max(len(rows), 1)
    return figure


def _write_claim(
    axes: Axes, line: float, number: int, rows: pd.DataFrame, of_epoch: Mapping[int, Look]
) -> None:
    """A claim, and below it a line with the verdict of each protocol and checkpoint."""
    claim, estimated = HEADINGS[number]
    _write(axes, 0.01, line, f"{number}  {claim}", size=7, weight="bold")
    _write(axes, ESTIMATE_AT, line, estimated, color="#444", ha="right")
    axes.axhline(line - 0.75, color="#cccccc", linewidth=0.5)
    if rows.empty:
        _write(axes, LABEL_AT, line + 1, "no protocol here can test it")
    several = rows["protocol"].nunique() > 1
    for row in rows.to_dict("records"):
        line += 1
        look = of_epoch[row["epoch"]]
        symbol, colour = VERDICTS[row["verdict"]]
        axes.plot(0.03, line, marker="o", color=look.colour, markersize=4)
        label = f"{row['protocol']}, epoch {row['epoch']}" if several else look.label
        _write(axes, LABEL_AT, line, label)
        _write(axes, VERDICT_AT, line, f"{symbol} {row['verdict']}", color=colour, weight="bold")
        estimate, low, high = (f"{row[end]:#.3g}" for end in ("estimate", "low", "high"))
        _write(axes, ESTIMATE_AT, line, f"{estimate} [{low}, {high}]", ha="right")


def _write(axes: Axes, x: float, line: float, text: str, **look: object) -> None:
    axes.text(x, line, text, va="center", size=6.5).set(**look)


#: What draws each figure, by its name, as in ``curves``.
FIGURES: dict[str, Callable[[Summary], Figure]] = {
    "scaling_laws": lambda s: scaling_laws(s.tables["law_curves"], s.main),
    "variance_sources": lambda s: variance_sources(
        s.tables["variance_sources"], s.reordered[0], s.confidence
    ),
    "noise_scale": lambda s: noise_scale(s.tables["noise_scale"], s.frozen[0], s.confidence),
    "claims": lambda s: claims(s.tables["claims"], s.confidence),
}
