"""One hidden layer on the CPU: matrix products in BLAS, the inside of a block in numba.

A trial's samples are cut into blocks of whole minibatches. The first-layer effect of all earlier
blocks is one matrix product a block; inside a block, where each minibatch depends on the one
before, a compiled loop goes from minibatch to minibatch. One trial at a time, one thread, buffers
reused.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gradatlas.engine.factors import Factors, squared_norms, total
from gradatlas.trials import Measurement, TrialGradients, batches

if TYPE_CHECKING:
    from gradatlas.engine import Engine

Array = NDArray[Any]  # float32 or float64, the dtype of the checkpoint

BLOCK = 64  # samples of a block: longer ones leave more to the loop, shorter ones starve BLAS
ROWS = 5000  # samples of the data set that one product takes through the first layer
# Sums may be regrouped and fused, but nan and inf keep their meaning: a diverged trial shows.
FAST = {"reassoc", "contract", "nsz"}


@dataclass(frozen=True)
class _Network:
    """The checkpoint as the trials need it.

    Attributes:
        inputs: The data set, shape (sample, input).
        labels: Its classes, shape (sample,).
        preactivations: W_0 x + b_0 of the whole data set, shape (sample, unit).
        weight: Last layer's weight, shape (class, unit).
        bias: Last layer's bias, shape (class,).
    """

    inputs: Array
    labels: NDArray[np.int64]
    preactivations: Array
    weight: Array
    bias: Array


@dataclass(frozen=True)
class _Trial:
    """What a trial leaves behind, one row a sample; buffers that the next trial overwrites.

    Attributes:
        inputs: x, shape (sample, input).
        labels: Classes, shape (sample,).
        preactivations: a, shape (sample, unit).
        activations: h = max(a, 0), shape (sample, unit).
        residuals: Softmax minus one-hot label, shape (sample, class).
        errors: d, the error backpropagated to the hidden units, shape (sample, unit).
        losses: Mean loss of each minibatch, float64, shape (batch,).
    """

    inputs: Array
    labels: NDArray[np.int64]
    preactivations: Array
    activations: Array
    residuals: Array
    errors: Array
    losses: NDArray[np.float64]


def prepare(measurement: Measurement, inputs: Array, labels: NDArray[np.integer]) -> "Engine":
    """See ``gradatlas.engine.prepare``; ``inputs`` is kept, not copied."""
    weights = measurement.weights
    network = _Network(
        inputs,
        labels.astype(np.int64),
        _preactivations(inputs, weights["hidden1.weight"], weights["hidden1.bias"]),
        np.ascontiguousarray(weights["last.weight"]),
        np.ascontiguousarray(weights["last.bias"]),
    )
    return partial(_run_trials, measurement, network)


def _preactivations(inputs: Array, weight: Array, bias: Array) -> Array:
    result = np.empty((len(inputs), len(weight)), weight.dtype)
    for rows in batches(len(inputs), ROWS):
        np.matmul(inputs[rows], weight.T, out=result[rows])
        result[rows] += bias
    return result


@np.errstate(over="ignore", invalid="ignore")  # a diverged trial is stored as it is
def _run_trials(
    measurement: Measurement, network: _Network, sample_index: NDArray[np.unsignedinteger[Any]]
) -> TrialGradients:
    trials, samples = sample_index.shape
    trial = _allocate(network, samples, -(-samples // measurement.batch_size))
    shape = measurement.weights[measurement.parameter].shape
    gradient = np.empty((trials, *shape), network.weight.dtype)
    scalars = np.empty((4, trials))
    for number, index in enumerate(sample_index):
        _gather(network, index, trial)
        _run(measurement, network, trial)
        factors = _factors(measurement.parameter, trial)
        gradient[number] = total(factors)
        squares = np.concatenate(squared_norms(factors, measurement.batch_size), dtype=np.float64)
        path_length, sum_of_squares = np.sqrt(squares).sum(), squares.sum()
        scalars[:, number] = path_length, sum_of_squares, trial.losses[0], trial.losses[-1]
    return TrialGradients(gradient, *scalars)


def _allocate(network: _Network, samples: int, steps: int) -> _Trial:
    classes, units = network.weight.shape
    empty = partial(np.empty, dtype=network.weight.dtype)
    return _Trial(
        inputs=empty((samples, network.inputs.shape[1])),
        labels=np.empty(samples, np.int64),
        preactivations=empty((samples, units)),
        activations=empty((samples, units)),
        residuals=empty((samples, classes)),
        errors=empty((samples, units)),
        losses=np.empty(steps),
    )


def _gather(network: _Network, index: NDArray[np.unsignedinteger[Any]], trial: _Trial) -> None:
    for source, target in (
        (network.inputs, trial.inputs),
        (network.labels, trial.labels),
        (network.preactivations, trial.preactivations),
    ):
        np.take(source, index, axis=0, out=target, mode="clip")  # raise would copy through a buffer


def _run(measurement: Measurement, network: _Network, trial: _Trial) -> None:
    """Fill in activations, residuals, errors and losses."""
    samples, batch_size = len(trial.labels), measurement.batch_size
    weight, bias = network.weight.copy(), network.bias.copy()
    moves = measurement.update == "sgd"
    rate = measurement.learning_rate if moves else 0.0
    extended = _extend(trial.inputs, rate / batch_size) if moves else trial.inputs
    block_size = max(1, BLOCK // batch_size) * batch_size if moves else samples
    for block in batches(samples, block_size):
        reach = block.stop if moves and block_size > batch_size else block.start
        gram = extended[block] @ extended[:reach].T  # (block sample, earlier sample)
        earlier, within = gram[:, : block.start], gram[:, block.start :]
        trial.preactivations[block] -= earlier @ trial.errors[: block.start]
        _pass_block(
            trial.preactivations[block],
            trial.activations[block],
            trial.residuals[block],
            trial.errors[block],
            trial.labels[block],
            trial.losses[block.start // batch_size :],
            weight,
            bias,
            within,
            batch_size,
            rate,
        )


def _extend(inputs: Array, step: float) -> Array:
    """Inputs whose Gram matrix is step (x . x' + 1), so that it carries step and bias.

    Inputs that are the same for all samples of the trial (an image's margin) join the constant 1.
    All minibatches but the last have the same step, and nothing comes after the last.
    """
    varying = (inputs != inputs[0]).any(axis=0)
    constant = 1 + np.square(inputs[0, ~varying]).sum()
    extended = np.empty((len(inputs), np.count_nonzero(varying) + 1), inputs.dtype)
    np.compress(varying, inputs, axis=1, out=extended[:, :-1])
    extended[:, -1] = np.sqrt(constant)
    extended *= np.sqrt(step)
    return extended


def _factors(parameter: str, trial: _Trial) -> Factors:
    layer, _, kind = parameter.partition(".")
    errors, inputs = {
        "hidden1": (trial.errors, trial.inputs),
        "last": (trial.residuals, trial.activations),
    }[layer]
    return Factors(errors, inputs if kind == "weight" else None)


@njit(cache=True, fastmath=FAST)
def _pass_block(
    preactivations: Array,
    activations: Array,
    residuals: Array,
    errors: Array,
    labels: NDArray[np.int64],
    losses: NDArray[np.float64],
    weight: Array,
    bias: Array,
    gram: Array,
    batch_size: int,
    learning_rate: float,
) -> None:
    """Take a block through the network, minibatch by minibatch, moving the last layer.

    Arguments are the block's rows of ``_Trial``; ``gram`` holds step (x . x' + 1) within the block.
    """
    samples = len(labels)
    for first in range(0, samples, batch_size):
        last = min(first + batch_size, samples)
        loss = 0.0
        for sample in range(first, last):
            if learning_rate != 0.0:
                _subtract_rows(preactivations[sample], gram[sample], errors, first)
            _rectify(preactivations[sample], activations[sample])
            _classify(activations[sample], weight, bias, residuals[sample])
            loss += _softmax_loss(residuals[sample], labels[sample])
            _backpropagate(residuals[sample], weight, preactivations[sample], errors[sample])
        losses[first // batch_size] = loss / (last - first)
        if learning_rate != 0.0:
            step = weight.dtype.type(learning_rate / (last - first))
            for sample in range(first, last):
                _move(weight, bias, residuals[sample], activations[sample], step)


@njit(cache=True, fastmath=FAST)
def _subtract_rows(target: Array, factors: Array, rows: Array, count: int) -> None:
    """Take factors[r] * rows[r] from the target for the first ``count`` rows, eight at a time."""
    whole = count - count % 8
    for r in range(0, whole, 8):
        f, v = factors[r : r + 8], rows[r : r + 8]
        for u in range(len(target)):
            target[u] -= ((f[0] * v[0, u] + f[1] * v[1, u]) + (f[2] * v[2, u] + f[3] * v[3, u])) + (
                (f[4] * v[4, u] + f[5] * v[5, u]) + (f[6] * v[6, u] + f[7] * v[7, u])
            )
    for r in range(whole, count):
        for u in range(len(target)):
            target[u] -= factors[r] * rows[r, u]


@njit(cache=True, fastmath=FAST)
def _rectify(preactivation: Array, activation: Array) -> None:
    for u in range(len(preactivation)):
        activation[u] = 0 if preactivation[u] <= 0 else preactivation[u]  # nan stays nan


@njit(cache=True, fastmath=FAST)
def _classify(activation: Array, weight: Array, bias: Array, logits: Array) -> None:
    for k in range(len(bias)):
        logit = bias[k]
        row = weight[k]
        for u in range(len(activation)):
            logit += row[u] * activation[u]
        logits[k] = logit


@njit(cache=True, fastmath=FAST)
def _softmax_loss(logits: Array, label: int) -> float:
    """Turn logits into softmax minus one-hot label, in place; return the sample's loss."""
    largest = logits.max()
    label_logit = logits[label]
    total = 0.0
    for k in range(len(logits)):
        logits[k] = np.exp(logits[k] - largest)
        total += logits[k]
    for k in range(len(logits)):
        logits[k] /= total
    logits[label] -= 1
    return float(np.log(total) + largest - label_logit)


@njit(cache=True, fastmath=FAST)
def _backpropagate(residual: Array, weight: Array, preactivation: Array, error: Array) -> None:
    error[:] = 0
    for k in range(len(residual)):
        r, row = residual[k], weight[k]
        for u in range(len(error)):
            error[u] += r * row[u]
    for u in range(len(error)):
        error[u] = 0 if preactivation[u] <= 0 else error[u]


@njit(cache=True, fastmath=FAST)
def _move(weight: Array, bias: Array, residual: Array, activation: Array, step: float) -> None:
    for k in range(len(bias)):
        factor, row = step * residual[k], weight[k]
        for u in range(len(activation)):
            row[u] -= factor * activation[u]
        bias[k] -= factor
