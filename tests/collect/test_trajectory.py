"""Paths of single trials against the reference engine, step by step."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradatlas.collect.reference import run_trial
from gradatlas.collect.trajectory import GrowingSum, grow, plane, trace_steps
from gradatlas.core.updates import SGD, Frozen, Update
from gradatlas.data.idx import Split
from gradatlas.models.perceptron import Architecture, Perceptron, initial_parameters
from gradatlas.train.checkpoint import save_checkpoint
from tests.record import RECORD
from tests.workflow.smallest import write_data

ARCHITECTURE = Architecture(16, (5,), 3)
MOVING = SGD(0.1)


def problem() -> Perceptron:
    weights = initial_parameters(ARCHITECTURE, seed=3)
    return Perceptron({name: value.astype(np.float64) for name, value in weights.items()})


def follow(batch_size: int, samples: Split, update: Update = MOVING) -> GrowingSum:
    return grow(problem(), update, "last.weight", batch_size, samples)


def trial(samples: int) -> Split:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(samples, 16))
    return Split(inputs, rng.integers(0, 3, samples))  # type: ignore[arg-type]  # float64


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_sums_are_those_of_the_reference_up_to_each_step(batch_size: int) -> None:
    samples = trial(100)
    growing = follow(batch_size, samples)
    assert growing.samples[0] == 0
    assert growing.samples[-1] == 100
    assert np.all(growing.samples[:-1] % batch_size == 0)
    assert np.all(np.diff(growing.samples) > 0)
    for end, total in zip(growing.samples[1:], growing.sums[1:], strict=True):
        inputs, labels = samples.inputs[:end], samples.labels[:end]
        whole = run_trial(problem(), MOVING, ["last.weight"], batch_size, inputs, labels)
        expected = whole.parameters["last.weight"].gradient.ravel()
        np.testing.assert_allclose(total, expected, rtol=1e-9, atol=1e-12)


def test_first_step_is_the_same_at_every_batch_size_only_while_weights_stay() -> None:
    samples = trial(12)
    fixed = [follow(size, samples, Frozen()).sums[-1] for size in (1, 4, 12)]
    np.testing.assert_allclose(fixed[0], fixed[2], rtol=1e-9)
    np.testing.assert_allclose(fixed[1], fixed[2], rtol=1e-9)
    moving = [follow(size, samples).sums[-1] for size in (1, 12)]
    assert not np.allclose(moving[0], moving[1], rtol=1e-3)


def test_plane_holds_the_largest_sum_and_is_orthonormal() -> None:
    rng = np.random.default_rng(0)
    sums = [GrowingSum(size, np.arange(4), rng.normal(size=(4, 20))) for size in (1, 8)]
    directions = plane(sums)
    np.testing.assert_allclose(directions @ directions.T, np.eye(2), atol=1e-12)
    x, y = directions @ sums[-1].sums[-1]
    assert x == pytest.approx(float(np.linalg.norm(sums[-1].sums[-1])))
    assert y == pytest.approx(0, abs=1e-12)


def test_points_of_a_plane_keep_their_distances() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(20, 2)))[0].T
    points = rng.normal(size=(2, 5, 2)) @ basis
    sums = [GrowingSum(size, np.arange(5), part) for size, part in zip((1, 8), points, strict=True)]
    projected = points @ plane(sums).T
    np.testing.assert_allclose(
        np.linalg.norm(projected, axis=-1), np.linalg.norm(points, axis=-1), rtol=1e-12
    )


def test_table_has_both_pictures_of_every_checkpoint(tmp_path: Path) -> None:
    write_data(tmp_path / "letters")
    checkpoints = {epoch: tmp_path / f"epoch{epoch}.safetensors" for epoch in (0, 4)}
    for epoch, path in checkpoints.items():
        save_checkpoint(path, initial_parameters(ARCHITECTURE, seed=epoch), {})
    target = tmp_path / "steps.csv"
    settings = replace(
        RECORD,
        epoch=0,
        batch_size=0,
        update=MOVING,
        samples_per_trial=20,
        dataset="Letters",
        training_samples=0,
        model={"hidden": ARCHITECTURE.hidden},
    )
    trace_steps(target, settings, [1, 2, 3, 5, 6, 20], checkpoints, tmp_path / "letters")
    table = pd.read_csv(target)
    assert set(table["epoch"]) == {0, 4}
    pair = table[table["picture"] == "two samples"]
    assert sorted(set(pair["batch_size"])) == [1, 2]
    whole = table[table["picture"] == "trial"]
    assert {1, 20} <= set(whole["batch_size"]) <= {1, 2, 3, 5, 6, 20}
    ends = whole[whole["samples"] == 20]
    assert len(ends) == len(set(whole["batch_size"])) * 2
    largest = ends[ends["batch_size"] == 20]
    np.testing.assert_allclose(largest["x"], largest["norm"])
    assert (np.hypot(table["x"], table["y"]) <= table["norm"] * (1 + 1e-9)).all()


def test_a_trial_that_diverged_is_looked_at_from_what_it_was_before() -> None:
    sound = follow(1, trial(12))
    diverged = GrowingSum(sound.batch_size, sound.samples, sound.sums.copy())
    diverged.sums[7:] = np.nan
    before = GrowingSum(sound.batch_size, sound.samples[:7], sound.sums[:7])

    np.testing.assert_array_equal(plane([diverged]), plane([before]))
