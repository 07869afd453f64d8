"""The centre that inputs are measured from: algebra, and what it is for."""

import numpy as np
import pytest
from numpy.typing import NDArray

from gradatlas.collect import reference
from gradatlas.collect.engines import mlp_batched, mlp_cpu
from gradatlas.collect.engines.centre import centre_of, projections_of
from gradatlas.core.updates import SGD
from gradatlas.models.perceptron import Architecture, Perceptron, initial_parameters


def test_products_and_their_centred_form_are_the_same() -> None:
    inputs = np.random.default_rng(0).normal(3, 1, (40, 12))
    centre = centre_of(inputs)
    differences, projections = inputs - centre, projections_of(inputs, centre)
    np.testing.assert_allclose(
        differences @ differences.T + projections[:, None] + projections, inputs @ inputs.T + 1
    )


def test_the_centre_is_of_the_whole_data_set() -> None:
    """Which may be sorted, by class or by day."""
    inputs = np.repeat([[0.0], [1.0], [5.0]], [600, 800, 600], axis=0)
    assert centre_of(inputs).tolist() == [1.0]


@pytest.mark.parametrize("engine", [mlp_cpu, mlp_batched])
@pytest.mark.parametrize("ordered", [False, True])
def test_what_all_inputs_share_costs_no_exactness(engine: object, ordered: bool) -> None:
    """In single precision; with a centre of 0 the error is 5e-6, the reference's 9e-6."""
    random = np.random.default_rng(1)
    inputs = (100 + random.standard_normal((2000, 20))).astype(np.float32)
    if ordered:  # the samples that come first are others than those of the trial
        inputs[:600] -= 100
    weights = initial_parameters(Architecture(20, (30,), 3), 0)
    weights["hidden1.bias"] = -100 * weights["hidden1.weight"].sum(axis=1)
    index = (1000 + random.permutation(1000)[:200]).astype(np.uint32)[None]
    rest = SGD(1e-5), ["last.weight"], 4, inputs, random.integers(0, 3, 2000)

    def gradient(module: object, dtype: type) -> NDArray[np.float64]:
        problem = Perceptron({name: value.astype(dtype) for name, value in weights.items()})
        prepare = module.prepare  # type: ignore[attr-defined]
        trial = prepare(problem, *rest, "cpu")(index)
        return np.asarray(trial.parameters["last.weight"].gradient, np.float64)

    expected = gradient(reference, np.float64)
    error = np.linalg.norm(gradient(engine, np.float32) - expected) / np.linalg.norm(expected)
    assert error < 1e-6
