"""The figures that are drawn from the tables alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from gradatlas.figures.claims import claims
from gradatlas.figures.direction import cancellation, direction
from gradatlas.figures.laws import scaling_laws
from gradatlas.figures.norm import (
    norm_vs_batch_size,
    normalised_norm_vs_batch_size,
    relative_spread,
)
from gradatlas.figures.reading import epochs_of, left_out, read_table
from gradatlas.figures.shape import moments
from gradatlas.figures.sources import noise_scale, variance_sources
from gradatlas.figures.style import draw_files
from gradatlas.figures.training import training


@dataclass(frozen=True)
class Roles:
    """Which protocol figures show as what.

    Attributes:
        main: The article's: weights move, every trial has samples of its own.
        frozen: Weights stay at the checkpoint; what the main one is compared with.
        reordered: Trials share sample sets, so that samples and order can be told apart.
    """

    main: str
    frozen: Sequence[str]
    reordered: Sequence[str]


def draw_summary(
    tables: Mapping[str, Path], roles: Roles, confidence: float, targets: Sequence[Path]
) -> None:
    """Draw figures into files: a file's stem is the figure's name, its suffix the format.

    Args:
        tables: CSV files by name: statistics, training, law_curves, variance_sources, noise_scale
            and claims.
        roles: Which protocol is which.
        confidence: Confidence level of the intervals.
        targets: Files to write.

    Raises:
        InputError: A file is no such table.
    """
    read = {name: read_table(path) for name, path in tables.items()}
    figures = _figures(read, roles, confidence)
    draw_files(figures, targets, [*tables.values()], left_out(read["statistics"]))


def _figures(
    tables: Mapping[str, pd.DataFrame], roles: Roles, confidence: float
) -> dict[str, Callable[[], Figure]]:
    """What draws each figure, by name."""
    statistics, main = tables["statistics"], roles.main
    compared = [main, *(name for name in roles.frozen if name != main)]
    return {
        "norm_vs_batch_size": lambda: norm_vs_batch_size(statistics, main),
        "normalised_norm_vs_batch_size": lambda: normalised_norm_vs_batch_size(statistics, main),
        "scaling_laws": lambda: scaling_laws(tables["law_curves"], main),
        "relative_spread": lambda: relative_spread(statistics, compared, confidence),
        "moments": lambda: moments(statistics, main, confidence),
        "cancellation": lambda: cancellation(statistics, compared, confidence),
        "direction": lambda: direction(statistics, main, confidence),
        "variance_sources": lambda: variance_sources(
            tables["variance_sources"], roles.reordered[0], confidence
        ),
        "noise_scale": lambda: noise_scale(tables["noise_scale"], roles.frozen[0], confidence),
        "training": lambda: training(tables["training"], epochs_of(statistics)),
        "claims": lambda: claims(tables["claims"], confidence),
    }
