"""What the trials say on each of the article's claims."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gradatlas.statistics.bootstrap import Bootstrap, WeightedStatistic, bootstrap, of_means
from gradatlas.statistics.jackknife import Jackknife, jackknife, slope_contrast
from gradatlas.statistics.norm_definitions import (
    LAW_MARGIN,
    log_means,
    log_means_and_spreads,
    square_root_deviations,
)
from gradatlas.statistics.norms import weighted_l_ratios
from gradatlas.statistics.paired import Sweep
from gradatlas.statistics.variance_components import analyse_variance, is_split

Array = NDArray[np.float64]
Ends = tuple[float, float, float]  # estimate, low and high end of its interval

# A fall of 5 % is the least that counts against "rises": smaller ones no figure shows.
FALL_MARGIN = math.log(0.95)
# L-kurtosis: half the step from the Gaussian (0.1226) to the logistic distribution (0.1667).
TAIL_MARGIN = 0.022
# The samples are the source of the spread if they account for more of it than the order does.
SAMPLE_SHARE = 0.5

# Where more trials diverged, those that are left are survivors and decide nothing.
DIVERGED_LIMIT = 0.05


@dataclass(frozen=True)
class Evidence:
    """What the trials say on one claim at one checkpoint.

    Attributes:
        claim: Number of the claim.
        protocol: Name of the protocol.
        epoch: Epoch of the checkpoint, the later one where two are compared.
        statistic: What is estimated.
        estimate: The estimate.
        low: Lower end of its interval.
        high: Upper end of its interval.
        for_p_value: P-value of the claim's test; small values speak for the claim.
        against_p_value: P-value of the opposite test; small values speak against it.
        remark: What the statistic does not show, in words.
    """

    claim: int
    protocol: str
    epoch: int
    statistic: str
    estimate: float
    low: float
    high: float
    for_p_value: float
    against_p_value: float
    remark: str


def collect_evidence(sweeps: Sequence[Sweep], settings: Bootstrap) -> Iterator[Evidence]:
    """Evidence on every claim at every checkpoint.

    Claims 1 to 6 concern the protocols whose weights move and whose trials have samples of their
    own, claim 7 those whose trials share sample sets.

    Args:
        sweeps: In ascending order of epochs.
        settings: Of the intervals.
    """
    moving = [
        sweep
        for sweep in sweeps
        if sweep.update == "sgd" and sweep.sample_sets is None and len(sweep.trials) > 1
    ]
    for sweep in moving:
        if len(sweep.batch_sizes) > 1:
            yield _mean_rises(sweep, settings)
            yield _square_root(sweep, settings)
            yield _spread_rises(sweep, settings)
            yield _tails(sweep, settings)
            yield _competition(sweep, settings)
        first = next(other for other in moving if other.protocol == sweep.protocol)
        if first.epoch < sweep.epoch:
            yield _early_larger(first, sweep, settings)
    for sweep in sweeps:
        if is_split(sweep):
            yield _samples_not_order(sweep, settings)


def _evidence(
    claim: int,
    sweep: Sweep,
    statistic: str,
    ends: Ends,
    *,
    for_p_value: float,
    against_p_value: float,
    remark: str,
) -> Evidence:
    """Evidence from one sweep; none on either side where many trials diverged."""
    total = len(sweep.trials) + sweep.diverged
    if sweep.diverged:
        remark += f"; {sweep.diverged} of {total} trials diverged and are left out"
    if sweep.diverged > DIVERGED_LIMIT * total:
        for_p_value = against_p_value = 1.0
        remark += ", too many for a verdict"
    return Evidence(
        claim,
        sweep.protocol,
        sweep.epoch,
        statistic,
        *ends,
        for_p_value=for_p_value,
        against_p_value=against_p_value,
        remark=remark,
    )


def _mean_rises(sweep: Sweep, settings: Bootstrap) -> Evidence:
    means = log_means(sweep.norm, sweep.units)
    return _rises(1, sweep, "log-log slope of the mean norm", *means, settings)


def _spread_rises(sweep: Sweep, settings: Bootstrap) -> Evidence:
    both, groups = log_means_and_spreads(sweep.norm, sweep.units)
    statistic = "log-log slope of the relative standard deviation"
    return _rises(3, sweep, statistic, lambda weights: both(weights)[1], groups, settings)


def _rises(
    claim: int,
    sweep: Sweep,
    statistic: str,
    logarithms: WeightedStatistic,
    units: NDArray[np.integer],
    settings: Bootstrap,
) -> Evidence:
    """For: the slope is positive. Against: it is negative, or some pair falls by more than 5 %."""
    slope = slope_contrast(np.log(sweep.batch_sizes))
    pooled = jackknife(logarithms, units)
    falls = _pairs(len(sweep.batch_sizes))  # smaller less larger batch size
    falling = len(falls) * float(pooled.above(falls, -FALL_MARGIN).min())
    negative = float(pooled.above(-slope[None])[0])
    return _evidence(
        claim,
        sweep,
        statistic,
        _interval(slope, logarithms, units, settings),
        for_p_value=float(pooled.above(slope[None])[0]),
        against_p_value=min(1.0, 2 * min(negative, falling)),
        remark=_largest_fall(sweep.batch_sizes, falls, pooled),
    )


def _largest_fall(batch_sizes: NDArray[np.integer], falls: Array, pooled: Jackknife) -> str:
    values = falls @ pooled.estimate
    worst = int(np.argmax(values))
    if values[worst] <= 0:
        return "rises from every batch size to the next"
    smaller, larger = batch_sizes[falls[worst] > 0][0], batch_sizes[falls[worst] < 0][0]
    fall = -100 * math.expm1(-values[worst])
    return f"falls by up to {fall:.1f} %, from batch size {smaller} to {larger}"


def _square_root(sweep: Sweep, settings: Bootstrap) -> Evidence:
    """For: every mean is within 10 % of the fitted law. Against: some mean is further off."""
    contrasts, law = square_root_deviations(sweep.batch_sizes)
    logarithms = log_means(sweep.norm, sweep.units)
    pooled = jackknife(*logarithms)
    both_sides = np.concatenate([contrasts, -contrasts])
    inside = pooled.above(both_sides, np.concatenate([law, -law]) - LAW_MARGIN)
    outside = pooled.above(both_sides, np.concatenate([law, -law]) + LAW_MARGIN)
    deviations = contrasts @ pooled.estimate - law
    worst = int(np.argmax(np.abs(deviations)))
    slope = slope_contrast(np.log(sweep.batch_sizes))
    return _evidence(
        2,
        sweep,
        "log-log slope of the mean norm, 1/2 by the claim",
        _interval(slope, *logarithms, settings),
        for_p_value=float(inside.max()),
        against_p_value=min(1.0, len(outside) * float(outside.min())),
        remark=(
            f"the mean norm at batch size {sweep.batch_sizes[worst]} is "
            f"{math.exp(deviations[worst]):.2f} times the fitted square-root law"
        ),
    )


def _early_larger(early: Sweep, late: Sweep, settings: Bootstrap) -> Evidence:
    """For: larger at every batch size. Against: smaller at some batch size."""
    sizes, rows, late_rows = np.intersect1d(
        early.batch_sizes, late.batch_sizes, return_indices=True
    )
    trials, columns, late_columns = np.intersect1d(early.trials, late.trials, return_indices=True)
    norms = [early.norm[np.ix_(rows, columns)], late.norm[np.ix_(late_rows, late_columns)]]

    def log_ratios(means: Array, _: Array) -> Array:
        first, second = np.split(means, 2)  # (B, ...)
        return np.asarray(np.log(first / second))

    ratios = of_means(log_ratios, np.concatenate(norms), trials)
    pooled = jackknife(*ratios)
    each = np.eye(len(sizes))
    smallest = int(np.argmin(pooled.estimate))
    paired = replace(late, trials=trials, diverged=max(early.diverged, late.diverged))
    estimate, low, high = _interval(each[smallest], *ratios, settings)
    return _evidence(
        4,
        paired,
        f"smallest ratio of the mean norms, epoch {early.epoch} over {late.epoch} "
        f"(batch size {sizes[smallest]})",
        (math.exp(estimate), math.exp(low), math.exp(high)),
        for_p_value=float(pooled.above(each).max()),
        against_p_value=min(1.0, len(sizes) * float(pooled.above(-each).min())),
        remark=f"the largest ratio is {math.exp(pooled.estimate.max()):.2f}",
    )


def _tails(sweep: Sweep, settings: Bootstrap) -> Evidence:
    """For: L-kurtosis rises. Against: it rises by less than 0.022 over all batch sizes."""
    logarithms = np.log(sweep.batch_sizes)
    change = slope_contrast(logarithms) * np.ptp(logarithms)

    def kurtosis(weights: Array) -> Array:
        return np.stack([weighted_l_ratios(weights, norms)[1] for norms in sweep.norm])

    pooled = jackknife(kurtosis, sweep.units)
    smallest, largest = pooled.estimate[[0, -1]]
    return _evidence(
        5,
        sweep,
        "change of the norm's L-kurtosis over all batch sizes, from its slope against log B",
        _interval(change, kurtosis, sweep.units, settings),
        for_p_value=float(pooled.above(change[None])[0]),
        against_p_value=float(pooled.above(-change[None], -TAIL_MARGIN)[0]),
        remark=(
            f"L-kurtosis is {smallest:.3f} at batch size {sweep.batch_sizes[0]} and {largest:.3f} "
            f"at {sweep.batch_sizes[-1]}, 0.123 for a Gaussian"
        ),
    )


def _competition(sweep: Sweep, settings: Bootstrap) -> Evidence:
    """For: the largest batch's norm is below every other's. Against: above some other's."""
    each = np.eye(len(sweep.batch_sizes))
    larger = each[-1] - each[:-1]  # largest batch size less each other
    logarithms = log_means(sweep.norm, sweep.units)
    pooled = jackknife(*logarithms)
    estimate, low, high = _interval(larger[0], *logarithms, settings)
    left = float((sweep.norm[0] / sweep.path_length[0]).mean())
    return _evidence(
        6,
        sweep,
        f"mean norm at batch size {sweep.batch_sizes[-1]} over that at {sweep.batch_sizes[0]}",
        (math.exp(estimate), math.exp(low), math.exp(high)),
        for_p_value=float(pooled.above(-larger).max()),
        against_p_value=min(1.0, len(larger) * float(pooled.above(larger).min())),
        remark=f"at batch size {sweep.batch_sizes[0]} the sum is {left:.2f} of the path's length",
    )


