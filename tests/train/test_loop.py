"""The training run: against plain PyTorch, and the same bits every time."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gradatlas.core.random import Stream, permutation
from gradatlas.core.training import Training
from gradatlas.data.idx import Split
from gradatlas.models.module import build
from gradatlas.models.perceptron import architecture_of, initial_parameters, logits
from gradatlas.train.loop import Epoch, train

MODEL = {"hidden": [6]}
SETTINGS = Training(batch_size=300, learning_rate=0.05, momentum=0.9)
CHECKPOINTS = (0, 1, 3)


def random_split(samples: int, seed: int) -> Split:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, samples)
    inputs = random.normal(labels[:, None], 1, (samples, 9)).astype(np.float32)
    return Split(inputs, labels)


@pytest.fixture(scope="module")
def splits() -> tuple[Split, Split]:
    """A training set that no batch size divides, and a test set."""
    return random_split(700, 0), random_split(200, 1)


def epochs(splits: tuple[Split, Split], *, threads: int = 1, seed: int = 0) -> list[Epoch]:
    last = CHECKPOINTS[-1]
    network = build(MODEL, splits[0], seed)
    return [*train(*splits, *network, SETTINGS, last, seed=seed, device="cpu", threads=threads)]


def plain_pytorch(train_split: Split, seed: int) -> list[dict[str, NDArray[np.float64]]]:
    """Weights after every epoch, by torch.optim.SGD on whole batches in float64."""
    weights = {
        name: torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for name, value in initial_parameters(
            architecture_of(train_split, MODEL["hidden"]), seed
        ).items()
    }
    optimizer = torch.optim.SGD(weights.values(), SETTINGS.learning_rate, SETTINGS.momentum)
    inputs = torch.tensor(train_split.inputs, dtype=torch.float64)
    labels = torch.tensor(train_split.labels)
    history = [{name: value.detach().numpy().copy() for name, value in weights.items()}]
    for epoch in range(1, CHECKPOINTS[-1] + 1):
        order = torch.tensor(permutation(seed, Stream.TRAINING_ORDER, epoch, len(labels)))
        for batch in torch.split(order, SETTINGS.batch_size):
            optimizer.zero_grad()
            outputs = logits(weights, inputs[batch])
            torch.autograd.backward(torch.nn.functional.cross_entropy(outputs, labels[batch]))
            optimizer.step()
        history.append({name: value.detach().numpy().copy() for name, value in weights.items()})
    return history


def test_the_trajectory_is_that_of_plain_sgd(splits: tuple[Split, Split]) -> None:
    expected = plain_pytorch(splits[0], seed=3)

    found = epochs(splits, seed=3)

    assert [epoch.number for epoch in found] == [0, 1, 2, 3]
    for epoch, weights in zip(found, expected, strict=True):
        for name, value in weights.items():
            np.testing.assert_allclose(epoch.weights[name], value, rtol=1e-4, atol=1e-5)


def test_loss_and_accuracy_are_those_of_the_weights(splits: tuple[Split, Split]) -> None:
    epoch = epochs(splits)[-1]
    weights = {name: torch.tensor(value) for name, value in epoch.weights.items()}

    for name, split in zip(("train", "test"), splits, strict=True):
        outputs = logits(weights, torch.tensor(split.inputs)).double().numpy()
        logarithms = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
        loss = -logarithms[np.arange(len(split.labels)), split.labels].mean()
        assert epoch.row[f"{name}_loss"] == pytest.approx(loss, rel=1e-5)
        assert epoch.row[f"{name}_accuracy"] == np.mean(outputs.argmax(axis=1) == split.labels)


@pytest.mark.parametrize("threads", [2, 3])
def test_the_bits_do_not_depend_on_threads(splits: tuple[Split, Split], threads: int) -> None:
    for one, several in zip(epochs(splits), epochs(splits, threads=threads), strict=True):
        for name, value in one.weights.items():
            np.testing.assert_array_equal(value, several.weights[name])
        assert one.row == several.row


def test_an_untrained_network_is_as_good_as_chance(splits: tuple[Split, Split]) -> None:
    assert epochs(splits)[0].row["test_loss"] == pytest.approx(math.log(4), rel=0.5)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_training_continues_from_any_epoch_with_the_same_bits(
    splits: tuple[Split, Split], momentum: float, at: int
) -> None:
    settings = replace(SETTINGS, momentum=momentum)

    def run(after: Epoch | None = None) -> list[Epoch]:
        network = build(MODEL, splits[0], 0)
        return [*train(*splits, *network, settings, 3, seed=0, device="cpu", after=after)]

    whole = run()
    continued = run(whole[at])
    assert [epoch.number for epoch in continued] == [*range(at + 1, 4)]
    assert bool(whole[at].optimizer) == (momentum > 0 and at > 0)
    for one, other in zip(whole[at + 1 :], continued, strict=True):
        assert one.row == other.row
        for name, value in (one.weights | one.optimizer).items():
            np.testing.assert_array_equal(value, (other.weights | other.optimizer)[name])
