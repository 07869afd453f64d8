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
    would bias every resample by tr Sigma / T. The ratio of unbiased estimates is not unbiased.

    Args:
        squared_norm: Weighted means of |S_i|^2, any shape.
        product: Weighted means of the average scalar product of S_i with the other trials, same
            shape.
        expected_product: The mean of these products at unit weights.

    Returns:
        The ratio, same shape, without unit.

    Example:
        Two trials, 3 and 1: their product is 3 and their variance 2, as 9 and 1 are 5 on average:

        >>> float(signal_to_noise(np.array(5.0), np.array(3.0), 3.0))
        1.5
        >>> float(signal_to_noise(np.array(5.0), np.array(-3.0), -3.0))  # of 3 and -1; not clamped
        -0.375
    """
    # At unit weights both are the same, and this is their value.
    squared_mean = 2 * product - expected_product
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(squared_mean / (squared_norm - squared_mean))


def noise_scale_factor(settings: TrialSettings) -> float:
    """What turns tr Sigma_S / |mean S|^2 of trials into the noise scale of single samples.

    A trial sums N of P samples drawn without replacement, N below P: the mean is N G, the
    covariance N (1 - N / P) Sigma, so tr Sigma / |G|^2 is N / (1 - N / P) times the ratio. The
    divisor of Sigma is P - 1.

    Args:
        settings: The record of the trials, N and P among it.

    Returns:
        A factor in samples; a little above N where a trial draws a small part of the training set.

    Raises:
        ZeroDivisionError: N is P, where nothing varies.

    Example:
        >>> from types import SimpleNamespace
        >>> drawn = SimpleNamespace(samples_per_trial=1024, training_samples=60_000)
        >>> round(noise_scale_factor(drawn), 1)  # 1024 / (1 - 0.017)
        1041.8
    """
    samples = settings.samples_per_trial
    return samples / (1 - samples / settings.training_samples)


def reciprocal_interval(estimate: float, low: float, high: float) -> Ends:
    """Estimate, low and high end of 1 / x, given those of x.

    The interval of x has no pole. Where it reaches 0, that of 1 / x is unbounded, and its end
    NaN. A negative estimate stays negative: it says that |G|^2 cannot be told from 0. As 1 / x
    falls, the interval's ends change places, and its coverage stays.

    Example:
        >>> reciprocal_interval(0.5, 0.25, 1.0)
        (2.0, 1.0, 4.0)
        >>> reciprocal_interval(0.5, -0.1, 1.0)  # no upper bound
        (2.0, 1.0, nan)
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
    E sum_t |g_t|^2 and in E |S|^2. With equal batches and P infinite the solution is that of
    McCandlish et al. (2018), appendix A.1.

    Args:
        batch_size: Samples of a minibatch; the last one of a trial is the remainder.
        samples: N, samples of a trial.
        training_samples: P.

    Returns:
        Rows: sum_t |g_t|^2 and |S|^2; columns: |G|^2 and tr Sigma. Shape (2, 2). With q the sum of
        squared batch sizes: (q, N - q / P) and (N^2, N (1 - N / P)). Singular where the batch is
        the trial, as both equations are the same then.

    Example:
        Two batches of two, of 6 training samples: q is 8.

        >>> two_batch_parts(batch_size=2, samples=4, training_samples=6).round(3).tolist()
        [[8.0, 2.667], [16.0, 1.333]]
    """
    # K = ceil(N / B) minibatches; the last one takes what is left.
    sizes = np.full(-(-samples // batch_size), batch_size)
    sizes[-1] = samples - sizes[:-1].sum()
    squares = float(np.square(sizes).sum())
    small = squares, samples - squares / training_samples
    return np.array([small, (samples**2, samples * (1 - samples / training_samples))])


def two_batch_signal(means: Array, parts: Array) -> Array:
    """|G|^2 / tr Sigma, both parts unbiased, from the means of sum_t |g_t|^2 and of |S|^2.

    Their ratio is not unbiased. Both parts may be negative; neither is clamped.

    Args:
        means: Of the two squared norms over trials, shape (2, ...).
        parts: Coefficients from ``two_batch_parts``, shape (2, 2).

    Returns:
        The reciprocal of the noise scale of single samples, shape (...).

    Example:
        Single samples' gradients 0, 1, 2 and 5 have mean 2 and variance 14 / 3; over all trials of
        two of them in any order the ratio 4 / (14 / 3) is met exactly:

        >>> from itertools import permutations
        >>> trials = np.array(list(permutations([0.0, 1.0, 2.0, 5.0], 2)))  # batch size 1
        >>> squares = np.square(trials).sum(axis=1), np.square(trials.sum(axis=1))
        >>> signal = two_batch_signal(np.mean(squares, axis=1), two_batch_parts(1, 2, 4))
        >>> round(float(signal), 9) == round(4 / (14 / 3), 9)
        True
    """
    squared_gradient, variance = np.tensordot(np.linalg.inv(parts), means, 1)
    return np.asarray(squared_gradient / variance)


def noise_scales(trials: Sequence[PairedTrials], resampling: Bootstrap) -> pd.DataFrame:
    """Noise scale of single samples, at every checkpoint with fixed weights.

    By ``trial covariance``, from the tensors, small and large batch both a whole trial, and by
    ``two batch sizes`` for each batch size below it. Both estimate tr Sigma / |G|^2 (McCandlish et
    al. 2018, appendix A), one from the differences between trials, the other from those between the
    minibatches of a trial. Intervals are those of the reciprocal, inverted: they have no pole.

    Args:
        trials: Of each protocol and epoch. Left out are those whose weights move, whose trials
            share sample sets or draw the whole training set, and single trials.
        resampling: Number of resamples, confidence level and seed.

    Returns:
        One row per protocol, epoch, estimator and small batch size; the noise scale in samples,
        its upper end NaN where it is unbounded.
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
    # At fixed weights the sum of a trial is the same at every batch size: one of them is enough.
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

            # The default binds this turn's parts: a closure would see those of the last one.
            def of_batches(means: Array, _: Array, parts: Array = parts) -> Array:
                return two_batch_signal(means, parts)[None]

            pair = np.stack([paired.sum_of_squares[index], squares[index]])
            statistic = of_means(of_batches, pair, paired.clusters)
            signal = bootstrap(*statistic, resampling)[:, 0]
            yield "two batch sizes", batch_size, reciprocal_interval(*signal.tolist())
