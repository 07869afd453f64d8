"""The reference against mathematics written out by hand, and against torch.optim."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradatlas.collect.reference import run_trial
from gradatlas.collect.trial import ParameterGradients, TrialGradients
from gradatlas.core.errors import InputError
from gradatlas.core.updates import SGD, Frozen, Update
from gradatlas.models.module import problem_of
from gradatlas.models.perceptron import Architecture, Perceptron, initial_parameters

Float = NDArray[np.float64]
MOVING = SGD(0.3)
PARAMETERS = ["hidden1.weight", "hidden1.bias", "last.weight", "last.bias"]


def example(samples: int = 11) -> tuple[dict[str, Float], Float, NDArray[np.int64]]:
    """A network with one hidden layer and a few random samples."""
    random = np.random.default_rng(0)
    weights = {
        name: value.astype(np.float64)
        for name, value in initial_parameters(Architecture(6, (5,), 3), seed=0).items()
    }
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
def test_trial_follows_the_chain_rule(batch_size: int, rate: float) -> None:
    weights, inputs, labels = example()
    update = SGD(rate) if rate else Frozen()
    trial = run_trial(Perceptron(weights), update, PARAMETERS, batch_size, inputs, labels)
    total, norms, losses = by_hand(weights, inputs, labels, batch_size, rate)
    assert list(trial.parameters) == PARAMETERS
    for name, found in trial.parameters.items():
        np.testing.assert_allclose(found.gradient[0], total[name], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(found.path_length, np.sum(norms[name]), rtol=1e-12)
        np.testing.assert_allclose(found.sum_of_squares, np.square(norms[name]).sum(), rtol=1e-12)
    np.testing.assert_allclose([trial.first_loss, trial.last_loss], np.take(losses, [[0], [-1]]))


def run(batch_size: int, update: Update, samples: int = 12) -> ParameterGradients:
    weights, inputs, labels = example(samples)
    trial = run_trial(Perceptron(weights), update, ["last.weight"], batch_size, inputs, labels)
    return trial.parameters["last.weight"]


def test_gradient_is_the_slope_of_the_loss() -> None:
    weights, inputs, labels = example(samples=1)
    gradient = run(1, Frozen(), samples=1).gradient[0]
    direction = np.random.default_rng(1).standard_normal(weights["last.weight"].shape)

    def loss(step: float) -> float:
        moved = {**weights, "last.weight": weights["last.weight"] + step * direction}
        return backpropagate(moved, inputs[0], labels[0])[0]

    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert np.sum(gradient * direction) == pytest.approx(slope, rel=1e-7)


def test_frozen_sum_does_not_depend_on_batch_size() -> None:
    sums = [run(batch_size, Frozen()).gradient for batch_size in (1, 5, 12)]
    np.testing.assert_allclose(sums[1], sums[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(sums[2], sums[0], rtol=1e-12, atol=1e-14)


def test_moving_weights_change_the_sum_but_not_where_one_step_is_all() -> None:
    assert not np.allclose(run(1, MOVING).gradient, run(1, Frozen()).gradient, rtol=1e-3)
    np.testing.assert_array_equal(run(12, MOVING).gradient, run(12, Frozen()).gradient)


def test_checkpoint_stays_as_it_was() -> None:
    weights, inputs, labels = example()
    before = {name: value.copy() for name, value in weights.items()}
    run_trial(Perceptron(weights), SGD(0.5), PARAMETERS, 2, inputs, labels)
    for name, value in weights.items():
        np.testing.assert_array_equal(value, before[name])


class TwoInputs(nn.Module):
    """A module of two inputs and two outputs, with a buffer and a parameter that is not trained."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(2, 4)
        self.right.bias.requires_grad_(False)
        self.register_buffer("scale", torch.linspace(0.5, 2, 4))

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        hidden = torch.tanh(self.left(left) + self.scale * self.right(right))
        return {"sum": hidden.sum(dim=1), "largest": hidden.amax(dim=1)}


