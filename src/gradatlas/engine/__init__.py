"""The fast engine: the same numbers as the reference in ``protocols``, without its memory traffic.

The weights of a trial's first layer are never formed. With c_t = learning rate / batch size, the
first layer after the samples s < t is W_0 - sum_s c_s d_s x_s', where d_s is the error
backpropagated to its output, so its pre-activation for sample j is

    a_j = (W_0 x_j + b_0) - sum_{s<t} c_s d_s (x_s . x_j + 1)          the + 1 is the bias

The first term is one matrix product for the whole data set; the second needs the Gram matrix of
the trial's own inputs and a block-triangular product.

Two implementations share this algorithm: ``one_hidden_layer`` (CPU, NumPy and numba, no torch) and
``layered`` (any number of hidden layers, any device, torch, many trials at once).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatlas.engine import one_hidden_layer
from gradatlas.trials import Measurement, TrialGradients

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
        return one_hidden_layer.prepare(measurement, inputs, labels)
    from gradatlas.engine import layered  # imports torch, two seconds the CPU need not wait

    return layered.prepare(measurement, inputs, labels, device)
