"""The house style: colours, markers, axes and words that figures share."""

import math
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, LogNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator, ScalarFormatter

Place = Literal["outside lower center", "outside upper center"]

STYLE = Path(__file__).with_name("house.mplstyle")
COLUMN_WIDTH = 3.4  # inches, of a two-column article

# Okabe and Ito's colours, told apart with any colour vision. The first and the last checkpoint
# have those of the article, blue and green.
EARLY = "#0072B2"
LATE = "#009E73"
BETWEEN = ("#CC79A7", "#E69F00")
CONTRAST = "#D55E00"
GREY = "#666666"
MARKERS = "osD^vP"
# What data are compared with.
REFERENCE: dict[str, Any] = {"color": GREY, "linestyle": "--", "linewidth": 0.8}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save in the project's style, whatever the user's matplotlibrc says."""
    with style.context(["default", STYLE]):
        yield


@dataclass(frozen=True)
class Look:
    """How a checkpoint looks in every figure."""

    epoch: int  # its epoch
    colour: str  # blue for the first, green for the last, from a scale in between
    marker: str  # a second way to tell checkpoints apart
    label: str  # its name; of several, the first is the early regime and the last the late one


def looks(epochs: Iterable[int]) -> dict[int, Look]:
    """Look of each checkpoint, by ascending epoch."""
    ordered = sorted({int(epoch) for epoch in epochs})
    scale = LinearSegmentedColormap.from_list("checkpoints", [EARLY, *BETWEEN, LATE])
    last = max(len(ordered) - 1, 1)
    regimes = {ordered[-1]: " (late)", ordered[0]: " (early)"} if len(ordered) > 1 else {}
    return {
        epoch: Look(
            epoch,
            colour=to_hex(scale(place / last)),
            marker=MARKERS[place % len(MARKERS)],
            label=f"epoch {epoch}{regimes.get(epoch, '')}",
        )
        for place, epoch in enumerate(ordered)
    }


def checkpoints(table: pd.DataFrame) -> list[tuple[Look, pd.DataFrame]]:
    """The rows of each checkpoint of a table, by ascending epoch, and how they look."""
    return [(look, table[table["epoch"] == epoch]) for epoch, look in looks(table["epoch"]).items()]


def batch_size_colours(batch_sizes: Collection[int]) -> ScalarMappable:
    """From batch size to colour, dark for small ones; the pale end of the scale is left out."""
    scale = ListedColormap(colormaps["plasma"](np.linspace(0, 0.85, 256)))
    low, high = min(batch_sizes), max(batch_sizes)
    return ScalarMappable(LogNorm(low, max(high, low + 1)), scale)


def colour_of(batch_size: int, colours: ScalarMappable) -> str:
    """One colour of ``batch_size_colours``."""
    return to_hex(colours.to_rgba(np.array([batch_size]))[0])


def figure_width(columns: int) -> float:
    """Inches: two panels share a column of text, each more needs room of its own."""
    return COLUMN_WIDTH * max(1.0, columns / 2)


def trials_label(counts: Collection[int]) -> str:
    """``1000 trials``, or ``200 to 1000 trials`` where they differ."""
    low, high = min(counts), max(counts)
    return f"{low} trials" if low == high else f"{low} to {high} trials"


def interval_label(confidence: float) -> str:
    """What error bars are."""
    return f"{100 * confidence:g} % intervals"


def logarithmic_batch_axis(axes: Axes, batch_sizes: Collection[int], ticks: int = 7) -> None:
    """A logarithmic axis of batch sizes with plain numbers, at powers of two where they fit.

    Args:
        axes: Where.
        batch_sizes: What has to fit.
        ticks: Most numbers that there is room for.
    """
    low, high = min(batch_sizes), max(batch_sizes)
    octaves = math.ceil(math.log2(high / low) / (ticks - 1)) or 1
    axes.set_xscale("log", base=2)
    axes.set_xlim(low / 1.3, high * 1.3)
    if high >= 4 * low:
        axes.xaxis.set_major_locator(LogLocator(base=2**octaves, numticks=99))
        axes.xaxis.set_minor_locator(LogLocator(base=2, numticks=99))
    else:
        axes.xaxis.set_major_locator(FixedLocator(sorted({low, high})))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("batch size B (samples)")


def plain_logarithmic_ticks(axes: Axes) -> None:
    """A logarithmic vertical axis with plain numbers at 1, 2, 3 and 5 times powers of ten."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 3.0, 5.0)))
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.yaxis.set_minor_formatter(NullFormatter())


def share_limits(axes: Axes) -> tuple[float, float]:
    """Vertical limits of what is at most 1, and below 0 only where an interval is."""
    return min(0.0, axes.get_ylim()[0]), 1.03


def shared_legend(
    figure: Figure, axes: Axes, columns: int = 2, place: Place = "outside lower center"
) -> None:
    """The legend of all panels that are like one, where it hides nothing; each name once."""
    handles, labels = axes.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    figure.legend([*named.values()], [*named], loc=place, ncols=columns)


def note(axes: Axes, text: str) -> None:
    """A remark in the upper left corner."""
    axes.text(
        0.02, 0.98, text, transform=axes.transAxes, ha="left", va="top", fontsize=6.5, color="#444"
    )


def nothing_to_draw(reason: str) -> Figure:
    """A figure that says why there is nothing in it."""
    figure = Figure(figsize=(COLUMN_WIDTH, 0.6))
    figure.text(0.5, 0.5, reason, ha="center", va="center")
    return figure
