"""The job behind a checkpoint: what it writes, what it continues from, and what it leaves alone."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gradatlas.core.errors import InputError
from gradatlas.core.files import check_digest, digest_path, file_digest
from gradatlas.core.training import Training
from gradatlas.data.idx import Split
from gradatlas.models.perceptron import architecture_of
from gradatlas.train.checkpoint import (
    is_whole_checkpoint,
    load_checkpoint,
    optimizer_path,
    table_path,
)
from gradatlas.train.job import run
from tests.data.test_idx import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, write
from tests.record import RECORD

MODEL = {"hidden": [6]}
SETTINGS = Training(batch_size=30, learning_rate=0.05, momentum=0.9)
SHAPES = architecture_of(
    Split(np.zeros((1, 9), np.float32), np.array([3])), MODEL["hidden"]
).parameters


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


def facts(settings: Training = SETTINGS) -> dict[str, Any]:
    return replace(RECORD, model=MODEL, training=settings, training_seed=5).checkpoint


def run_into(
    folder: Path,
    data: Path,
    settings: Training = SETTINGS,
    epochs: Sequence[int] = (0, 1, 3),
    threads: int = 1,
) -> None:
    """One job an epoch, each from the one before, as the workflow runs them."""
    earlier = None
    for epoch in epochs:
        target = folder / f"epoch{epoch}.safetensors"
        options: dict[str, Any] = {"data": data, "device": "cpu", "threads": threads}
        run(target, epoch, facts(settings), earlier=earlier, **options)
        earlier = target


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_job_writes_its_checkpoint_and_a_row_for_each_epoch_up_to_it(
    tmp_path: Path, data: Path
) -> None:
    run_into(tmp_path / "run", data)

    for epoch in (0, 1, 3):
        path = tmp_path / "run" / f"epoch{epoch}.safetensors"
        table = pd.read_csv(table_path(path))
        assert table["epoch"].tolist() == [*range(epoch + 1)]
        assert table.columns[1:].tolist() == [
            *("train_loss", "train_accuracy", "test_loss", "test_accuracy")
        ]
        found = load_checkpoint(path, SHAPES).facts
        assert check_digest(path) == file_digest(path)
        assert found["facts"] == facts()
        assert found["epoch"] == epoch
        assert found["test_accuracy"] == table["test_accuracy"][epoch]
        assert "torch" in found["library_versions"]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_files_are_the_same_whatever_epochs_are_kept_and_threads_compute(
    tmp_path: Path, data: Path, momentum: float
) -> None:
    settings = replace(SETTINGS, momentum=momentum)
    run_into(tmp_path / "each", data, settings, (0, 1, 2, 3))
    run_into(tmp_path / "some", data, settings, (1, 3), threads=2)

    each, some = contents(tmp_path / "each"), contents(tmp_path / "some")
    assert some.items() <= each.items()
    assert len(some) == (10 if momentum else 6)
    for epoch in (1, 3):
        path = tmp_path / "some" / f"epoch{epoch}.safetensors"
        assert is_whole_checkpoint(path, momentum=momentum > 0)


def test_a_checkpoint_of_another_run_is_not_continued_from(tmp_path: Path, data: Path) -> None:
    run_into(tmp_path, data, replace(SETTINGS, learning_rate=0.1), (1,))
    earlier = tmp_path / "epoch1.safetensors"
    with pytest.raises(InputError, match=r"was made with training .*0.1.*, expected .*0.05"):
        run(tmp_path / "epoch2.safetensors", 2, facts(), data=data, earlier=earlier, device="cpu")


def test_momentum_is_not_continued_without_what_it_remembers(tmp_path: Path, data: Path) -> None:
    run_into(tmp_path, data, epochs=(1,))
    earlier = tmp_path / "epoch1.safetensors"
    optimizer_path(earlier).unlink()
    with pytest.raises(InputError, match=r"epoch1\.optimizer\.safetensors is missing; remove"):
        run(tmp_path / "epoch2.safetensors", 2, facts(), data=data, earlier=earlier, device="cpu")


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


@pytest.mark.parametrize("suffix", ["csv", "safetensors.sha256", "optimizer.safetensors"])
@pytest.mark.parametrize("is_cut", [False, True])
def test_what_is_missing_beside_a_checkpoint_is_added_and_nothing_else_changed(
    tmp_path: Path, data: Path, suffix: str, is_cut: bool
) -> None:
    run_into(tmp_path / "run", data)
    before = contents(tmp_path / "run")
    path = tmp_path / "run" / f"epoch3.{suffix}"
    if is_cut:
        path.write_bytes(path.read_bytes()[:50])
    else:
        path.unlink()

    run_into(tmp_path / "run", data)

    assert contents(tmp_path / "run") == before


def test_a_checkpoint_of_other_bits_is_not_replaced_for_want_of_its_table(
    tmp_path: Path, data: Path
) -> None:
    """As where it was made on another machine: shards may have been collected from it."""
    run_into(tmp_path, data, epochs=(1,))
    path = tmp_path / "epoch1.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # the last byte of a weight
    path.write_bytes(content)
    digest_path(path).unlink()
    table_path(path).unlink()

    with pytest.raises(InputError, match=r"training gives other weights here than .*epoch1"):
        run_into(tmp_path, data, epochs=(1,))
    assert path.read_bytes() == content


@pytest.mark.parametrize("place", [-1, 60])  # in the weights and in the facts
def test_a_checkpoint_that_was_altered_is_replaced(tmp_path: Path, data: Path, place: int) -> None:
    path = tmp_path / "epoch3.safetensors"
    run_into(tmp_path, data)
    content = path.read_bytes()
    altered = bytearray(content)
    altered[place] ^= 1
    path.write_bytes(altered)

    run_into(tmp_path, data)

    assert path.read_bytes() == content
    assert check_digest(path) == file_digest(path)