class TiedEmbedding(nn.Module):
    """Reads and writes words by the same matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.write = nn.Embedding(7, 5), nn.Linear(5, 7, bias=False)
        self.write.weight = self.read.weight

    def forward(self, words: Tensor) -> Tensor:
        result: Tensor = self.write(self.read(words).mean(dim=1))
        return result


def classes(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def two_targets(outputs: dict[str, Tensor], targets: tuple[Tensor, Tensor]) -> Tensor:
    return (outputs["sum"] - targets[0]) ** 2 + (outputs["largest"] - targets[1]).abs()


def convolution() -> nn.Module:
    layers = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.GELU(), nn.Dropout(0.5), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(12, 4))


Case = tuple[Callable[[], nn.Module], Callable[[Any, Any], Tensor], str, Any, Any]


def cases() -> dict[str, Case]:
    """Modules of all kinds, with 10 samples each."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(10, *shape, generator=random, dtype=torch.float64)

    labels = torch.randint(0, 4, (10,), generator=random)
    words = torch.randint(0, 7, (10, 6), generator=random)
    values = normal(), normal()
    return {
        "convolution": (convolution, classes, "0.weight", normal(2, 4, 4), labels),
        "two inputs": (TwoInputs, two_targets, "left.bias", (normal(3), normal(2)), values),
        "tied": (TiedEmbedding, classes, "read.weight", words, labels),
    }


def plain_loop(case: Case, batch_size: int, rate: float) -> tuple[Float, float]:
    """Sum of gradients and path length, as a user of torch would write it."""
    build, loss, parameter, inputs, targets = case
    torch.manual_seed(0)
    module = build().double().eval()
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=rate or 1)
    weight = module.get_parameter(parameter)
    total, length = torch.zeros_like(weight), 0.0
    for start in range(0, 10, batch_size):
        rows = slice(start, start + batch_size)
        pair = tuple(x[rows] for x in inputs) if isinstance(inputs, tuple) else (inputs[rows],)
        y = tuple(t[rows] for t in targets) if isinstance(targets, tuple) else targets[rows]
        optimizer.zero_grad()
        losses = loss(module(*pair), y)
        losses.mean().backward()  # type: ignore[no-untyped-call]
        assert weight.grad is not None
        gradient = weight.grad * len(losses)
        total, length = total + gradient, length + gradient.norm().item()
        if rate:
            optimizer.step()
    return total.detach().numpy(), length


@pytest.mark.parametrize("name", list(cases()))
@pytest.mark.parametrize("batch_size", [1, 3, 10])
@pytest.mark.parametrize("update", [SGD(0.05), Frozen()])
def test_any_module_is_measured_as_a_loop_with_torch_s_optimizer_does(
    name: str, batch_size: int, update: Update
) -> None:
    case = cases()[name]
    build, loss, parameter, inputs, targets = case
    torch.manual_seed(0)
    problem = problem_of(build(), loss, torch.float64)
    trial: TrialGradients = run_trial(problem, update, [parameter], batch_size, inputs, targets)
    total, length = plain_loop(case, batch_size, 0.05 if update.moves else 0.0)
    found = trial.parameters[parameter]
    assert np.linalg.norm(found.gradient[0] - total) <= 1e-12 * np.linalg.norm(total)
    np.testing.assert_allclose(found.path_length, length, rtol=1e-12)


@pytest.mark.parametrize(
    "loss",
    [nn.CrossEntropyLoss(), lambda outputs, targets: (outputs[:, :1] - targets) ** 2],
    ids=["mean", "broadcast"],
)
def test_a_loss_that_is_not_one_value_a_sample_is_refused(loss: Any) -> None:
    inputs, targets = torch.randn(8, 3), torch.arange(8) % 4
    problem = problem_of(nn.Linear(3, 4), loss)
    with pytest.raises(InputError, match=r"the loss of 4 samples has the shape .*\(4,\)"):
        run_trial(problem, Frozen(), ["bias"], 4, inputs, targets)
