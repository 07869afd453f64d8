"""Arrows and paths have the points of the table of steps."""

import numpy as np
from matplotlib.quiver import Quiver

from gradatlas.figures.single_trials import steps
from tests.figures import tables as made_up
from tests.figures.shown import points_of


def test_arrows_and_paths_have_the_points_of_the_table() -> None:
    figure = steps(made_up.steps_table(epochs=(2,)))
    pair, trial = figure.axes
    together, first, second = (item for item in pair.collections if isinstance(item, Quiver))
    assert (together.U, together.V) == (5.2, 0)
    assert np.array_equal(first.XY, [[0, 0]])
    assert np.array_equal(second.XY, [[2, 2.5]])
    assert (second.U, second.V) == (3, -3)
    paths = {str(line.get_label()): points_of(line) for line in trial.get_lines()}
    np.testing.assert_allclose(paths["B = 1"], [[0, 0], [60, 20], [100, 50]])
    np.testing.assert_allclose(paths["B = 1024"], [[0, 0], [500, 0]])
