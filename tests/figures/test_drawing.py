"""Figures draw what stands in the tables, legibly, whatever experiment the tables describe."""

import re
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from gradatlas.figures import conclusions, curves
from gradatlas.figures.drawing import draw_details, draw_files, draw_summary
from gradatlas.figures.inputs import Summary
from gradatlas.figures.single_trials import norm_distribution, steps, tails, weight_maps
from tests.figures import tables as made_up
from tests.figures.shown import shown_texts

SUMMARY = Summary(
    {
        "statistics": made_up.statistics_table(),
        "training": made_up.training_table(),
        "law_curves": made_up.law_curves(),
        "variance_sources": made_up.variance_sources(),
        "noise_scale": made_up.noise_scales(),
        "claims": made_up.claims_table(),
    },
    confidence=0.95,
    main="sgd",
    frozen=["frozen"],
    reordered=["sgd_reordered"],
)
OF_TABLES = curves.FIGURES | conclusions.FIGURES
FIGURES: dict[str, Callable[[], Figure]] = {
    **{name: partial(draw, SUMMARY) for name, draw in OF_TABLES.items()},
    "norm_distribution": lambda: norm_distribution(made_up.batch_sizes_with_trials()),
    "tails": lambda: tails(made_up.batch_sizes_with_trials()),
    "weight_maps": lambda: weight_maps(made_up.batch_sizes_with_trials()),
    "steps": lambda: steps(made_up.steps_table()),
}
RULES = Path(__file__).parents[2] / "workflow" / "rules" / "figures.smk"


def test_the_workflow_asks_for_every_figure_and_for_no_other() -> None:
    asked = re.findall(r'\bfigure\(\s*"(\w+)"', RULES.read_text())
    assert sorted(asked) == sorted(FIGURES)


@cache
def drawn(name: str) -> Figure:
    """A figure with its layout done."""
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    return figure


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

    draw_summary(sources, 0.95, targets, main="sgd", frozen=[], reordered=[])

    for target in targets:
        assert "2000 of 12000 trials of sgd diverged and are left out" in target.read_text()


def test_trials_that_diverged_are_said_on_figures_of_single_trials(
    tmp_path: Path, maps: list[Path]
) -> None:
    made_up.steps_table().to_csv(tmp_path / "steps.csv", index=False)

    draw_details(maps, tmp_path / "steps.csv", [tmp_path / "tails.svg"])

    text = (tmp_path / "tails.svg").read_text()
    assert "2 of 24 trials of sgd diverged and are left out" in text


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


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("epochs", "sizes", "trials"), [((2,), (7,), 1), ((0, 5, 30), (5, 6), 40)])
def test_any_experiment_can_be_drawn(
    epochs: tuple[int, ...], sizes: tuple[int, ...], trials: int
) -> None:
    table = made_up.statistics_table(["sgd"], epochs, sizes, trials)
    if trials == 1:
        table[[*table.filter(regex="std|skewness|kurtosis")]] = np.nan
    members = made_up.batch_sizes_with_trials(epochs, sizes, trials)
    for figure in (
        curves.norm_vs_batch_size(table, "sgd"),
        curves.normalised_norm_vs_batch_size(table, "sgd"),
        curves.relative_spread(table, ["sgd"], 0.95),
        curves.moments(table, "sgd", 0.95),
        curves.coherence(table, ["sgd"], 0.95),
        norm_distribution(members),
        tails(members),
        weight_maps(members),
        steps(made_up.steps_table(epochs)),
    ):
        figure.draw_without_rendering()


def test_files_say_where_they_come_from_and_are_reproducible(tmp_path: Path) -> None:
    source = tmp_path / "statistics.csv"
    source.write_text("something\n")
    figures = {"direction": FIGURES["direction"]}
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        draw_files(
            figures, [folder / f"direction.{name}" for name in ("svg", "png", "pdf")], [source]
        )
    for name in ("direction.svg", "direction.png", "direction.pdf"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    text = (first / "direction.svg").read_text()
    assert "<dc:title>direction</dc:title>" in text
    assert re.search(r"commit \S+, from data sha256:[0-9a-f]{64}", text)
    for name in ("direction.png", "direction.pdf"):
        assert b"sha256:" in (first / name).read_bytes()
