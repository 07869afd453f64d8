"""Which engine runs the trials."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatlas.collect.engines import mlp_cpu
from gradatlas.collect.trial import Measurement, TrialGradients

Engine = Callable[[NDArray[np.unsignedinteger[Any]]], TrialGradients]


def prepare(
    measurement: Measurement,
    inputs: NDArray[np.floating],
    labels: NDArray[np.integer],
    device: str,
) -> Engine:
    """Do once what all trials of a batch size share.

    Args:
        measurement: Checkpoint, protocol and batch size.
        inputs: Training set in the dtype of the checkpoint, shape (sample, input).
        labels: Its classes, shape (sample,).
        device: ``cpu`` or ``cuda``.

    Returns:
        A function from the sample indices of T trials, shape (T, sample), to their gradients.
    """
    hidden_layers = len(measurement.weights) // 2 - 1
    if device == "cpu" and hidden_layers == 1:
        return mlp_cpu.prepare(measurement, inputs, labels)
    from gradatlas.collect.engines import mlp_batched  # torch: two seconds the CPU need not wait

    return mlp_batched.prepare(measurement, inputs, labels, device)
