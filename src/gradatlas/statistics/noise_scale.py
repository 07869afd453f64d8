"""Gradient noise scale at a checkpoint, by the covariance of trials and by two batch sizes.

It is tr Sigma / |G|^2, Sigma the covariance and G the mean of single samples' gradients, and also
the estimate of the critical batch size, beyond which a larger batch gains little (McCandlish et
al. 2018, section 2.2).
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradatlas.core.settings import TrialSettings
from gradatlas.statistics.paired import PairedTrials
from gradatlas.statistics.resampling import Bootstrap, bootstrap, of_means

Array = NDArray[np.float64]
Ends = tuple[float, float, float]  # estimate, low and high end of its interval


def signal_to_noise(squared_norm: Array, product: Array, expected_product: float) -> Array:
    """|mean|^2 / tr Sigma of the trials' tensors, negative if the estimate of |mean|^2 is.

    Both parts are U-statistics at unit weights: |mean|^2 is the average of the scalar products of
    different trials, tr Sigma the average squared norm less that. Other weights enter |mean|^2
    through its projection onto single trials (Hajek 1968), twice their weighted mean product less
    the mean at unit weights: a trial that is drawn twice then makes no product with itself, which
    would bias every resample by tr Sigma / T. Given are weighted means of |S_i|^2 and of the
    average scalar product of S_i with the other trials, and that product's at unit weights.
    """
    squared_mean = 2 * product - expected_product
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(squared_mean / (squared_norm - squared_mean))


def noise_scale_factor(settings: TrialSettings) -> float:
    """What turns tr Sigma_S / |mean S|^2 of trials into the noise scale of single samples.

    A trial sums N of P samples drawn without replacement, N below P: the mean is N G, the
    covariance N (1 - N / P) Sigma, so tr Sigma / |G|^2 is N / (1 - N / P) times the ratio.
    """
    samples = settings.samples_per_trial
    return samples / (1 - samples / settings.training_samples)


def reciprocal_interval(estimate: float, low: float, high: float) -> Ends:
    """Estimate, low and high end of 1 / x, given those of x.

    The interval of x has no pole. Where it reaches 0, that of 1 / x is unbounded, and its end
    NaN. A negative estimate stays negative: it says that |G|^2 cannot be told from 0.
    """
    return (
        1 / estimate if estimate else math.nan,
        1 / high if high > 0 else math.nan,
        1 / low if low > 0 else math.nan,
    )


def two_batch_parts(batch_size: int, samples: int, training_samples: int) -> Array:
    """Expectations of a trial's two squared norms at fixed weights.

    With G the mean gradient and Sigma the covariance of single samples' gradients (divisor P - 1)
    over P training samples, a batch of b samples drawn without replacement has
    E |g|^2 = b^2 |G|^2 + b (1 - b / P) tr Sigma. Summed over the batches of a trial, and for the
    trial as one batch, this gives two equations for |G|^2 and tr Sigma: their coefficients in
    E sum_t |g_t|^2 and in E |S|^2, shape (2, 2). With equal batches and P infinite the solution is
    that of McCandlish et al. (2018), appendix A.1.
    """
    sizes = np.full(-(-samples // batch_size), batch_size)
    sizes[-1] = samples - sizes[:-1].sum()
    squares = float(np.square(sizes).sum())
    small = squares, samples - squares / training_samples
    return np.array([small, (samples**2, samples * (1 - samples / training_samples))])


def two_batch_signal(means: Array, parts: Array) -> Array:
    """|G|^2 / tr Sigma, both parts unbiased, from the means of sum_t |g_t|^2 and of |S|^2."""
    squared_gradient, variance = np.tensordot(np.linalg.inv(parts), means, 1)
    return np.asarray(squared_gradient / variance)


def noise_scales(trials: Sequence[PairedTrials], resampling: Bootstrap) -> pd.DataFrame:
    """Noise scale of single samples, at every checkpoint with fixed weights.

    By ``trial covariance``, from the tensors, small and large batch both a whole trial, and by
    ``two batch sizes`` for each batch size below it.
    """
    rows = [
        (*paired.key, estimator, small, paired.settings.samples_per_trial, *ends)
        for paired in trials
        if not paired.settings.update.moves and paired.own_samples and len(paired.trials) > 1
        if paired.settings.samples_per_trial < paired.settings.training_samples
        for estimator, small, ends in _estimates(paired, resampling)
    ]
    columns = [
        *("protocol", "epoch", "estimator", "small_batch", "large_batch"),
        *("noise_scale", "noise_scale_low", "noise_scale_high"),
    ]
    return pd.DataFrame(rows, columns=columns)


def _estimates(paired: PairedTrials, resampling: Bootstrap) -> Iterator[tuple[str, int, Ends]]:
    """Estimator, small batch size, and the noise scale with its interval."""
    settings, squares = paired.settings, np.square(paired.norm)
    samples, factor = settings.samples_per_trial, noise_scale_factor(settings)
    products = paired.product_with_others[-1]

    def of_trials(means: Array, _: Array) -> Array:
        squared_norm, product = means
        return signal_to_noise(squared_norm, product, float(products.mean()))[None] / factor

    statistic = of_means(of_trials, np.stack([squares[-1], products]), paired.clusters)
    signal = bootstrap(*statistic, resampling)[:, 0]
    yield "trial covariance", samples, reciprocal_interval(*signal.tolist())
    for index, batch_size in enumerate(paired.batch_sizes.tolist()):
        if batch_size < samples:
            parts = two_batch_parts(batch_size, samples, settings.training_samples)

            def of_batches(means: Array, _: Array, parts: Array = parts) -> Array:
                return two_batch_signal(means, parts)[None]

            pair = np.stack([paired.sum_of_squares[index], squares[index]])
            statistic = of_means(of_batches, pair, paired.clusters)
            signal = bootstrap(*statistic, resampling)[:, 0]
            yield "two batch sizes", batch_size, reciprocal_interval(*signal.tolist())
