"""The pass over the tensors of one batch size: what all statistics are computed from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradatlas.archive.read import Selection
from gradatlas.statistics.covariance import squared_covariance_trace
from gradatlas.statistics.moments import Moments, merge, moments_of

Array = NDArray[np.float64]

# Tensors of one selection held at a time.
_BLOCK_BYTES = 64 << 20


@dataclass(frozen=True)
class Scan:
    """What one pass over the tensors leaves behind.

    Attributes:
        finite: Trials without nan or inf, bool, shape (T,); all else is computed from them alone.
        moments: Central moments of the tensors, element by element.
        norm: Euclidean norm of each tensor, shape (T,); not finite where a trial diverged.
        cosine: Cosine of each tensor with that of the same trial at the largest batch size,
            shape (T,); NaN where either diverged.
        squared_covariance_trace: Unbiased tr Sigma^2.
    """

    finite: NDArray[np.bool_]
    moments: Moments
    norm: Array
    cosine: Array
    squared_covariance_trace: float


def scan(selection: Selection, reference: Selection, order: int) -> Scan:
    """Pass over the tensors once.

    Args:
        selection: The trials to describe.
        reference: The same trials at the largest batch size. Both are read in step, so that a
            block of each is all that is held.
        order: Highest order of the moments.
    """
    usable = np.asarray(np.isfinite([*selection.scalars.values()]).all(axis=0))
    same = selection.batch_size == reference.batch_size
    others = None if same else reference.blocks(_BLOCK_BYTES)
    total = moments_of(np.empty((0, *selection.shape)), order)
    norms, cosines, traces = [], [], []
    start = 0
    for block in selection.blocks(_BLOCK_BYTES):
        tensors = block.reshape(len(block), -1)  # (t, element)
        norm = _row_norms(tensors)
        usable[start : start + len(block)] &= np.isfinite(norm)
        finite = usable[start : start + len(block)]
        start += len(block)
        norms.append(norm)
        if others is not None:
            cosines.append(_cosines(tensors, norm, next(others).reshape(tensors.shape)))
        used = tensors if finite.all() else tensors[finite]
        total = merge(total, moments_of(used.reshape(len(used), *selection.shape), order))
        traces.append(squared_covariance_trace(used))
    norm = np.concatenate(norms)
    cosine = np.where(norm > 0, 1.0, np.nan) if same else np.concatenate(cosines)
    return Scan(usable, total, norm, cosine, _weighted_mean(traces))


def _row_norms(tensors: NDArray[np.float32]) -> Array:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", tensors, tensors, dtype=np.float64)))


def _cosines(tensors: NDArray[np.float32], norm: Array, others: NDArray[np.float32]) -> Array:
    products = np.einsum("ij,ij->i", tensors, others, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = products / (norm * _row_norms(others))
    return np.where(np.isfinite(cosine), cosine, np.nan)


def _weighted_mean(parts: Sequence[tuple[float, int]]) -> float:
    total = sum(count for _, count in parts)
    return sum(value * count for value, count in parts if count) / total if total else math.nan


def products_with_others(selection: Selection, scan: Scan) -> Array:
    """Average scalar product of each tensor with those of the other finite trials, shape (T,).

    This is a second pass: it needs the mean of all trials, which is known after the first.

    Returns:
        NaN where a trial diverged, and everywhere if there are fewer than 2 others.
    """
    count = scan.moments.count
    if count < 2:
        return np.full_like(scan.norm, np.nan)
    mean = scan.moments.mean.ravel()
    products = [
        np.einsum("ij,j->i", block.reshape(len(block), -1), mean)
        for block in selection.blocks(_BLOCK_BYTES)
    ]
    with np.errstate(invalid="ignore"):
        others = (count * np.concatenate(products) - scan.norm**2) / (count - 1)
    return np.where(scan.finite, others, np.nan)
