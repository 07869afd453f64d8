"""Any number of hidden layers on any device: many trials side by side in batched torch products.

The first layer of a trial is never formed (see ``gradatlas.collect.engines``); the later, narrower
layers are kept for each trial and moved after every minibatch. Slower than the plain loop's
arithmetic only by what the batched products of small matrices lose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradatlas.collect.engines.centre import centre_of, projections_of
from gradatlas.collect.engines.factors import Factors, squared_norms, total
from gradatlas.collect.trial import Engine, ParameterGradients, TrialGradients, together
from gradatlas.core.training import batches
from gradatlas.core.updates import SGD, Frozen
from gradatlas.models.perceptron import Perceptron
from gradatlas.models.problem import Tree, as_array

BLOCK = 64  # samples of a block
ROWS = 5000  # samples of the data set that one product takes through the first layer
CPU_TRIALS = 4  # trials side by side: few keep their layers in the cache
CUDA_MEMORY_SHARE = 0.5  # of the free device memory, for the trials side by side


@dataclass(frozen=True)
class _Prepared:
    """What all trials of a batch size share, on the device."""

    kept: Sequence[str]  # parameters whose gradients are wanted
    batch_size: int
    learning_rate: float  # 0 where the weights stay
    inputs: Tensor  # the data set, shape (sample, input)
    labels: Tensor  # its classes, shape (sample,)
    centre: Tensor  # m of ``gradatlas.collect.engines.centre``, shape (input,)
    projections: Tensor  # p of the whole data set, float64, shape (sample,)
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
    """What T trials leave behind."""

    # error at the first layer's output, shape (T, sample, unit); every later step needs it
    first_errors: Tensor
    factors: dict[str, Factors]  # of each later layer that is kept, by layer name
    losses: list[Tensor]  # mean loss of each minibatch, one tensor of shape (T,) a minibatch


def prepare(
    problem: Perceptron,
    update: SGD | Frozen,
    kept: Sequence[str],
    batch_size: int,
    inputs: Tree,
    labels: Tree,
    device: str,
) -> Engine:
    """See ``gradatlas.collect.prepare``; any number of hidden layers, any device.

    Example:
        Two hidden layers, and two parameters kept:

        >>> from gradatlas.models.perceptron import Architecture, initial_parameters
        >>> problem = Perceptron(initial_parameters(Architecture(2, (3, 4), 2), seed=0))
        >>> x, y = np.array([[1, 2], [3, -1]], np.float32), np.array([0, 1])
        >>> kept = ["hidden1.weight", "last.weight"]
        >>> trial = prepare(problem, SGD(0.5), kept, 1, x, y, "cpu")(np.array([[0, 1]], np.uint32))
        >>> [trial.parameters[name].gradient.shape for name in kept]
        [(1, 3, 2), (1, 2, 4)]
    """
    weights = {
        name: torch.as_tensor(value, device=device).detach()
        for name, value in problem.params.items()
    }
    weight, bias = weights.pop("hidden1.weight"), weights.pop("hidden1.bias")
    array = as_array(inputs).astype(str(weight.dtype).removeprefix("torch."), copy=False)
    m = centre_of(array)
    data = torch.as_tensor(np.ascontiguousarray(array), device=device)
    centre = torch.as_tensor(m, device=device)
    prepared = _Prepared(
        kept,
        batch_size,
        update.learning_rate,
        data,
        torch.as_tensor(as_array(labels).astype(np.int64), device=device),
        centre,
        torch.as_tensor(projections_of(array, m), device=device),
        _preactivations(data, centre, weight, bias),
        weights,
    )
    return partial(_run_trials, prepared)


def _preactivations(data: Tensor, centre: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    result = torch.empty(len(data), len(weight), dtype=weight.dtype, device=data.device)
    of_centre = (weight.double() @ centre.double() + bias).to(weight.dtype)  # (unit,)
    for rows in batches(len(data), ROWS):
        result[rows] = (data[rows] - centre) @ weight.T + of_centre
    return result


@torch.no_grad()
def _run_trials(
    prepared: _Prepared, sample_index: NDArray[np.unsignedinteger[Any]]
) -> TrialGradients:
    size = _trials_together(prepared, sample_index.shape[1])
    parts = [sample_index[part].astype(np.int64) for part in batches(len(sample_index), size)]
    return together([_run_together(prepared, torch.tensor(part)) for part in parts])


def _trials_together(prepared: _Prepared, samples: int) -> int:
    if not prepared.inputs.is_cuda:
        return CPU_TRIALS
    widths = sum(sum(weight.shape) for weight in prepared.weights.values())
    per_sample = (
        prepared.inputs.shape[1] + 4 * prepared.preactivations.shape[1] + 2 * widths + samples
    )
    own = sum(weight.numel() for weight in prepared.weights.values())
    size = (samples * per_sample + 3 * own) * prepared.inputs.element_size()
    free, _ = torch.cuda.mem_get_info()
    return max(1, int(free * CUDA_MEMORY_SHARE / size))


def _run_together(prepared: _Prepared, index: Tensor) -> TrialGradients:
    """Run T trials side by side; ``index`` has the shape (T, sample)."""
    index = index.to(prepared.inputs.device)
    record = _step_through(prepared, index)
    inputs = prepared.inputs[index] if "hidden1.weight" in prepared.kept else None
    factors = {**record.factors, "hidden1": Factors(record.first_errors, inputs)}
    return TrialGradients(
        {name: _gradients(factors, name, prepared.batch_size) for name in prepared.kept},
        first_loss=record.losses[0].double().cpu().numpy(),
        last_loss=record.losses[-1].double().cpu().numpy(),
    )


def _gradients(
    factors: Mapping[str, Factors], parameter: str, batch_size: int
) -> ParameterGradients:
    layer, _, kind = parameter.partition(".")
    chosen = factors[layer] if kind == "weight" else Factors(factors[layer].errors, None)
    squares = torch.cat(squared_norms(chosen, batch_size), dim=-1).double()
    return ParameterGradients(
        gradient=total(chosen).cpu().numpy(),
        path_length=squares.sqrt().sum(-1).cpu().numpy(),
        sum_of_squares=squares.sum(-1).cpu().numpy(),
    )


def _step_through(prepared: _Prepared, index: Tensor) -> _Record:
    """Go through the minibatches of T trials in step, as they all have the same sizes."""
    trials, samples = index.shape
    moves, batch_size = prepared.learning_rate > 0, prepared.batch_size
    rate = prepared.learning_rate
    layers = _own_layers(prepared.weights, trials)
    labels, preactivations = prepared.labels[index], prepared.preactivations[index]  # (T, sample..)
    differences = prepared.inputs[index].sub_(prepared.centre)  # (T, sample, input)
    projections = prepared.projections[index]  # (T, sample)
    record = _allocate(prepared, layers, preactivations)
    block_size = max(1, BLOCK // batch_size) * batch_size
    for block in batches(samples, block_size):
        gram = _gram(differences, projections, block) if moves else None
        if gram is not None and block.start:
            earlier = gram[:, :, : block.start] @ record.first_errors[:, : block.start]
            preactivations[:, block] -= rate / batch_size * earlier
        for part in batches(block.stop - block.start, batch_size):
            batch = slice(block.start + part.start, block.start + part.stop)
            if gram is not None and part.start:
                within = gram[:, part, block.start : batch.start]
                done = record.first_errors[:, block.start : batch.start]
                preactivations[:, batch] -= rate / batch_size * within @ done
            _step(prepared, layers, preactivations[:, batch], labels[:, batch], batch, record)
    return record


def _gram(differences: Tensor, projections: Tensor, block: slice) -> Tensor:
    """The products x . x' + 1 of a block with all samples up to its end, T trials."""
    gram = differences[:, block] @ differences[:, : block.stop].mT
    gram += projections[:, block, None] + projections[:, None, : block.stop]
    return gram


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


