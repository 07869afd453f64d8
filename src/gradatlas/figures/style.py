"""What all figures share: colours, axes, how a figure becomes files."""

import io
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, LogNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator, ScalarFormatter
from matplotlib.transforms import Bbox

from gradatlas.core.files import file_digest, mapping_digest, replace_file
from gradatlas.core.provenance import code_commit

STYLE = Path(__file__).with_name("house.mplstyle")
COLUMN_WIDTH = 3.4  # inches, of a two-column article
FOOT_LINE = 0.15  # inches, of text below a figure

# Okabe and Ito's colours, told apart with any colour vision. The first and the last checkpoint
# have those of the article, blue and green.
EARLY = "#0072B2"
LATE = "#009E73"
BETWEEN = ("#CC79A7", "#E69F00")
REFERENCE = "#666666"
MARKERS = "osD^vP"


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save in the project's style, whatever the user's matplotlibrc says."""
    with style.context(["default", STYLE]):
        yield


def epoch_colours(epochs: Sequence[int]) -> dict[int, str]:
    """Colour of each checkpoint: blue for the first, green for the last, a scale in between."""
    scale = LinearSegmentedColormap.from_list("checkpoints", [EARLY, *BETWEEN, LATE])
    steps = max(len(epochs) - 1, 1)
    return {epoch: to_hex(scale(i / steps)) for i, epoch in enumerate(sorted(epochs))}


def epoch_markers(epochs: Sequence[int]) -> dict[int, str]:
    """Marker of each checkpoint, a second way to tell them apart."""
    return {epoch: MARKERS[i % len(MARKERS)] for i, epoch in enumerate(sorted(epochs))}


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


def epoch_label(epoch: int, epochs: Sequence[int]) -> str:
    """Name of a checkpoint; of several, the first is the early regime and the last the late one."""
    regimes = {max(epochs): " (late)", min(epochs): " (early)"} if len(epochs) > 1 else {}
    return f"epoch {epoch}{regimes.get(epoch, '')}"


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


def legend_below(figure: Figure, axes: Axes, columns: int = 2) -> None:
    """The legend of one panel below it, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


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


def draw_files(
    figures: Mapping[str, Callable[[], Figure]],
    targets: Sequence[Path],
    sources: Sequence[Path],
    remark: str = "",
) -> None:
    """Draw figures into files: a file's stem is the figure's name, its suffix the format.

    Equal inputs give equal files: they carry no date. By which code they were drawn, and from
    which content, stands in their metadata.

    Args:
        figures: What draws each figure, by name; called for the targets alone.
        targets: Files to write.
        sources: Files that were read, for the metadata.
        remark: What every figure says at its foot.
    """
    digest = mapping_digest({str(path): file_digest(path) for path in sources})
    description = f"Drawn by Gradient Atlas, commit {code_commit()}, from data sha256:{digest}."
    with house_style():
        for name, paths in groupby(sorted(targets, key=_name), key=_name):
            figure = figures[name]()
            area = _add_foot(figure, remark) if remark else None
            for path in paths:
                title = name.replace("_", " ")
                content = io.BytesIO()  # so that a full disk leaves no half figure
                metadata = _metadata(path.suffix, title, description)
                figure.savefig(content, format=path.suffix[1:], metadata=metadata, bbox_inches=area)
                figure.set_layout_engine("none")  # laid out by now, the same for all formats
                replace_file(path, content.getvalue())


def _add_foot(figure: Figure, remark: str) -> Bbox:
    """Write a remark below a figure, outside its layout; returns the area of both, inches."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out by now; what follows changes nothing in there
    for legend in figure.legends:  # which else move to the area's lower edge
        legend.set_bbox_to_anchor((0, 0, 1, 1), transform=figure.transFigure)
    width, height = figure.get_size_inches()
    foot = FOOT_LINE * len(remark.splitlines())
    figure.text(0.5, -foot / 2 / height, remark, ha="center", va="center", fontsize=6.5)
    return Bbox.from_extents(0, -foot, width, height)


def _name(target: Path) -> str:
    return target.stem


def _metadata(suffix: str, title: str, description: str) -> dict[str, str | None]:
    """Metadata under the names the format knows, without a date."""
    match suffix:
        case ".svg":
            return {"Title": title, "Description": description, "Date": None}
        case ".pdf":
            return {"Title": title, "Subject": description, "CreationDate": None}
        case _:
            return {"Title": title, "Description": description}
