"""What the workflow knows before a job starts, asked without Snakemake."""

import shutil
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatlas import planning
from gradatlas.core.configuration import Experiment, read_experiment
from gradatlas.core.errors import InputError
from gradatlas.core.settings import Training, TrialRange
from gradatlas.planning import plan_shards
from gradatlas.train.checkpoint import save_checkpoint
from tests.data.test_idx import TEST_LABELS
from tests.workflow.smallest import EXPERIMENT, write_data

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
FROZEN = {"update": "none"}
MOVING = {"update": "sgd", "learning_rate": 0.1}
REORDERED = {**MOVING, "sample_sets": 2}


def experiment(protocols: dict[str, Any] | None = None, **gradients: Any) -> Experiment:
    """The smallest experiment, with other protocols or other settings of its gradients."""
    config = deepcopy(EXPERIMENT)
    config["gradients"] |= gradients
    config["gradients"]["protocols"] = protocols or config["gradients"]["protocols"]
    return read_experiment(config, SCHEMA)


def test_a_first_collection_has_shards_of_one_size_and_a_rest() -> None:
    assert plan_shards(25, 10) == [TrialRange(0, 9), TrialRange(10, 19), TrialRange(20, 24)]


def test_more_trials_keep_what_is_there() -> None:
    assert plan_shards(40, 20, frozenset({TrialRange(0, 24)})) == [
        TrialRange(0, 24),
        TrialRange(25, 39),
    ]


def test_fewer_trials_leave_out_a_shard_that_is_too_long() -> None:
    assert plan_shards(15, 10, frozenset({TrialRange(0, 9), TrialRange(10, 19)})) == [
        TrialRange(0, 9),
        TrialRange(10, 14),
    ]


def test_a_gap_is_filled_up_to_the_next_shard() -> None:
    assert plan_shards(40, 100, frozenset({TrialRange(10, 19)})) == [
        TrialRange(0, 9),
        TrialRange(10, 19),
        TrialRange(20, 39),
    ]


def test_of_two_shards_with_the_same_start_the_longer_one_counts() -> None:
    existing = frozenset({TrialRange(0, 9), TrialRange(0, 19)})

    assert plan_shards(30, 10, existing) == [TrialRange(0, 19), TrialRange(20, 29)]


@given(
    trials=st.integers(1, 80),
    trials_per_job=st.integers(1, 90),
    existing=st.frozensets(
        st.builds(lambda first, more: TrialRange(first, first + more), *2 * [st.integers(0, 40)]),
        max_size=6,
    ),
)
def test_every_trial_is_in_one_shard_and_new_shards_are_short_enough(
    trials: int, trials_per_job: int, existing: frozenset[TrialRange]
) -> None:
    shards = plan_shards(trials, trials_per_job, existing)

    covered = [trial for shard in shards for trial in range(shard.first, shard.last + 1)]
    assert covered == list(range(trials))
    assert all(len(shard) <= trials_per_job for shard in shards if shard not in existing)


@given(trials=st.integers(1, 80), more=st.integers(0, 80), trials_per_job=st.integers(1, 30))
def test_a_plan_carried_out_is_kept_when_the_experiment_grows(
    trials: int, more: int, trials_per_job: int
) -> None:
    done = plan_shards(trials, trials_per_job)

    assert plan_shards(trials, trials_per_job, frozenset(done)) == done
    assert plan_shards(trials + more, trials_per_job, frozenset(done))[: len(done)] == done


def paths(folder: Path, **gradients: Any) -> list[str]:
    return planning.shard_paths(experiment(**gradients), str(folder), "sgd", 1, 5)


def test_paths_name_protocol_epoch_batch_size_and_trials() -> None:
    assert paths(Path("results"), trials=6, trials_per_job=4) == [
        "results/gradients/sgd/epoch1/batch5/trials0-3.h5",
        "results/gradients/sgd/epoch1/batch5/trials4-5.h5",
    ]


def test_shards_on_disk_stay_and_other_files_do_not_count(tmp_path: Path) -> None:
    first, *_ = map(Path, paths(tmp_path, trials=6))
    first.parent.mkdir(parents=True)
    for name in (first.name, f"{first.name}.sha256", "trials6-.h5", ".trials6-7.h5.ab.partial"):
        (first.parent / name).touch()

    names = [Path(path).name for path in paths(tmp_path, trials=8, trials_per_job=1)]

    assert names == ["trials0-5.h5", "trials6-6.h5", "trials7-7.h5"]


@pytest.mark.parametrize(
    ("protocols", "main"),
    [
        ({"frozen": FROZEN, "reordered": REORDERED, "b": MOVING, "a": MOVING}, "a"),
        ({"a": MOVING, "reordered": REORDERED, "b": MOVING, "frozen": FROZEN}, "a"),
        ({"frozen": FROZEN, "reordered": REORDERED}, "reordered"),
        ({"frozen": FROZEN}, "frozen"),
    ],
)
def test_the_main_one_moves_and_draws_samples_of_its_own_where_one_does(
    protocols: dict[str, Any], main: str
) -> None:
    assert planning.main_protocol(experiment(protocols)).settings.protocol == main
    assert planning.protocol_roles(experiment(protocols))["main"] == main


