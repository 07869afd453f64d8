"""Gradient noise scale at a checkpoint, by the covariance of trials and by two batch sizes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradatlas.statistics.bootstrap import (
    Bootstrap,
    Intervals,
    StatisticOfMeans,
    bootstrap,
    of_means,
)
from gradatlas.statistics.covariance import noise_scale_factor, reciprocal_interval, signal_to_noise
from gradatlas.statistics.paired import Sweep

Array = NDArray[np.float64]

_COLUMNS = [
    *("protocol", "epoch", "estimator", "small_batch", "large_batch"),
    *("noise_scale", "noise_scale_low", "noise_scale_high"),
]


def two_batch_parts(
    batch_size: int, samples: int, training_samples: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Expectations of a trial's two squared norms at fixed weights.

    With G the mean gradient and Sigma the covariance of single samples' gradients (divisor P - 1)
    over P training samples, a batch of b samples drawn without replacement has
    E |g|^2 = b^2 |G|^2 + b (1 - b / P) tr Sigma. Summed over the batches of a trial, and for the
    trial as one batch, this gives two equations for |G|^2 and tr Sigma. With equal batches and P
    infinite their solution is that of McCandlish et al. (2018), appendix A.1.

    Returns:
        Coefficients of |G|^2 and tr Sigma in E sum_t |g_t|^2 and in E |S|^2.
    """
    sizes = np.full(-(-samples // batch_size), batch_size)
    sizes[-1] = samples - sizes[:-1].sum()
    squares = float(np.square(sizes).sum())
    small = (squares, samples - squares / training_samples)
    return small, (float(samples**2), samples * (1 - samples / training_samples))


def two_batch_signal(means: Array, parts: Array) -> Array:
    """|G|^2 / tr Sigma from two batch sizes, both parts unbiased at unit weights.

    Args:
        means: Of sum_t |g_t|^2 and of |S|^2 over the trials, shape (2, ...).
        parts: Coefficients from ``two_batch_parts``, shape (2, 2).

    Returns:
        Shape (...,).
    """
    squared_gradient, variance = np.tensordot(np.linalg.inv(parts), means, 1)
    return np.asarray(squared_gradient / variance)


def noise_scales(sweeps: Sequence[Sweep], settings: Bootstrap) -> pd.DataFrame:
    """Noise scale tr Sigma / |G|^2 of single samples, at every checkpoint with fixed weights.

    The noise scale is also the estimate of the critical batch size, beyond which a larger batch
    gains little (McCandlish et al. 2018, section 2.2).

    Returns:
        One row per protocol, epoch and estimator: ``trial covariance`` (from the tensors, small
        and large batch both a whole trial) and ``two batch sizes`` for each batch size below it.
    """
    rows = [
        row
        for sweep in sweeps
        if sweep.update == "none" and sweep.sample_sets is None and len(sweep.trials) > 1
        if sweep.samples_per_trial < sweep.training_samples
        for row in _rows(sweep, settings)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _rows(sweep: Sweep, settings: Bootstrap) -> list[tuple[object, ...]]:
    samples, squares = sweep.samples_per_trial, np.square(sweep.norm)
    factor = noise_scale_factor(samples, sweep.training_samples)
    products = sweep.product_with_others[-1]

    def of_trials(means: Array, _: Array) -> Array:
        squared_norm, product = means
        return signal_to_noise(squared_norm, product, float(products.mean()))[None] / factor

    def interval(statistic: StatisticOfMeans, values: Sequence[Array]) -> Intervals:
        return bootstrap(*of_means(statistic, np.stack(values), sweep.units), settings)

    found = [("trial covariance", samples, interval(of_trials, [squares[-1], products]))]
    for index, batch_size in enumerate(sweep.batch_sizes.tolist()):
        if batch_size < samples:
            parts = np.array(two_batch_parts(batch_size, samples, sweep.training_samples))

            def of_batches(means: Array, _: Array, parts: Array = parts) -> Array:
                return two_batch_signal(means, parts)[None]

            signal = interval(of_batches, [sweep.sum_of_squares[index], squares[index]])
            found.append(("two batch sizes", batch_size, signal))
    return [
        (sweep.protocol, sweep.epoch, estimator, small, samples, *_reciprocal(signal))
        for estimator, small, signal in found
    ]


def _reciprocal(signal: Intervals) -> tuple[float, float, float]:
    estimate, low, high = (float(end[0]) for end in (signal.estimate, signal.low, signal.high))
    return reciprocal_interval(estimate, low, high)
