"""What the workflow knows before a job starts, asked without Snakemake."""

import os
import re
import shutil
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatlas import planning
from gradatlas.core.configuration import Experiment, read_experiment
from gradatlas.core.errors import InputError
from gradatlas.core.files import digest_path, seal
from gradatlas.core.settings import TrialRange
from gradatlas.planning import plan_shards
from gradatlas.train.checkpoint import (
    is_whole_checkpoint,
    optimizer_path,
    save_checkpoint,
    table_path,
)
from tests.archive.examples import write_shard
from tests.data.test_idx import TEST_LABELS, TRAIN_LABELS
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


def test_a_longer_shard_serves_fewer_trials() -> None:
    existing = frozenset({TrialRange(0, 9), TrialRange(10, 19), TrialRange(20, 29)})
    assert plan_shards(15, 10, existing) == [TrialRange(0, 9), TrialRange(10, 19)]
    assert plan_shards(5, 10, existing) == [TrialRange(0, 9)]


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
    assert covered[:trials] == list(range(trials))
    assert covered == sorted({*covered})
    assert shards[-1].first < trials
    new = [shard for shard in shards if shard not in existing]
    assert all(len(shard) <= trials_per_job and shard.last < trials for shard in new)


@given(trials=st.integers(1, 80), more=st.integers(0, 80), trials_per_job=st.integers(1, 30))
def test_a_plan_carried_out_is_kept_when_the_experiment_grows(
    trials: int, more: int, trials_per_job: int
) -> None:
    done = plan_shards(trials, trials_per_job)

    assert plan_shards(trials, trials_per_job, frozenset(done)) == done
    assert plan_shards(trials + more, trials_per_job, frozenset(done))[: len(done)] == done


def paths(**gradients: Any) -> list[str]:
    wanted = experiment(**gradients)
    return planning.shard_paths(wanted, wanted.trial_settings("sgd", 1, 5, training_seed=0))


def test_paths_name_protocol_key_epoch_batch_size_and_trials() -> None:
    key = experiment().trial_settings("sgd", 1, 5, training_seed=0).key
    assert paths(trials=6, trials_per_job=4) == [
        f"results/gradients/sgd-{key}/epoch1/batch5/trials0-3.h5",
        f"results/gradients/sgd-{key}/epoch1/batch5/trials4-5.h5",
    ]


def write_whole(path: str, trials: TrialRange) -> Path:
    write_shard(Path(path), trials.first, trials.last)
    return Path(path)


def test_whole_shards_on_disk_stay_and_other_files_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = write_whole(paths(trials=6)[0], TrialRange(0, 5))
    for name in ("trials6-.h5", "trials6-7.h5", ".trials6-7.h5.ab.partial"):
        (first.parent / name).touch()

    def names() -> list[str]:
        return [Path(path).name for path in paths(trials=8, trials_per_job=1)]

    assert names() == ["trials0-5.h5", "trials6-6.h5", "trials7-7.h5"]
    os.truncate(first, first.stat().st_size - 1)
    assert names()[0] == "trials0-0.h5"


@pytest.mark.parametrize("libver", ["earliest", "v110", "latest"])
def test_a_shard_is_whole_in_full_length_with_its_digest(tmp_path: Path, libver: str) -> None:
    """Whatever version of the superblock HDF5 wrote."""
    path = tmp_path / "trials0-5.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file["gradient"] = np.zeros(100)
    assert not planning.is_whole_shard(path)
    seal(path)
    assert planning.is_whole_shard(path)

    os.truncate(path, path.stat().st_size - 1)
    assert not planning.is_whole_shard(path)
    path.write_bytes(b"\x89HDF\r\n")
    assert not planning.is_whole_shard(path)
    path.unlink()
    assert not planning.is_whole_shard(path)


def test_a_digest_cut_short_makes_no_whole_shard(tmp_path: Path) -> None:
    path = write_whole(str(tmp_path / "trials0-5.h5"), TrialRange(0, 5))
    os.truncate(digest_path(path), 30)
    assert not planning.is_whole_shard(path)


