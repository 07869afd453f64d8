"""How the norm depends on batch size: laws side by side, and exponents between neighbours."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradatlas.statistics.bootstrap import Bootstrap, bootstrap, of_means
from gradatlas.statistics.jackknife import jackknife, residual_contrasts
from gradatlas.statistics.laws import Law, fit_law, laws
from gradatlas.statistics.norm_definitions import log_means
from gradatlas.statistics.paired import Sweep

Array = NDArray[np.float64]

# Fewer batch sizes leave nothing to compare laws of two parameters by when one is left out.
MINIMUM_BATCH_SIZES = 5

_EXPONENT = ("exponent", "exponent_low", "exponent_high")

# Points of a fitted curve, besides the measured batch sizes.
_CURVE_POINTS = 60


def compare_laws(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """Fit every law to the root of the mean squared norm, where weights move.

    Returns:
        One row per protocol, epoch and law: ``parameters``, ``largest_error`` (largest relative
        error of the fitted norm), ``left_out_error`` (root mean square of the relative errors
        where each batch size is predicted from all others), ``largest_left_out_error``,
        ``interpolation_error`` (the largest of them without the smallest and the largest batch
        size), ``information_criterion`` (AICc) and ``lack_of_fit_p_value`` (Hotelling's test,
        NaN with too few trials). Protocols with fewer
        than 5 batch sizes are left out.
    """
    rows = [
        _law_row(sweep, law)
        for sweep in sweeps
        if _has_laws(sweep)
        for law in laws(sweep.samples_per_trial)
    ]
    columns = [
        *("protocol", "epoch", "law", "formula", "parameters", "largest_error"),
        *("left_out_error", "largest_left_out_error", "interpolation_error"),
        *("information_criterion", "lack_of_fit_p_value"),
    ]
    return pd.DataFrame(rows, columns=columns)


def _has_laws(sweep: Sweep) -> bool:
    enough = len(sweep.batch_sizes) >= MINIMUM_BATCH_SIZES and len(sweep.trials) > 1
    return sweep.update == "sgd" and enough


def _law_row(sweep: Sweep, law: Law) -> dict[str, object]:
    fit = fit_law(law, sweep.batch_sizes, np.square(sweep.norm).mean(axis=1))
    left_out = np.abs(fit.left_out_errors)
    return {
        "protocol": sweep.protocol,
        "epoch": sweep.epoch,
        "law": fit.law,
        "formula": fit.formula,
        "parameters": fit.parameters,
        "largest_error": np.abs(fit.relative_errors).max(),
        "left_out_error": math.sqrt(np.square(left_out).mean()),
        "largest_left_out_error": left_out.max(),
        "interpolation_error": left_out[1:-1].max(),
        "information_criterion": fit.information_criterion,
        "lack_of_fit_p_value": _lack_of_fit(sweep, law),
    }


def _lack_of_fit(sweep: Sweep, law: Law) -> float:
    """Test of a law by the mean squared norms, whose errors batch sizes share."""
    sizes, squares = sweep.batch_sizes.astype(np.float64), np.square(sweep.norm)

    if law.columns is not None:
        means = jackknife(*of_means(lambda means, _: means, squares, sweep.units))
        return means.combine(law.columns(sizes))
    design = np.stack([np.ones(len(sizes)), np.log(sizes)], axis=1)
    return jackknife(*log_means(squares, sweep.units)).vanish(residual_contrasts(design))


def law_curves(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """Every law of ``compare_laws``, fitted to all batch sizes, as a curve.

    Returns:
        Rows of protocol, epoch, law, batch_size (measured ones and points in between), fitted_norm,
        root_mean_square_norm and relative_error of the fit, both NaN in between.
    """
    tables = [
        _law_curve(sweep, law)
        for sweep in sweeps
        if _has_laws(sweep)
        for law in laws(sweep.samples_per_trial)
    ]
    columns = [
        *("protocol", "epoch", "law", "batch_size", "fitted_norm"),
        *("root_mean_square_norm", "relative_error"),
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _law_curve(sweep: Sweep, law: Law) -> pd.DataFrame:
    sizes = sweep.batch_sizes.astype(np.float64)
    squares = np.square(sweep.norm).mean(axis=1)
    predict, _ = law.fit(sizes, squares)
    grid = np.union1d(sizes, np.geomspace(sizes[0], sizes[-1], _CURVE_POINTS))
    fitted = np.sqrt(predict(grid))
    measured = np.full(len(grid), np.nan)
    measured[np.searchsorted(grid, sizes)] = np.sqrt(squares)
    return pd.DataFrame(
        {
            "protocol": sweep.protocol,
            "epoch": sweep.epoch,
            "law": law.name,
            "batch_size": grid,
            "fitted_norm": fitted,
            "root_mean_square_norm": measured,
            "relative_error": fitted / measured - 1,
        }
    )


def local_exponents(sweeps: Sequence[Sweep], settings: Bootstrap) -> pd.DataFrame:
    """Exponent of the mean norm between neighbouring batch sizes, with paired intervals.

    Returns:
        One row per protocol, epoch and pair: batch_size, next_batch_size, exponent, exponent_low,
        exponent_high.
    """
    tables = [
        _local_exponents(sweep, settings)
        for sweep in sweeps
        if len(sweep.batch_sizes) > 1 and len(sweep.trials) > 1
    ]
    columns = [*("protocol", "epoch", "batch_size", "next_batch_size"), *_EXPONENT]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _local_exponents(sweep: Sweep, settings: Bootstrap) -> pd.DataFrame:
    steps = np.diff(np.log(sweep.batch_sizes))

    def exponents(means: Array, n: Array) -> Array:
        return np.diff(np.log(means), axis=0) / steps.reshape(-1, *(1,) * n.ndim)

    found = bootstrap(*of_means(exponents, sweep.norm, sweep.units), settings)
    return pd.DataFrame(
        {
            "protocol": sweep.protocol,
            "epoch": sweep.epoch,
            "batch_size": sweep.batch_sizes[:-1],
            "next_batch_size": sweep.batch_sizes[1:],
            **dict(zip(_EXPONENT, (found.estimate, found.low, found.high), strict=True)),
        }
    )
