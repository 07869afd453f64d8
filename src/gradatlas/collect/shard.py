"""Collect a shard: trials through the engine into a file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gradatlas.archive.write import create_shard
from gradatlas.collect.kept import is_kept
from gradatlas.collect.prepare import prepare
from gradatlas.core.provenance import Provenance, code_commit, library_versions
from gradatlas.core.random import trial_samples
from gradatlas.core.runtime import resolve_device
from gradatlas.core.settings import TrialRange, TrialSettings, check_samples
from gradatlas.core.training import batches
from gradatlas.data.idx import load_train
from gradatlas.models.network import parameter_shapes, problem_from
from gradatlas.train.checkpoint import check_facts, load_checkpoint

BLOCK_BYTES = {"cpu": 2**20, "cuda": 2**29}  # of gradients between two writes


def collect(
    target: Path,
    settings: TrialSettings,
    trials: TrialRange,
    *,
    checkpoint: Path,
    data: Path,
    device: str,
) -> None:
    """Run the trials of one shard and store every gradient.

    A shard that is there already and whole stays as it is; it gets a digest if it has none.

    Args:
        target: The shard; it appears whole or not at all.
        settings: The record of the trials.
        trials: Which of them.
        checkpoint: The weights every trial starts from.
        data: Folder of the data set's IDX files.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        InputError: Device, data set or checkpoint cannot be used.
        OSError: The shard cannot be written.
    """
    device = resolve_device(device)
    split = load_train(data)
    settings = replace(settings, training_samples=len(split.labels))
    if is_kept(target, settings, trials):
        return
    shapes = parameter_shapes(settings.model or {}, split)  # None: format version 1 alone
    start = load_checkpoint(checkpoint, shapes)
    check_facts(checkpoint, start.facts, settings.checkpoint)
    check_samples(settings, len(split.labels))
    provenance = Provenance(start.sha256, device, code_commit(), library_versions())
    run = prepare(
        problem_from(start.weights),
        settings.update,
        [settings.parameter],
        settings.batch_size,
        split.inputs,
        split.labels,
        device=device,
    )
    tensor = start.weights[settings.parameter]
    name = f"{settings.protocol}, epoch {settings.epoch}, batch size {settings.batch_size}"
    with (
        create_shard(target, settings, provenance, trials, tensor.shape) as shard,
        tqdm(total=len(trials), desc=name, unit="trial") as progress,
    ):
        at_a_time = max(1, BLOCK_BYTES[device] // tensor.nbytes)
        for block in batches(len(trials), at_a_time):
            index = sample_indices(settings, trials.first + block.start, trials.first + block.stop)
            trials_run = run(index)
            shard.append(
                **vars(trials_run.parameters[settings.parameter]),
                first_loss=trials_run.first_loss,
                last_loss=trials_run.last_loss,
                sample_index=index,
            )
            progress.update(len(index))


def sample_indices(settings: TrialSettings, start: int, stop: int) -> NDArray[np.uint32]:
    """Samples of the trials start, ..., stop - 1 in processing order, shape (trial, sample)."""
    return np.stack(
        [
            trial_samples(
                settings.seed,
                trial,
                population=settings.training_samples,
                samples=settings.samples_per_trial,
                sample_sets=settings.sample_sets,
            )
            for trial in range(start, stop)
        ]
    )
