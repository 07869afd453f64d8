"""A collected shard against trials computed on their own, in float64, from the data files."""

import gzip
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gradatlas import archive
from gradatlas.archive.format import DATASETS
from gradatlas.collect.shard import collect
from gradatlas.core.errors import InputError
from gradatlas.core.files import digest_path, file_digest
from gradatlas.core.random import trial_samples
from gradatlas.core.settings import TrialRange, TrialSettings
from gradatlas.core.updates import SGD, Frozen, Update
from gradatlas.data.idx import load_train
from gradatlas.models.perceptron import Architecture, initial_parameters
from gradatlas.planning import plan_shards
from gradatlas.train.checkpoint import load_checkpoint, save_checkpoint
from tests.record import RECORD

MNIST = Path(__file__).parents[2] / "resources" / "mnist"
ARCHITECTURE = Architecture(784, (12,), 10)
SETTINGS = replace(
    RECORD,
    epoch=0,
    batch_size=7,
    update=SGD(0.05),
    samples_per_trial=50,
    seed=7,
    training_seed=7,
    training_samples=0,
    model={"hidden": [12]},
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "epoch0.safetensors"
    save_checkpoint(path, initial_parameters(ARCHITECTURE, 0), {})
    return path


@pytest.fixture(autouse=True, scope="module")
def read_once() -> Iterator[None]:
    """Read MNIST once for all shards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradatlas.collect.shard.load_train", cache(load_train))
        yield


def shard(folder: Path, checkpoint: Path, settings: TrialSettings, trials: TrialRange) -> Path:
    path = folder / f"trials{trials}.h5"
    collect(path, settings, trials, checkpoint=checkpoint, data=MNIST, device="cpu")
    return path


@cache
def unpacked(name: str) -> bytes:
    return gzip.decompress((MNIST / name).read_bytes())


def samples(index: NDArray[np.uint32]) -> tuple[torch.Tensor, torch.Tensor]:
    """Training samples by the shortest way from their files, normalised by the usual constants."""
    images = unpacked("train-images-idx3-ubyte.gz")[16:]
    labels = unpacked("train-labels-idx1-ubyte.gz")[8:]
    pixels = np.frombuffer(images, np.uint8).reshape(60_000, 784)[index] / 255
    classes = np.frombuffer(labels, np.uint8)[index].astype(np.int64)
    return torch.tensor((pixels - 0.1307) / 0.3081), torch.tensor(classes)


def plain_trial(
    weights: dict[str, NDArray[np.float32]], index: NDArray[np.uint32], batch_size: int, rate: float
) -> NDArray[np.float64]:
    """The loop a user would write, with torch modules in float64."""
    inputs, labels = samples(index)
    last = torch.nn.Linear(12, 10)
    model = torch.nn.Sequential(torch.nn.Linear(784, 12), torch.nn.ReLU(), last).double()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), weights.values(), strict=True):
            parameter.copy_(torch.tensor(value))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate or 1.0)
    total = torch.zeros(10, 12, dtype=torch.float64)
    for start in range(0, len(index), batch_size):
        batch = slice(start, start + batch_size)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        assert last.weight.grad is not None
        total += last.weight.grad * len(labels[batch])
        if rate:
            optimizer.step()
    return total.numpy()


@pytest.mark.parametrize("update", [SGD(0.05), Frozen()])
def test_stored_tensors_are_those_of_a_plain_loop(
    tmp_path: Path, checkpoint: Path, update: Update
) -> None:
    settings = replace(SETTINGS, update=update)
    selection = archive.open_shards([shard(tmp_path, checkpoint, settings, TrialRange(3, 5))])
    weights = load_checkpoint(checkpoint, ARCHITECTURE.parameters).weights
    for trial in (3, 4, 5):
        index = trial_samples(7, trial, population=60_000, samples=50)
        np.testing.assert_array_equal(selection.sample_index(trial), index)
        expected = plain_trial(weights, index, 7, 0.05 if update.moves else 0.0)
        error = np.linalg.norm(selection.gradient(trial) - expected) / np.linalg.norm(expected)
        assert error < 1e-5


def test_shard_says_what_it_is(tmp_path: Path, checkpoint: Path) -> None:
    selection = archive.open_shards([shard(tmp_path, checkpoint, SETTINGS, TrialRange(0, 1))])
    assert (selection.protocol, selection.epoch, selection.batch_size) == ("sgd", 0, 7)
    assert selection.settings == replace(SETTINGS, training_samples=60_000)
    assert selection.settings.batches_per_trial == 8  # seven whole ones and a remainder of one
    assert selection.shape == (10, 12)
    assert selection.attributes["experiment_digest"] == selection.settings.digest
    assert selection.attributes["checkpoint_sha256"] == file_digest(checkpoint)
    assert selection.attributes["device"] == "cpu"


def test_same_trials_give_the_same_bytes(tmp_path: Path, checkpoint: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    first, second = (shard(path, checkpoint, SETTINGS, TrialRange(0, 3)) for path in folders)
    assert first.read_bytes() == second.read_bytes()
    assert digest_path(first).read_bytes() == digest_path(second).read_bytes()


@pytest.mark.parametrize("trials_per_job", [1, 3])
def test_tensors_do_not_depend_on_how_trials_are_split(
    tmp_path: Path, checkpoint: Path, trials_per_job: int
) -> None:
    whole = archive.open_shards([shard(tmp_path, checkpoint, SETTINGS, TrialRange(0, 3))])
    plan = plan_shards(4, trials_per_job)
    parts = archive.open_shards([shard(tmp_path, checkpoint, SETTINGS, part) for part in plan])
    for name in DATASETS:
        rows, expected = (item.rows(name, 0, 3) for item in (parts, whole))
        assert rows.tobytes() == expected.tobytes(), name


def test_sample_sets_share_samples_but_not_their_order(tmp_path: Path, checkpoint: Path) -> None:
    settings = replace(SETTINGS, sample_sets=2)
    selection = archive.open_shards([shard(tmp_path, checkpoint, settings, TrialRange(0, 3))])
    first, other, again = (selection.sample_index(trial) for trial in (0, 1, 2))
    assert set(first) == set(again) != set(other)
    assert not np.array_equal(first, again)


@pytest.mark.parametrize("parameter", ["hidden1.weight", "hidden1.bias", "last.bias"])
def test_any_parameter_can_be_stored(tmp_path: Path, checkpoint: Path, parameter: str) -> None:
    settings = replace(SETTINGS, parameter=parameter)
    selection = archive.open_shards([shard(tmp_path, checkpoint, settings, TrialRange(0, 1))])
    assert selection.shape == ARCHITECTURE.parameters[parameter]
    assert np.linalg.norm(selection.gradient(0)) > 0


def test_more_samples_than_there_are(tmp_path: Path, checkpoint: Path) -> None:
    settings = replace(SETTINGS, samples_per_trial=60_001)
    with pytest.raises(InputError, match=r"samples_per_trial.* is 60001, .* 60000"):
        shard(tmp_path, checkpoint, settings, TrialRange(0, 1))
    assert not list(tmp_path.iterdir())
