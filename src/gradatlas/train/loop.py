"""One training run: plain minibatch SGD, one trajectory, deterministic from its seed."""

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.numpy import load
from torch import Tensor, nn
from tqdm import tqdm

from gradatlas.core.errors import InputError
from gradatlas.core.files import file_digest, replace_file, stored_digest
from gradatlas.core.provenance import code_commit, library_versions
from gradatlas.core.random import Stream, permutation
from gradatlas.core.runtime import resolve_device, single_threaded
from gradatlas.core.settings import Training, batches
from gradatlas.data.idx import Split, load_test, load_train
from gradatlas.models.module import Loss, build
from gradatlas.models.problem import check_losses
from gradatlas.train.checkpoint import read_facts, save_checkpoint

PIECE = 256  # samples of a training batch that one thread differentiates
EVALUATION_PIECE = 5000


@dataclass(frozen=True)
class Epoch:
    """State after an epoch: weights by parameter name, float32, and how good they are.

    ``row`` holds epoch, and of the training and the test set the mean loss in nats and the share of
    right answers: train_loss, train_accuracy, test_loss, test_accuracy.
    """

    number: int
    weights: dict[str, NDArray[np.float32]]
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

    Yields:
        Epochs 0, 1, ..., epochs.
    """
    network = _Network(module.to(device), loss)
    optimizer = torch.optim.SGD(
        network.trained, lr=settings.learning_rate, momentum=settings.momentum
    )
    train_data, test_data = _to_device(train_split, device), _to_device(test_split, device)
    with ThreadPoolExecutor(threads) as pool:
        for number in tqdm(range(epochs + 1), desc="training", unit="epoch"):
            with single_threaded():  # not around the yield: what the caller does is his own
                if number > 0:
                    order = permutation(seed, Stream.TRAINING_ORDER, number, len(train_data.labels))
                    _run_epoch(network, optimizer, train_data, order, settings.batch_size, pool)
                row: dict[str, float] = {"epoch": number}
                for split, data in (("train", train_data), ("test", test_data)):
                    scores = _evaluate(network, data, pool)
                    row[f"{split}_loss"], row[f"{split}_accuracy"] = scores
            yield Epoch(number, _copied(module), row)


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


def run(
    data: Path,
    checkpoints: Mapping[int, Path],
    table: Path,
    *,
    model: Mapping[str, Any],
    settings: Training,
    seed: int,
    device: str,
    threads: int,
    digest: str,
) -> None:
    """Train once and write every checkpoint and the table of all epochs.

    A checkpoint that the same settings and code already made is left as it is, so that a further
    checkpoint leaves the digests that shards carry intact.

    Args:
        data: Folder of the data set's IDX files.
        checkpoints: Target file of each epoch to keep.
        table: CSV with one row an epoch, from 0, the untrained network.
        model: The network, as the configuration describes it.
        settings: The training run.
        seed: Of this run: initial weights and order of samples.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: Pieces computed at the same time.
        digest: Of settings and code, to be recorded in the checkpoints.

    Raises:
        InputError: Data set or device cannot be used, or the weights stopped being finite.
    """
    device = resolve_device(device)
    facts = {
        "seed": seed,
        "dataset": data.name,
        "model": dict(model),
        "device": device,
        **asdict(settings),
        "training_digest": digest,
        "code_commit": code_commit(),
        "library_versions": library_versions(),
    }
    train_split = load_train(data)
    module, loss = build(model, train_split, seed)
    rows = []
    for epoch in train(
        train_split,
        load_test(data),
        module,
        loss,
        settings,
        max(checkpoints),
        seed=seed,
        device=device,
        threads=threads,
    ):
        _check_finite(epoch, settings)
        rows.append(epoch.row)
        if epoch.number in checkpoints:
            _keep(checkpoints[epoch.number], epoch.weights, {**facts, **rows[-1]})
    replace_file(table, pd.DataFrame(rows).to_csv(index=False).encode())


def _keep(
    path: Path, weights: Mapping[str, NDArray[np.float32]], facts: Mapping[str, object]
) -> None:
    """Leave a checkpoint's bytes if the same settings and code made it with the same weights."""
    if read_facts(path).get("training_digest") == facts["training_digest"]:
        content = path.read_bytes()
        stored = load(content)
        if all(np.array_equal(stored[name], value) for name, value in weights.items()):
            if stored_digest(path) != file_digest(path):  # such as a missing one
                replace_file(path, content, with_digest=True)
            return
    save_checkpoint(path, weights, facts)


def _check_finite(epoch: Epoch, settings: Training) -> None:
    if not math.isfinite(epoch.row["train_loss"]):
        raise InputError(
            f"training diverged in epoch {epoch.number} (loss {epoch.row['train_loss']}); "
            f"training.learning_rate is {settings.learning_rate}, lower it"
        )
