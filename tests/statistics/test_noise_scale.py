"""Noise scale: exact enumeration, McCandlish's formulas, known populations, agreement."""

from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gradatlas.core.updates import Frozen
from gradatlas.statistics.batch_size import describe_batch_size
from gradatlas.statistics.noise_scale import (
    noise_scale_factor,
    noise_scales,
    reciprocal_interval,
    signal_to_noise,
    two_batch_parts,
    two_batch_signal,
)
from gradatlas.statistics.paired import read_paired
from gradatlas.statistics.resampling import Bootstrap
from tests.statistics.synthetic import make_paired, make_settings, write_shards

Array = NDArray[np.float64]
RESAMPLING = Bootstrap(200, 0.95, (0,))


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_two_batches_are_unbiased_over_all_trials(batch_size: int) -> None:
    """All ordered draws of 5 of 6 samples, the last batch the remainder."""
    gradients = np.random.default_rng(0).normal(0.5, 1, size=(6, 2))
    sums, totals = [], []
    for chosen in permutations(range(6), 5):
        batches = [
            gradients[list(chosen[start : start + batch_size])].sum(axis=0)
            for start in range(0, 5, batch_size)
        ]
        sums.append(np.square(batches).sum())
        totals.append(np.square(np.sum(batches, axis=0)).sum())
    parts = two_batch_parts(batch_size, 5, 6)
    found = two_batch_signal(np.array([np.mean(sums), np.mean(totals)]), parts)
    squared_gradient = np.square(gradients.mean(axis=0)).sum()
    assert found == pytest.approx(squared_gradient / gradients.var(axis=0, ddof=1).sum(), rel=1e-9)


def test_equal_batches_of_many_samples_give_mccandlishs_estimates() -> None:
    small, big, count = 4, 64, 16
    rng = np.random.default_rng(1)
    sums, squares = rng.uniform(50, 60, 9), rng.uniform(500, 600, 9)
    parts = two_batch_parts(small, big, 10**12)
    norm_small, norm_big = (sums / count / small**2).mean(), (squares / big**2).mean()
    gradient = (big * norm_big - small * norm_small) / (big - small)
    variance = (norm_small - norm_big) / (1 / small - 1 / big)
    found = two_batch_signal(np.array([sums.mean(), squares.mean()]), parts)
    assert found == pytest.approx(gradient / variance, rel=1e-6)


def sampled_gradients(trials: int, samples: int) -> Array:
    """Per-sample gradients of trials, without replacement from 1000: (trial, sample, weight)."""
    rng = np.random.default_rng(2)
    population = rng.normal(0.5, 1, size=(1000, 12))
    return np.stack([population[rng.permutation(1000)[:samples]] for _ in range(trials)])


def test_both_estimators_agree_with_the_population(tmp_path: Path) -> None:
    gradients = sampled_gradients(120, 64)
    files = []
    for size in (4, 64):
        folder = tmp_path / str(size)
        folder.mkdir()
        total = gradients.sum(axis=1).astype(np.float32).reshape(120, 3, 4)
        shards = write_shards(folder, total, batch_size=size, update=Frozen(), protocol="frozen")
        maps = folder / "maps.hdf5"
        describe_batch_size(
            shards, shards, folder / "row", maps, max_order=4, resamples=100, confidence=0.9, seed=0
        )
        files.append(maps)
    (paired,) = read_paired(files)
    steps = gradients.reshape(120, 16, 4, 12).sum(axis=2)
    paired.sum_of_squares[0] = np.square(steps).sum(axis=(1, 2))
    table = noise_scales([paired], RESAMPLING)
    assert table["estimator"].tolist() == ["trial covariance", "two batch sizes"]
    truth = 12 / (12 * 0.25)  # the population's own differs by its sampling, 3 %
    for low, high in zip(table["noise_scale_low"], table["noise_scale_high"], strict=True):
        assert low < truth * 1.1
        assert high > truth / 1.1


def test_moving_weights_have_no_noise_scale() -> None:
    assert noise_scales([make_paired(np.ones((2, 10)), (1, 1024))], RESAMPLING).empty


def of_equal_weights(tensors: Array) -> float:
    squares = np.square(tensors).sum(axis=1)
    products = (tensors @ tensors.sum(axis=0) - squares) / (len(tensors) - 1)
    return float(signal_to_noise(squares.mean(), products.mean(), products.mean()))


def test_signal_to_noise_is_the_ratio_of_unbiased_estimates() -> None:
    tensors = 1 + np.random.default_rng(1).normal(size=(25, 6))
    variance = tensors.var(axis=0, ddof=1).sum()
    squared_mean = np.square(tensors.mean(axis=0)).sum() - variance / 25
    found = of_equal_weights(tensors)
    assert found == pytest.approx(squared_mean / variance, rel=1e-9)


def test_signal_to_noise_is_not_clamped() -> None:
    tensors = np.random.default_rng(2).normal(size=(8, 50))
    tensors -= tensors.mean(axis=0)
    assert of_equal_weights(tensors) < 0


def test_noise_scale_of_a_population_drawn_without_replacement() -> None:
    """All trials of 4 of 7 samples: the noise scale is tr Sigma / |G|^2 of the population."""
    gradients = np.random.default_rng(3).normal(0.8, 1, size=(7, 3))
    trials = np.array([gradients[list(chosen)].sum(axis=0) for chosen in combinations(range(7), 4)])
    mean = trials.mean(axis=0)
    ratio = np.square(trials - mean).sum() / len(trials) / np.square(mean).sum()
    settings = make_settings(samples=4, training_samples=7)
    expected = gradients.var(axis=0, ddof=1).sum() / np.square(gradients.mean(axis=0)).sum()
    assert noise_scale_factor(settings) * ratio == pytest.approx(expected, rel=1e-9)


def test_reciprocal_of_an_interval() -> None:
    assert reciprocal_interval(0.5, 0.25, 1.0) == (2, 1, 4)
    estimate, low, high = reciprocal_interval(0.5, -0.1, 1.0)
    assert (estimate, low) == (2, 1)
    assert np.isnan(high)
    estimate, low, high = reciprocal_interval(-0.5, -1.0, -0.1)
    assert estimate == -2
    assert np.isnan([low, high]).all()