@pytest.mark.parametrize("part", ["epoch2.safetensors", "epoch2.safetensors.sha256", "epoch2.csv"])
@pytest.mark.parametrize("cut", [None, 0, 10])
def test_a_checkpoint_is_whole_with_all_that_lies_beside_it(
    tmp_path: Path, part: str, cut: int | None
) -> None:
    path = tmp_path / "epoch2.safetensors"
    save_checkpoint(path, {"last.bias": np.zeros(3, np.float32)}, {"epoch": 2})
    table_path(path).write_text("epoch,train_loss\n0,2.3\n1,2.2\n2,2.1\n")
    assert is_whole_checkpoint(path, momentum=False)
    assert not is_whole_checkpoint(path, momentum=True)
    save_checkpoint(optimizer_path(path), {"last.bias.momentum_buffer": np.zeros(3, "f4")}, {})
    assert is_whole_checkpoint(path, momentum=True)

    if cut is None:
        (tmp_path / part).unlink()
    else:
        os.truncate(tmp_path / part, cut)
    assert not is_whole_checkpoint(path, momentum=True)


def test_one_line_says_what_is_new_and_what_is_unused() -> None:
    wanted = experiment({"sgd": MOVING, "frozen": FROZEN})
    new = [*planning.wanted_checkpoints(wanted), *planning.wanted_shards(wanted)]

    assert planning.announcement(wanted, new, 30) == (
        "trains 1 checkpoint; collects 2 shards of frozen (update none), 2 shards of sgd "
        "(learning_rate 0.1); 30 files of other settings stay: see 'gradatlas tidy'"
    )
    assert planning.announcement(wanted, [], 0) is None


def test_values_are_normalised_before_they_name_a_path() -> None:
    """0 and 0.0, and a name of a data set in other letters, are one setting."""
    config = deepcopy(EXPERIMENT)
    config["data"]["name"] = "LETTERS"
    config["training"]["momentum"] = 0
    config["gradients"]["protocols"]["sgd"]["learning_rate"] = 1
    other = deepcopy(config)
    other["data"]["name"] = "Letters"
    other["training"]["momentum"] = 0.0
    other["gradients"]["protocols"]["sgd"]["learning_rate"] = 1.0
    first, second = (
        [*planning.wanted_checkpoints(wanted), *planning.wanted_shards(wanted)]
        for wanted in (read_experiment(config, SCHEMA), read_experiment(other, SCHEMA))
    )
    assert first == second


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


def test_paths_follow_data_and_code_and_not_where_they_lie(tmp_path: Path) -> None:
    """The data set moved, or one of another content; the repository elsewhere, or edited."""
    write_data(tmp_path / "here" / "letters")
    for part in ("scripts", "src"):
        shutil.copytree(ROOT / part, tmp_path / "repository" / part)

    def located(root: str = "here") -> list[str]:
        wanted = replace(experiment(), data_root=str(tmp_path / root))
        complete = planning.complete(wanted, tmp_path / "repository")
        return [*planning.wanted_checkpoints(complete), *planning.wanted_shards(complete)]

    before = located()
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    (tmp_path / "repository").rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "repository")
    assert located("there") == before

    module = tmp_path / "repository" / "src" / "gradatlas" / "collect" / "trial.py"
    module.write_text(module.read_text() + "\nEDITED = 1\n")
    checkpoint, *shards = located()
    assert checkpoint == before[0]
    assert not {*shards} & {*before}

    shutil.copy(tmp_path / "there/letters" / TEST_LABELS, tmp_path / "there/letters" / TRAIN_LABELS)
    assert not {*located("there")} & {*located()}


@pytest.mark.parametrize(
    ("root", "sentence"),
    [
        ("~no_such_user/data", "data.root is '~no_such_user/data', expected a folder: "),
        ("/data/{x}", "data.root is /data/{x}/letters, expected a path without braces"),
    ],
)
def test_a_folder_of_data_that_cannot_be_is_named(root: str, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        planning.data_folder(replace(experiment(), data_root=root), ROOT)


def test_a_repository_in_a_folder_with_braces_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"the folder of the Snakefile is .*expected a path without"
    ):
        planning.read(EXPERIMENT, tmp_path / "{clone}")


def test_data_may_lie_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    found = planning.data_folder(replace(experiment(), data_root="~/data"), ROOT)
    assert found == Path("/home/somebody/data/letters")


def test_a_data_set_that_nobody_knows_is_refused_when_planning(tmp_path: Path) -> None:
    unknown = replace(experiment(), dataset="notadataset", data_root=str(tmp_path))
    with pytest.raises(InputError, match=r"data\.name is 'notadataset', expected a data set that"):
        planning.complete(unknown, ROOT)
