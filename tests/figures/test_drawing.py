"""Figures draw what stands in the tables, legibly, whatever experiment the tables describe."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch
from matplotlib.quiver import Quiver
from matplotlib.text import Text
from numpy.typing import NDArray

from gradatlas.core.errors import InputError
from gradatlas.figures.claims import claims
from gradatlas.figures.detail import draw_details
from gradatlas.figures.direction import cancellation, direction
from gradatlas.figures.laws import scaling_laws
from gradatlas.figures.norm import (
    norm_vs_batch_size,
    normalised_norm_vs_batch_size,
    relative_spread,
)
from gradatlas.figures.reading import left_out, read_table
from gradatlas.figures.shape import moments, norm_distribution, tails
from gradatlas.figures.sources import noise_scale, variance_sources
from gradatlas.figures.steps import steps
from gradatlas.figures.style import (
    EARLY,
    LATE,
    draw_files,
    epoch_colours,
    house_style,
)
from gradatlas.figures.summary import Roles, draw_summary
from gradatlas.figures.training import training
from gradatlas.figures.trials import read_batch_sizes
from gradatlas.figures.weights import weight_maps
from gradatlas.statistics.batch_size import describe_batch_size
from tests.figures import tables as made_up
from tests.statistics.synthetic import draw, write_shards

BOTH = ["sgd", "frozen"]
FIGURES: dict[str, Callable[[], Figure]] = {
    "norm_vs_batch_size": lambda: norm_vs_batch_size(made_up.statistics_table(), "sgd"),
    "normalised_norm": lambda: normalised_norm_vs_batch_size(made_up.statistics_table(), "sgd"),
    "relative_spread": lambda: relative_spread(made_up.statistics_table(), BOTH, 0.95),
    "moments": lambda: moments(made_up.statistics_table(), "sgd", 0.95),
    "cancellation": lambda: cancellation(made_up.statistics_table(), BOTH, 0.95),
    "direction": lambda: direction(made_up.statistics_table(), "sgd", 0.95),
    "scaling_laws": lambda: scaling_laws(made_up.law_curves(), "sgd"),
    "variance_sources": lambda: variance_sources(made_up.variance_sources(), "sgd_reordered", 0.95),
    "noise_scale": lambda: noise_scale(made_up.noise_scales(), "frozen", 0.95),
    "training": lambda: training(made_up.training_table(), [2, 30]),
    "claims": lambda: claims(made_up.claims_table(), 0.95),
    "norm_distribution": lambda: norm_distribution(made_up.batch_sizes_with_trials()),
    "tails": lambda: tails(made_up.batch_sizes_with_trials()),
    "weight_maps": lambda: weight_maps(made_up.batch_sizes_with_trials()),
    "steps": lambda: steps(made_up.steps_table()),
}


@pytest.fixture(autouse=True)
def _styled() -> Iterator[None]:
    with house_style():
        yield


def error_bars(axes: Axes, label: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (x, y) and ends (low, high) of the error bars drawn under a label."""
    (found,) = (
        item
        for item in axes.containers
        if isinstance(item, ErrorbarContainer) and item.get_label() == label
    )
    line, _, bars = found.lines
    assert line is not None
    ends = [segment[:, 1] for item in bars for segment in item.get_segments() if len(segment)]
    return points_of(line), np.array(ends)


def rows_of(table: pd.DataFrame, protocol: str, epoch: int) -> pd.DataFrame:
    chosen = (table["protocol"] == protocol) & (table["epoch"] == epoch)
    return table[chosen].sort_values("batch_size")


def points_of(line: Line2D) -> NDArray[np.float64]:
    """Points (x, y) of a curve."""
    return np.asarray(line.get_xydata(), dtype=np.float64)


@cache
def drawn(name: str) -> Figure:
    """A figure with its layout done."""
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    return figure


def shown_texts(figure: Figure) -> list[Text]:
    """Every text that is not empty."""
    return [
        text
        for text in figure.findobj(Text)
        if isinstance(text, Text) and text.get_text().strip() and text.get_visible()
    ]


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_or_too_small(name: str) -> None:
    figure = drawn(name)
    content, page = figure.get_tightbbox(), figure.bbox_inches.padded(0.005)
    assert page.x0 <= content.x0 < content.x1 <= page.x1
    assert page.y0 <= content.y0 < content.y1 <= page.y1
    assert min(float(text.get_fontsize()) for text in shown_texts(figure)) >= 6.5