def _samples_not_order(sweep: Sweep, settings: Bootstrap) -> Evidence:
    """For: the samples' share is above 1/2 at every batch size. Against: below at some."""
    sources = [analyse_variance(norms, sweep.units) for norms in sweep.norm]
    p_values = np.array([source.p_values(SAMPLE_SHARE) for source in sources])  # (B, 2)
    smallest = int(np.argmin([source.sample_share for source in sources]))
    shares = ", ".join(
        f"{source.sample_share:.2f} at {size}"
        for size, source in zip(sweep.batch_sizes, sources, strict=True)
    )
    return _evidence(
        7,
        sweep,
        f"smallest share of the samples in the variance of the norm "
        f"(batch size {sweep.batch_sizes[smallest]})",
        (sources[smallest].sample_share, *sources[smallest].interval(settings.confidence)),
        for_p_value=float(p_values[:, 0].max()),
        against_p_value=min(1.0, len(sources) * float(p_values[:, 1].min())),
        remark=f"share of the samples by batch size: {shares}",
    )


def _interval(
    contrast: Array, statistic: WeightedStatistic, units: NDArray[np.integer], settings: Bootstrap
) -> Ends:
    """BCa interval of one contrast of statistics of shape (B, ...)."""
    found = bootstrap(
        lambda weights: np.tensordot(contrast, statistic(weights), 1)[None], units, settings
    )
    return float(found.estimate[0]), float(found.low[0]), float(found.high[0])


def _pairs(count: int) -> Array:
    """Contrasts of every smaller batch size with every larger one, shape (pairs, count)."""
    each = np.eye(count)
    return np.stack([each[i] - each[j] for i, j in combinations(range(count), 2)])
