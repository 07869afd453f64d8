"""The reference engine against mathematics written out by hand, without autograd."""

import numpy as np
import pytest
from numpy.typing import NDArray

from gradatlas.collect.reference import run_trial
from gradatlas.collect.trial import Measurement, TrialGradients
from gradatlas.core.settings import Update
from gradatlas.models.perceptron import Architecture, initial_parameters

Float = NDArray[np.float64]
REST = Update("none", 0.0)
SGD = Update("sgd", 0.3)


def weights_of(architecture: Architecture, seed: int = 0) -> dict[str, Float]:
    return {
        name: value.astype(np.float64)
        for name, value in initial_parameters(architecture, seed).items()
    }


def problem(samples: int = 11) -> tuple[dict[str, Float], Float, NDArray[np.int64]]:
    """A network with one hidden layer and a few random samples."""
    random = np.random.default_rng(0)
    weights = weights_of(Architecture(6, (5,), 3))
    return weights, random.standard_normal((samples, 6)), random.integers(0, 3, samples)


def backpropagate(
    weights: dict[str, Float], x: Float, label: int
) -> tuple[float, dict[str, Float]]:
    """Loss and gradients of one sample, by the chain rule."""
    a = weights["hidden1.weight"] @ x + weights["hidden1.bias"]
    h = np.maximum(a, 0)
    z = weights["last.weight"] @ h + weights["last.bias"]
    p = np.exp(z) / np.exp(z).sum()
    r = p - np.eye(len(p))[label]
    d = (weights["last.weight"].T @ r) * (a > 0)
    return -np.log(p[label]), {
        "hidden1.weight": np.outer(d, x),
        "hidden1.bias": d,
        "last.weight": np.outer(r, h),
        "last.bias": r,
    }


def by_hand(
    weights: dict[str, Float], inputs: Float, labels: NDArray[np.int64], size: int, rate: float
) -> tuple[dict[str, Float], dict[str, list[float]], list[float]]:
    """Sum of gradients, norms of each minibatch's gradients, mean losses, for one trial."""
    weights = {name: value.copy() for name, value in weights.items()}
    total = {name: np.zeros_like(value) for name, value in weights.items()}
    norms: dict[str, list[float]] = {name: [] for name in weights}
    losses = []
    for start in range(0, len(labels), size):
        samples = list(zip(inputs[start : start + size], labels[start : start + size], strict=True))
        results = [backpropagate(weights, x, label) for x, label in samples]
        losses.append(float(np.mean([loss for loss, _ in results])))
        for name in weights:
            gradient = np.sum([gradients[name] for _, gradients in results], axis=0)
            total[name] += gradient
            norms[name].append(float(np.linalg.norm(gradient)))
            weights[name] -= rate * gradient / len(samples)
    return total, norms, losses


@pytest.mark.parametrize("batch_size", [1, 3, 4, 11])
@pytest.mark.parametrize("rate", [0.0, 0.2])
@pytest.mark.parametrize(
    "parameter", ["hidden1.weight", "hidden1.bias", "last.weight", "last.bias"]
)
def test_trial_follows_the_chain_rule(batch_size: int, rate: float, parameter: str) -> None:
    weights, inputs, labels = problem()
    update = Update("sgd", rate) if rate else REST
    trial = run_trial(Measurement(weights, update, batch_size, parameter), inputs, labels)
    total, norms, losses = by_hand(weights, inputs, labels, batch_size, rate)
    np.testing.assert_allclose(trial.gradient[0], total[parameter], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(trial.path_length, np.sum(norms[parameter]), rtol=1e-12)
    np.testing.assert_allclose(trial.sum_of_squares, np.square(norms[parameter]).sum(), rtol=1e-12)
    np.testing.assert_allclose([trial.first_loss, trial.last_loss], np.take(losses, [[0], [-1]]))


def test_gradient_is_the_slope_of_the_loss() -> None:
    weights, inputs, labels = problem(samples=1)
    trial = run_trial(Measurement(weights, REST, 1, "last.weight"), inputs, labels)
    direction = np.random.default_rng(1).standard_normal(weights["last.weight"].shape)

    def loss(step: float) -> float:
        moved = {**weights, "last.weight": weights["last.weight"] + step * direction}
        return backpropagate(moved, inputs[0], labels[0])[0]

    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert np.sum(trial.gradient[0] * direction) == pytest.approx(slope, rel=1e-7)


def run(batch_size: int, update: Update, samples: int = 12) -> TrialGradients:
    weights, inputs, labels = problem(samples)
    return run_trial(Measurement(weights, update, batch_size, "last.weight"), inputs, labels)


def test_frozen_sum_does_not_depend_on_batch_size() -> None:
    sums = [run(batch_size, REST).gradient for batch_size in (1, 5, 12)]
    np.testing.assert_allclose(sums[1], sums[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(sums[2], sums[0], rtol=1e-12, atol=1e-14)


def test_moving_weights_change_the_sum_but_not_where_one_step_is_all() -> None:
    assert not np.allclose(run(1, SGD).gradient, run(1, REST).gradient, rtol=1e-3)
    np.testing.assert_array_equal(run(12, SGD).gradient, run(12, REST).gradient)


def test_distance_moved_is_rate_times_sum_over_batch_size() -> None:
    """w_0 - w_K = learning rate S / B where all minibatches have the same size."""
    weights, inputs, labels = problem(12)
    total, _, _ = by_hand(weights, inputs, labels, 3, 0.3)
    trial = run(3, SGD)
    np.testing.assert_allclose(trial.gradient[0], total["last.weight"], rtol=1e-12)


def test_checkpoint_stays_as_it_was() -> None:
    weights, inputs, labels = problem()
    before = {name: value.copy() for name, value in weights.items()}
    run_trial(Measurement(weights, Update("sgd", 0.5), 2, "last.weight"), inputs, labels)
    for name, value in weights.items():
        np.testing.assert_array_equal(value, before[name])
