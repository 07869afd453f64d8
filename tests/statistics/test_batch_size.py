"""One job end to end against plain NumPy and SciPy on the same tensors."""

import json
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gradatlas.core.errors import InputError
from gradatlas.core.updates import SGD, Frozen
from gradatlas.statistics.batch_size import describe_batch_size
from gradatlas.statistics.moments import (
    moments_of,
    squared_covariance_trace,
    standardised_moment,
)
from gradatlas.statistics.tables import read_description
from tests.statistics.synthetic import SAMPLES, TRAINING_SAMPLES, draw, write_shards

Array = NDArray[np.float64]


def describe(
    folder: Path,
    shards: list[Path],
    largest: list[Path] | None = None,
    *,
    max_order: int = 6,
    seed: int = 0,
) -> tuple[dict[str, float], dict[str, str], Path]:
    """Values, reasons and maps of one job."""
    row, maps = folder / "row.json", folder / "maps.hdf5"
    describe_batch_size(
        shards,
        largest or shards,
        row,
        maps,
        max_order=max_order,
        resamples=200,
        confidence=0.95,
        seed=seed,
    )
    description = read_description(row)
    return dict(description.values), dict(description.reasons), maps


def test_columns_are_those_of_plain_arrays(tmp_path: Path) -> None:
    gradient, largest = draw(40), draw(40, seed=1)
    values, _, _ = describe(
        tmp_path,
        write_shards(tmp_path, gradient, batch_size=4, shards=3),
        write_shards(tmp_path, largest, batch_size=SAMPLES, shards=2),
    )
    S, L = gradient.reshape(40, -1).astype(float), largest.reshape(40, -1).astype(float)
    norm, centred = np.linalg.norm(S, axis=1), S - S.mean(axis=0)
    total_variance = float(S.var(axis=0, ddof=1).sum())
    kurtosis = stats.kurtosis(S, bias=False)
    expected = {
        "trials": 40,
        "diverged_trials": 0,
        "batches_per_trial": 16,
        "mean_norm": norm.mean(),
        "std_norm": norm.std(ddof=1),
        "relative_std": norm.std(ddof=1) / norm.mean(),
        "skewness": stats.skew(norm, bias=False),
        "excess_kurtosis": stats.kurtosis(norm, bias=False),
        "l_skewness": stats.lmoment(norm)[2],
        "l_kurtosis": stats.lmoment(norm)[3],
        "cosine_to_largest_batch": np.mean((S * L).sum(axis=1) / norm / np.linalg.norm(L, axis=1)),
        "coherence": 1 / 4,
        "gradient_diversity": 1.5,
        "mean_step_norm": np.mean(norm / 4),
        "mean_root_sum_of_squares": np.mean(norm * np.sqrt(1.5)),
        "root_mean_square_step_norm": np.mean(norm * np.sqrt(1.5 / 16)),
        "total_variance": total_variance,
        "gradient_norm_squared": np.square(S.mean(axis=0)).sum() - total_variance / 40,
        "weight_excess_kurtosis_median": np.median(kurtosis),
        "mean_first_loss": 0.5,
    }
    for column, value in expected.items():
        assert values[column] == pytest.approx(value, rel=1e-9), column
    for order in (5, 6):
        moment = standardised_moment(moments_of(norm, 6), order)
        assert values[f"moment_{order}"] == pytest.approx(float(moment), rel=1e-9)
    assert values["effective_rank"] == pytest.approx(
        total_variance**2 / np.square(np.cov(centred.T)).sum(), rel=0.5
    )


