"""One batch size of one protocol and epoch: its statistics with confidence intervals."""

import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradatlas.archive.read import Selection, open_shards
from gradatlas.core.errors import InputError
from gradatlas.statistics import moments as central
from gradatlas.statistics.bootstrap import MINIMUM_UNITS, Bootstrap, bootstrap
from gradatlas.statistics.covariance import noise_scale_factor, reciprocal_interval, signal_to_noise
from gradatlas.statistics.description import Description, write_description, write_maps
from gradatlas.statistics.moments import Moments
from gradatlas.statistics.norms import (
    MINIMUM_TAIL,
    hill_estimates,
    hill_tail_index,
    shape_statistics,
    weighted_l_ratios,
)
from gradatlas.statistics.scan import Scan, products_with_others, scan
from gradatlas.statistics.shape import shape_intervals

Array = NDArray[np.float64]

# Fewest trials for which an estimator exists at all.
_MINIMUM_TRIALS = {
    "std_norm": 2,
    "relative_std": 2,
    "skewness": 3,
    "excess_kurtosis": 4,
    "l_skewness": 3,
    "l_kurtosis": 4,
    "hill_tail_index": MINIMUM_TAIL**2,
    "total_variance": 2,
    "gradient_norm_squared": 2,
    "effective_rank": 4,
    "gsnr_mean": 2,
    "gsnr_median": 2,
    "weight_skewness_median": 3,
    "weight_excess_kurtosis_median": 4,
}


def describe_batch_size(
    shards: Sequence[Path],
    largest_batch_shards: Sequence[Path],
    row: Path,
    maps: Path,
    *,
    max_order: int,
    resamples: int,
    confidence: float,
    seed: int,
) -> None:
    """Describe the trials of one protocol, epoch and batch size.

    Args:
        shards: All shards of the batch size.
        largest_batch_shards: All shards of the largest batch size of the same protocol and epoch,
            for the cosine; they may be the same shards.
        row: JSON file to write: one row of the table of statistics, and why numbers are missing.
        maps: HDF5 file to write: statistics of each weight, and the scalars of each trial.
        max_order: Highest order of the moments.
        resamples: Bootstrap resamples of each interval.
        confidence: Confidence level of the intervals.
        seed: The experiment's seed.

    Raises:
        InputError: The two sets of shards do not have the same trials of the same tensor.
        OSError: A file cannot be read or written.
    """
    selection, reference = open_shards(shards), open_shards(largest_batch_shards)
    _check_pair(selection, reference)
    result = scan(selection, reference, max_order)
    weights = weight_maps(result.moments)
    trials = _trial_columns(selection, result)
    settings = Bootstrap(resamples, confidence, _bootstrap_seed(seed, selection))
    write_description(row, _describe(selection, result, weights, trials, settings))
    write_maps(maps, selection, weights, trials, _hill_plot(result))


def weight_maps(moments: Moments) -> dict[str, Array]:
    """Statistics of each weight over trials, each of the tensor's shape.

    ``gsnr`` is the gradient signal-to-noise ratio, the unbiased squared mean over the variance,
    (mean^2 - s^2 / T) / s^2 (Liu et al. 2020, arXiv 2001.07384). It may be negative.
    A weight whose gradient is the same in all trials has NaN where its variance is divided by.
    """
    variance = central.variance(moments)
    with np.errstate(divide="ignore", invalid="ignore"):
        squared_mean = moments.mean**2 - variance / np.float64(moments.count)
        return {
            "mean": moments.mean if moments.count else np.full_like(moments.mean, np.nan),
            "variance": variance,
            "skewness": central.skewness(moments),
            "excess_kurtosis": central.excess_kurtosis(moments),
            **{
                f"moment_{order}": central.standardised_moment(moments, order)
                for order in range(5, moments.order + 1)
            },
            "gsnr": np.where(variance > 0, squared_mean / variance, np.nan),
        }


def _check_pair(selection: Selection, reference: Selection) -> None:
    if selection.shape != reference.shape:
        raise InputError(
            f"tensors of batch size {reference.batch_size} have shape {reference.shape}, expected "
            f"{selection.shape} as at batch size {selection.batch_size}; collect both again"
        )
    if not np.array_equal(selection.trials, reference.trials):
        raise InputError(
            f"batch size {reference.batch_size} has {len(reference.trials)} trials, expected the "
            f"same {len(selection.trials)} as batch size {selection.batch_size}; collect the rest"
        )


def _bootstrap_seed(seed: int, selection: Selection) -> tuple[int, ...]:
    """Resamples depend on what is described, never on the order of jobs."""
    name = zlib.crc32(selection.protocol.encode())
    return (seed, name, selection.epoch, selection.batch_size)


