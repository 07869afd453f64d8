"""The first seam: what is differentiated, as two functions of a dict of parameters."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

#: Arrays or tensors by parameter name.
Parameters = Mapping[str, Any]
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