def test_maps_have_the_shape_and_statistics_of_the_weights(tmp_path: Path) -> None:
    gradient = draw(30, (3, 7))
    _, _, maps = describe(tmp_path, write_shards(tmp_path, gradient, batch_size=8), max_order=7)
    S = gradient.astype(float)
    mean, variance = S.mean(axis=0), S.var(axis=0, ddof=1)
    with h5py.File(maps) as file:
        found = {name: file[name][()] for name in file}
        labels = [axis.label for axis in file["gsnr"].dims]
        assert file.attrs["batch_size"] == 8
        assert "numpy" in json.loads(file.attrs["statistics_library_versions"])
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-9)
    np.testing.assert_allclose(found["variance"], variance, rtol=1e-9)
    np.testing.assert_allclose(found["skewness"], stats.skew(S, bias=False), rtol=1e-9)
    np.testing.assert_allclose(found["excess_kurtosis"], stats.kurtosis(S, bias=False), rtol=1e-9)
    np.testing.assert_allclose(found["gsnr"], mean**2 / variance - 1 / 30, rtol=1e-9, atol=1e-12)
    assert found["moment_7"].shape == (3, 7)
    assert labels == ["output", "input"]
    np.testing.assert_allclose(found["norm"], np.linalg.norm(S.reshape(30, -1), axis=1), rtol=1e-9)


def test_a_bias_has_maps_of_one_dimension(tmp_path: Path) -> None:
    _, _, maps = describe(tmp_path, write_shards(tmp_path, draw(12, (5,)), batch_size=8))
    with h5py.File(maps) as file:
        assert file["variance"].shape == (5,)


def test_blocks_and_shards_do_not_change_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradient = draw(50)
    values, _, _ = describe(tmp_path, write_shards(tmp_path, gradient, batch_size=8))
    for path in tmp_path.glob("sgd-*.h5"):
        path.unlink()
    monkeypatch.setattr("gradatlas.statistics.batch_size._BLOCK_BYTES", 12 * 3 * 7 * 4)
    shards = write_shards(tmp_path, gradient, batch_size=8, shards=7)
    in_blocks, _, _ = describe(tmp_path, shards)
    for column in values.keys() - {"effective_rank"}:  # pairs of trials within blocks only
        assert in_blocks[column] == pytest.approx(values[column], rel=1e-9, nan_ok=True), column
    assert in_blocks["effective_rank"] == pytest.approx(values["effective_rank"], rel=0.5)


def test_intervals_hold_their_estimates(tmp_path: Path) -> None:
    values, _, _ = describe(tmp_path, write_shards(tmp_path, draw(60), batch_size=8))
    columns = ("mean_norm", "std_norm", "relative_std", "skewness", "excess_kurtosis")
    for column in (*columns, "l_skewness", "l_kurtosis"):
        assert values[f"{column}_low"] < values[column] < values[f"{column}_high"]


def test_resamples_depend_on_seed_and_batch_size_alone(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, draw(30), batch_size=8)
    first, again, other = (describe(tmp_path, shards, seed=seed)[0] for seed in (0, 0, 1))
    assert first["mean_norm_low"] == again["mean_norm_low"] != other["mean_norm_low"]


def test_the_noise_scale_of_frozen_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    gradient = (SAMPLES * 0.5 + np.sqrt(SAMPLES) * rng.normal(size=(400, 2, 10))).astype(np.float32)
    shards = write_shards(tmp_path, gradient, batch_size=8, update=Frozen())
    values, reasons, _ = describe(tmp_path, shards)
    S = gradient.reshape(400, -1).astype(float)
    variance = S.var(axis=0, ddof=1).sum()
    squared_mean = np.square(S.mean(axis=0)).sum() - variance / 400
    factor = SAMPLES / (1 - SAMPLES / TRAINING_SAMPLES)
    assert values["noise_scale"] == pytest.approx(factor * variance / squared_mean, rel=1e-9)
    truth = 20 / (20 * 0.25) / (1 - SAMPLES / TRAINING_SAMPLES)
    assert values["noise_scale_low"] < truth < values["noise_scale_high"]
    assert "noise_scale" not in reasons


def test_a_single_step_tells_the_noise_scale_also_where_weights_move(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, draw(40), batch_size=SAMPLES)
    assert math.isfinite(describe(tmp_path, shards)[0]["noise_scale"])


def test_no_noise_scale_where_weights_move(tmp_path: Path) -> None:
    values, reasons, _ = describe(tmp_path, write_shards(tmp_path, draw(40), batch_size=8))
    assert math.isnan(values["noise_scale"])
    assert reasons["noise_scale"].startswith("the weights move during a trial")


