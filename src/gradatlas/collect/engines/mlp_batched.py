"""Any number of hidden layers on any device: many trials side by side in batched torch products.

The first layer of a trial is never formed (see ``gradatlas.collect.engines``); the later, narrower
layers are kept for each trial and moved after every minibatch. Slower than the plain loop's
arithmetic only by what the batched products of small matrices lose.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradatlas.collect.trial import (
    Engine,
    Factors,
    Measurement,
    TrialGradients,
    squared_norms,
    total,
)
from gradatlas.core.settings import batches

BLOCK = 64  # samples of a block
ROWS = 5000  # samples of the data set that one product takes through the first layer
CPU_TRIALS = 4  # trials side by side: few keep their layers in the cache
CUDA_MEMORY_SHARE = 0.5  # of the free device memory, for the trials side by side


@dataclass(frozen=True)
class _Network:
    """The checkpoint and the data set on the device."""

    inputs: Tensor  # the data set, shape (sample, input)
    labels: Tensor  # its classes, shape (sample,)
    preactivations: Tensor  # W_0 x + b_0 of the whole data set, shape (sample, unit)
    weights: dict[str, Tensor]  # weight and bias of each layer after the first, by parameter name


@dataclass(frozen=True)
class _Layer:
    """One later layer of T trials: weight (T, output, input) and bias (T, 1, output)."""

    name: str
    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class _Record:
    """Per-sample factors of the stored parameter's gradient, and losses, of T trials."""

    errors: Tensor  # error at the layer's output, shape (T, sample, output)
    inputs: Tensor  # the layer's input, shape (T, sample, input)
    first_errors: Tensor  # error at the first layer's output, shape (T, sample, unit)
    losses: list[Tensor]  # mean loss of each minibatch, one tensor of shape (T,) a minibatch


def prepare(
    measurement: Measurement,
    inputs: NDArray[np.floating],
    labels: NDArray[np.integer],
    device: str,
) -> Engine:
    """See ``gradatlas.collect.shard.prepare``."""
    weights = {
        name: torch.tensor(value, device=device) for name, value in measurement.weights.items()
    }
    data = torch.tensor(inputs, device=device)
    weight, bias = weights.pop("hidden1.weight"), weights.pop("hidden1.bias")
    preactivations = torch.empty(len(data), len(weight), dtype=weight.dtype, device=device)
    for rows in batches(len(data), ROWS):
        preactivations[rows] = data[rows] @ weight.T + bias
    network = _Network(
        data, torch.tensor(labels, dtype=torch.int64, device=device), preactivations, weights
    )
    return partial(_run_trials, measurement, network)


@torch.no_grad()
def _run_trials(
    measurement: Measurement, network: _Network, sample_index: NDArray[np.unsignedinteger[Any]]
) -> TrialGradients:
    together = _trials_together(network, sample_index.shape[1])
    parts = [
        _run_together(measurement, network, torch.tensor(sample_index[part].astype(np.int64)))
        for part in batches(len(sample_index), together)
    ]
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    return TrialGradients(*map(np.concatenate, columns))


def _trials_together(network: _Network, samples: int) -> int:
    if not network.inputs.is_cuda:
        return CPU_TRIALS
    widths = sum(sum(weight.shape) for weight in network.weights.values())
    per_sample = (
        network.inputs.shape[1] + 4 * network.preactivations.shape[1] + 2 * widths + samples
    )
    own = sum(weight.numel() for weight in network.weights.values())
    size = (samples * per_sample + 3 * own) * network.inputs.element_size()
    free, _ = torch.cuda.mem_get_info()
    return max(1, int(free * CUDA_MEMORY_SHARE / size))


def _run_together(measurement: Measurement, network: _Network, index: Tensor) -> TrialGradients:
    """Run T trials side by side; ``index`` has the shape (T, sample)."""
    index = index.to(network.inputs.device)
    inputs, labels = network.inputs[index], network.labels[index]  # (T, sample, input), (T, sample)
    record = _step_through(measurement, network, index, inputs, labels)
    layer, _, kind = measurement.parameter.partition(".")
    if layer == "hidden1":
        factors = Factors(record.first_errors, inputs if kind == "weight" else None)
    else:
        factors = Factors(record.errors, record.inputs if kind == "weight" else None)
    squares = torch.cat(squared_norms(factors, measurement.batch_size), dim=-1).double()
    return TrialGradients(
        gradient=total(factors).cpu().numpy(),
        path_length=squares.sqrt().sum(-1).cpu().numpy(),
        sum_of_squares=squares.sum(-1).cpu().numpy(),
        first_loss=record.losses[0].double().cpu().numpy(),
        last_loss=record.losses[-1].double().cpu().numpy(),
    )


