"""What a trial is: the reference engine, plain autograd, one trial at a time.

This module is the definition. It is slow on purpose: every other engine is tested against it.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from gradatlas.collect.trial import Measurement, TrialGradients
from gradatlas.core.settings import batches
from gradatlas.models.perceptron import logits


def run_trial(
    measurement: Measurement, inputs: NDArray[np.floating], labels: NDArray[np.integer]
) -> TrialGradients:
    """Run one trial from the checkpoint, minibatch by minibatch.

    Args:
        measurement: Checkpoint, protocol and batch size.
        inputs: The trial's samples in processing order, shape (sample, input).
        labels: Their classes, shape (sample,).

    Returns:
        The gradients of this one trial (T = 1), in the dtype of the checkpoint.
    """
    weights = _leaves(measurement.weights)
    sample_inputs = torch.tensor(inputs, dtype=weights[measurement.parameter].dtype)
    sample_labels = torch.tensor(labels, dtype=torch.int64)
    total = torch.zeros_like(weights[measurement.parameter])
    norms, losses = [], []
    for batch in batches(len(labels), measurement.batch_size):
        size = batch.stop - batch.start
        loss = cross_entropy(
            logits(weights, sample_inputs[batch]), sample_labels[batch], reduction="sum"
        )
        gradients = dict(zip(weights, torch.autograd.grad(loss, [*weights.values()]), strict=True))
        total += gradients[measurement.parameter]
        norms.append(gradients[measurement.parameter].norm().item())
        losses.append(loss.item() / size)
        if measurement.update.moves:
            _step(weights, gradients, measurement.update.learning_rate / size)
    return TrialGradients(
        gradient=total.numpy()[None],
        path_length=np.array([np.sum(norms)]),
        sum_of_squares=np.array([np.sum(np.square(norms))]),
        first_loss=np.array([losses[0]]),
        last_loss=np.array([losses[-1]]),
    )


def _leaves(weights: Mapping[str, NDArray[np.floating]]) -> dict[str, Tensor]:
    """Copies of the checkpoint's weights that autograd differentiates by."""
    return {name: torch.tensor(value).requires_grad_() for name, value in weights.items()}


@torch.no_grad()
def _step(weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], step: float) -> None:
    """Plain SGD: no momentum, no weight decay."""
    for name, weight in weights.items():
        weight -= step * gradients[name]
