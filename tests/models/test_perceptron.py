"""The multilayer perceptron: names, initial values and forward pass."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from gradatlas.data.idx import Split
from gradatlas.models.perceptron import (
    Architecture,
    architecture_of,
    initial_parameters,
    logits,
)

DEEP = Architecture(5, (7, 4), 3)


def test_parameters_are_named_in_forward_order() -> None:
    assert DEEP.parameters == {
        "hidden1.weight": (7, 5),
        "hidden1.bias": (7,),
        "hidden2.weight": (4, 7),
        "hidden2.bias": (4,),
        "last.weight": (3, 4),
        "last.bias": (3,),
    }
    assert list(DEEP.parameters)[-2:] == ["last.weight", "last.bias"]


def test_a_data_set_gives_an_input_a_pixel_and_an_output_a_class() -> None:
    split = Split(np.zeros((4, 6), np.float32), np.array([0, 2, 1, 2]))

    assert architecture_of(split, [8]) == Architecture(6, (8,), 3)


def test_initial_values_are_uniform_within_the_root_of_the_fan_in() -> None:
    parameters = initial_parameters(Architecture(100, (400,), 10), seed=0)

    for name, bound in (("hidden1.weight", 0.1), ("hidden1.bias", 0.1), ("last.weight", 0.05)):
        values = parameters[name]
        assert values.dtype == np.float32
        assert np.abs(values).max() <= bound
        assert kstest(values.ravel(), "uniform", args=(-bound, 2 * bound)).pvalue > 1e-4


def test_initial_values_follow_pytorch_s_default() -> None:
    layer = torch.nn.Linear(100, 400)
    values = initial_parameters(Architecture(100, (400,), 10), seed=0)["hidden1.weight"]

    assert kstest(values.ravel(), layer.weight.detach().numpy().ravel()).pvalue > 1e-4


def test_initial_values_depend_on_the_seed_alone() -> None:
    first, again, other = (initial_parameters(DEEP, seed) for seed in (0, 0, 1))

    for name in DEEP.parameters:
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name])


@pytest.mark.parametrize("hidden", [(7,), (7, 4), (3, 3, 3)])
def test_the_forward_pass_is_that_of_torch_s_layers(hidden: tuple[int, ...]) -> None:
    architecture = Architecture(5, hidden, 3)
    parameters = {
        name: torch.tensor(value).double()
        for name, value in initial_parameters(architecture, seed=2).items()
    }
    modules: list[torch.nn.Module] = []
    for layer, (output, input_) in architecture.layers.items():
        linear = torch.nn.Linear(input_, output, dtype=torch.float64)
        linear.weight.data = parameters[f"{layer}.weight"]
        linear.bias.data = parameters[f"{layer}.bias"]
        modules += [linear, torch.nn.ReLU()]
    inputs = torch.linspace(-2, 2, 20, dtype=torch.float64).reshape(4, 5)

    expected = torch.nn.Sequential(*modules[:-1])(inputs)

    torch.testing.assert_close(logits(parameters, inputs), expected, rtol=1e-12, atol=1e-12)
