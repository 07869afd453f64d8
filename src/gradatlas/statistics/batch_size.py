"""One batch size of one protocol and epoch: its statistics with confidence intervals."""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradatlas.archive.read import Selection, open_shards
from gradatlas.core.errors import InputError
from gradatlas.core.runtime import single_threaded
from gradatlas.core.settings import TrialSettings, check_one_experiment
from gradatlas.statistics import moments as central
from gradatlas.statistics import noise_scale, norms
from gradatlas.statistics.moments import Moments, merge, moments_of
from gradatlas.statistics.resampling import (
    MINIMUM_CLUSTERS,
    Bootstrap,
    Clusters,
    bootstrap,
    independent_draws,
)
from gradatlas.statistics.tables import Arrays, Description, write_description, write_maps

Array = NDArray[np.float64]

# Tensors of one selection held at a time: so many bytes, and trials for a Gram matrix of 32 MB.
_BLOCK_BYTES = 64 << 20
_BLOCK_TRIALS = 2000

# Fewest trials for which an estimator exists at all; 1 where it is not listed.
_MINIMUM_TRIALS = {
    **dict.fromkeys(("std_norm", "relative_std", "total_variance", "gradient_norm_squared"), 2),
    **dict.fromkeys(("gsnr_mean", "gsnr_median"), 2),
    **dict.fromkeys(("skewness", "l_skewness", "weight_skewness_median"), 3),
    **dict.fromkeys(("excess_kurtosis", "l_kurtosis", "weight_excess_kurtosis_median"), 4),
    "effective_rank": 4,
    "hill_tail_index": norms.MINIMUM_TAIL**2,
}

_SHARED_SETS = "trials share sample sets, so they are not independent draws"


@dataclass(frozen=True)
class TensorSummary:
    """What one pass over the tensors leaves behind."""

    finite: NDArray[np.bool_]  # trials without nan or inf, shape (T,); moments are of them alone
    moments: Moments
    norm: Array  # of each tensor, shape (T,); not finite where a trial diverged
    cosine: Array  # with the same trial's at the largest batch size, (T,); NaN if either diverged
    squared_covariance_trace: float  # unbiased tr Sigma^2


@single_threaded()
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
    trials: int | None = None,
) -> None:
    """Describe the trials of one protocol, epoch and batch size: a row of statistics and maps.

    Every column, its estimator and its source are in docs/statistics.md. Tensors are read once, and
    once more where the noise scale can be told; all intervals are from the same resamples.

    Args:
        shards: All shards of the batch size.
        largest_batch_shards: Those of the largest batch size of the same protocol and epoch, for
            the cosine; they may be the same.
        row: JSON file to write: one row of the table of statistics, and why numbers are missing.
        maps: HDF5 file to write: statistics of each weight, and the scalars of each trial.
        max_order: Highest order of the moments.
        resamples: Bootstrap resamples of each interval.
        confidence: Confidence level of the intervals.
        seed: The experiment's seed.
        trials: How many trials, from the first; all there are without it.

    Raises:
        InputError: The two sets of shards are of different experiments or checkpoints, do not have
            the same trials of the same tensor, or a shard is damaged.
        OSError: A file cannot be read or written.
    """
    selection, reference = (open_shards(paths, trials) for paths in (shards, largest_batch_shards))
    _check_pair(selection, reference)
    summary = summarise_tensors(selection, reference, max_order)
    weights = weight_maps(summary.moments)
    scalars = {"norm": summary.norm, **selection.scalars, "cosine_to_largest_batch": summary.cosine}
    if _noise_scale_obstacle(selection.settings) is None:
        scalars["product_with_others"] = _products_with_others(selection, summary)
    # Resamples depend on what is described, never on the order of jobs. CRC-32 makes a number of
    # the protocol's name that is the same in every process, which Python's hash of a text is not.
    protocol = zlib.crc32(selection.protocol.encode())
    own_seed = (seed, protocol, selection.epoch, selection.batch_size)
    resampling = Bootstrap(resamples, confidence, own_seed)
    write_description(row, _describe(selection, summary, weights, scalars, resampling))
    write_maps(
        maps, selection, weights, scalars, norms.hill_estimates(summary.norm[summary.finite])
    )


