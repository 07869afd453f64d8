"""One hidden layer on the CPU: matrix products in BLAS, the inside of a block in numba.

A trial's samples are halved again and again, down to blocks of whole minibatches. Once the first
half has gone through the network, its effect on the first layer's output of the second half is one
matrix product; most of the arithmetic is then in few, large products. Inside a block, where each
minibatch depends on the one before, a compiled loop goes from minibatch to minibatch. One trial at
a time, one thread, buffers reused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import get_blas_funcs

from gradatlas.collect.engines.centre import centre_of, projections_of
from gradatlas.collect.engines.factors import Factors, squared_norms, total
from gradatlas.collect.trial import Engine, ParameterGradients, TrialGradients, together
from gradatlas.core.compiled import compiled
from gradatlas.core.training import batches
from gradatlas.core.updates import SGD, Frozen
from gradatlas.models.perceptron import Perceptron
from gradatlas.models.problem import Tree, as_array

Array = NDArray[Any]  # float32 or float64, the dtype of the checkpoint

BLOCK = 64  # samples of a block: longer ones leave more to the loop, shorter ones starve BLAS
ROWS = 500  # samples of the data set that one product takes through the first layer
# Sums may be regrouped and fused, but nan and inf keep their meaning: a diverged trial shows.
FAST = {"reassoc", "contract", "nsz"}


@dataclass(frozen=True)
class _Prepared:
    """What all trials of a batch size share."""

    kept: Sequence[str]  # parameters whose gradients are wanted
    batch_size: int
    learning_rate: float  # 0 where the weights stay
    inputs: Array  # the data set, shape (sample, input)
    labels: NDArray[np.int64]  # its classes, shape (sample,)
    centre: Array  # m of ``gradatlas.collect.engines.centre``, shape (input,)
    projections: NDArray[np.float64]  # p of the whole data set, shape (sample,)
    preactivations: Array  # W_0 x + b_0 of the whole data set, shape (sample, unit)
    weight: Array  # last layer's weight, shape (class, unit)
    bias: Array  # last layer's bias, shape (class,)


@dataclass(frozen=True)
class _Inputs:
    """A trial's inputs as ``gradatlas.collect.engines.centre`` splits them."""

    differences: Array  # z without the inputs where all z are 0, shape (sample, input)
    projections: NDArray[np.float64]  # p, shape (sample,)
    step: float  # learning rate / batch size


@dataclass(frozen=True)
class _Trial:
    """What a trial leaves behind, one row a sample; buffers that the next trial overwrites."""

    labels: NDArray[np.int64]  # classes, shape (sample,)
    activations: Array  # h = max(a, 0), shape (sample, unit); a itself until a sample is reached
    residuals: Array  # softmax minus one-hot label, shape (sample, class)
    errors: Array  # d, the error backpropagated to the hidden units, shape (sample, unit)
    losses: NDArray[np.float64]  # mean loss of each minibatch, float64, shape (batch,)


def serves(problem: Perceptron) -> bool:
    """Whether the perceptron has one hidden layer."""
    return len(problem.layers) == 2


def prepare(
    problem: Perceptron,
    update: SGD | Frozen,
    kept: Sequence[str],
    batch_size: int,
    inputs: Tree,
    labels: Tree,
    device: str = "cpu",
) -> Engine:
    """See ``gradatlas.collect.prepare``; one hidden layer, ``cpu``, and inputs are not copied.

    Example:
        Two samples at once, and one by one: sums agree unless a step is taken in between.

        >>> from gradatlas.models.perceptron import Architecture, initial_parameters
        >>> problem = Perceptron(initial_parameters(Architecture(2, (3,), 2), seed=0))
        >>> x, y = np.array([[1, 2], [3, -1]], np.float32), np.array([0, 1])
        >>> for update in (Frozen(), SGD(0.5)):
        ...     engines = [prepare(problem, update, ["last.bias"], size, x, y) for size in (2, 1)]
        ...     trials = [run(np.array([[0, 1]])).parameters["last.bias"] for run in engines]
        ...     print([round(float(trial.gradient[0, 0]), 3) for trial in trials])
        [-0.136, -0.136]
        [-0.136, 0.177]
    """
    weights = {name: np.ascontiguousarray(as_array(v)) for name, v in problem.params.items()}
    data = as_array(inputs).astype(weights["last.weight"].dtype, copy=False)
    centre = centre_of(data)
    prepared = _Prepared(
        kept,
        batch_size,
        update.learning_rate,
        data,
        as_array(labels).astype(np.int64, copy=False),
        centre,
        projections_of(data, centre),
        _preactivations(data, centre, weights["hidden1.weight"], weights["hidden1.bias"]),
        weights["last.weight"],
        weights["last.bias"],
    )
    return partial(_run_trials, prepared)