def _step_through(
    measurement: Measurement, network: _Network, index: Tensor, inputs: Tensor, labels: Tensor
) -> _Record:
    """Go through the minibatches of T trials in step, as they all have the same sizes."""
    trials, samples = labels.shape
    moves, rate = measurement.update.moves, measurement.update.learning_rate
    batch_size = measurement.batch_size
    layers = _own_layers(network.weights, trials)
    preactivations = network.preactivations[index]  # (T, sample, unit)
    record = _allocate(measurement, layers, preactivations)
    block_size = max(1, BLOCK // batch_size) * batch_size
    for block in batches(samples, block_size):
        gram = inputs[:, block] @ inputs[:, : block.stop].mT + 1 if moves else None
        if gram is not None and block.start:
            earlier = gram[:, :, : block.start] @ record.first_errors[:, : block.start]
            preactivations[:, block] -= rate / batch_size * earlier
        for part in batches(block.stop - block.start, batch_size):
            batch = slice(block.start + part.start, block.start + part.stop)
            if gram is not None and part.start:
                within = gram[:, part, block.start : batch.start]
                done = record.first_errors[:, block.start : batch.start]
                preactivations[:, batch] -= rate / batch_size * within @ done
            _step(measurement, layers, preactivations[:, batch], labels[:, batch], batch, record)
    return record


def _own_layers(weights: Mapping[str, Tensor], trials: int) -> list[_Layer]:
    """A copy of each later layer for each trial."""
    names = dict.fromkeys(name.partition(".")[0] for name in weights)
    return [
        _Layer(
            name,
            weights[f"{name}.weight"].repeat(trials, 1, 1),
            weights[f"{name}.bias"].repeat(trials, 1, 1),
        )
        for name in names
    ]


def _allocate(measurement: Measurement, layers: list[_Layer], preactivations: Tensor) -> _Record:
    """Room for the factors of one later layer, the last if the first layer's are stored."""
    chosen = measurement.parameter.partition(".")[0]
    layer = next((layer for layer in layers if layer.name == chosen), layers[-1])
    output, input_ = layer.weight.shape[1:]
    rows = preactivations.shape[:2]
    return _Record(
        errors=preactivations.new_empty(*rows, output),
        inputs=preactivations.new_empty(*rows, input_),
        first_errors=torch.empty_like(preactivations),
        losses=[],
    )


def _step(
    measurement: Measurement,
    layers: list[_Layer],
    preactivations: Tensor,
    labels: Tensor,
    batch: slice,
    record: _Record,
) -> None:
    """One minibatch of T trials: forward, backward, and a step of the later layers."""
    chosen = measurement.parameter.partition(".")[0]
    outputs = [preactivations]  # of each layer before its ReLU, (T, batch, unit)
    for layer in layers:
        outputs.append(torch.baddbmm(layer.bias, outputs[-1].relu(), layer.weight.mT))
    log_probabilities = outputs[-1].log_softmax(dim=-1)
    label_column = labels.unsqueeze(-1)
    record.losses.append(-log_probabilities.gather(-1, label_column).mean(dim=(1, 2)))
    error = log_probabilities.exp()
    error.scatter_add_(-1, label_column, torch.full_like(error[..., :1], -1.0))
    step = measurement.update.learning_rate / (batch.stop - batch.start)
    for layer, before in zip(reversed(layers), reversed(outputs[:-1]), strict=True):
        activations = before.relu()
        if layer.name == chosen:
            record.errors[:, batch], record.inputs[:, batch] = error, activations
        error_before = (error @ layer.weight) * (before > 0)
        if measurement.update.moves:
            layer.weight.baddbmm_(error.mT, activations, alpha=-step)
            layer.bias.sub_(error.sum(dim=1, keepdim=True), alpha=step)
        error = error_before
    record.first_errors[:, batch] = error
