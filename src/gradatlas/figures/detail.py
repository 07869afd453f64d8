"""The figures that show single trials and single weights."""

from collections.abc import Sequence
from pathlib import Path

from gradatlas.figures.reading import left_out, read_table
from gradatlas.figures.shape import norm_distribution, tails
from gradatlas.figures.steps import steps
from gradatlas.figures.style import draw_files
from gradatlas.figures.trials import read_batch_sizes, trial_counts
from gradatlas.figures.weights import weight_maps


def draw_details(maps: Sequence[Path], steps_table: Path, targets: Sequence[Path]) -> None:
    """Draw figures into files: a file's stem is the figure's name, its suffix the format.

    Args:
        maps: HDF5 files of ``statistics.batch_size.describe_batch_size``, of one protocol.
        steps_table: CSV file of ``gradatlas.collect.trajectory.trace_steps``.
        targets: Files to write.

    Raises:
        InputError: The table of steps is no such table.
    """
    batch_sizes = read_batch_sizes(maps)
    figures = {
        "norm_distribution": lambda: norm_distribution(batch_sizes),
        "tails": lambda: tails(batch_sizes),
        "weight_maps": lambda: weight_maps(batch_sizes),
        "steps": lambda: steps(read_table(steps_table)),
    }
    draw_files(figures, targets, [*maps, steps_table], left_out(trial_counts(batch_sizes)))
