"""Bad input to the real workflow: a sentence, no traceback, nothing started, nothing lost."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save

from gradatlas import planning
from gradatlas.core.files import replace_file
from tests.data.test_idx import TEST_LABELS, TRAIN_LABELS, write
from tests.workflow.smallest import ATLAS, CHECKPOINT, EXPERIMENT, SHARD, planned, run, set_up


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which nothing has run yet."""
    directory = tmp_path / "experiment"
    set_up(directory)
    return directory


@pytest.fixture
def copy(collected: Path, tmp_path: Path) -> Path:
    """A copy of an experiment with its atlas, in which files keep their times."""
    return Path(shutil.copytree(collected, tmp_path / "copy"))


def alter(path: Path) -> None:
    """Flip a bit near the end of a file."""
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but those of Snakemake itself."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".snakemake" not in path.parts
    }


def assert_refused_before_any_job(folder: Path, sentence: str, *arguments: str) -> None:
    before = contents(folder)

    status, output = run(folder, *arguments)

    assert status != 0
    assert re.search(rf"^(configuration|data): \S*{re.escape(sentence)}", output, re.MULTILINE)
    assert "Traceback" not in output
    assert " in file " not in output  # what Snakemake puts around an error
    assert "Select jobs to execute" not in output
    assert contents(folder) == before


def assert_job_refuses(folder: Path, target: str, sentence: str) -> None:
    status, output = run(folder, target)

    assert status != 0
    assert f"error: {sentence}" in output
    assert "Traceback" not in output
    assert not (folder / target).exists()
    assert not [*folder.rglob("*.partial")]


def test_a_wrong_value_is_named_before_any_job_starts(folder: Path) -> None:
    config = {**EXPERIMENT, "gradients": {**EXPERIMENT["gradients"], "batch_sizes": [5, 0]}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))

    assert_refused_before_any_job(
        folder, "gradients.batch_sizes.1 is 0, expected a value of at least 1"
    )


def test_a_file_that_is_no_configuration_is_named(folder: Path) -> None:
    (folder / "config.yaml").write_text("seed: 1\nmodel: {hidden: [1\n")

    sentence = "config.yaml, line 3 is not valid YAML: expected ','"
    assert_refused_before_any_job(folder, sentence)


def test_a_key_given_twice_in_an_overlay_is_named(folder: Path) -> None:
    overlay = folder / "overlay.yaml"
    overlay.write_text("seed: 1\nseed: 2\n")

    assert_refused_before_any_job(
        folder,
        f"{overlay}, line 2 is not valid YAML: seed is given twice",
        *("--configfile", str(overlay)),
    )


def test_a_data_set_with_a_file_missing_is_neither_fetched_nor_deleted(folder: Path) -> None:
    (folder / "letters" / TEST_LABELS).unlink()

    assert_refused_before_any_job(folder, f"letters/{TEST_LABELS} is missing; put the four IDX")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("seed: 017\n", "overlay.yaml, line 1: 017 would be read as the value 15"),
        ("seed: null\n", "seed is missing; it is needed: "),
        ("data: {root: '/tmp/{x}'}\n", "data.root is /tmp/{x}/letters, expected a path without"),
    ],
)
def test_what_an_overlay_gets_wrong_is_one_sentence(
    folder: Path, change: str, sentence: str
) -> None:
    overlay = folder / "overlay.yaml"
    overlay.write_text(change)
    assert_refused_before_any_job(folder, sentence, "--configfile", str(overlay))


def test_a_single_class_is_refused_before_training(folder: Path) -> None:
    write(folder / "letters" / TRAIN_LABELS, np.zeros(60, np.uint8))

    sentence = f"letters/{TRAIN_LABELS} has the label 0 alone, expected at least two classes"
    assert_refused_before_any_job(folder, sentence)


def test_a_label_out_of_range_ends_training_in_a_sentence(folder: Path) -> None:
    write(folder / "letters" / TEST_LABELS, np.full(20, 200, np.uint8))
    checkpoint = next(iter(planning.wanted_checkpoints(planned(folder))))

    sentence = f"letters/{TEST_LABELS} has the label 200, expected at most 2"
    assert_job_refuses(folder, checkpoint, sentence)


def test_weights_that_are_not_finite_end_collection_in_a_sentence(copy: Path) -> None:
    weights = load_file(copy / CHECKPOINT)
    weights["last.bias"] = np.full_like(weights["last.bias"], np.nan)
    replace_file(copy / CHECKPOINT, save(weights), with_digest=True)
    (copy / SHARD).unlink()

    assert_job_refuses(copy, SHARD, f"last.bias of {CHECKPOINT} is not finite float32")


def test_a_checkpoint_that_was_altered_ends_collection_in_a_sentence(copy: Path) -> None:
    alter(copy / CHECKPOINT)
    (copy / SHARD).unlink()

    assert_job_refuses(copy, SHARD, f"{CHECKPOINT} is damaged or was altered: its SHA-256 is ")


def test_a_shard_that_was_altered_ends_the_atlas_in_a_sentence(copy: Path) -> None:
    alter(copy / SHARD)
    (copy / ATLAS).unlink()

    assert_job_refuses(copy, ATLAS, f"{SHARD} is damaged or was altered: its ")
