"""Where the spread of the norm comes from: which samples a trial draws, or their order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from gradatlas.statistics.paired import PairedTrials
from gradatlas.statistics.resampling import SMALLEST

Array = NDArray[np.float64]


@dataclass(frozen=True)
class VarianceSources:
    """One-way random-effects analysis of variance of the norm over sample sets.

    The model is norm = mean + effect of the set + effect of the order, effects independent with
    variances sigma^2_sets and sigma^2_orders. Both estimates are unbiased whatever the effects'
    distributions (Searle 1971); as nothing is clamped, that of the sets may be negative. Interval
    and p-values are exact for Gaussian effects and equal numbers of orders.
    """

    between_sets: float  # sigma^2 of the sets, (MS_between - MS_within) / orders; may be negative
    within_sets: float  # sigma^2 of the orders of one set, MS_within
    f_ratio: float  # MS_between / MS_within
    orders: float  # per set
    degrees_of_freedom: tuple[int, int]  # between and within sets

    @property
    def sample_share(self) -> float:
        """Share of the sets in the sum of both variances; it may be negative."""
        return self.between_sets / (self.between_sets + self.within_sets)

    def interval(self, confidence: float) -> tuple[float, float]:
        """Exact interval of the sample share for Gaussian effects (Searle 1971).

        With unequal numbers of orders it is approximate, n their effective number.

        With F the ratio of mean squares, F / (1 + n rho / (1 - rho)) has an F distribution, n the
        orders per set and rho the share; its quantiles are solved for rho. A bootstrap over ten
        sets covers too little: 82 % in place of 95 % (docs/statistics.md).

        Args:
            confidence: Level, between 0 and 1.

        Returns:
            Lower and upper end. The lower one may be negative, as the estimate may.

        Example:
            Ten sets in twenty orders, the true share 0.7. Few sets leave a wide interval:

            >>> rng = np.random.default_rng(0)
            >>> effects = np.sqrt(0.7) * rng.normal(size=(10, 1))  # of the sets
            >>> norms = 100 + effects + np.sqrt(0.3) * rng.normal(size=(10, 20))
            >>> found = analyse_variance(norms.ravel(), np.repeat(np.arange(10), 20))
            >>> [round(end, 2) for end in (found.sample_share, *found.interval(0.95))]
            [0.62, 0.42, 0.85]
        """
        tails = (1 + confidence) / 2, (1 - confidence) / 2
        # The upper quantile of F gives the lower end, as the share rises with the ratio that is
        # left.
        low, high = self.f_ratio / np.asarray(stats.f.ppf(tails, *self.degrees_of_freedom)) - 1
        return float(low / (low + self.orders)), float(high / (high + self.orders))

    def p_values(self, share: float) -> tuple[float, float]:
        """One-sided p-values of "the sample share is above" and "below" the given one.

        Args:
            share: Between 0 and 1.

        Returns:
            Both p-values, whose sum is 1; small where the data say so.

        Example:
            >>> found = analyse_variance(np.array([1.0, 3.0, 5.0, 7.0]), np.array([0, 0, 1, 1]))
            >>> [round(value, 2) for value in found.p_values(0.5)]  # share 0.78, but of two sets
            [0.24, 0.76]
        """
        # Under this share E MS_between is this multiple of E MS_within.
        scaled = self.f_ratio / (1 + self.orders * share / (1 - share))
        above, below = (
            max(float(tail(scaled, *self.degrees_of_freedom)), SMALLEST)
            for tail in (stats.f.sf, stats.f.cdf)
        )
        return above, below


def analyse_variance(norms: Array, sets: NDArray[np.integer]) -> VarianceSources:
    """Split the variance of the norm into samples and order.

    sigma^2_sets = (MS_between - MS_within) / orders and sigma^2_orders = MS_within, MS the mean
    squares between and within sets. With unequal numbers of orders n_i their effective number
    (T - sum n_i^2 / T) / (sets - 1) replaces them (Searle 1971).

    Args:
        norms: One number a trial, shape (T,).
        sets: Number of the sample set of each trial, shape (T,); at least 2 sets, one of 2 trials.

    Returns:
        Both variances, in squared units of the norm, and what intervals and tests need.

    Example:
        Set means 2 and 6; MS_between is 2 (4 + 4) / 1 = 16, MS_within 4 / 2:

        >>> found = analyse_variance(np.array([1.0, 3.0, 5.0, 7.0]), np.array([0, 0, 1, 1]))
        >>> found.between_sets, found.within_sets, round(found.sample_share, 3)
        (7.0, 2.0, 0.778)
    """
    _, index, counts = np.unique(sets, return_inverse=True, return_counts=True)
    means = np.bincount(index, norms) / counts  # (set,)
    between, within = len(counts) - 1, len(norms) - len(counts)
    mean_square_between = float(counts @ np.square(means - norms.mean())) / between
    mean_square_within = float(np.square(norms - means[index]).sum()) / within
    orders = float(len(norms) - np.square(counts).sum() / len(norms)) / between
    return VarianceSources(
        between_sets=(mean_square_between - mean_square_within) / orders,
        within_sets=mean_square_within,
        f_ratio=mean_square_between / mean_square_within,
        orders=orders,
        degrees_of_freedom=(between, within),
    )


def is_split(paired: PairedTrials) -> bool:
    """Whether trials have sample sets in several orders, so that their variance can be split.

    Example:
        >>> from types import SimpleNamespace
        >>> sets, trials = np.array([0, 1, 0, 1]), np.arange(4)
        >>> is_split(SimpleNamespace(own_samples=False, clusters=sets, trials=trials))
        True
        >>> is_split(SimpleNamespace(own_samples=False, clusters=trials, trials=trials))
        False
    """
    return not paired.own_samples and 1 < len(np.unique(paired.clusters)) < len(paired.trials)


def split_variance(trials: Sequence[PairedTrials], confidence: float) -> pd.DataFrame:
    """Samples or order, at every batch size of the protocols whose trials share sample sets.

    Args:
        trials: Of each protocol and epoch; those that cannot be split are left out.
        confidence: Level of the intervals, between 0 and 1.

    Returns:
        One row per protocol, epoch and batch size: variances in squared units of the norm, the
        samples' share of them with its exact interval for Gaussian effects, and the order's.
    """
    rows = []
    for paired in filter(is_split, trials):
        for batch_size, norms in zip(paired.batch_sizes.tolist(), paired.norm, strict=True):
            found = analyse_variance(norms, paired.clusters)
            variances = found.between_sets, found.within_sets
            share, ends = found.sample_share, found.interval(confidence)
            key = (*paired.key, batch_size, paired.settings.sample_sets)
            rows.append((*key, found.orders, *variances, share, *ends, 1 - share))
    columns = [
        *("protocol", "epoch", "batch_size", "sample_sets", "orders"),
        *("variance_between_sets", "variance_within_sets"),
        *("sample_share", "sample_share_low", "sample_share_high", "order_share"),
    ]
    return pd.DataFrame(rows, columns=columns)