def _noise_scale_obstacle(selection: Selection) -> str | None:
    """Why the tensors do not tell the noise scale at the checkpoint, None if they do."""
    if selection.settings.update.moves and selection.settings.batches_per_trial > 1:
        return "the weights move during a trial, so its sum is not a gradient at the checkpoint"
    if selection.settings.sample_sets is not None:
        return "trials share sample sets, so they are not independent draws"
    if selection.settings.samples_per_trial >= selection.settings.training_samples:
        return "every trial draws the whole training set, so nothing varies"
    return None


def _trial_columns(selection: Selection, result: Scan) -> dict[str, Array]:
    columns = {
        "norm": result.norm,
        **selection.scalars,
        "cosine_to_largest_batch": result.cosine,
    }
    if _noise_scale_obstacle(selection) is None:
        columns["product_with_others"] = products_with_others(selection, result)
    return columns


def _hill_plot(result: Scan) -> Array:
    norms = result.norm[result.finite]
    return hill_estimates(norms) if len(norms) > 1 and norms.min() > 0 else np.empty(0)


def _describe(
    selection: Selection,
    result: Scan,
    weights: Mapping[str, Array],
    trials: Mapping[str, Array],
    settings: Bootstrap,
) -> Description:
    count = result.moments.count
    # Where no trial is left, one that knows nothing stands in: all statistics are then missing.
    kept = {name: values[result.finite] for name, values in trials.items()}
    finite = kept if count else dict.fromkeys(trials, np.array([np.nan]))
    units = _units(selection)[result.finite] if count else np.zeros(1, np.int64)
    values: dict[str, float] = {
        "trials": len(result.finite),
        "diverged_trials": len(result.finite) - count,
        "samples_per_trial": selection.settings.samples_per_trial,
        "batches_per_trial": selection.settings.batches_per_trial,
        **_interval_columns(selection, finite, units, settings),
        **_norm_columns(finite["norm"], result.moments.order),
        **_covariance_columns(selection, result),
        **_weight_columns(weights),
        **_trial_means(selection, finite),
    }
    reasons = {
        column: _reason(column, selection, count, len(np.unique(units)))
        for column, value in values.items()
        if math.isnan(value)
    } | _remarks(result)
    return Description(selection.protocol, selection.epoch, selection.batch_size, values, reasons)


def _remarks(result: Scan) -> dict[str, str]:
    """What to know of columns that leave out trials."""
    total, count = len(result.finite), result.moments.count
    lost = int(np.count_nonzero(np.isnan(result.cosine[result.finite])))
    remarks = {}
    if count < total:
        remarks["diverged_trials"] = (
            f"{total - count} of {total} trials hold nan or inf; the other columns describe the "
            f"{count} that do not"
        )
    if lost:
        remarks["cosine_to_largest_batch"] = (
            f"{lost} of {count} trials diverged at the largest batch size and are left out"
        )
    return remarks


def _units(selection: Selection) -> NDArray[np.int64]:
    """What is drawn independently: the trial, or the sample set where trials share one."""
    sets = selection.settings.sample_sets
    return selection.trials if sets is None else selection.trials % sets


def _interval_columns(
    selection: Selection,
    finite: Mapping[str, Array],
    units: NDArray[np.int64],
    settings: Bootstrap,
) -> dict[str, float]:
    """Statistics with intervals, all from the same resamples."""
    norms = finite["norm"]
    with np.errstate(divide="ignore", invalid="ignore"):
        cancellation = norms / finite["path_length"]
    noise = _noise_scale_obstacle(selection) is None

    def statistic(weights: Array) -> Array:
        parts = [
            shape_statistics(weights, norms)[:3],
            weighted_l_ratios(weights, norms),
            _known_mean(weights, finite["cosine_to_largest_batch"])[None],
            _known_mean(weights, cancellation)[None],
        ]
        if noise:
            products, n = finite["product_with_others"], weights.sum(axis=-1)
            squared_norm, product = weights @ norms**2 / n, weights @ products / n
            signal = signal_to_noise(squared_norm, product, float(products.mean()))
            parts.append(signal[None])
        return np.concatenate(parts)

    found = bootstrap(statistic, units, settings)
    ends = np.stack([found.estimate, found.low, found.high], axis=1)  # (k, 3)
    names = [
        *("mean_norm", "std_norm", "relative_std", "skewness", "excess_kurtosis"),
        *("l_skewness", "l_kurtosis", "cosine_to_largest_batch", "cancellation"),
    ]
    rows = [*ends[:3], *shape_intervals(norms, units, settings), *ends[3:7]]
    values: dict[str, float] = {}
    for name, (estimate, low, high) in zip(names, np.array(rows).tolist(), strict=True):
        values |= {name: estimate, f"{name}_low": low, f"{name}_high": high}
    noise_columns = ("noise_scale", "noise_scale_low", "noise_scale_high")
    return values | (
        _noise_scale(selection, ends[-1].tolist())
        if noise
        else dict.fromkeys(noise_columns, math.nan)
    )


