"""The network that the configuration describes."""

import numpy as np
import pytest
import torch

from gradatlas.core.errors import InputError
from gradatlas.data.idx import Split
from gradatlas.models.module import build
from gradatlas.models.network import check_parameter, parameter_shapes, problem_from

MODEL = {"hidden": [7, 4]}
SPLIT = Split(np.zeros((4, 6), np.float32), np.array([0, 2, 1, 2]))


def test_module_shapes_and_problem_are_of_one_network() -> None:
    module, loss = build(MODEL, SPLIT, seed=3)
    state = module.state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == parameter_shapes(
        MODEL, SPLIT
    )
    problem = problem_from({name: value.numpy() for name, value in state.items()})
    inputs, labels = torch.linspace(-1, 1, 24).reshape(4, 6), torch.tensor(SPLIT.labels)
    outputs = problem.predict(state, inputs)
    torch.testing.assert_close(outputs, module(inputs), rtol=0, atol=0)
    losses = problem.loss(outputs, labels)
    torch.testing.assert_close(losses, loss(outputs, labels), rtol=0, atol=0)
    expected = torch.logsumexp(outputs, 1) - outputs[torch.arange(4), labels]
    torch.testing.assert_close(losses, expected)


@pytest.mark.parametrize("name", ["hidden1.weight", "hidden2.bias", "last.weight"])
def test_every_parameter_may_be_measured(name: str) -> None:
    check_parameter({"hidden": [8, 8]}, name)


@pytest.mark.parametrize("name", ["hidden3.weight", "last.weights", "last", "hidden0.bias", ""])
def test_a_parameter_that_the_model_lacks_is_refused_with_those_it_has(name: str) -> None:
    with pytest.raises(InputError, match=rf"is '{name}', .*hidden1\.weight, .*last\.bias"):
        check_parameter({"hidden": [8, 8]}, name)
