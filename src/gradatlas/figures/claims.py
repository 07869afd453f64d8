"""The verdicts on the article's claims."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradatlas.figures.reading import epochs_of
from gradatlas.figures.style import COLUMN_WIDTH, epoch_colours, epoch_label


@dataclass(frozen=True)
class Heading:
    """A claim in few words, and what its estimate is."""

    claim: str
    estimate: str


HEADINGS = {
    1: Heading("The norm rises with batch size", "log-log slope"),
    2: Heading("It rises as √B", "log-log slope, ½ by the claim"),
    3: Heading("The relative spread rises with B", "its log-log slope"),
    4: Heading("Early gradients are larger than late ones", "smallest ratio"),
    5: Heading("Larger batches have heavier tails", "change of L-kurtosis"),
    6: Heading("Samples of a batch compete", "norm at largest / smallest B"),
    7: Heading("Spread: samples, not their order", "samples' smallest share"),
}
VERDICTS = {
    "reproduced": ("✓", "#0072B2"),
    "not reproduced": ("✗", "#D55E00"),
    "undecided": ("?", "#666666"),
}
LINE_HEIGHT = 0.165  # inches
HEADING_LINES = 1.2


def claims(table: pd.DataFrame, confidence: float) -> Figure:
    """One line a claim and checkpoint: the estimate with its interval, and the verdict.

    Args:
        table: Table of claims.
        confidence: Confidence level of intervals and verdicts.
    """
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
    epochs = epochs_of(table)
    colours = epoch_colours(epochs)
    line = 0.5
    for number, rows in present.items():
        _write_heading(axes, line + 1.2, number)
        for offset, row in enumerate(rows.to_dict("records"), start=1):
            several = rows["protocol"].nunique() > 1
            where = f"{row['protocol']}, epoch {row['epoch']}"
            label = where if several else epoch_label(row["epoch"], epochs)
            _write_verdict(axes, line + 1.2 + offset, row, label, colours[row["epoch"]])
        if rows.empty:
            axes.text(0.06, line + 2.2, "no protocol here can test it", size=6.5, va="center")
        line += HEADING_LINES + max(len(rows), 1)
    return figure


def _write_heading(axes: Axes, line: float, number: int) -> None:
    heading = HEADINGS[number]
    axes.text(0.01, line, f"{number}  {heading.claim}", size=7, weight="bold", va="center")
    axes.text(0.99, line, heading.estimate, size=6.5, color="#444", ha="right", va="center")
    axes.axhline(line - 0.75, color="#cccccc", linewidth=0.5)


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
