"""The steps of single trials, as points in a plane: what the article sketches as arrows.

The sum over the first samples of a trial is what a trial of only these samples gives, so the
engine that collects the gradients also tells the path by which their sum came about.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradatlas.collect.prepare import prepare
from gradatlas.collect.shard import sample_indices
from gradatlas.core.files import replace_file
from gradatlas.core.runtime import single_threaded
from gradatlas.core.settings import TrialSettings
from gradatlas.core.updates import Update
from gradatlas.data.idx import Split, load_train
from gradatlas.models.network import parameter_shapes, problem_from
from gradatlas.models.problem import Problem
from gradatlas.train.checkpoint import check_facts, load_checkpoint

Array = NDArray[np.float64]

TRIAL = 0
PATH_POINTS = 32
PATHS = 5  # batch sizes whose paths can be told apart in one picture


@dataclass(frozen=True, eq=False)
class GrowingSum:
    """A sum of gradients as it grows over one trial."""

    batch_size: int  # samples per minibatch
    samples: NDArray[np.int64]  # samples summed up so far, from 0 upwards, shape (P,)
    sums: Array  # the sums, nats, float64, shape (P, weight)


@single_threaded()
def trace_steps(
    target: Path,
    settings: TrialSettings,
    batch_sizes: Sequence[int],
    checkpoints: Mapping[int, Path],
    data: Path,
) -> None:
    """Follow one trial from every checkpoint and write its paths as a table.

    Two pictures are taken of it: ``two samples``, one step at batch size 2 beside two steps at
    batch size 1, and ``trial``, all its samples at several batch sizes.

    Args:
        target: CSV file to write: epoch, picture, batch_size, samples, x, y and norm, the last
            three in nats. The norm is that of the sum itself, which may be longer than (x, y).
        settings: The record of the trials; epoch and batch size do not matter.
        batch_sizes: Batch sizes of the protocol, ascending.
        checkpoints: Checkpoint file of each epoch.
        data: Folder of the data set's IDX files.

    Raises:
        InputError: Data set or checkpoint cannot be used.
    """
    split = load_train(data)
    settings = replace(settings, training_samples=len(split.labels))
    order = sample_indices(settings, TRIAL, TRIAL + 1)[0]
    trial = Split(split.inputs[order], split.labels[order])
    shapes = parameter_shapes(settings.model or {}, split)
    tables = []
    for epoch, path in checkpoints.items():
        checkpoint = load_checkpoint(path, shapes)
        check_facts(path, checkpoint.facts, settings.checkpoint)
        follow = partial(
            grow,
            problem_from(checkpoint.weights),
            settings.update,
            settings.parameter,
        )
        first_two = Split(trial.inputs[:2], trial.labels[:2])
        pair = [follow(size, first_two) for size in (1, 2)]
        whole = [follow(size, trial) for size in _spread_out(batch_sizes)]
        tables += [_table(epoch, "two samples", pair), _table(epoch, "trial", whole)]
    replace_file(target, pd.concat(tables).to_csv(index=False).encode())


def grow(
    problem: Problem, update: Update, parameter: str, batch_size: int, trial: Split
) -> GrowingSum:
    """Sum of the gradients over the first samples of a trial, at up to 33 points.

    Args:
        problem: Network, loss and the weights that the trial starts from.
        update: What the weights do between minibatches.
        parameter: Name of the parameter whose gradients are summed.
        batch_size: Samples of a minibatch.
        trial: The trial's samples in processing order.
    """
    count = len(trial.labels)
    ends = np.linspace(0, count, min(PATH_POINTS, -(-count // batch_size)) + 1)
    samples = np.minimum(np.ceil(ends / batch_size).astype(np.int64) * batch_size, count)
    run = prepare(problem, update, [parameter], batch_size, trial.inputs, trial.labels)
    order = np.arange(count, dtype=np.uint32)
    parts = [run(order[None, :end]).parameters[parameter] for end in samples[1:]]
    sums = [part.gradient.ravel() for part in parts]
    return GrowingSum(
        batch_size, samples, np.stack([np.zeros_like(sums[0]), *sums]).astype(np.float64)
    )


def plane(sums: Sequence[GrowingSum]) -> Array:
    """Two orthonormal directions to look along, shape (2, weight).

    The first is that of the last, largest sum; the second holds as much as possible of what all
    points have beside it, and the mean of that is not negative. Where a trial diverged, the points
    before it did count.
    """
    points = np.concatenate([item.sums for item in sums])
    points = points[np.isfinite(points).all(axis=1)]
    first = points[-1] / (np.linalg.norm(points[-1]) or 1.0)
    beside = points - np.outer(points @ first, first)
    second = np.linalg.svd(beside, full_matrices=False)[2][0]
    return np.stack([first, second if (beside @ second).sum() >= 0 else -second])


def _spread_out(batch_sizes: Sequence[int]) -> list[int]:
    """Up to five batch sizes in about equal ratios, the smallest and the largest among them."""
    wanted = np.geomspace(batch_sizes[0], batch_sizes[-1], PATHS)
    ratios = np.abs(np.log(np.divide.outer(batch_sizes, wanted)))
    return [batch_sizes[place] for place in np.unique(ratios.argmin(axis=0))]


def _table(epoch: int, picture: str, sums: Sequence[GrowingSum]) -> pd.DataFrame:
    directions = plane(sums)
    rows = []
    for item in sums:
        x, y = directions @ item.sums.T
        norm = np.linalg.norm(item.sums, axis=1)
        place = {"epoch": epoch, "picture": picture, "batch_size": item.batch_size}
        rows.append(pd.DataFrame({**place, "samples": item.samples, "x": x, "y": y, "norm": norm}))
    return pd.concat(rows)
