"""The training run: against plain PyTorch, and the same bits every time."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from gradatlas.core.errors import InputError
from gradatlas.core.files import check_digest, digest_path, file_digest
from gradatlas.core.random import Stream, permutation
from gradatlas.core.settings import Training
from gradatlas.data.idx import Split
from gradatlas.models.module import build
from gradatlas.models.perceptron import architecture_of, initial_parameters, logits
from gradatlas.train.checkpoint import load_checkpoint
from gradatlas.train.loop import Epoch, run, train
from tests.data.test_idx import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, write

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


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small data set as files."""
    folder = tmp_path / "letters"
    folder.mkdir()
    random = np.random.default_rng(0)
    parts = ((TRAIN_IMAGES, TRAIN_LABELS, 60), (TEST_IMAGES, TEST_LABELS, 20))
    for images, labels, samples in parts:
        write(folder / images, random.integers(0, 256, (samples, 3, 3), np.uint8))
        write(folder / labels, np.arange(samples, dtype=np.uint8) % 4)
    return folder


def run_into(
    folder: Path,
    data: Path,
    settings: Training = SETTINGS,
    checkpoints: Sequence[int] = CHECKPOINTS,
    threads: int = 1,
) -> None:
    run(
        data,
        {epoch: folder / f"epoch{epoch}.safetensors" for epoch in checkpoints},
        folder / "training.csv",
        model=MODEL,
        settings=settings,
        seed=5,
        device="cpu",
        threads=threads,
        digest=str(settings),
    )


def test_a_run_writes_every_checkpoint_and_a_row_an_epoch(tmp_path: Path, data: Path) -> None:
    run_into(tmp_path / "run", data)

    table = pd.read_csv(tmp_path / "run" / "training.csv")
    assert table["epoch"].tolist() == [0, 1, 2, 3]
    assert table.columns[1:].tolist() == [
        *("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    ]
    architecture = architecture_of(
        Split(np.zeros((1, 9), np.float32), np.array([3])), MODEL["hidden"]
    )
    for epoch in CHECKPOINTS:
        path = tmp_path / "run" / f"epoch{epoch}.safetensors"
        facts = load_checkpoint(path, architecture.parameters).facts
        assert check_digest(path) == file_digest(path)
        assert facts["epoch"] == epoch
        assert facts["seed"] == 5
        assert facts["momentum"] == 0.9
        assert facts["model"] == MODEL
        assert facts["training_digest"] == str(SETTINGS)
        assert facts["test_accuracy"] == table["test_accuracy"][epoch]
        assert "torch" in facts["library_versions"]


def test_two_runs_write_the_same_bytes_also_with_more_threads(tmp_path: Path, data: Path) -> None:
    run_into(tmp_path / "first", data)
    run_into(tmp_path / "second", data, threads=2)

    for path in (tmp_path / "first").iterdir():
        assert (tmp_path / "second" / path.name).read_bytes() == path.read_bytes()


def test_a_further_checkpoint_leaves_the_earlier_ones_weights(tmp_path: Path, data: Path) -> None:
    run_into(tmp_path / "first", data)
    run_into(tmp_path / "longer", data, checkpoints=(1, 4))

    architecture = architecture_of(
        Split(np.zeros((1, 9), np.float32), np.array([3])), MODEL["hidden"]
    )
    first, second = (
        load_checkpoint(tmp_path / name / "epoch1.safetensors", architecture.parameters).weights
        for name in ("first", "longer")
    )
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


@pytest.mark.parametrize("learning_rate", [1e4, 1e38])
def test_a_run_that_diverges_says_in_which_epoch(
    tmp_path: Path, data: Path, learning_rate: float
) -> None:
    settings = Training(10, learning_rate, 0.9)

    with pytest.raises(InputError) as error:
        run_into(tmp_path / "run", data, settings, [50])

    assert "training diverged in epoch " in str(error.value)
    assert f"training.learning_rate is {learning_rate}" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_run_on_damaged_data_writes_nothing(tmp_path: Path, data: Path) -> None:
    shutil.copy(data / TEST_LABELS, data / TRAIN_LABELS)

    with pytest.raises(ValueError, match="expected one label for each of the 60 images"):
        run_into(tmp_path / "run", data)

    assert not (tmp_path / "run").exists()


def test_an_untrained_network_is_as_good_as_chance(splits: tuple[Split, Split]) -> None:
    assert epochs(splits)[0].row["test_loss"] == pytest.approx(math.log(4), rel=0.5)


def test_a_further_checkpoint_leaves_the_others_as_they_are(tmp_path: Path, data: Path) -> None:
    run_into(tmp_path, data)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors*")}
    run_into(tmp_path, data, checkpoints=(*CHECKPOINTS, 4))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (tmp_path / "epoch4.safetensors").exists()


def test_a_checkpoint_that_lost_its_digest_gets_it_back(tmp_path: Path, data: Path) -> None:
    path = tmp_path / f"epoch{CHECKPOINTS[-1]}.safetensors"
    run_into(tmp_path, data)
    before = path.read_bytes()
    digest_path(path).unlink()

    run_into(tmp_path, data)

    assert path.read_bytes() == before
    assert check_digest(path) == file_digest(path)


@pytest.mark.parametrize("place", [-1, 60])  # in the weights and in the facts
def test_a_checkpoint_that_was_altered_is_replaced(tmp_path: Path, data: Path, place: int) -> None:
    path = tmp_path / f"epoch{CHECKPOINTS[-1]}.safetensors"
    run_into(tmp_path, data)
    content = path.read_bytes()
    altered = bytearray(content)
    altered[place] ^= 1
    path.write_bytes(altered)

    run_into(tmp_path, data)

    assert path.read_bytes() == content
    assert check_digest(path) == file_digest(path)


def test_a_checkpoint_of_other_settings_is_replaced(tmp_path: Path, data: Path) -> None:
    path = tmp_path / f"epoch{CHECKPOINTS[-1]}.safetensors"
    run_into(tmp_path, data)
    before = path.read_bytes()
    run_into(tmp_path, data, replace(SETTINGS, momentum=0.0))
    assert path.read_bytes() != before
    assert check_digest(path) == file_digest(path)
