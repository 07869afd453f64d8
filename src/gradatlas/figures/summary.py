"""The figures that are drawn from the tables alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from gradatlas.figures.norm import norm_vs_batch_size, normalised_norm_vs_batch_size
from gradatlas.figures.reading import read_table
from gradatlas.figures.style import house_style, save
from gradatlas.provenance import file_digest


@dataclass(frozen=True)
class Summary:
    """The tables of an experiment, and which protocol is which.

    Attributes:
        statistics: One row a protocol, epoch and batch size.
        protocol: The protocol whose weights move, with samples of its own for every trial.
    """

    statistics: pd.DataFrame
    protocol: str


FIGURES: Mapping[str, Callable[[Summary], Figure]] = {
    "norm_vs_batch_size": lambda tables: norm_vs_batch_size(tables.statistics, tables.protocol),
    "normalised_norm_vs_batch_size": lambda tables: normalised_norm_vs_batch_size(
        tables.statistics, tables.protocol
    ),
}


def draw_summary(tables: Mapping[str, Path], protocol: str, targets: Sequence[Path]) -> None:
    """Draw figures into files: a file's stem is the figure's name, its suffix the format.

    Args:
        tables: The workflow's tables by name, such as ``statistics``.
        protocol: The protocol that the figures of one protocol show.
        targets: Files to write.

    Raises:
        TableError: A table lacks what is to be drawn.
    """
    summary = Summary(
        **{name: read_table(path) for name, path in tables.items()}, protocol=protocol
    )
    sources = {path.name: file_digest(path) for path in tables.values()}
    with house_style():
        for name, paths in groupby(sorted(targets), key=lambda path: path.stem):
            save(FIGURES[name](summary), [*paths], name.replace("_", " "), sources)