@pytest.mark.parametrize("name", FIGURES)
def test_tick_labels_do_not_overlap(name: str) -> None:
    figure = drawn(name)
    for axes in filter(lambda axes: axes.axison, figure.axes):
        low, high = sorted(axes.get_xlim())
        ticks = [
            tick.label1.get_window_extent()
            for tick in axes.xaxis.get_major_ticks()
            if low <= tick.get_loc() <= high and tick.label1.get_visible()
        ]
        ticks.sort(key=lambda box: box.x0)
        for left, right in pairwise(ticks):
            assert left.x1 < right.x0


@pytest.mark.parametrize("name", FIGURES)
def test_every_axis_has_a_name(name: str) -> None:
    figure = drawn(name)
    panels = [axes for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"]
    named = [figure.get_supxlabel(), *(axes.get_xlabel() for axes in panels)]
    assert any(named) or not panels
    named = [figure.get_supylabel(), *(axes.get_ylabel() for axes in panels)]
    titles = [axes.get_title("left") for axes in panels]
    assert any(named) or all(titles)


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
    ("draw", "column"), [(cancellation, "cancellation"), (direction, "cosine_to_largest_batch")]
)
def test_steps_are_summarised_from_their_columns(draw: Callable[..., Figure], column: str) -> None:
    table = made_up.statistics_table()
    (axes,) = draw(table, ["sgd"] if draw is cancellation else "sgd", 0.95).axes
    points, _ = error_bars(axes, "epoch 2 (early)")
    np.testing.assert_allclose(points[:, 1], rows_of(table, "sgd", 2)[column])


def test_moments_have_a_panel_each() -> None:
    table = made_up.statistics_table()
    columns = ("skewness", "excess_kurtosis", "l_skewness", "l_kurtosis")
    for axes, column in zip(moments(table, "sgd", 0.95).axes, columns, strict=True):
        points, _ = error_bars(axes, "epoch 30 (late)")
        np.testing.assert_allclose(points[:, 1], rows_of(table, "sgd", 30)[column])


def test_laws_and_their_residuals_are_drawn() -> None:
    table = made_up.law_curves()
    above, power, relaxation = scaling_laws(table, "sgd").axes
    (dashed,) = (line for line in above.get_lines() if line.get_label() == "power law c·Bᵖ")
    fit = table[(table["epoch"] == 30) & (table["law"] == "power")]
    np.testing.assert_allclose(points_of(dashed), fit[["batch_size", "fitted_norm"]])
    for axes in (power, relaxation):
        (line,) = (line for line in axes.get_lines() if line.get_label() == "epoch 30 (late)")
        assert len(points_of(line)) == len(made_up.BATCH_SIZES)
        np.testing.assert_allclose(points_of(line)[:, 1], 100 * (100 / 98 - 1))


def test_shares_of_the_samples_are_drawn() -> None:
    table = made_up.variance_sources()
    (axes,) = variance_sources(table, "sgd_reordered", 0.95).axes
    points, ends = error_bars(axes, "epoch 2 (early)")
    rows = rows_of(table, "sgd_reordered", 2)
    np.testing.assert_allclose(points[:, 1], rows["sample_share"])
    np.testing.assert_allclose(ends, rows[["sample_share_low", "sample_share_high"]])
    assert "10 sample sets in 20 orders each" in axes.get_title("left")


def test_noise_scale_without_upper_end_is_an_arrow() -> None:
    (axes,) = noise_scale(made_up.noise_scales(), "frozen", 0.95).axes
    points, _ = error_bars(axes, "epoch 2 (early), covariance of trials")
    np.testing.assert_allclose(points, [[1024, 80]])
    arrows = [
        caps
        for item in axes.containers
        if isinstance(item, ErrorbarContainer)
        for caps in item.lines[1]
        if "30" in str(item.get_label()) and "covariance" in str(item.get_label())
    ]
    assert any(caps.get_marker() not in ("_", "|") for caps in arrows)