def test_a_mean_gradient_of_zero_leaves_the_noise_scale_unbounded(tmp_path: Path) -> None:
    gradient = np.random.default_rng(3).normal(size=(60, 4, 5)).astype(np.float32)
    shards = write_shards(tmp_path, gradient, batch_size=8, update=Frozen())
    values, reasons, _ = describe(tmp_path, shards)
    assert math.isnan(values["noise_scale_high"])
    assert "cannot be told from 0" in reasons["noise_scale_high"]


def test_every_missing_number_has_a_reason(tmp_path: Path) -> None:
    for count in (1, 2, 3, 5, 7, 22):
        shards = write_shards(tmp_path, draw(count), batch_size=8)
        values, reasons, _ = describe(tmp_path, shards)
        missing = {column for column, value in values.items() if math.isnan(value)}
        assert missing == set(reasons), count
        assert all(reason.strip() for reason in reasons.values())


def test_too_few_trials_say_how_many_are_needed(tmp_path: Path) -> None:
    values, reasons, _ = describe(tmp_path, write_shards(tmp_path, draw(3), batch_size=8))
    assert math.isnan(values["excess_kurtosis"])
    assert reasons["excess_kurtosis"] == "3 finite trials, excess_kurtosis needs at least 4"
    assert reasons["mean_norm_low"] == "3 independent draws, an interval needs at least 20"
    assert reasons["moment_6"] == "3 finite trials, moment_6 needs at least 6"


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_diverged_trials_are_counted_and_left_out(tmp_path: Path, broken: float) -> None:
    gradient = draw(40)
    gradient[[3, 17], 0, 0] = broken
    values, reasons, maps = describe(tmp_path, write_shards(tmp_path, gradient, batch_size=8))
    kept = np.delete(gradient, [3, 17], axis=0).reshape(38, -1).astype(float)
    assert values["diverged_trials"] == 2
    assert values["trials"] == 40
    assert values["mean_norm"] == pytest.approx(np.linalg.norm(kept, axis=1).mean(), rel=1e-9)
    assert "2 of 40 trials" in reasons["diverged_trials"]
    with h5py.File(maps) as file:
        np.testing.assert_allclose(file["mean"][()].ravel(), kept.mean(axis=0), rtol=1e-9)
        assert np.flatnonzero(~np.isfinite(file["norm"][()])).tolist() == [3, 17]


def test_trials_that_share_samples_are_resampled_together(tmp_path: Path) -> None:
    sets = draw(25)
    gradient = sets[np.arange(100) % 25] + 1e-3 * draw(100, seed=9)
    shards = write_shards(tmp_path, gradient, batch_size=8, sample_sets=25)
    shared, reasons, _ = describe(tmp_path, shards)
    alone, _, _ = describe(tmp_path, write_shards(tmp_path, gradient, batch_size=8))
    widths = [row["mean_norm_high"] - row["mean_norm_low"] for row in (shared, alone)]
    assert widths[0] > 1.5 * widths[1]
    assert "share sample sets" in reasons["effective_rank"]


def test_a_constant_weight_has_no_shape_and_is_counted(tmp_path: Path) -> None:
    gradient = draw(30)
    gradient[:, 1, 2] = 0
    values, _, maps = describe(tmp_path, write_shards(tmp_path, gradient, batch_size=8))
    assert values["constant_weights"] == 1
    assert math.isfinite(values["gsnr_median"])
    with h5py.File(maps) as file:
        assert np.isnan(file["gsnr"][1, 2])


