"""What a trial is: the definition, line by line, for any problem and any update.

It is slow on purpose. In float64 it is what every engine is tested against.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad_and_value
from torch.utils import _pytree as pytree

from gradatlas.collect.trial import Engine, ParameterGradients, TrialGradients, together
from gradatlas.core.training import batches
from gradatlas.core.updates import Update
from gradatlas.models.problem import Problem, Tree, check_losses, leaves


def run_trial(
    problem: Problem,
    update: Update,
    kept: Sequence[str],
    batch_size: int,
    inputs: Tree,
    targets: Tree,
    device: str = "cpu",
) -> TrialGradients:
    """Run one trial from the checkpoint, minibatch by minibatch.

        S = sum over minibatches t of g_t,   g_t = sum over samples i of t of d loss_i(w_t) / d W

    Args:
        problem: Checkpoint, network and loss; the arithmetic is in its parameters' dtype.
        update: What the weights do between minibatches.
        kept: Names of the parameters W.
        batch_size: Samples of a minibatch; the last one is the remainder.
        inputs: The trial's samples in processing order, first axis the sample.
        targets: Their targets.
        device: Where it runs.

    Returns:
        The gradients of this one trial, T = 1.

    Example:
        A loss of (w - x)^2 / 2 has the gradient w - x, and w moves to the mean of a minibatch:

        >>> class Mean:
        ...     params = {"w": torch.zeros((), dtype=torch.float64)}
        ...     def predict(self, params, inputs): return params["w"] - inputs
        ...     def loss(self, outputs, targets): return outputs**2 / 2
        >>> from gradatlas.core.updates import SGD, Frozen
        >>> x = torch.tensor([1.0, 3.0, 8.0])
        >>> for update in (Frozen(), SGD(learning_rate=1.0)):
        ...     trial = run_trial(Mean(), update, ["w"], 1, x, x)
        ...     print(trial.parameters["w"].gradient, trial.parameters["w"].path_length)
        [-12.] [12.]
        [-8.] [8.]
    """
    params: Mapping[str, Tensor] = {
        # A copy: a rule that works in place must not reach the checkpoint.
        name: torch.as_tensor(value, device=device).detach().clone()
        for name, value in problem.params.items()
    }
    inputs, targets = (_like(next(iter(params.values())), tree) for tree in (inputs, targets))
    state = update.init(params)
    sums = {name: torch.zeros_like(params[name]) for name in kept}
    norms: dict[str, list[float]] = {name: [] for name in kept}
    losses: list[float] = []  # mean loss of each minibatch
    for batch in batches(_count(targets), batch_size):
        size = batch.stop - batch.start
        gradient, loss = _differentiate(
            problem, params, _take(inputs, batch), _take(targets, batch)
        )
        for name in kept:
            sums[name] += gradient[name]
            norms[name].append(gradient[name].norm().item())
        losses.append(loss / size)
        mean_gradient = {name: value / size for name, value in gradient.items()}
        params, state = update.step(params, mean_gradient, state)
    return TrialGradients(
        {name: _one_trial(sums[name], norms[name]) for name in kept},
        first_loss=np.array([losses[0]]),
        last_loss=np.array([losses[-1]]),
    )


def prepare(
    problem: Problem,
    update: Update,
    kept: Sequence[str],
    batch_size: int,
    inputs: Tree,
    targets: Tree,
    device: str = "cpu",
) -> Engine:
    """See ``gradatlas.collect.prepare``; any problem and update, one trial after another."""

    def run(sample_index: NDArray[np.unsignedinteger[Any]]) -> TrialGradients:
        trials = []
        for index in sample_index.astype(np.int64):  # torch indexes with signed integers alone
            x, y = _take(inputs, index), _take(targets, index)
            trials.append(run_trial(problem, update, kept, batch_size, x, y, device))
        return together(trials)

    return run


def _differentiate(
    problem: Problem, params: Mapping[str, Tensor], inputs: Tree, targets: Tree
) -> tuple[dict[str, Tensor], float]:
    """Gradient of a minibatch's summed loss by every parameter, and that loss."""

    def summed_loss(weights: Mapping[str, Tensor]) -> Tensor:
        losses = problem.loss(problem.predict(weights, inputs), targets)
        check_losses(losses, _count(targets))
        return losses.sum()

    gradient, loss = grad_and_value(summed_loss)(dict(params))
    return gradient, loss.item()


def _one_trial(total: Tensor, norms: Sequence[float]) -> ParameterGradients:
    return ParameterGradients(
        gradient=total.numpy(force=True)[None],
        path_length=np.array([np.sum(norms)]),
        sum_of_squares=np.array([np.sum(np.square(norms))]),
    )


def _like(params: Tensor, tree: Tree) -> Tree:
    """Arrays as tensors, floats in the dtype of the parameters; class indices stay integers."""

    def convert(values: Any) -> Tensor:  # noqa: ANN401 - array or tensor
        tensor = torch.as_tensor(values, device=params.device)
        return tensor.to(params.dtype) if tensor.is_floating_point() else tensor

    return pytree.tree_map(convert, tree)


def _count(tree: Tree) -> int:
    return len(next(leaves(tree)))


def _take(tree: Tree, batch: slice | NDArray[np.int64]) -> Tree:
    return pytree.tree_map(lambda values: values[batch], tree)