def _allocate(prepared: _Prepared, layers: list[_Layer], preactivations: Tensor) -> _Record:
    """Room for the factors of the first layer's errors and of the later layers that are kept."""
    kept = {parameter.partition(".")[0] for parameter in prepared.kept}
    rows = preactivations.shape[:2]
    empty = preactivations.new_empty
    factors = {
        layer.name: Factors(*(empty(*rows, width) for width in layer.weight.shape[1:]))
        for layer in layers
        if layer.name in kept
    }
    return _Record(torch.empty_like(preactivations), factors, losses=[])


def _step(
    prepared: _Prepared,
    layers: list[_Layer],
    preactivations: Tensor,
    labels: Tensor,
    batch: slice,
    record: _Record,
) -> None:
    """One minibatch of T trials: forward, backward, and a step of the later layers."""
    outputs = [preactivations]  # of each layer before its ReLU, (T, batch, unit)
    for layer in layers:
        outputs.append(torch.baddbmm(layer.bias, outputs[-1].relu(), layer.weight.mT))
    log_probabilities = outputs[-1].log_softmax(dim=-1)
    label_column = labels.unsqueeze(-1)
    record.losses.append(-log_probabilities.gather(-1, label_column).mean(dim=(1, 2)))
    error = log_probabilities.exp()
    error.scatter_add_(-1, label_column, torch.full_like(error[..., :1], -1.0))
    step = prepared.learning_rate / (batch.stop - batch.start)
    for layer, before in zip(reversed(layers), reversed(outputs[:-1]), strict=True):
        activations = before.relu()
        if layer.name in record.factors:
            kept = record.factors[layer.name]
            kept.errors[:, batch], kept.inputs[:, batch] = error, activations  # type: ignore[index]
        error_before = (error @ layer.weight) * (before > 0)
        if step > 0:
            layer.weight.baddbmm_(error.mT, activations, alpha=-step)
            layer.bias.sub_(error.sum(dim=1, keepdim=True), alpha=step)
        error = error_before
    record.first_errors[:, batch] = error
