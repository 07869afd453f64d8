"""One training run: plain minibatch SGD, one trajectory, deterministic from its seed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from gradatlas.configuration import Training
from gradatlas.data import Split
from gradatlas.model import Architecture, initial_parameters, logits
from gradatlas.sampling import Stream, permutation

PIECE = 256  # samples of a training batch that one thread differentiates
EVALUATION_PIECE = 5000


@dataclass(frozen=True)
class Evaluation:
    """Mean loss in nats and share of right answers over a whole split."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Epoch:
    """State after an epoch: weights by parameter name, float32, and how good they are."""

    number: int
    weights: dict[str, NDArray[np.float32]]
    train: Evaluation
    test: Evaluation


def train(
    train_split: Split,
    test_split: Split,
    hidden: tuple[int, ...],
    settings: Training,
    *,
    seed: int,
    device: str,
    threads: int = 1,
) -> Iterator[Epoch]:
    """Train up to the last checkpoint, yielding every epoch, the untrained network as epoch 0.

    Gradients and evaluations are summed over pieces of fixed size, each computed by one thread,
    so the weights have the same bits whatever the number of threads.

    Args:
        train_split: Training set; each epoch goes through all of it in a new order.
        test_split: Test set, for evaluation alone.
        hidden: Units of each hidden layer.
        settings: Batch size, learning rate, momentum and checkpoints.
        seed: Determines initial weights and the order of samples.
        device: A torch device, ``cpu`` or ``cuda``.
        threads: Pieces computed at the same time.

    Yields:
        Epochs 0, 1, ... up to the last checkpoint.
    """
    torch.set_num_threads(1)
    weights = {
        name: torch.tensor(value, device=device, requires_grad=True)
        for name, value in initial_parameters(architecture_of(train_split, hidden), seed).items()
    }
    optimizer = torch.optim.SGD(
        weights.values(), lr=settings.learning_rate, momentum=settings.momentum
    )
    train_data, test_data = _to_device(train_split, device), _to_device(test_split, device)
    with ThreadPoolExecutor(threads) as pool:
        for number in tqdm(range(settings.checkpoints[-1] + 1), desc="training", unit="epoch"):
            if number > 0:
                order = permutation(seed, Stream.TRAINING_ORDER, number, len(train_split.labels))
                _run_epoch(weights, optimizer, train_data, order, settings.batch_size, pool)
            yield Epoch(
                number,
                {name: value.detach().cpu().numpy().copy() for name, value in weights.items()},
                _evaluate(weights, train_data, pool),
                _evaluate(weights, test_data, pool),
            )


def architecture_of(train_split: Split, hidden: tuple[int, ...]) -> Architecture:
    """The perceptron that fits a data set: one input a pixel, one output a class."""
    return Architecture(train_split.inputs.shape[1], hidden, int(train_split.labels.max()) + 1)


@dataclass(frozen=True)
class _Data:
    """A split on the device that trains: inputs (sample, pixel) and labels (sample,)."""

    inputs: Tensor
    labels: Tensor

    def pieces(self, order: Tensor, size: int) -> "list[_Data]":
        """The samples of ``order``, in pieces of ``size``."""
        return [_Data(self.inputs[part], self.labels[part]) for part in torch.split(order, size)]


def _to_device(split: Split, device: str) -> _Data:
    return _Data(
        torch.tensor(split.inputs, device=device), torch.tensor(split.labels, device=device)
    )


def _run_epoch(
    weights: dict[str, Tensor],
    optimizer: torch.optim.SGD,
    data: _Data,
    order: NDArray[np.intp],
    batch_size: int,
    pool: ThreadPoolExecutor,
) -> None:
    shuffled = torch.tensor(order, device=data.inputs.device)
    for batch in torch.split(shuffled, batch_size):
        gradients = pool.map(partial(_gradients, weights), data.pieces(batch, PIECE))
        for weight, *parts in zip(weights.values(), *gradients, strict=True):
            weight.grad = torch.stack(parts).sum(dim=0) / len(batch)
        optimizer.step()


def _gradients(weights: dict[str, Tensor], piece: _Data) -> tuple[Tensor, ...]:
    """Gradient of the summed loss of one piece by each parameter."""
    loss = cross_entropy(logits(weights, piece.inputs), piece.labels, reduction="sum")
    return torch.autograd.grad(loss, [*weights.values()])


def _evaluate(weights: dict[str, Tensor], data: _Data, pool: ThreadPoolExecutor) -> Evaluation:
    everything = torch.arange(len(data.labels), device=data.labels.device)
    results = pool.map(partial(_score, weights), data.pieces(everything, EVALUATION_PIECE))
    loss, correct = np.sum([*results], axis=0) / len(data.labels)
    return Evaluation(float(loss), float(correct))


@torch.no_grad()
def _score(weights: dict[str, Tensor], piece: _Data) -> tuple[float, float]:
    """Summed loss and number of right answers of one piece."""
    outputs = logits(weights, piece.inputs)
    loss = cross_entropy(outputs, piece.labels, reduction="sum").item()
    return loss, (outputs.argmax(dim=1) == piece.labels).sum().item()
