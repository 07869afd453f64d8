"""What all figures share: colours, axes, how a figure becomes files."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from gradatlas.provenance import code_commit

STYLE = Path(__file__).parents[1] / "gradatlas.mplstyle"
COLUMN_WIDTH = 3.4  # inches, of a two-column article

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


def epoch_label(epoch: int, epochs: Sequence[int]) -> str:
    """Name of a checkpoint; of several, the first is the early regime and the last the late one."""
    regimes = {max(epochs): " (late)", min(epochs): " (early)"} if len(epochs) > 1 else {}
    return f"epoch {epoch}{regimes.get(epoch, '')}"


def count_label(counts: Collection[int], unit: str) -> str:
    """``1000 trials``, or ``200 to 1000 trials`` where they differ."""
    low, high = min(counts), max(counts)
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def logarithmic_batch_axis(axes: Axes, batch_sizes: Collection[int]) -> None:
    """A logarithmic axis of batch sizes, with plain numbers at powers of 2 or 4."""
    low, high = min(batch_sizes), max(batch_sizes)
    axes.set_xscale("log", base=2)
    axes.set_xlim(low / 1.3, high * 1.3)
    axes.xaxis.set_major_locator(LogLocator(base=2 if high / low <= 64 else 4))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(LogLocator(base=2))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("batch size B (samples)")


def plain_logarithmic_ticks(axes: Axes) -> None:
    """A logarithmic vertical axis with plain numbers at 1, 2 and 5 times powers of ten."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.yaxis.set_minor_formatter(NullFormatter())


def note(axes: Axes, text: str) -> None:
    """A remark in the upper left corner."""
    axes.text(
        0.02, 0.98, text, transform=axes.transAxes, ha="left", va="top", fontsize=6.5, color="#444"
    )


def save(figure: Figure, paths: Sequence[Path], title: str, sources: Mapping[str, str]) -> None:
    """Write a figure to files whose format is their suffix, svg, png or pdf.

    Equal figures give equal files: they carry no date. What they were drawn from and by stands in
    their metadata.

    Args:
        figure: To be saved in the style it was drawn in.
        paths: Target files.
        title: What the figure shows.
        sources: SHA-256 of each table it was drawn from, by file name.
    """
    drawn_from = ", ".join(f"{name} sha256:{digest}" for name, digest in sources.items())
    description = f"Drawn by Gradient Atlas, commit {code_commit()}, from {drawn_from}."
    for path in paths:
        figure.savefig(path, metadata=_metadata(path.suffix, title, description))


def _metadata(suffix: str, title: str, description: str) -> dict[str, str | None]:
    """Metadata under the names the format knows, without a date."""
    match suffix:
        case ".svg":
            return {"Title": title, "Description": description, "Date": None}
        case ".pdf":
            return {"Title": title, "Subject": description, "CreationDate": None}
        case _:
            return {"Title": title, "Description": description}
