"""One training run: plain minibatch SGD, one trajectory, deterministic from its seed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from gradatlas.core.random import Stream, permutation
from gradatlas.core.runtime import single_threaded
from gradatlas.core.training import Training, batches
from gradatlas.data.idx import Split
from gradatlas.models.module import Loss
from gradatlas.models.problem import check_losses

PIECE = 256  # samples of a training batch that one thread differentiates
EVALUATION_PIECE = 5000


@dataclass(frozen=True)
class Epoch:
    """State after an epoch: weights by parameter name, float32, and how good they are.

    ``row`` holds epoch, and of the training and the test set the mean loss in nats and the share of
    right answers: train_loss, train_accuracy, test_loss, test_accuracy. ``optimizer`` is what the
    optimizer remembers, such as ``last.bias.momentum_buffer``; empty for plain SGD.
    """

    number: int
    weights: dict[str, NDArray[np.float32]]
    optimizer: dict[str, NDArray[np.float32]]
    row: dict[str, float]


def train(
    train_split: Split,
    test_split: Split,
    module: nn.Module,
    loss: Loss,
    settings: Training,
    epochs: int,
    *,
    seed: int,
    device: str,
    threads: int = 1,
    after: Epoch | None = None,
) -> Iterator[Epoch]:
    """Train, yielding the network after every epoch, the untrained one as epoch 0.

    Gradients and evaluations are summed over pieces of fixed size, each computed by one thread,
    so the weights have the same bits whatever the number of threads.

    Args:
        train_split: Training set; each epoch goes through all of it in a new order.
        test_split: Test set, for evaluation alone.
        module: The untrained network; it is trained where it is.
        loss: From its outputs and the labels to one value a sample.
        settings: Batch size, learning rate and momentum.
        epochs: Number of the last epoch.
        seed: Determines the order of samples.
        device: A torch device, ``cpu`` or ``cuda``.
        threads: Pieces computed at the same time.
        after: An epoch to continue from, with the same bits as in one go.

    Yields:
        Epochs 0, 1, ..., epochs, or those that follow ``after``.
    """
    network = _Network(module.to(device), loss)
    optimizer = torch.optim.SGD(
        network.trained, lr=settings.learning_rate, momentum=settings.momentum
    )
    if after is not None:
        _restore(module, optimizer, after)
    first = 0 if after is None else after.number + 1
    train_data, test_data = _to_device(train_split, device), _to_device(test_split, device)
    with ThreadPoolExecutor(threads) as pool:
        for number in tqdm(range(first, epochs + 1), desc="training", unit="epoch"):
            with single_threaded():  # not around the yield: what the caller does is his own
                if number > 0:
                    order = permutation(seed, Stream.TRAINING_ORDER, number, len(train_data.labels))
                    _run_epoch(network, optimizer, train_data, order, settings.batch_size, pool)
                row: dict[str, float] = {"epoch": number}
                for split, data in (("train", train_data), ("test", test_data)):
                    scores = _evaluate(network, data, pool)
                    row[f"{split}_loss"], row[f"{split}_accuracy"] = scores
            yield Epoch(number, _copied(module), _memory(module, optimizer), row)


@dataclass(frozen=True)
class _Network:
    """What is trained."""

    module: nn.Module
    loss: Loss

    @property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that training moves."""
        return [value for value in self.module.parameters() if value.requires_grad]


@dataclass(frozen=True)
class _Data:
    """A split on the device that trains: inputs (sample, pixel) and labels (sample,)."""

    inputs: Tensor
    labels: Tensor


def _to_device(split: Split, device: str) -> _Data:
    return _Data(
        torch.tensor(split.inputs, device=device), torch.tensor(split.labels, device=device)
    )


def _copied(module: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Every parameter and buffer by name, as it is now."""
    return {name: value.cpu().numpy().copy() for name, value in module.state_dict().items()}


def _memory(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, NDArray[Any]]:
    """What the optimizer remembers of each parameter."""
    return {
        f"{name}.{key}": value.cpu().numpy().copy()
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def _restore(module: nn.Module, optimizer: torch.optim.Optimizer, after: Epoch) -> None:
    """Set module and optimizer to where an epoch ended."""
    module.load_state_dict({name: torch.tensor(value) for name, value in after.weights.items()})
    parameters = dict(module.named_parameters())
    for place, value in after.optimizer.items():
        name, _, key = place.rpartition(".")
        device = parameters[name].device
        optimizer.state[parameters[name]][key] = torch.tensor(value, device=device)


def _run_epoch(
    network: _Network,
    optimizer: torch.optim.SGD,
    data: _Data,
    order: NDArray[np.intp],
    batch_size: int,
    pool: ThreadPoolExecutor,
) -> None:
    network.module.train()
    shuffled = torch.tensor(order, device=data.inputs.device)
    for batch in torch.split(shuffled, batch_size):
        gradients = pool.map(partial(_gradients, network, data), torch.split(batch, PIECE))
        for weight, *parts in zip(network.trained, *gradients, strict=True):
            weight.grad = reduce(Tensor.add_, parts).div_(len(batch))
        optimizer.step()


def _gradients(network: _Network, data: _Data, piece: Tensor) -> tuple[Tensor, ...]:
    """Gradient of the summed loss over some samples by each parameter."""
    losses = network.loss(network.module(data.inputs[piece]), data.labels[piece])  # (sample,)
    check_losses(losses, len(piece))
    return torch.autograd.grad(losses.sum(), network.trained)


def _evaluate(network: _Network, data: _Data, pool: ThreadPoolExecutor) -> tuple[float, float]:
    """Mean loss and share of right answers over a whole split."""
    network.module.eval()
    pieces = batches(len(data.labels), EVALUATION_PIECE)
    loss, correct = np.sum([*pool.map(partial(_score, network, data), pieces)], axis=0)
    return float(loss) / len(data.labels), float(correct) / len(data.labels)


@torch.no_grad()
def _score(network: _Network, data: _Data, piece: slice) -> tuple[float, float]:
    """Summed loss and number of right answers over some samples."""
    outputs, labels = network.module(data.inputs[piece]), data.labels[piece]
    loss = network.loss(outputs, labels).double().sum().item()  # no order of sums to depend on
    return loss, (outputs.argmax(dim=1) == labels).sum().item()