def test_roles_follow_the_settings_and_not_the_names() -> None:
    protocols = {"frozen": MOVING, "sgd": FROZEN, "still": {**FROZEN, "sample_sets": 3}}

    assert planning.protocol_roles(experiment(protocols)) == {
        "main": "frozen",
        "frozen": ["sgd", "still"],
        "reordered": ["still"],
    }


def test_the_grid_has_every_protocol_epoch_and_batch_size() -> None:
    protocols = {"sgd": MOVING, "frozen": {**FROZEN, "batch_sizes": [16]}}
    several = replace(experiment(protocols), checkpoints=(0, 3))

    grid = planning.grid(several)

    assert grid == [
        *[("sgd", 0, 5), ("sgd", 0, 16), ("sgd", 3, 5), ("sgd", 3, 16)],
        *[("frozen", 0, 16), ("frozen", 3, 16)],
    ]
    assert planning.grid(several, "frozen") == grid[4:]
    assert planning.grid(several, "frozen", "sgd") == grid


@pytest.mark.parametrize(
    ("seeds", "folders"),
    [
        ([0], {"results": 0}),
        ([0, 2], {"results": 0, "results/seed2": 2}),
        ([1, 2], {"results/seed1": 1, "results/seed2": 2}),
    ],
)
def test_the_trials_seed_has_the_plain_results_folder(
    seeds: Sequence[int], folders: dict[str, int]
) -> None:
    assert planning.results_folders(replace(experiment(), training_seeds=tuple(seeds))) == folders


def test_a_folder_that_is_there_has_to_be_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planning.check_writable([tmp_path, tmp_path / "yet to be made"])
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    planning.check_writable([tmp_path / "yet to be made"])

    with pytest.raises(InputError, match=f"{tmp_path} is read-only; to run, copy results/"):
        planning.check_writable([tmp_path])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_data(tmp_path / "letters")
    return tmp_path / "letters"


def test_files_that_are_there_are_taken_as_they_are(folder: Path) -> None:
    files, to_download = planning.data_files(experiment(), folder)

    assert not to_download
    assert sorted(files) == sorted(map(str, folder.iterdir()))


def test_an_absent_data_set_is_to_be_downloaded(folder: Path) -> None:
    shutil.rmtree(folder)

    files, to_download = planning.data_files(experiment(), folder)

    assert to_download
    assert len(files) == 4
    assert str(folder / "train-images-idx3-ubyte.gz") in files


def test_a_data_set_in_part_is_refused(folder: Path) -> None:
    (folder / TEST_LABELS).unlink()

    with pytest.raises(InputError, match=rf"{TEST_LABELS} is missing"):
        planning.data_files(experiment(), folder)


def test_a_damaged_data_set_is_refused(folder: Path) -> None:
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  {TEST_LABELS}\n")

    with pytest.raises(InputError, match=rf"{TEST_LABELS} has the SHA-256 "):
        planning.data_files(experiment(), folder)


def test_a_trial_with_more_samples_than_there_are_is_refused(folder: Path) -> None:
    planning.data_files(experiment(samples_per_trial=60), folder)

    with pytest.raises(InputError, match="protocol sgd is 61, expected at most 60"):
        planning.data_files(experiment(samples_per_trial=61), folder)


def training_digest(seed: int = 0, code: str = "code", **changes: Any) -> str:
    return planning.training_digest(replace(experiment(), **changes), seed, code)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"code": "edited"},
        {"dataset": "Digits"},
        {"model": {"hidden": [4, 4]}},
        {"training": Training(batch_size=17, learning_rate=0.01, momentum=0.0)},
        {"training": Training(batch_size=16, learning_rate=0.02, momentum=0.0)},
        {"training": Training(batch_size=16, learning_rate=0.01, momentum=0.1)},
    ],
)
def test_a_training_digest_follows_what_makes_a_checkpoint(change: dict[str, Any]) -> None:
    assert training_digest(**change) != training_digest()


@pytest.mark.parametrize(
    "change", [{"checkpoints": (1, 7)}, {"seed": 0, "training_seeds": (0, 1)}, {"protocols": {}}]
)
def test_a_training_digest_follows_nothing_else(change: dict[str, Any]) -> None:
    assert training_digest(**change) == training_digest()


def test_a_shard_stays_where_its_checkpoint_is_what_would_be_made(tmp_path: Path) -> None:
    checkpoint, shard = tmp_path / "epoch1.safetensors", tmp_path / "trials0-5.h5"
    weights = {"last.bias": np.zeros(3, np.float32)}
    assert not planning.is_kept(checkpoint, shard, "digest")
    shard.touch()
    assert not planning.is_kept(checkpoint, shard, "digest")

    save_checkpoint(checkpoint, weights, {"training_digest": "digest"})
    assert planning.is_kept(checkpoint, shard, "digest")
    assert not planning.is_kept(checkpoint, shard, "another")

    shard.unlink()
    assert not planning.is_kept(checkpoint, shard, "digest")


def test_a_checkpoint_from_elsewhere_is_not_what_would_be_made(tmp_path: Path) -> None:
    (tmp_path / "shard.h5").touch()
    (tmp_path / "epoch1.safetensors").write_bytes(b"damaged")

    assert not planning.is_kept(tmp_path / "epoch1.safetensors", tmp_path / "shard.h5", "")
