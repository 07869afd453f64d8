"""The first seam: what is differentiated, as two functions of a dict of parameters."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradatlas.core.errors import InputError
from gradatlas.core.training import Parameters

if TYPE_CHECKING:
    from torch import Tensor

#: An array or tensor whose first axis is the sample, or tuples and dicts of them.
Tree = Any


class Problem(Protocol):
    """A network, its loss, and the parameters that an update moves."""

    @property
    def params(self) -> Parameters:
        """The weights that every trial starts from, by name; they are never changed."""

    def predict(self, params: "Mapping[str, Tensor]", inputs: Tree) -> Tree:
        """The network's outputs with these parameters, first axis the sample."""

    def loss(self, outputs: Tree, targets: Tree) -> "Tensor":
        """One value for each sample, nats for a cross entropy, shape (batch,)."""


def leaves(tree: Tree) -> Iterator[Any]:
    """The arrays or tensors of a tree.

    Example:
        >>> list(leaves(("a", {"left": "b", "right": ("c",)})))
        ['a', 'b', 'c']
    """
    if isinstance(tree, tuple | dict):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(branch)
    else:
        yield tree


def as_array(values: Tree) -> NDArray[Any]:
    """An array, or a tensor on any device, as an array; nothing is copied without need."""
    return np.asarray(values.numpy(force=True) if hasattr(values, "numpy") else values)


def check_losses(losses: "Tensor", samples: int) -> None:
    """Raise InputError where a loss is not one value a sample: a mean would be summed once more."""
    if tuple(losses.shape) != (samples,):
        raise InputError(
            f"the loss of {samples} samples has the shape {tuple(losses.shape)}, expected one "
            f"value a sample, ({samples},), as with reduction='none'"
        )
