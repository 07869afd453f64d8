"""The network that the configuration describes under ``model``: what each stage asks of it."""

from collections.abc import Mapping
from typing import Any

from gradatlas.core.errors import InputError
from gradatlas.core.training import Parameters
from gradatlas.data.idx import Split
from gradatlas.models.perceptron import Architecture, Perceptron, architecture_of
from gradatlas.models.problem import Problem

#: As the configuration has it, such as ``{"hidden": [1024]}``.
Model = Mapping[str, Any]


def check_parameter(model: Model, parameter: str) -> None:
    """Raise InputError where the model has no parameter of this name."""
    # The names do not depend on the data set, which need not be there when a run is planned.
    names = Architecture(1, tuple(model["hidden"]), 1).parameters
    if parameter not in names:
        raise InputError(
            f"gradients.parameter is {parameter!r}, expected a parameter of the model, one of: "
            f"{', '.join(names)}"
        )


def parameter_shapes(model: Model, split: Split) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter that the network has on a data set, by name, in forward order.

    Example:
        >>> import numpy as np
        >>> split = Split(np.zeros((3, 784), np.float32), np.array([0, 9, 4]))
        >>> parameter_shapes({"hidden": [1024]}, split)["last.weight"]
        (10, 1024)
    """
    return architecture_of(split, model["hidden"]).parameters


def problem_from(weights: Parameters) -> Problem:
    """The network with a checkpoint's weights, in forward order, and its loss."""
    return Perceptron(weights)
