"""Distributions hold every trial, maps every weight."""

from dataclasses import replace

import numpy as np
from matplotlib.patches import StepPatch

from gradatlas.figures.single_trials import norm_distribution, tails, weight_maps
from tests.figures import tables as made_up
from tests.figures.shown import points_of


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
            line
            for line in above.get_lines()
            if line.get_label() == f"_B = {item.settings.batch_size}"
        )
        x, share = points_of(survival).T
        standardised = (item.norm - item.norm.mean()) / item.norm.std(ddof=1)
        expected = [(standardised >= value).mean() for value in x]
        np.testing.assert_allclose(share, expected)
        (hill,) = (
            line
            for line in below.get_lines()
            if line.get_label() == f"_B = {item.settings.batch_size}"
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


def test_a_checkpoint_without_a_spread_is_an_empty_panel() -> None:
    members = made_up.batch_sizes_with_trials(sizes=(8,))
    members[1] = replace(members[1], norm=np.full(3, 7.0), hill_plot=np.full(2, np.nan))
    _, late = norm_distribution(members).axes
    assert not late.patches
    assert [text.get_text() for text in late.texts] == ["no trials to show"]
    above, below = tails(members).axes[1:4:2]
    assert [line.get_label() for line in above.get_lines()] == ["Gaussian"]
    assert below.get_ylim() == tails(members).axes[2].get_ylim()


def test_weights_that_never_vary_have_a_map() -> None:
    members = [
        replace(item, variance=np.zeros_like(item.variance))
        for item in made_up.batch_sizes_with_trials(epochs=(2,), sizes=(8,))
    ]
    _, variances = weight_maps(members).axes[:2]
    assert variances.get_images()[0].get_clim() == (1, 10)