def _check_pair(selection: Selection, reference: Selection) -> None:
    check_one_experiment([selection.settings, reference.settings])
    of_checkpoint = "checkpoint_sha256"
    if selection.attributes[of_checkpoint] != reference.attributes[of_checkpoint]:
        raise InputError(
            f"batch size {reference.batch_size} started from another checkpoint of epoch "
            f"{reference.epoch} than batch size {selection.batch_size}; collect one of them again"
        )
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


def summarise_tensors(selection: Selection, reference: Selection, order: int) -> TensorSummary:
    """Pass over the tensors once, in step with those of the reference, the largest batch size.

    A block of each is all that is held.

    Args:
        selection: The trials to describe.
        reference: The same trials at the largest batch size; they may be the same selection.
        order: Highest order of the moments.

    Returns:
        Moments of the finite trials, norms and cosines of all, and tr Sigma^2 as the mean of the
        blocks' estimates, weighted by trials: unbiased, as each of them is, though pairs of trials
        in different blocks are not used.

    Raises:
        InputError: A file is damaged.
    """
    usable = np.asarray(np.isfinite([*selection.scalars.values()]).all(axis=0))
    same = selection.batch_size == reference.batch_size
    # Blocks depend on the tensors' shape alone, so both selections have the same ones.
    others = None if same else _blocks(reference)
    # Moments of no tensors, which merging leaves as they are.
    total = moments_of(np.empty((0, *selection.shape)), order)
    lengths, cosines, traces, counts = [], [], [], []
    start = 0
    for block in _blocks(selection):
        tensors = block.reshape(len(block), -1)  # (t, element)
        norm = _row_norms(tensors)
        # Squares of float32 cannot overflow in float64: a tensor is finite if its norm is.
        usable[start : start + len(block)] &= np.isfinite(norm)
        finite = usable[start : start + len(block)]
        start += len(block)
        lengths.append(norm)
        if others is not None:
            cosines.append(_cosines(tensors, norm, next(others).reshape(tensors.shape)))
        used = tensors if finite.all() else tensors[finite]
        total = merge(total, moments_of(used.reshape(len(used), *selection.shape), order))
        traces.append(central.squared_covariance_trace(used))
        counts.append(len(used))
    norm = np.concatenate(lengths)
    # With itself, exactly 1: a quotient of roundings would make a spread.
    cosine = np.where(norm > 0, 1.0, np.nan) if same else np.concatenate(cosines)
    trace = _weighted_mean(np.array(traces), np.array(counts))
    return TensorSummary(usable, total, norm, cosine, trace)


def _weighted_mean(values: Array, counts: NDArray[np.int64]) -> float:
    """Mean of the values that are known, weighted by the trials behind each; NaN if none is.

    Example:
        >>> _weighted_mean(np.array([1.0, 4.0, np.nan]), np.array([1, 2, 3]))
        3.0
    """
    known = np.isfinite(values)
    return float(np.average(values[known], weights=counts[known])) if known.any() else math.nan


def _blocks(selection: Selection) -> Iterator[NDArray[np.float32]]:
    nbytes = 4 * math.prod(selection.shape)
    # Four bytes a weight: tensors are stored in float32.
    return selection.blocks(min(_BLOCK_BYTES, _BLOCK_TRIALS * nbytes))


def _row_norms(tensors: NDArray[np.float32]) -> Array:
    # Products of float32 are summed in float64, without a copy of the block in float64.
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", tensors, tensors, dtype=np.float64)))


