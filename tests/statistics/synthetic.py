"""Shards with made-up gradients of known mean and covariance."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatlas.archive import create_shard
from gradatlas.core.provenance import Provenance
from gradatlas.core.settings import TrialRange, TrialSettings
from gradatlas.core.updates import SGD, Update
from gradatlas.statistics.batch_size import describe_batch_size
from gradatlas.statistics.paired import PairedTrials
from gradatlas.statistics.resampling import WeightedStatistic
from tests.record import RECORD

Array = NDArray[np.float64]
SAMPLES = 64
TRAINING_SAMPLES = 1000
MOVING = SGD(0.01)


def make_settings(
    *,
    protocol: str = "sgd",
    update: Update = MOVING,
    epoch: int = 2,
    batch_size: int = 1,
    samples: int = 1024,
    training_samples: int = 60000,
    sample_sets: int | None = None,
) -> TrialSettings:
    """The record of made-up trials."""
    return replace(
        RECORD,
        protocol=protocol,
        epoch=epoch,
        batch_size=batch_size,
        update=update,
        samples_per_trial=samples,
        sample_sets=sample_sets,
        training_samples=training_samples,
    )


def means_of(values: Array) -> WeightedStatistic:
    """Weighted means of rows, shape (B, T) to (B, ...)."""
    return lambda weights: np.moveaxis(weights @ values.T, -1, 0) / weights.sum(axis=-1)


def draw(trials: int, shape: tuple[int, ...] = (3, 7), *, seed: int = 0) -> NDArray[np.float32]:
    """Gaussian tensors about a common mean, every weight with a scale of its own."""
    rng = np.random.default_rng(seed)
    mean, scale = rng.normal(size=shape) * 3, np.exp(rng.normal(size=shape))
    return (mean + scale * rng.normal(size=(trials, *shape))).astype(np.float32)


def write_shards(
    folder: Path,
    gradient: NDArray[np.float32],
    *,
    batch_size: int,
    update: Update = MOVING,
    sample_sets: int | None = None,
    protocol: str = "sgd",
    epoch: int = 2,
    first_trial: int = 0,
    shards: int = 1,
    **changes: Any,
) -> list[Path]:
    """Store tensors as the shards of one batch size; the minibatches' norms are made up."""
    settings = make_settings(
        protocol=protocol,
        update=update,
        epoch=epoch,
        batch_size=batch_size,
        samples=SAMPLES,
        training_samples=TRAINING_SAMPLES,
        sample_sets=sample_sets,
    )
    checkpoint = changes.pop("checkpoint_sha256", "0" * 64)
    settings = replace(settings, **changes)
    provenance = Provenance(checkpoint, "cpu", "unknown", {"numpy": np.__version__})
    paths = []
    trials = np.arange(first_trial, first_trial + len(gradient))
    for part in np.array_split(trials, shards):
        rows = gradient[part - first_trial]
        norms = np.linalg.norm(rows.reshape(len(rows), -1).astype(np.float64), axis=1)
        steps = math.ceil(SAMPLES / batch_size)
        target = folder / f"{protocol}-{epoch}-{batch_size}-{part[0]}.h5"
        chosen = TrialRange(int(part[0]), int(part[-1]))
        with create_shard(target, settings, provenance, chosen, gradient.shape[1:]) as shard:
            shard.append(
                gradient=rows,
                path_length=norms * math.sqrt(steps),
                sum_of_squares=norms**2 * (1.5 if steps > 1 else 1.0),
                first_loss=np.full(len(rows), 0.5),
                last_loss=np.full(len(rows), 0.25),
                sample_index=np.zeros((len(rows), SAMPLES), np.uint32),
            )
        paths.append(target)
    return paths


def write_batch_sizes(
    folder: Path, sizes: tuple[int, ...] = (1, 4, SAMPLES), **settings: object
) -> dict[int, list[Path]]:
    """Shards of 20 trials at each batch size, whose norms rise with it."""
    return {
        size: write_shards(folder, size**0.2 * draw(20), batch_size=size, **settings)  # type: ignore[arg-type]
        for size in sizes
    }


def describe_all(
    folder: Path, shards: dict[int, list[Path]], name: str = "sgd"
) -> tuple[list[Path], list[Path]]:
    """Rows and maps of every batch size."""
    rows = [folder / f"{name}-{size}.json" for size in shards]
    maps = [folder / f"{name}-{size}.maps" for size in shards]
    for row, target, paths in zip(rows, maps, shards.values(), strict=True):
        describe_batch_size(
            paths,
            shards[max(shards)],
            row,
            target,
            max_order=5,
            resamples=100,
            confidence=0.9,
            seed=0,
        )
    return rows, maps


def make_paired(
    norm: Array,
    batch_sizes: Sequence[int],
    *,
    protocol: str = "sgd",
    epoch: int = 2,
    update: Update = MOVING,
    sample_sets: int | None = None,
    diverged: int = 0,
) -> PairedTrials:
    """Paired trials of given norms, shape (B, T)."""
    return PairedTrials(
        settings=make_settings(
            protocol=protocol,
            update=update,
            epoch=epoch,
            batch_size=batch_sizes[0],
            sample_sets=sample_sets,
        ),
        batch_sizes=np.array(batch_sizes),
        trials=np.arange(norm.shape[1]),
        diverged=diverged,
        norm=norm,
        path_length=2 * norm,
        sum_of_squares=norm**2 / 2,
        product_with_others=np.full_like(norm, np.nan),
    )


def norms_of(curve: Array, spread: Array | float = 0.05, trials: int = 200, seed: int = 0) -> Array:
    """Norms with a common part over batch sizes and a small own part, shape (B, T)."""
    rng = np.random.default_rng(seed)
    common, own = rng.normal(size=trials), rng.normal(size=(len(curve), trials))
    relative = np.broadcast_to(spread, len(curve))[:, None]
    return np.asarray(curve[:, None] * (1 + relative * (common + 0.1 * own) / np.sqrt(1.01)))
