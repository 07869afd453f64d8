"""One training run: plain minibatch SGD, one trajectory, deterministic from its seed."""

import json
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial, reduce
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from gradatlas.checkpoint import TRAINING_DIGEST, save_checkpoint, training_digest
from gradatlas.configuration import Training
from gradatlas.data import Split, load_test, load_train
from gradatlas.device import resolve_device
from gradatlas.errors import InputError
from gradatlas.model import architecture_of, initial_parameters, logits
from gradatlas.provenance import code_commit, library_versions
from gradatlas.replacing import replace_file
from gradatlas.sampling import Stream, permutation
from gradatlas.trials import batches

PIECE = 256  # samples of a training batch that one thread differentiates
EVALUATION_PIECE = 5000


class TrainingError(InputError):
    """A training run that diverged."""


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


@dataclass(frozen=True)
class _Data:
    """A split on the device that trains: inputs (sample, pixel) and labels (sample,)."""

    inputs: Tensor
    labels: Tensor


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
        gradients = pool.map(partial(_gradients, weights, data), torch.split(batch, PIECE))
        for weight, *parts in zip(weights.values(), *gradients, strict=True):
            weight.grad = reduce(Tensor.add_, parts).div_(len(batch))
        optimizer.step()


def _gradients(weights: dict[str, Tensor], data: _Data, piece: Tensor) -> tuple[Tensor, ...]:
    """Gradient of the summed loss over some samples by each parameter."""
    outputs = logits(weights, data.inputs[piece])
    loss = cross_entropy(outputs, data.labels[piece], reduction="sum")
    return torch.autograd.grad(loss, [*weights.values()])


def _evaluate(weights: dict[str, Tensor], data: _Data, pool: ThreadPoolExecutor) -> Evaluation:
    pieces = batches(len(data.labels), EVALUATION_PIECE)
    loss, correct = np.sum([*pool.map(partial(_score, weights, data), pieces)], axis=0)
    return Evaluation(float(loss) / len(data.labels), float(correct) / len(data.labels))


@torch.no_grad()
def _score(weights: dict[str, Tensor], data: _Data, piece: slice) -> tuple[float, float]:
    """Summed loss and number of right answers over some samples."""
    outputs = logits(weights, data.inputs[piece])
    loss = cross_entropy(outputs, data.labels[piece], reduction="sum").item()
    return loss, (outputs.argmax(dim=1) == data.labels[piece]).sum().item()


def run(
    data: Path,
    checkpoints: Mapping[int, Path],
    table: Path,
    *,
    hidden: tuple[int, ...],
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
        hidden: Units of each hidden layer.
        settings: The training run.
        seed: See ``train``.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: See ``train``.
        digest: Of settings and code, to be recorded in the checkpoints.

    Raises:
        InputError: Data set or device cannot be used, or the weights stopped being finite.
    """
    device = resolve_device(device)
    facts = {
        "seed": seed,
        "dataset": data.name,
        "hidden": hidden,
        "device": device,
        **{key: value for key, value in asdict(settings).items() if key != "checkpoints"},
    }
    rows = []
    for epoch in train(
        load_train(data),
        load_test(data),
        hidden,
        settings,
        seed=seed,
        device=device,
        threads=threads,
    ):
        _check_finite(epoch, settings)
        rows.append(_row(epoch))
        if epoch.number in checkpoints:
            metadata = {**_metadata({**facts, **rows[-1]}), TRAINING_DIGEST: digest}
            _keep(checkpoints[epoch.number], epoch.weights, metadata)
    replace_file(table, pd.DataFrame(rows).to_csv(index=False).encode())


def _keep(
    path: Path, weights: Mapping[str, NDArray[np.float32]], metadata: Mapping[str, str]
) -> None:
    if training_digest(path) == metadata[TRAINING_DIGEST]:
        stored = load_file(path)
        if all(np.array_equal(stored[name], value) for name, value in weights.items()):
            return
    save_checkpoint(path, weights, metadata)


def _row(epoch: Epoch) -> dict[str, float]:
    return {
        "epoch": epoch.number,
        "train_loss": epoch.train.loss,
        "train_accuracy": epoch.train.accuracy,
        "test_loss": epoch.test.loss,
        "test_accuracy": epoch.test.accuracy,
    }


def _metadata(facts: Mapping[str, object]) -> dict[str, str]:
    """Facts as safetensors keeps them, text by name; JSON, so that they read back."""
    provenance = {"code_commit": code_commit(), "library_versions": library_versions()}
    return {name: json.dumps(value) for name, value in {**facts, **provenance}.items()}


def _check_finite(epoch: Epoch, settings: Training) -> None:
    if not math.isfinite(epoch.train.loss):
        raise TrainingError(
            f"training diverged in epoch {epoch.number} (loss {epoch.train.loss}); "
            f"training.learning_rate is {settings.learning_rate}, lower it"
        )