def _cosines(tensors: NDArray[np.float32], norm: Array, others: NDArray[np.float32]) -> Array:
    products = np.einsum("ij,ij->i", tensors, others, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = products / (norm * _row_norms(others))
    return np.where(np.isfinite(cosine), cosine, np.nan)


def weight_maps(moments: Moments) -> dict[str, Array]:
    """Statistics of each weight over trials, each of the tensor's shape.

    ``gsnr`` is the gradient signal-to-noise ratio, the unbiased squared mean over the variance,
    (mean^2 - s^2 / T) / s^2 (Liu et al. 2020, arXiv 2001.07384). It may be negative; numerator and
    denominator are unbiased, their ratio is not. It is that of a trial's sum: of single samples, at
    fixed weights, it is smaller by the factor N / (1 - N / P).

    Args:
        moments: Of the trials' tensors, to order 4 or beyond.

    Returns:
        ``mean``, ``variance``, ``skewness``, ``excess_kurtosis``, ``moment_5`` and so on up to the
        moments' order, ``gsnr``. A weight whose gradient is the same in all trials has NaN where
        its variance is divided by.

    Example:
        Two weights in two trials: mean 2 and variance 2, so (4 - 2 / 2) / 2; and no variance.

        >>> maps = weight_maps(moments_of(np.array([[1.0, 5.0], [3.0, 5.0]]), order=4))
        >>> maps["variance"].tolist(), maps["gsnr"].tolist()
        ([2.0, 0.0], [1.5, nan])
    """
    variance = central.variance(moments)
    with np.errstate(divide="ignore", invalid="ignore"):
        squared_mean = moments.mean**2 - variance / np.float64(moments.count)
        return {
            "mean": moments.mean if moments.count else np.full_like(moments.mean, np.nan),
            "variance": variance,
            "skewness": central.standardised_moment(moments, 3),
            "excess_kurtosis": central.excess_kurtosis(moments),
            **_higher_moments(moments),
            "gsnr": np.where(variance > 0, squared_mean / variance, np.nan),
        }


def _higher_moments(moments: Moments) -> dict[str, Array]:
    """Standardised moments from the fifth on, ``moment_5``, ``moment_6`` ..."""
    orders = range(5, moments.order + 1)
    return {f"moment_{order}": central.standardised_moment(moments, order) for order in orders}


def _products_with_others(selection: Selection, summary: TensorSummary) -> Array:
    """Average scalar product of each tensor with those of the other finite trials, shape (T,).

    (T S_i . mean - |S_i|^2) / (T - 1). Over trials it averages to the unbiased |E S|^2.

    This is a second pass: it needs the mean of all trials, which is known after the first.
    NaN where a trial diverged, and everywhere if there is no other.
    """
    count, mean = summary.moments.count, summary.moments.mean.ravel()
    if count < 2:
        return np.full_like(summary.norm, np.nan)
    products = [
        np.einsum("ij,j->i", block.reshape(len(block), -1), mean) for block in _blocks(selection)
    ]
    with np.errstate(invalid="ignore"):
        # T times the mean is the sum of all; less the trial itself, it is that of the others.
        others = (count * np.concatenate(products) - summary.norm**2) / (count - 1)
    return np.where(summary.finite, others, np.nan)


def _noise_scale_obstacle(settings: TrialSettings) -> str | None:
    """Why the tensors do not tell the noise scale at the checkpoint, None if they do."""
    if settings.update.moves and settings.batches_per_trial > 1:
        return "the weights move during a trial, so its sum is not a gradient at the checkpoint"
    if settings.sample_sets is not None:
        return _SHARED_SETS
    if settings.samples_per_trial >= settings.training_samples:
        return "every trial draws the whole training set, so nothing varies"
    return None


def _describe(
    selection: Selection, summary: TensorSummary, maps: Arrays, trials: Arrays, how: Bootstrap
) -> Description:
    settings, finite, count = selection.settings, summary.finite, summary.moments.count
    # Where no trial is left, one that knows nothing stands in: all statistics are then missing.
    nothing = dict.fromkeys(trials, np.array([np.nan]))
    known = {name: column[finite] for name, column in trials.items()} if count else nothing
    clusters = independent_draws(settings, selection.trials)[finite] if count else np.zeros(1, int)
    values: dict[str, float] = {
        "trials": len(finite),
        "diverged_trials": len(finite) - count,
        "samples_per_trial": settings.samples_per_trial,
        "batches_per_trial": settings.batches_per_trial,
        **_interval_columns(settings, known, clusters, how),
        **_norm_columns(known["norm"], summary.moments.order),
        **_covariance_columns(settings, summary),
        **_weight_columns(maps),
        **_trial_means(settings, known),
    }
    draws = len(np.unique(clusters))
    missing = [column for column, value in values.items() if math.isnan(value)]
    reasons = {column: _reason(column, settings, count, draws) for column in missing}
    return Description(settings, values, reasons | _remarks(summary))


def _remarks(summary: TensorSummary) -> dict[str, str]:
    """What to know of columns that leave out trials."""
    total, count = len(summary.finite), summary.moments.count
    lost = int(np.count_nonzero(np.isnan(summary.cosine[summary.finite])))
    remarks = {}
    if count < total:
        rest = f"the other columns describe the {count} that do not"
        remarks["diverged_trials"] = f"{total - count} of {total} trials hold nan or inf; {rest}"
    if lost:
        place = "at the largest batch size and are left out"
        remarks["cosine_to_largest_batch"] = f"{lost} of {count} trials diverged {place}"
    return remarks


def _reason(column: str, settings: TrialSettings, count: int, draws: int) -> str:
    """Why a column is NaN."""
    base = column.removesuffix("_low").removesuffix("_high")
    obstacle = _noise_scale_obstacle(settings)
    order = base.removeprefix("moment_")
    minimum = int(order) if order.isdecimal() else _MINIMUM_TRIALS.get(base, 1)
    if base == "noise_scale" and obstacle is not None:
        return obstacle
    if base in ("gradient_norm_squared", "effective_rank") and settings.sample_sets is not None:
        return _SHARED_SETS
    if count < minimum:
        return f"{count} finite trials, {base} needs at least {minimum}"
    if base != column and draws < MINIMUM_CLUSTERS:
        return f"{draws} independent draws, an interval needs at least {MINIMUM_CLUSTERS}"
    if base == "noise_scale":
        return "the squared mean gradient cannot be told from 0 by these trials"
    if base == "effective_rank":
        return "the estimate of tr Sigma^2 is not positive"
    if base == "cosine_to_largest_batch" and base != column:
        return "it has no spread to resample, as for the largest batch size itself, where it is 1"
    return "there is no spread among the trials, or not in every resample"


def _interval_columns(
    settings: TrialSettings, trials: Arrays, clusters: Clusters, resampling: Bootstrap
) -> dict[str, float]:
    """Statistics with intervals, all from the same resamples."""
    norm = trials["norm"]
    with np.errstate(divide="ignore", invalid="ignore"):
        coherence = norm / trials["path_length"]
    products = trials.get("product_with_others", np.full_like(norm, np.nan))

    def statistics(weights: Array) -> dict[str, Array]:
        n = weights.sum(axis=-1)
        squared_norm, product = weights @ norm**2 / n, weights @ products / n
        mean, deviation, relative, *_ = norms.shape_statistics(weights, norm)
        l_skewness, l_kurtosis = norms.weighted_l_ratios(weights, norm)
        return {
            "mean_norm": mean,
            "std_norm": deviation,
            "relative_std": relative,
            "l_skewness": l_skewness,
            "l_kurtosis": l_kurtosis,
            "cosine_to_largest_batch": _known_mean(weights, trials["cosine_to_largest_batch"]),
            "coherence": _known_mean(weights, coherence),
            "signal": noise_scale.signal_to_noise(squared_norm, product, float(products.mean())),
        }

    # One call, so that all these statistics come from the same resamples.
    names = [*statistics(np.ones(len(norm)))]
    resampled = bootstrap(
        lambda weights: np.stack([*statistics(weights).values()]), clusters, resampling
    )
    found = dict(zip(names, resampled.T.tolist(), strict=True))  # of each, estimate, low, high
    signal = found.pop("signal")
    # These two have intervals of another kind; they keep their place in the table.
    shape = norms.shape_intervals(norm, clusters, resampling).T.tolist()
    first = {name: found.pop(name) for name in ("mean_norm", "std_norm", "relative_std")}
    found = {**first, "skewness": shape[0], "excess_kurtosis": shape[1], **found}
    found["noise_scale"] = _noise_scale_interval(settings, signal)
    values: dict[str, float] = {}
    for name, interval in found.items():
        values |= zip((name, f"{name}_low", f"{name}_high"), interval, strict=True)
    return values


def _noise_scale_interval(settings: TrialSettings, signal: Sequence[float]) -> list[float]:
    """Noise scale, low and high end, from those of its reciprocal, which has no pole."""
    if _noise_scale_obstacle(settings) is not None:
        return [math.nan] * 3
    factor = noise_scale.noise_scale_factor(settings)
    return [*noise_scale.reciprocal_interval(*(value / factor for value in signal))]


def _known_mean(weights: Array, values: Array) -> Array:
    """Weighted mean of the trials whose value is known, shape (...,); NaN where none is.

    Example:
        >>> float(_known_mean(np.array([1.0, 2.0, 1.0]), np.array([1.0, 4.0, np.nan])))
        3.0
    """
    known = np.isfinite(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(weights @ np.where(known, values, 0.0) / (weights @ known))


def _norm_columns(norm: Array, order: int) -> dict[str, float]:
    """Statistics of the norms that have no interval."""
    with np.errstate(divide="ignore", invalid="ignore"):
        higher = _higher_moments(moments_of(norm, order))
    found = {name: float(value) for name, value in higher.items()}
    return {**found, "hill_tail_index": norms.hill_tail_index(norm)}


def _covariance_columns(settings: TrialSettings, summary: TensorSummary) -> dict[str, float]:
    """Total variance, unbiased squared mean and effective rank (tr Sigma)^2 / tr Sigma^2."""
    moments, trace = summary.moments, summary.squared_covariance_trace
    total = float(central.variance(moments).sum())
    # |mean S|^2 exceeds |E S|^2 by tr Sigma_S / T on average. The difference may be negative and is
    # never clamped.
    squared_mean = float(np.square(moments.mean).sum()) - total / max(moments.count, 1)
    independent = settings.sample_sets is None
    return {
        "total_variance": total,
        "gradient_norm_squared": squared_mean if independent else math.nan,
        "effective_rank": total**2 / trace if independent and trace > 0 else math.nan,
    }


def _weight_columns(weights: Arrays) -> dict[str, float]:
    """Summaries over the weights whose gradient varies."""
    varies = weights["variance"] > 0
    known = {
        name: values[varies] if varies.any() else np.full(1, np.nan)
        for name, values in weights.items()
    }
    return {
        "weight_skewness_median": float(np.median(known["skewness"])),
        "weight_excess_kurtosis_median": float(np.median(known["excess_kurtosis"])),
        "gsnr_median": float(np.median(known["gsnr"])),
        "gsnr_mean": float(known["gsnr"].mean()),
        "constant_weights": int(np.count_nonzero(weights["variance"] == 0)),
    }


def _trial_means(settings: TrialSettings, trials: Arrays) -> dict[str, float]:
    """Means over trials of what the steps say; NaN where one is not a number."""
    steps, squares = settings.batches_per_trial, trials["sum_of_squares"]
    with np.errstate(divide="ignore", invalid="ignore"):
        diversity = squares / trials["norm"] ** 2
    columns = {
        "mean_step_norm": trials["path_length"] / steps,
        "mean_root_sum_of_squares": np.sqrt(squares),
        "root_mean_square_step_norm": np.sqrt(squares / steps),
        "gradient_diversity": diversity,
        "mean_first_loss": trials["first_loss"],
        "mean_last_loss": trials["last_loss"],
    }
    return {
        name: float(values.mean()) if np.isfinite(values).all() else math.nan
        for name, values in columns.items()
    }
