"""Curves have the points and error bars of their table; what is missing is said."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from gradatlas.figures.curves import (
    coherence,
    direction,
    moments,
    norm_vs_batch_size,
    normalised_norm_vs_batch_size,
    relative_spread,
    training,
)
from tests.figures import tables as made_up
from tests.figures.shown import error_bars, points_of, rows_of

BOTH = ["sgd", "frozen"]


def test_norm_is_drawn_with_one_standard_deviation() -> None:
    table = made_up.statistics_table()
    figure = norm_vs_batch_size(table, "sgd")
    for axes in figure.axes:
        for epoch, label in ((2, "epoch 2 (early)"), (30, "epoch 30 (late)")):
            rows = rows_of(table, "sgd", epoch)
            points, ends = error_bars(axes, label)
            np.testing.assert_allclose(points, rows[["batch_size", "mean_norm"]])
            np.testing.assert_allclose(ends[:, 0], rows["mean_norm"] - rows["std_norm"])
            np.testing.assert_allclose(ends[:, 1], rows["mean_norm"] + rows["std_norm"])
    linear, logarithmic = figure.axes
    assert (linear.get_xscale(), linear.get_yscale()) == ("linear", "linear")
    assert (logarithmic.get_xscale(), logarithmic.get_yscale()) == ("log", "log")
    assert "1000 trials" in linear.get_title("left")


def test_square_root_curves_pass_through_the_largest_batch_size() -> None:
    table = made_up.statistics_table()
    linear, _ = norm_vs_batch_size(table, "sgd").axes
    curves = [line for line in linear.get_lines() if line.get_linestyle() == "--"]
    for epoch, curve in zip((2, 30), curves, strict=True):
        x, y = points_of(curve).T
        largest = rows_of(table, "sgd", epoch).iloc[-1]
        assert (x[-1], y[-1]) == pytest.approx((largest["batch_size"], largest["mean_norm"]))
        np.testing.assert_allclose(y / np.sqrt(x), y[-1] / np.sqrt(x[-1]))


def test_normalised_norm_is_drawn_from_its_columns() -> None:
    table = made_up.statistics_table()
    for axes in normalised_norm_vs_batch_size(table, "sgd").axes:
        rows = rows_of(table, "sgd", 30)
        points, ends = error_bars(axes, "epoch 30 (late)")
        np.testing.assert_allclose(points[:, 1], rows["normalised_mean"])
        np.testing.assert_allclose(np.ptp(ends, axis=1), 2 * rows["normalised_std"])


def test_spread_has_the_intervals_of_the_table() -> None:
    table = made_up.statistics_table()
    (axes,) = relative_spread(table, BOTH, 0.9).axes
    for protocol in BOTH:
        rows = rows_of(table, protocol, 2)
        points, ends = error_bars(axes, f"{protocol}, epoch 2 (early)")
        np.testing.assert_allclose(points[:, 1], rows["relative_std"])
        np.testing.assert_allclose(ends, rows[["relative_std_low", "relative_std_high"]])
    assert "90 % intervals" in axes.get_title("left")


@pytest.mark.parametrize(
    ("draw", "column"), [(coherence, "coherence"), (direction, "cosine_to_largest_batch")]
)
def test_steps_are_summarised_from_their_columns(draw: Callable[..., Figure], column: str) -> None:
    table = made_up.statistics_table()
    (axes,) = draw(table, ["sgd"] if draw is coherence else "sgd", 0.95).axes
    points, _ = error_bars(axes, "epoch 2 (early)")
    np.testing.assert_allclose(points[:, 1], rows_of(table, "sgd", 2)[column])


def test_moments_have_a_panel_each() -> None:
    table = made_up.statistics_table()
    columns = ("skewness", "excess_kurtosis", "l_skewness", "l_kurtosis")
    for axes, column in zip(moments(table, "sgd", 0.95).axes, columns, strict=True):
        points, _ = error_bars(axes, "epoch 30 (late)")
        np.testing.assert_allclose(points[:, 1], rows_of(table, "sgd", 30)[column])


def test_training_marks_the_checkpoints() -> None:
    table = made_up.training_table()
    loss, accuracy = training(table, [2, 30]).axes
    for axes, column in ((loss, "test_loss"), (accuracy, "test_accuracy")):
        lines = {str(line.get_label()): line for line in axes.get_lines()}
        np.testing.assert_allclose(points_of(lines["test"])[:, 1], table[column])
        marked = lines["checkpoint, epoch 30 (late)"]
        np.testing.assert_allclose(points_of(marked), [[30, table[column].iloc[30]]])


def test_missing_value_is_a_gap_and_a_missing_curve_is_said() -> None:
    table = made_up.statistics_table()
    table.loc[(table["epoch"] == 2) & (table["batch_size"] == 3), "mean_norm"] = np.nan
    table.loc[table["epoch"] == 30, "mean_norm"] = np.nan
    figure = norm_vs_batch_size(table, "sgd")
    points, _ = error_bars(figure.axes[0], "epoch 2 (early)")
    assert np.isnan(points[:, 1]).tolist() == [size == 3 for size in made_up.BATCH_SIZES]
    assert any("no value: sgd, epoch 30" in text.get_text() for text in figure.axes[0].texts)


def test_diverged_trials_are_marked() -> None:
    table = made_up.statistics_table()
    diverged = (table["epoch"] == 2) & (table["batch_size"] == 64)
    table.loc[diverged, "diverged_trials"] = 7
    axes = norm_vs_batch_size(table, "sgd").axes[0]
    (crosses,) = (line for line in axes.get_lines() if line.get_marker() == "x")
    expected = rows_of(table, "sgd", 2).query("batch_size == 64")[["batch_size", "mean_norm"]]
    np.testing.assert_allclose(points_of(crosses), expected)
    assert "diverged" in str(crosses.get_label())
