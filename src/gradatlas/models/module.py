"""Networks as torch modules: what is trained, and any module as a problem."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gradatlas.core.training import Parameters
from gradatlas.data.idx import Split
from gradatlas.models.network import Model
from gradatlas.models.perceptron import (
    Architecture,
    Perceptron,
    architecture_of,
    cross_entropy,
    initial_parameters,
    logits,
)
from gradatlas.models.problem import Problem, Tree

#: From outputs and targets to one value a sample, shape (batch,).
Loss = Callable[[Tree, Tree], Tensor]


class PerceptronModule(nn.Module):
    """The multilayer perceptron, float32, inputs of shape (batch, input)."""

    def __init__(self, architecture: Architecture, seed: int) -> None:
        super().__init__()
        for name, (output, input_) in architecture.layers.items():
            self.add_module(name, nn.Linear(input_, output))
        # In place of torch's own initial values, which another version may draw otherwise.
        values = initial_parameters(architecture, seed)
        self.load_state_dict({name: torch.tensor(value) for name, value in values.items()})

    def forward(self, inputs: Tensor) -> Tensor:
        """Unnormalised log-probabilities, shape (batch, class)."""
        return logits(dict(self.named_parameters()), inputs)


@dataclass(frozen=True)
class ModuleProblem:
    """Any torch module with any loss of one value a sample; made by ``problem_of``.

    The module computes as in evaluation mode: no dropout, running statistics where there are any.
    Buffers and parameters that require no gradient are constants of the problem.
    """

    module: nn.Module
    loss_function: Loss
    params: Parameters

    def predict(self, params: Mapping[str, Tensor], inputs: Tree) -> Tree:
        """Call the module with these parameters in place of its own.

        Args:
            params: All parameters that require a gradient.
            inputs: The module's one argument, or a tuple or dict of several.
        """
        arguments: tuple[Any, ...] = inputs if isinstance(inputs, tuple) else (inputs,)
        keywords: dict[str, Any] = {}
        if isinstance(inputs, dict):
            arguments, keywords = (), inputs
        device = next(iter(params.values())).device
        # A module may write to its buffers; a trial must find them as they were.
        buffers = {n: value.to(device, copy=True) for n, value in self.module.named_buffers()}
        fixed = {n: p.to(device) for n, p in self.module.named_parameters() if n not in params}
        return functional_call(self.module, {**buffers, **fixed, **params}, arguments, keywords)

    def loss(self, outputs: Tree, targets: Tree) -> Tensor:
        """See ``Problem.loss``."""
        return self.loss_function(outputs, targets)


def problem_of(module: nn.Module, loss: Loss, dtype: torch.dtype = torch.float32) -> Problem:
    """Turn a module and a loss into a problem; neither the module nor its weights are changed.

    Args:
        module: Any module.
        loss: From its outputs and the targets to one value a sample.
        dtype: Of the arithmetic.

    Returns:
        ``Perceptron`` where the module is ours and the loss is its own, so that the engines for it
        serve; else a ``ModuleProblem``.

    Example:
        >>> linear = nn.Linear(3, 1)
        >>> squares = lambda outputs, targets: (outputs[:, 0] - targets) ** 2
        >>> problem = problem_of(linear, squares)
        >>> outputs = problem.predict(problem.params, torch.ones(5, 3))
        >>> problem.loss(outputs, torch.zeros(5)).shape
        torch.Size([5])
    """
    copy = deepcopy(module).to(dtype).eval()
    params = {n: p.detach().clone() for n, p in copy.named_parameters() if p.requires_grad}
    # By type: a module that inherits from ours may compute something else.
    all_move = len(params) == len([*copy.parameters()])
    if type(module) is PerceptronModule and loss is cross_entropy and all_move:
        return Perceptron(params)
    return ModuleProblem(copy, loss, params)


def build(model: Model, split: Split, seed: int) -> tuple[nn.Module, Loss]:
    """The untrained network that the configuration describes, and its loss.

    Args:
        model: As the configuration has it.
        split: The training set, whose shapes the network fits.
        seed: Determines the initial values.
    """
    return PerceptronModule(architecture_of(split, model["hidden"]), seed), cross_entropy
