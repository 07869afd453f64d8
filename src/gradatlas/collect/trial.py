"""The concepts every engine shares: how a trial is measured and what it yields."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatlas.core.settings import Update

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Measurement:
    """What all trials of one batch size have in common.

    Attributes:
        weights: The checkpoint, by parameter name (``hidden1.weight``, ..., ``last.bias``); their
            dtype, float32 or float64, is that of the arithmetic.
        update: What the weights do between minibatches.
        batch_size: Samples per minibatch; the last one of a trial is the remainder.
        parameter: Name of the weight or bias whose gradient is kept.
    """

    weights: Weights
    update: Update
    batch_size: int
    parameter: str


@dataclass(frozen=True)
class TrialGradients:
    """Gradients of T consecutive trials; g_t is the gradient of minibatch t's summed loss.

    Attributes:
        gradient: Sum of all g_t, float, shape (T, *parameter).
        path_length: Sum of the norms of g_t, float64, shape (T,).
        sum_of_squares: Sum of the squared norms of g_t, float64, shape (T,).
        first_loss: Mean loss of the first minibatch before any step, nats, float64, shape (T,).
        last_loss: Mean loss of the last minibatch before its step, nats, float64, shape (T,).
    """

    gradient: NDArray[Any]
    path_length: NDArray[np.float64]
    sum_of_squares: NDArray[np.float64]
    first_loss: NDArray[np.float64]
    last_loss: NDArray[np.float64]
