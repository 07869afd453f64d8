"""Collect a shard: trials through the engine into a file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gradatlas import engine
from gradatlas.archive.layout import ShardAttributes
from gradatlas.archive.shard import create_shard
from gradatlas.checkpoint import Checkpoint, load_checkpoint
from gradatlas.configuration import Collection, check_samples
from gradatlas.data import Split, load_train
from gradatlas.device import resolve_device
from gradatlas.model import architecture_of
from gradatlas.provenance import code_commit, library_versions
from gradatlas.sampling import trial_samples
from gradatlas.sharding import TrialRange
from gradatlas.trials import Measurement

BLOCK_BYTES = {"cpu": 2**20, "cuda": 2**29}  # of gradients between two writes


def collect(
    target: Path,
    collection: Collection,
    *,
    epoch: int,
    batch_size: int,
    trials: TrialRange,
    checkpoint: Path,
    data: Path,
    device: str,
) -> None:
    """Run the trials of one shard and store every gradient.

    Args:
        target: The shard; it appears whole or not at all.
        collection: Protocol, parameter and seed.
        epoch: Epoch of the checkpoint.
        batch_size: Samples per minibatch.
        trials: Which trials.
        checkpoint: The weights every trial starts from.
        data: Folder of the data set's IDX files.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        InputError: Device, data set or checkpoint cannot be used.
        OSError: The shard cannot be written.
    """
    device = resolve_device(device)
    split = load_train(data)
    start = load_checkpoint(checkpoint, architecture_of(split, collection.hidden))
    check_samples(
        collection.protocol, collection.samples_per_trial, collection.dataset, len(split.labels)
    )
    measurement = Measurement(
        start.weights, collection.update, collection.learning_rate, batch_size, collection.parameter
    )
    attributes = _attributes(collection, epoch, batch_size, start, split, device)
    tensor = start.weights[collection.parameter]
    run = engine.prepare(measurement, split.inputs, split.labels, device)
    description = f"{collection.protocol}, epoch {epoch}, batch size {batch_size}"
    with (
        create_shard(target, attributes, trials, tensor.shape) as shard,
        tqdm(total=len(trials), desc=description, unit="trial") as progress,
    ):
        for index in _sample_blocks(
            collection, trials, split, BLOCK_BYTES[device] // tensor.nbytes
        ):
            shard.append(**vars(run(index)), sample_index=index)
            progress.update(len(index))


def _sample_blocks(
    collection: Collection, trials: TrialRange, split: Split, length: int
) -> Iterator[NDArray[np.uint32]]:
    """Sample indices of up to ``length`` trials at a time, shape (trial, sample)."""
    numbers = range(trials.first, trials.last + 1)
    for start in range(0, len(numbers), max(1, length)):
        yield np.stack(
            [
                trial_samples(
                    collection.seed,
                    trial,
                    population=len(split.labels),
                    samples=collection.samples_per_trial,
                    sample_sets=collection.sample_sets,
                )
                for trial in numbers[start : start + max(1, length)]
            ]
        )


def _attributes(
    collection: Collection,
    epoch: int,
    batch_size: int,
    start: Checkpoint,
    split: Split,
    device: str,
) -> ShardAttributes:
    return ShardAttributes(
        protocol=collection.protocol,
        update=collection.update,
        epoch=epoch,
        batch_size=batch_size,
        samples_per_trial=collection.samples_per_trial,
        sample_sets=collection.sample_sets,
        seed=collection.seed,
        training_seed=collection.training_seed,
        learning_rate=collection.learning_rate,
        parameter=collection.parameter,
        dataset=collection.dataset,
        training_samples=len(split.labels),
        device=device,
        experiment_digest=collection.digest,
        code_commit=code_commit(),
        library_versions=library_versions(),
        checkpoint_sha256=start.sha256,
    )