def test_the_cosine_leaves_out_trials_that_diverged_at_the_largest_batch(tmp_path: Path) -> None:
    gradient, largest = draw(30), draw(30, seed=1)
    largest[4, 0, 0] = np.inf
    shards = write_shards(tmp_path, gradient, batch_size=8)
    values, reasons, _ = describe(
        tmp_path, shards, write_shards(tmp_path, largest, batch_size=SAMPLES)
    )
    S = np.delete(gradient, 4, axis=0).reshape(29, -1).astype(float)
    L = np.delete(largest, 4, axis=0).reshape(29, -1).astype(float)
    cosine = (S * L).sum(axis=1) / np.linalg.norm(S, axis=1) / np.linalg.norm(L, axis=1)
    assert values["cosine_to_largest_batch"] == pytest.approx(cosine.mean(), rel=1e-9)
    assert values["mean_norm"] == pytest.approx(
        np.linalg.norm(gradient.reshape(30, -1).astype(float), axis=1).mean(), rel=1e-9
    )
    assert reasons["cosine_to_largest_batch"].startswith("1 of 30 trials diverged at the largest")


def test_only_diverged_trials_leave_a_row_without_statistics(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, np.full((9, 2, 2), np.nan, np.float32), batch_size=8)
    values, reasons, maps = describe(tmp_path, shards)
    assert values["diverged_trials"] == 9
    assert math.isnan(values["mean_norm"])
    assert reasons["mean_norm"] == "0 finite trials, mean_norm needs at least 1"
    assert {column for column, value in values.items() if math.isnan(value)} < set(reasons)
    with h5py.File(maps) as file:
        assert np.isnan(file["mean"][()]).all()


def test_other_trials_at_the_largest_batch_size_are_refused(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, draw(9), batch_size=8)
    largest = write_shards(tmp_path, draw(7), batch_size=SAMPLES)
    with pytest.raises(InputError, match="has 7 trials, expected the same 9"):
        describe(tmp_path, shards, largest)


def test_another_tensor_at_the_largest_batch_size_is_refused(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, draw(9), batch_size=8)
    largest = write_shards(tmp_path, draw(9, (2, 2)), batch_size=SAMPLES)
    with pytest.raises(InputError, match=r"have shape \(2, 2\), expected \(3, 7\)"):
        describe(tmp_path, shards, largest)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"update": SGD(0.5)}, r"batch size 64 has update SGD\(learning_rate=0.5\), but .*8 has"),
        ({"seed": 5}, "batch size 64 has seed 5, but .*batch size 8 has 0"),
        ({"checkpoint_sha256": "1" * 64}, "batch size 64 started from another checkpoint of epoch"),
    ],
)
def test_another_experiment_at_the_largest_batch_size_is_refused(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    shards = write_shards(tmp_path, draw(9), batch_size=8)
    largest = write_shards(tmp_path, draw(9), batch_size=SAMPLES, **change)
    with pytest.raises(InputError, match=expected):
        describe(tmp_path, shards, largest)


def test_effective_rank_of_equal_variances(tmp_path: Path) -> None:
    gradient = np.random.default_rng(0).normal(5, 1, size=(500, 4, 5)).astype(np.float32)
    values, _, _ = describe(tmp_path, write_shards(tmp_path, gradient, batch_size=8))
    assert values["effective_rank"] == pytest.approx(20, rel=0.05)


def test_the_effective_rank_is_that_of_pairs_within_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of 29, 29 and 2 trials, the last too few for an estimate of tr Sigma^2."""
    monkeypatch.setattr("gradatlas.statistics.batch_size._BLOCK_TRIALS", 29)
    gradient = draw(60)
    values, _, _ = describe(tmp_path, write_shards(tmp_path, gradient, batch_size=8))
    S = gradient.reshape(60, -1).astype(float)
    trace = np.mean([squared_covariance_trace(part) for part in (S[:29], S[29:58])])
    total = S.var(axis=0, ddof=1).sum()
    assert values["effective_rank"] == pytest.approx(total**2 / trace, rel=1e-9)


def test_the_order_of_jobs_changes_nothing(tmp_path: Path) -> None:
    shards = {size: write_shards(tmp_path, draw(20), batch_size=size) for size in (4, SAMPLES)}
    orders = ((4, SAMPLES), (SAMPLES, 4))
    first, second = (
        {size: str(describe(tmp_path, shards[size], shards[SAMPLES])[0]) for size in order}
        for order in orders
    )
    assert first == second