def _known_mean(weights: Array, values: Array) -> Array:
    """Weighted mean of the trials whose value is known, shape (...,)."""
    known = np.isfinite(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(weights @ np.where(known, values, 0.0) / (weights @ known))


def _noise_scale(selection: Selection, signal: Sequence[float]) -> dict[str, float]:
    """Noise scale from the signal-to-noise ratio of trials and the ends of its interval."""
    training_samples = selection.settings.training_samples
    factor = noise_scale_factor(selection.settings.samples_per_trial, training_samples)
    estimate, low, high = reciprocal_interval(*(value / factor for value in signal))
    return {"noise_scale": estimate, "noise_scale_low": low, "noise_scale_high": high}


def _reason(column: str, selection: Selection, count: int, units: int) -> str:
    """Why a column is NaN."""
    base = column.removesuffix("_low").removesuffix("_high")
    obstacle = _noise_scale_obstacle(selection)
    order = base.removeprefix("moment_")
    minimum = int(order) if order.isdecimal() else _MINIMUM_TRIALS.get(base, 1)
    if base == "noise_scale" and obstacle is not None:
        return obstacle
    if (
        base in ("gradient_norm_squared", "effective_rank")
        and selection.settings.sample_sets is not None
    ):
        return "trials share sample sets, so they are not independent draws"
    if count < minimum:
        return f"{count} finite trials, {base} needs at least {minimum}"
    if base != column and units < MINIMUM_UNITS:
        return f"{units} independent draws, an interval needs at least {MINIMUM_UNITS}"
    if base == "noise_scale":
        return "the squared mean gradient cannot be told from 0 by these trials"
    if base == "effective_rank":
        return "the estimate of tr Sigma^2 is not positive"
    if base == "cosine_to_largest_batch" and base != column:
        return "it has no spread to resample, as for the largest batch size itself, where it is 1"
    return "there is no spread among the trials, or not in every resample"


def _norm_columns(norms: Array, order: int) -> dict[str, float]:
    """Statistics of the norms that have no interval."""
    moments = central.moments_of(norms, order)
    with np.errstate(divide="ignore", invalid="ignore"):
        higher = {
            f"moment_{p}": float(central.standardised_moment(moments, p))
            for p in range(5, order + 1)
        }
    return {
        **higher,
        "hill_tail_index": hill_tail_index(norms),
    }


def _covariance_columns(selection: Selection, result: Scan) -> dict[str, float]:
    """Total variance, unbiased squared mean and effective rank (tr Sigma)^2 / tr Sigma^2."""
    count = result.moments.count
    total = float(central.variance(result.moments).sum())
    squared_mean = float(np.square(result.moments.mean).sum()) - total / max(count, 1)
    trace = result.squared_covariance_trace
    independent = selection.settings.sample_sets is None
    return {
        "total_variance": total,
        "gradient_norm_squared": squared_mean if independent else math.nan,
        "effective_rank": total**2 / trace if independent and trace > 0 else math.nan,
    }


def _weight_columns(weights: Mapping[str, Array]) -> dict[str, float]:
    """Summaries over the weights whose gradient varies."""
    varies, constant = weights["variance"] > 0, weights["variance"] == 0
    names = {
        "weight_skewness_median": "skewness",
        "weight_excess_kurtosis_median": "excess_kurtosis",
        "gsnr_median": "gsnr",
    }
    medians = {
        column: float(np.median(weights[name][varies])) if varies.any() else math.nan
        for column, name in names.items()
    }
    mean = float(weights["gsnr"][varies].mean()) if varies.any() else math.nan
    return {**medians, "gsnr_mean": mean, "constant_weights": int(np.count_nonzero(constant))}


def _trial_means(selection: Selection, finite: Mapping[str, Array]) -> dict[str, float]:
    """Means over trials of what the steps say."""
    path, squares = finite["path_length"], finite["sum_of_squares"]
    with np.errstate(divide="ignore", invalid="ignore"):
        diversity = squares / finite["norm"] ** 2
    means = {
        "mean_step_norm": path / selection.settings.batches_per_trial,
        "mean_root_sum_of_squares": np.sqrt(squares),
        "root_mean_square_step_norm": np.sqrt(squares / selection.settings.batches_per_trial),
        "gradient_diversity": diversity,
        "mean_first_loss": finite["first_loss"],
        "mean_last_loss": finite["last_loss"],
    }
    return {name: _mean(values) for name, values in means.items()}


def _mean(values: Array) -> float:
    """Mean; NaN without values or with one that is not a number."""
    return float(values.mean()) if len(values) and np.isfinite(values).all() else math.nan
