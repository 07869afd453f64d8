"""Where the spread of the norm comes from: which samples a trial draws, or their order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from gradatlas.statistics.paired import PairedTrials

Array = NDArray[np.float64]


@dataclass(frozen=True)
class VarianceSources:
    """One-way random-effects analysis of variance of the norm over sample sets."""

    between_sets: float  # sigma^2 of the sets, (MS_between - MS_within) / orders; may be negative
    within_sets: float  # sigma^2 of the orders of one set, MS_within
    f_ratio: float  # MS_between / MS_within
    orders: float  # per set
    degrees_of_freedom: tuple[int, int]  # between and within sets

    @property
    def sample_share(self) -> float:
        """Share of the sets in the sum of both variances."""
        return self.between_sets / (self.between_sets + self.within_sets)

    def interval(self, confidence: float) -> tuple[float, float]:
        """Exact interval of the sample share for Gaussian effects (Searle 1971)."""
        tails = (1 + confidence) / 2, (1 - confidence) / 2
        low, high = self.f_ratio / np.asarray(stats.f.ppf(tails, *self.degrees_of_freedom)) - 1
        return float(low / (low + self.orders)), float(high / (high + self.orders))

    def p_values(self, share: float) -> tuple[float, float]:
        """One-sided p-values of "the sample share is above" and "below" the given one."""
        scaled = self.f_ratio / (1 + self.orders * share / (1 - share))
        above = stats.f.sf(scaled, *self.degrees_of_freedom)
        return float(above), float(1 - above)


def analyse_variance(norms: Array, sets: NDArray[np.integer]) -> VarianceSources:
    """Split the variance of the norm into samples and order; needs 2 sets, one of 2 trials.

    With unequal numbers of orders their effective number replaces them (Searle 1971).
    """
    _, index, counts = np.unique(sets, return_inverse=True, return_counts=True)
    means = np.bincount(index, norms) / counts
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
    """Whether trials have sample sets in several orders, so that their variance can be split."""
    return not paired.own_samples and 1 < len(np.unique(paired.clusters)) < len(paired.trials)


def split_variance(trials: Sequence[PairedTrials], confidence: float) -> pd.DataFrame:
    """Samples or order, at every batch size of the protocols whose trials share sample sets."""
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
