"""Shards with made-up gradients of known mean and covariance."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradatlas.archive import ShardAttributes, create_shard
from gradatlas.core.sharding import TrialRange
from gradatlas.statistics.bootstrap import WeightedStatistic
from gradatlas.statistics.description import TrialScalars
from gradatlas.statistics.paired import Sweep

Array = NDArray[np.float64]
SAMPLES = 64
TRAINING_SAMPLES = 1000


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
    update: str = "sgd",
    sample_sets: int | None = None,
    protocol: str = "sgd",
    epoch: int = 2,
    first_trial: int = 0,
    shards: int = 1,
) -> list[Path]:
    """Store tensors as the shards of one batch size; the minibatches' norms are made up."""
    attributes = ShardAttributes(
        protocol=protocol,
        update=update,
        epoch=epoch,
        batch_size=batch_size,
        samples_per_trial=SAMPLES,
        sample_sets=sample_sets,
        seed=0,
        training_seed=0,
        learning_rate=0.01 if update == "sgd" else 0.0,
        parameter="last.weight",
        dataset="MNIST",
        training_samples=TRAINING_SAMPLES,
        device="cpu",
        experiment_digest="0" * 64,
        code_commit="unknown",
        library_versions={"numpy": np.__version__},
        checkpoint_sha256="0" * 64,
    )
    paths = []
    trials = np.arange(first_trial, first_trial + len(gradient))
    for part in np.array_split(trials, shards):
        rows = gradient[part - first_trial]
        norms = np.linalg.norm(rows.reshape(len(rows), -1).astype(np.float64), axis=1)
        steps = math.ceil(SAMPLES / batch_size)
        target = folder / f"{protocol}-{epoch}-{batch_size}-{part[0]}.h5"
        chosen = TrialRange(int(part[0]), int(part[-1]))
        with create_shard(target, attributes, chosen, gradient.shape[1:]) as shard:
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


def make_sweep(
    norm: Array,
    batch_sizes: Sequence[int],
    *,
    protocol: str = "sgd",
    epoch: int = 2,
    update: str = "sgd",
    sample_sets: int | None = None,
    diverged: int = 0,
) -> Sweep:
    """A sweep of given norms, shape (B, T)."""
    return Sweep(
        protocol=protocol,
        epoch=epoch,
        update=update,
        learning_rate=0.01,
        samples_per_trial=1024,
        training_samples=60000,
        sample_sets=sample_sets,
        batch_sizes=np.array(batch_sizes),
        trials=np.arange(norm.shape[1]),
        diverged=diverged,
        norm=norm,
        path_length=2 * norm,
        sum_of_squares=norm**2 / 2,
        product_with_others=np.full_like(norm, np.nan),
    )


def make_scalars(batch_size: int, norm: Array, *, epoch: int = 2) -> TrialScalars:
    """The scalars of one batch size with given norms, shape (T,)."""
    same = dict.fromkeys(("path_length", "sum_of_squares", "first_loss", "last_loss"), norm)
    return TrialScalars(
        protocol="sgd",
        epoch=epoch,
        batch_size=batch_size,
        update="sgd",
        learning_rate=0.01,
        samples_per_trial=1024,
        training_samples=60000,
        sample_sets=None,
        columns={"trial": np.arange(len(norm), dtype=np.float64), "norm": norm, **same},
    )
