"""Laws, shares, noise scales and verdicts are those of their tables."""

import numpy as np
from matplotlib.container import ErrorbarContainer

from gradatlas.figures.conclusions import claims, noise_scale, scaling_laws, variance_sources
from tests.figures import tables as made_up
from tests.figures.shown import error_bars, points_of, rows_of, shown_texts


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


def test_noise_scale_below_zero_is_on_a_linear_axis() -> None:
    table = made_up.noise_scales().query("estimator == 'two batch sizes'")
    (axes,) = noise_scale(table.assign(noise_scale=-1.0), "frozen", 0.95).axes
    assert axes.get_yscale() == "linear"
    names = [str(item.get_label()) for item in axes.containers]
    assert names == ["epoch 2 (early), two batch sizes", "epoch 30 (late), two batch sizes"]


def test_verdicts_are_written_out() -> None:
    figure = claims(made_up.claims_table(), 0.95)
    texts = [text.get_text() for text in shown_texts(figure)]
    assert texts.count("✗ not reproduced") == 4
    assert "0.200 [0.150, 0.250]" in texts
    assert "no protocol here can test it" in texts


def test_tables_without_rows_give_a_figure_that_says_so() -> None:
    for figure in (
        scaling_laws(made_up.law_curves().iloc[:0], "sgd"),
        variance_sources(made_up.variance_sources().iloc[:0], "sgd_reordered", 0.95),
        noise_scale(made_up.noise_scales().iloc[:0], "frozen", 0.95),
    ):
        assert "too few" in figure.texts[0].get_text()