def test_training_marks_the_checkpoints() -> None:
    table = made_up.training_table()
    loss, accuracy = training(table, [2, 30]).axes
    for axes, column in ((loss, "test_loss"), (accuracy, "test_accuracy")):
        lines = {str(line.get_label()): line for line in axes.get_lines()}
        np.testing.assert_allclose(points_of(lines["test"])[:, 1], table[column])
        marked = lines["checkpoint, epoch 30 (late)"]
        np.testing.assert_allclose(points_of(marked), [[30, table[column].iloc[30]]])


def test_verdicts_are_written_out() -> None:
    figure = claims(made_up.claims_table(), 0.95)
    texts = [text.get_text() for text in shown_texts(figure)]
    assert texts.count("✗ not reproduced") == 4
    assert "0.200 [0.150, 0.250]" in texts
    assert "no protocol here can test it" in texts


def test_histograms_hold_every_trial() -> None:
    members = made_up.batch_sizes_with_trials()
    early, _ = norm_distribution(members).axes
    patches = [patch for patch in early.patches if isinstance(patch, StepPatch)]
    assert len(patches) == len(made_up.BATCH_SIZES)
    for base, (patch, item) in enumerate(zip(patches, members, strict=False)):
        values, edges, _ = patch.get_data()
        deviation = item.norm / item.norm.mean() - 1
        counts, _ = np.histogram(deviation, bins=edges)
        assert counts.sum() == len(item.norm)
        np.testing.assert_allclose(values, base + 0.9 * counts / counts.max())


def test_tails_show_survival_and_hill_plot() -> None:
    members = made_up.batch_sizes_with_trials(epochs=(2,))
    above, below, *_ = tails(members).axes
    for item in members:
        (survival,) = (
            line for line in above.get_lines() if line.get_label() == f"_B = {item.batch_size}"
        )
        x, share = points_of(survival).T
        standardised = (item.norm - item.norm.mean()) / item.norm.std(ddof=1)
        expected = [(standardised >= value).mean() for value in x]
        np.testing.assert_allclose(share, expected)
        (hill,) = (
            line for line in below.get_lines() if line.get_label() == f"_B = {item.batch_size}"
        )
        np.testing.assert_allclose(points_of(hill)[:, 1], item.hill_plot)


def test_maps_are_sorted_by_their_mean_gradient() -> None:
    members = made_up.batch_sizes_with_trials(epochs=(2,))
    small, large = members[0], members[-1]
    figure = weight_maps(members)
    images = [axes.get_images()[0].get_array() for axes in figure.axes[:4]]
    order = np.argsort(-np.sqrt(np.square(large.mean).sum(axis=0)))
    expected = [small.mean, small.variance, large.mean, large.variance]
    for image, values in zip(images, expected, strict=True):
        np.testing.assert_allclose(np.asarray(image), values[:, order])


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


def test_first_checkpoint_is_blue_and_last_is_green() -> None:
    for epochs in ([2, 30], [0, 1, 5, 30]):
        colours = epoch_colours(epochs)
        assert colours[epochs[0]].upper() == EARLY.upper()
        assert colours[epochs[-1]].upper() == LATE.upper()
        assert len(set(colours.values())) == len(epochs)


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


def test_batch_sizes_without_a_trial_left_are_said_on_every_figure(tmp_path: Path) -> None:
    table = made_up.statistics_table()
    diverged = (table["protocol"] == "sgd") & (table["batch_size"] == 64)
    table.loc[diverged, "diverged_trials"] = 1000
    table.loc[diverged, "mean_norm"] = np.nan
    paths = {"statistics": tmp_path / "statistics.csv", "claims": tmp_path / "claims.csv"}
    table.to_csv(paths["statistics"], index=False)
    made_up.claims_table().to_csv(paths["claims"], index=False)
    others = ("training", "law_curves", "variance_sources", "noise_scale")  # not drawn here
    sources = {**dict.fromkeys(others, paths["claims"]), **paths}
    targets = [tmp_path / "norm_vs_batch_size.svg", tmp_path / "claims.svg"]

    draw_summary(sources, Roles("sgd", [], []), 0.95, targets)

    for target in targets:
        assert "2000 of 12000 trials of sgd diverged and are left out" in target.read_text()


