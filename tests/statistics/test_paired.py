"""All batch sizes side by side: the same trials, those that diverged nowhere."""

from pathlib import Path

import numpy as np
import pytest

from gradatlas.core.errors import InputError
from gradatlas.core.updates import SGD
from gradatlas.statistics.paired import read_paired
from gradatlas.statistics.tables import gather
from tests.statistics.synthetic import (
    SAMPLES,
    describe_all,
    draw,
    write_batch_sizes,
    write_shards,
)


def test_trials_that_diverged_anywhere_are_left_out(tmp_path: Path) -> None:
    broken = draw(20)
    broken[7] = np.inf
    shards = write_batch_sizes(tmp_path)
    shards[4] = write_shards(tmp_path, broken, batch_size=4)
    (paired,) = read_paired(describe_all(tmp_path, shards)[1])
    assert paired.diverged == 1
    assert paired.trials.tolist() == [trial for trial in range(20) if trial != 7]
    assert paired.norm.shape == (3, 19)
    assert paired.batch_sizes.tolist() == [1, 4, SAMPLES]
    assert paired.batches_per_trial.tolist() == [64, 16, 1]


def test_batch_sizes_of_another_experiment_are_not_compared(tmp_path: Path) -> None:
    _, maps = describe_all(tmp_path, write_batch_sizes(tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    shards = {8: write_shards(other, draw(20), batch_size=8, update=SGD(0.5))}
    rows, others = describe_all(other, shards)
    with pytest.raises(InputError, match=r"learning_rate=0\.5.*not mixed"):
        read_paired([*maps, *others])
    with pytest.raises(InputError, match=r"learning_rate=0\.5.*not mixed"):
        gather([*describe_all(tmp_path, write_batch_sizes(tmp_path))[0], *rows], other, other)


def test_batch_sizes_of_other_trials_are_not_compared(tmp_path: Path) -> None:
    _, maps = describe_all(tmp_path, write_batch_sizes(tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    shards = {8: write_shards(other, draw(9), batch_size=8)}
    with pytest.raises(InputError, match=r"batch size 8 .* has 9 trials, expected the same 20"):
        read_paired([*maps, *describe_all(other, shards)[1]])