def _preactivations(inputs: Array, centre: Array, weight: Array, bias: Array) -> Array:
    result = np.empty((len(inputs), len(weight)), weight.dtype)
    of_centre = (weight.astype(np.float64) @ centre + bias).astype(weight.dtype)
    for rows in batches(len(inputs), ROWS):
        np.matmul(inputs[rows] - centre, weight.T, out=result[rows])
        result[rows] += of_centre
    return result


@np.errstate(over="ignore", invalid="ignore")  # a diverged trial is stored as it is
def _run_trials(
    prepared: _Prepared, sample_index: NDArray[np.unsignedinteger[Any]]
) -> TrialGradients:
    trial = _allocate(prepared, sample_index.shape[1])
    return together([_run_trial(prepared, index, trial) for index in sample_index])


def _run_trial(
    prepared: _Prepared, index: NDArray[np.unsignedinteger[Any]], trial: _Trial
) -> TrialGradients:
    _step_through(prepared, index, trial)
    return TrialGradients(
        {name: _gradients(prepared, name, index, trial) for name in prepared.kept},
        first_loss=trial.losses[:1].copy(),
        last_loss=trial.losses[-1:].copy(),
    )


def _gradients(
    prepared: _Prepared, parameter: str, index: NDArray[np.unsignedinteger[Any]], trial: _Trial
) -> ParameterGradients:
    factors = _factors(prepared, parameter, index, trial)
    squares = np.concatenate(squared_norms(factors, prepared.batch_size), dtype=np.float64)
    return ParameterGradients(
        gradient=total(factors)[None],
        path_length=np.sqrt(squares).sum(keepdims=True),
        sum_of_squares=squares.sum(keepdims=True),
    )