def test_trials_that_diverged_are_in_no_distribution_and_said_on_it(tmp_path: Path) -> None:
    """A trial diverged also where its tensor is finite and only its loss is not."""
    shards = write_shards(tmp_path, draw(12), batch_size=4)
    row, maps = tmp_path / "row.json", tmp_path / "maps.h5"
    describe_batch_size(
        shards, shards, row, maps, max_order=4, resamples=100, confidence=0.9, seed=0
    )
    with h5py.File(maps, "r+") as file:
        file["last_loss"][3] = np.inf
    made_up.steps_table().to_csv(tmp_path / "steps.csv", index=False)
    (item,) = read_batch_sizes([maps])
    norms = np.linalg.norm(draw(12).reshape(12, -1), axis=1)
    np.testing.assert_allclose(item.norm, np.delete(norms, 3), rtol=1e-6)

    draw_details([maps], tmp_path / "steps.csv", [tmp_path / "tails.svg"])

    text = (tmp_path / "tails.svg").read_text()
    assert "1 of 12 trials of sgd diverged and are left out" in text


@pytest.mark.parametrize("name", ["relative_spread", "norm_distribution", "claims", "steps"])
def test_a_remark_stands_below_the_figure(tmp_path: Path, name: str) -> None:
    """The area grows by the remark's two lines; no legend or label moves down into it."""
    plain, remarked = tmp_path / "plain" / f"{name}.png", tmp_path / f"{name}.png"
    draw_files({name: FIGURES[name]}, [plain], [])
    draw_files({name: FIGURES[name]}, [remarked], [], "3 of 1000 trials diverged\nand others")
    before, after = imread(plain), imread(remarked)
    assert after.shape[0] > before.shape[0]
    ink = [float((1 - image[: len(before), :, :3]).sum()) for image in (before, after)]
    assert ink[1] == pytest.approx(ink[0], rel=0.02)
    foot = after[len(before) :, :, :3]
    assert foot.min() < 0.5
    assert foot[[0, -1]].min() == foot[:, [0, -1]].min() == 1.0  # no letter is cut


def test_nothing_is_said_where_no_trial_diverged() -> None:
    assert left_out(made_up.statistics_table()) == ""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("epochs", "sizes", "trials"), [((2,), (7,), 1), ((0, 1, 5, 30), (5, 6), 40)]
)
def test_any_experiment_can_be_drawn(
    epochs: tuple[int, ...], sizes: tuple[int, ...], trials: int
) -> None:
    table = made_up.statistics_table(["sgd"], epochs, sizes, trials)
    if trials == 1:
        table[[*table.filter(regex="std|skewness|kurtosis")]] = np.nan
    members = made_up.batch_sizes_with_trials(epochs, sizes, trials)
    for figure in (
        norm_vs_batch_size(table, "sgd"),
        normalised_norm_vs_batch_size(table, "sgd"),
        relative_spread(table, ["sgd"], 0.95),
        moments(table, "sgd", 0.95),
        cancellation(table, ["sgd"], 0.95),
        norm_distribution(members),
        tails(members),
        weight_maps(members),
        steps(made_up.steps_table(epochs)),
    ):
        figure.draw_without_rendering()


def test_tables_without_rows_give_a_figure_that_says_so() -> None:
    for figure in (
        scaling_laws(made_up.law_curves().iloc[:0], "sgd"),
        variance_sources(made_up.variance_sources().iloc[:0], "sgd_reordered", 0.95),
        noise_scale(made_up.noise_scales().iloc[:0], "frozen", 0.95),
    ):
        assert "too few" in figure.texts[0].get_text()


def test_files_say_where_they_come_from_and_are_reproducible(tmp_path: Path) -> None:
    source = tmp_path / "statistics.csv"
    source.write_text("something\n")
    figures = {"direction": FIGURES["direction"]}
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        draw_files(figures, [folder / f"direction.{name}" for name in ("svg", "png")], [source])
    for name in ("direction.svg", "direction.png"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    text = (first / "direction.svg").read_text()
    assert "<dc:title>direction</dc:title>" in text
    assert re.search(r"commit \S+, from data sha256:[0-9a-f]{64}", text)
    assert b"sha256:" in (first / "direction.png").read_bytes()


def test_unreadable_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "statistics.csv"
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"statistics.csv cannot be read as a table"):
        read_table(path)
