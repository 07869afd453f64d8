"""The multilayer perceptron: its parameters' names, initial values, forward pass and loss.

Torch comes in with the tensors that the functions are given: an engine that does without it can
know the network too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradatlas.core.errors import InputError
from gradatlas.core.random import Stream, random_bits
from gradatlas.core.training import Parameters
from gradatlas.data.idx import Split
from gradatlas.models.problem import Tree, as_array

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Architecture:
    """Layer sizes of a multilayer perceptron with ReLU between the layers."""

    inputs: int
    hidden: tuple[int, ...]
    outputs: int

    @property
    def layers(self) -> dict[str, tuple[int, int]]:
        """Shape (output, input) of each layer's weight, by layer name, in forward order."""
        sizes = (self.inputs, *self.hidden, self.outputs)
        names = [*(f"hidden{n}" for n in range(1, len(self.hidden) + 1)), "last"]
        return {
            name: (output, input_)
            for name, (input_, output) in zip(names, pairwise(sizes), strict=True)
        }

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, by parameter name, in forward order."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name, shape in self.layers.items():
            shapes[f"{name}.weight"] = shape
            shapes[f"{name}.bias"] = shape[:1]
        return shapes


def architecture_of(split: Split, hidden: Sequence[int]) -> Architecture:
    """The perceptron that fits a data set: one input a pixel, one output a class."""
    return Architecture(split.inputs.shape[1], tuple(hidden), int(split.labels.max()) + 1)


def initial_parameters(architecture: Architecture, seed: int) -> dict[str, NDArray[np.float32]]:
    """Draw weights and biases uniformly within 1/sqrt(fan in), PyTorch's default for a Linear.

    The draws come from raw Philox bits, so they are the same under any version of any library.
    """
    parameters = {}
    for index, (name, shape) in enumerate(architecture.parameters.items()):
        bound = 1 / np.sqrt(architecture.layers[name.partition(".")[0]][1])
        bits = random_bits(seed, Stream.INITIAL_WEIGHTS, index, int(np.prod(shape)))
        uniform = (bits >> np.uint64(11)) * 2.0**-53  # [0, 1), all 53 bits of a double
        parameters[name] = ((2 * uniform - 1) * bound).astype(np.float32).reshape(shape)
    return parameters


def logits(parameters: "Mapping[str, Tensor]", inputs: "Tensor") -> "Tensor":
    """Forward pass, from inputs (batch, input) to unnormalised log-probabilities (batch, class)."""
    *hidden, last = dict.fromkeys(name.partition(".")[0] for name in parameters)
    activations = inputs
    for layer in hidden:
        weight, bias = parameters[f"{layer}.weight"], parameters[f"{layer}.bias"]
        # The product first, the bias after it: torch's own Linear sums in another order, and the
        # checkpoints of earlier versions would not come out to the last bit.
        activations = (activations @ weight.T + bias).relu()  # (batch, unit)
    return activations @ parameters[f"{last}.weight"].T + parameters[f"{last}.bias"]


def cross_entropy(outputs: "Tensor", targets: "Tensor") -> "Tensor":
    """Cross entropy of each sample, -log softmax(outputs)[target], nats, shape (batch,)."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(outputs, targets, reduction="none")


@dataclass(frozen=True)
class Perceptron:
    """The multilayer perceptron with its cross entropy, as a ``Problem``.

    Engines that know its layers tell it by this type.
    """

    params: Parameters  # arrays or tensors by parameter name, in forward order

    def __post_init__(self) -> None:
        *hidden, _ = self.layers or [""]
        names = [*(f"hidden{number + 1}" for number in range(len(hidden))), "last"]
        expected = [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]
        if [*self.params] != expected:
            raise InputError(
                f"the perceptron's parameters are {', '.join(self.params)}, expected weight and "
                "bias of hidden1, hidden2 and so on, and of last, in this order"
            )

    @property
    def layers(self) -> list[str]:
        """Names of the layers in forward order, ``hidden1``, ..., ``last``."""
        return [*dict.fromkeys(name.partition(".")[0] for name in self.params)]

    def check_data(self, inputs: Tree, labels: Tree) -> None:
        """Refuse a data set that is not of this network: compiled loops do not look.

        Raises:
            InputError: Inputs are not finite numbers of shape (sample, input), or labels no classes
                of shape (sample,).
        """
        width = self.params[f"{self.layers[0]}.weight"].shape[1]
        classes = self.params["last.bias"].shape[0]
        inputs, labels = as_array(inputs), as_array(labels)
        if inputs.ndim != 2 or inputs.shape[1] != width or not np.isfinite(inputs).all():
            raise InputError(
                f"the inputs are {inputs.dtype} of shape {inputs.shape}, expected finite numbers "
                f"of shape (sample, {width})"
            )
        whole = labels.ndim == 1 and labels.dtype.kind in "iu"
        if not whole or labels.min() < 0 or labels.max() >= classes:
            raise InputError(
                f"the labels are {labels.dtype} of shape {labels.shape}, expected whole numbers "
                f"from 0 to {classes - 1}, one a sample"
            )

    def predict(self, params: "Mapping[str, Tensor]", inputs: "Tensor") -> "Tensor":
        """Unnormalised log-probabilities, shape (batch, class)."""
        return logits(params, inputs)

    def loss(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Cross entropy of each sample, nats, shape (batch,)."""
        return cross_entropy(outputs, targets)
