"""From tables to files: every figure's name, and what draws it."""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from gradatlas.core.files import file_digest, mapping_digest, replace_file
from gradatlas.core.provenance import code_commit
from gradatlas.figures import conclusions, curves
from gradatlas.figures.inputs import Summary, left_out, read_batch_size, read_table, trial_counts
from gradatlas.figures.single_trials import norm_distribution, steps, tails, weight_maps
from gradatlas.figures.style import house_style

FOOT_LINE = 0.15  # inches, of text below a figure
Figures = Mapping[str, Callable[[], Figure]]


def draw_summary(
    tables: Mapping[str, Path],
    confidence: float,
    targets: Sequence[Path],
    *,
    main: str,
    frozen: Sequence[str],
    reordered: Sequence[str],
) -> None:
    """Draw the figures that need the tables alone.

    Args:
        tables: CSV files by name, those of ``Summary``.
        confidence: Confidence level of the intervals.
        targets: Files to write.
        main: The protocol that most figures show.
        frozen: Those whose weights stay.
        reordered: Those whose trials share sample sets.

    Raises:
        InputError: A file is no such table.
    """
    read = {name: read_table(path) for name, path in tables.items()}
    summary = Summary(read, confidence, main, frozen, reordered)
    known = curves.FIGURES | conclusions.FIGURES
    figures = {name: partial(draw, summary) for name, draw in known.items()}
    draw_files(figures, targets, [*tables.values()], left_out(read["statistics"]))


def draw_details(maps: Sequence[Path], steps_table: Path, targets: Sequence[Path]) -> None:
    """Draw the figures that show single trials and single weights.

    Args:
        maps: HDF5 files of ``gradatlas.statistics.batch_size``, of one protocol.
        steps_table: CSV file of ``gradatlas.collect.trajectory``.
        targets: Files to write.

    Raises:
        InputError: The table of steps is no such table.
    """
    batch_sizes = [read_batch_size(path) for path in maps]
    figures = {
        "norm_distribution": lambda: norm_distribution(batch_sizes),
        "tails": lambda: tails(batch_sizes),
        "weight_maps": lambda: weight_maps(batch_sizes),
        "steps": lambda: steps(read_table(steps_table)),
    }
    draw_files(figures, targets, [*maps, steps_table], left_out(trial_counts(batch_sizes)))


def draw_files(
    figures: Figures, targets: Sequence[Path], sources: Sequence[Path], remark: str = ""
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
    stem = attrgetter("stem")
    # Without their paths, which in object storage are others.
    digest = mapping_digest({"sources": [file_digest(path) for path in sources]})
    description = f"Drawn by Gradient Atlas, commit {code_commit()}, from data sha256:{digest}."
    with house_style():
        for name, paths in groupby(sorted(targets, key=stem), key=stem):
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


def _metadata(suffix: str, title: str, description: str) -> dict[str, str | None]:
    """Metadata under the names the format knows, without a date."""
    match suffix:
        case ".svg":
            return {"Title": title, "Description": description, "Date": None}
        case ".pdf":
            return {"Title": title, "Subject": description, "CreationDate": None}
        case _:
            return {"Title": title, "Description": description}