def _allocate(prepared: _Prepared, samples: int) -> _Trial:
    classes, units = prepared.weight.shape
    empty = partial(np.empty, dtype=prepared.weight.dtype)
    return _Trial(
        labels=np.empty(samples, np.int64),
        activations=empty((samples, units)),
        residuals=empty((samples, classes)),
        errors=empty((samples, units)),
        losses=np.empty(-(-samples // prepared.batch_size)),
    )


def _step_through(
    prepared: _Prepared, index: NDArray[np.unsignedinteger[Any]], trial: _Trial
) -> None:
    """Fill in a trial's labels, activations, residuals, errors and losses."""
    for source, target in (
        (prepared.labels, trial.labels),
        (prepared.preactivations, trial.activations),
    ):
        np.take(source, index, axis=0, out=target, mode="clip")  # raise would copy through a buffer
    samples, batch_size, rate = len(index), prepared.batch_size, prepared.learning_rate
    last_layer = prepared.weight.copy(), prepared.bias.copy()
    if rate == 0:
        no_effect = np.zeros((samples, 1), prepared.weight.dtype)
        whole = _rows(trial, slice(0, samples), batch_size)
        _pass_block(*whole, *last_layer, no_effect, batch_size, 0.0)
        return
    inputs = _inputs(prepared, index)
    block_size = max(1, BLOCK // batch_size) * batch_size
    for earlier, block in _halves(0, samples, block_size):
        if earlier != block:
            effect = _effect(inputs, block, earlier)
            _subtract_product(trial.activations[block], effect, trial.errors[earlier])
        else:
            # Within one minibatch no sample has an effect on another.
            others = block if block_size > batch_size else slice(block.start, block.start + 1)
            rows = _rows(trial, block, batch_size)
            _pass_block(*rows, *last_layer, _effect(inputs, block, others), batch_size, rate)


def _rows(
    trial: _Trial, block: slice, batch_size: int
) -> tuple[NDArray[np.int64], Array, Array, Array, NDArray[np.float64]]:
    """What a trial keeps of a block of whole minibatches, in the order of ``_pass_block``."""
    large = trial.activations[block], trial.residuals[block], trial.errors[block]
    return trial.labels[block], *large, trial.losses[block.start // batch_size :]


def _halves(first: int, last: int, block_size: int) -> Iterator[tuple[slice, slice]]:
    """The order in which a trial is taken: halves of halves, down to blocks.

    Yields:
        Pairs of slices: a block with itself, to be taken through the network, or samples that have
        been with the later ones that they have their effect on.
    """
    blocks = -(-(last - first) // block_size)
    if blocks == 1:
        yield slice(first, last), slice(first, last)
        return
    middle = first + (blocks + 1) // 2 * block_size
    yield from _halves(first, middle, block_size)
    yield slice(first, middle), slice(middle, last)
    yield from _halves(middle, last, block_size)


def _subtract_product(target: Array, left: Array, right: Array) -> None:
    """Target -= left @ right, without a copy: BLAS takes our rows for its columns."""
    (gemm,) = get_blas_funcs(("gemm",), (target,))
    gemm(-1.0, right.T, left.T, 1.0, target.T, overwrite_c=True)


def _inputs(prepared: _Prepared, index: NDArray[np.unsignedinteger[Any]]) -> _Inputs:
    # All minibatches but the last have the same step, and nothing comes after the last.
    differences = _differences(prepared.inputs, prepared.centre, index)
    return _Inputs(
        differences,
        prepared.projections[index],
        prepared.learning_rate / prepared.batch_size,
    )


@compiled()
def _differences(inputs: Array, centre: Array, index: NDArray[np.unsignedinteger[Any]]) -> Array:
    """A trial's inputs less the centre, without those where that leaves 0 (an image's margin)."""
    differs = np.zeros(len(centre), np.bool_)
    for sample in index:
        row = inputs[sample]
        for column in range(len(row)):
            differs[column] |= row[column] != centre[column]
    columns = np.nonzero(differs)[0]
    differences = np.empty((len(index), len(columns)), inputs.dtype)
    for place in range(len(index)):
        row, target = inputs[index[place]], differences[place]
        for k in range(len(columns)):
            target[k] = row[columns[k]] - centre[columns[k]]
    return differences


def _effect(inputs: _Inputs, later: slice, earlier: slice) -> Array:
    """The factors step (x . x' + 1) of d' in a, shape (later sample, earlier sample)."""
    gram = inputs.differences[later] @ inputs.differences[earlier].T
    _complete(gram, inputs.projections[later], inputs.projections[earlier], inputs.step)
    return gram


@compiled()
def _complete(
    gram: Array, later: NDArray[np.float64], earlier: NDArray[np.float64], step: float
) -> None:
    """From z . z' to step (z . z' + p + p'), in place; summed in float64 and rounded once."""
    for j in range(len(later)):
        for s in range(len(earlier)):
            gram[j, s] = step * (gram[j, s] + (later[j] + earlier[s]))


def _factors(
    prepared: _Prepared, parameter: str, index: NDArray[np.unsignedinteger[Any]], trial: _Trial
) -> Factors:
    layer, _, kind = parameter.partition(".")
    errors = {"hidden1": trial.errors, "last": trial.residuals}[layer]
    if kind == "bias":
        return Factors(errors, None)
    return Factors(errors, prepared.inputs[index] if layer == "hidden1" else trial.activations)


@compiled(fastmath=FAST)
def _pass_block(
    labels: NDArray[np.int64],
    activations: Array,
    residuals: Array,
    errors: Array,
    losses: NDArray[np.float64],
    weight: Array,
    bias: Array,
    effect: Array,
    batch_size: int,
    learning_rate: float,
) -> None:
    """Take a block through the network, minibatch by minibatch, moving the last layer.

    Arguments are the block's rows of ``_Trial``; ``effect`` holds step (x . x' + 1) within it.
    """
    samples = len(labels)
    for first in range(0, samples, batch_size):
        last = min(first + batch_size, samples)
        loss = 0.0
        for sample in range(first, last):
            if learning_rate != 0.0:
                _subtract_rows(activations[sample], effect[sample], errors, first)
            _rectify(activations[sample])
            _classify(activations[sample], weight, bias, residuals[sample])
            loss += _softmax_loss(residuals[sample], labels[sample])
            _backpropagate(residuals[sample], weight, activations[sample], errors[sample])
        losses[first // batch_size] = loss / (last - first)
        if learning_rate != 0.0:
            step = weight.dtype.type(learning_rate / (last - first))
            _move(weight, bias, residuals[first:last], activations[first:last], step)


@compiled(fastmath=FAST)
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


@compiled(fastmath=FAST)
def _rectify(activation: Array) -> None:
    for u in range(len(activation)):
        activation[u] = 0 if activation[u] <= 0 else activation[u]  # nan stays nan


@compiled(fastmath=FAST)
def _classify(activation: Array, weight: Array, bias: Array, logits: Array) -> None:
    for k in range(len(bias)):
        logit = bias[k]
        row = weight[k]
        for u in range(len(activation)):
            logit += row[u] * activation[u]
        logits[k] = logit


@compiled(fastmath=FAST)
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


@compiled(fastmath=FAST)
def _backpropagate(residual: Array, weight: Array, activation: Array, error: Array) -> None:
    error[:] = 0
    for k in range(len(residual)):
        r, row = residual[k], weight[k]
        for u in range(len(error)):
            error[u] += r * row[u]
    for u in range(len(error)):
        error[u] = 0 if activation[u] <= 0 else error[u]


@compiled(fastmath=FAST)
def _move(weight: Array, bias: Array, residuals: Array, activations: Array, step: float) -> None:
    """Take a minibatch's step in the last layer.

    The samples are summed first: one sample's share of a step can be lost in a weight's rounding.
    """
    gradient = np.empty_like(weight[0])  # of one class, shape (unit,)
    for k in range(len(bias)):
        total, activation = residuals[0, k], activations[0]
        for u in range(len(gradient)):
            gradient[u] = total * activation[u]
        for sample in range(1, len(residuals)):
            residual, activation = residuals[sample, k], activations[sample]
            total += residual
            for u in range(len(gradient)):
                gradient[u] += residual * activation[u]
        row = weight[k]
        for u in range(len(gradient)):
            row[u] -= step * gradient[u]
        bias[k] -= step * total
