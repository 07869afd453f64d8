"""Files are read as they were written, without the trials that diverged."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from gradatlas.core.errors import InputError
from gradatlas.figures.inputs import left_out, read_batch_size, read_table, trial_counts
from tests.figures import tables as made_up
from tests.statistics.synthetic import SAMPLES, draw


def test_what_is_measured_is_the_record_of_the_shards(maps: list[Path]) -> None:
    large = read_batch_size(maps[1])
    settings = large.settings
    assert (settings.protocol, settings.epoch, settings.batch_size) == ("sgd", 2, 64)
    assert (settings.parameter, settings.samples_per_trial) == ("last.weight", SAMPLES)
    finite = np.delete(draw(12), 3, axis=0).astype(np.float64)
    np.testing.assert_allclose(large.mean, finite.mean(axis=0))
    np.testing.assert_allclose(large.variance, finite.var(axis=0, ddof=1))
    assert len(large.hill_plot) == len(finite) - 1


def test_a_trial_diverged_also_where_only_its_loss_did(tmp_path: Path, maps: list[Path]) -> None:
    path = tmp_path / maps[0].name
    shutil.copy(maps[0], path)
    with h5py.File(path, "r+") as file:
        file["last_loss"][5] = np.inf
    item = read_batch_size(path)
    norms = np.linalg.norm(draw(12).reshape(12, -1), axis=1)
    np.testing.assert_allclose(item.norm, np.delete(norms, [3, 5]), rtol=1e-6)
    assert left_out(trial_counts([item])) == "2 of 12 trials of sgd diverged and are left out"


def test_unreadable_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "statistics.csv"
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"statistics.csv cannot be read as a table"):
        read_table(path)


def test_nothing_is_said_where_no_trial_diverged() -> None:
    assert left_out(made_up.statistics_table()) == ""
