"""Checkpoints: written the same way every time, refused when they are not what they should be."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from gradatlas.core.errors import InputError
from gradatlas.core.files import check_digest, digest_path, file_digest, replace_file
from gradatlas.core.provenance import read_facts
from gradatlas.models.perceptron import Architecture, initial_parameters
from gradatlas.train.checkpoint import load_checkpoint, save_checkpoint

ARCHITECTURE = Architecture(6, (4,), 3)
SHAPES = ARCHITECTURE.parameters
FACTS = {
    "seed": 0,
    "momentum": 0.5,
    "model": {"hidden": [4]},
    "library_versions": {"a": "1"},
    "zebra": "é",
}

Weights = dict[str, NDArray[np.float32]]


@pytest.fixture
def weights() -> Weights:
    return initial_parameters(ARCHITECTURE, seed=1)


@pytest.fixture
def path(tmp_path: Path, weights: Weights) -> Path:
    target = tmp_path / "checkpoints" / "epoch1.safetensors"
    save_checkpoint(target, weights, FACTS)
    return target


def refusal(path: Path, shapes: dict[str, tuple[int, ...]] = SHAPES) -> str:
    """What the user reads."""
    with pytest.raises(InputError) as error:
        load_checkpoint(path, shapes)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_weights_facts_and_digest_come_back(path: Path, weights: Weights) -> None:
    checkpoint = load_checkpoint(path, SHAPES)

    assert list(checkpoint.weights) == list(SHAPES)
    for name, value in weights.items():
        np.testing.assert_array_equal(checkpoint.weights[name], value)
        assert checkpoint.weights[name].dtype == np.float32
        assert checkpoint.weights[name].flags.writeable
    assert checkpoint.facts == FACTS
    assert read_facts(path) == FACTS
    assert checkpoint.sha256 == file_digest(path) == check_digest(path)


def test_other_programs_read_it(path: Path, weights: Weights) -> None:
    found = load_file(path)

    assert found.keys() == weights.keys()
    np.testing.assert_array_equal(found["last.weight"], weights["last.weight"])


def test_the_bytes_depend_on_content_alone(path: Path, weights: Weights) -> None:
    again = path.with_name("again.safetensors")
    save_checkpoint(
        again, dict(reversed(weights.items())), dict(sorted(FACTS.items(), reverse=True))
    )

    assert again.read_bytes() == path.read_bytes()


def test_a_checkpoint_from_elsewhere_needs_no_digest(tmp_path: Path, weights: Weights) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file(weights, path)

    checkpoint = load_checkpoint(path, SHAPES)

    np.testing.assert_array_equal(checkpoint.weights["last.bias"], weights["last.bias"])
    assert checkpoint.facts == {}
    assert checkpoint.sha256 == file_digest(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "epoch2.safetensors")


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert "cannot be read as a safetensors checkpoint" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"PK\x03\x04" * 9, b"\xff" * 64])
def test_what_is_no_safetensors_file_is_refused(path: Path, content: bytes) -> None:
    replace_file(path, content, with_digest=True)

    assert "remove it, and the workflow trains it again" in refusal(path)


@pytest.mark.parametrize("length", [0, 7, 8, 100, -4, -1])
def test_a_truncated_file_is_refused(path: Path, length: int) -> None:
    content = path.read_bytes()[:length]
    path.write_bytes(content)
    assert "is damaged or was altered" in refusal(path)

    replace_file(path, content, with_digest=True)  # its digest is that of the truncated file
    assert "cannot be read as a safetensors checkpoint" in refusal(path)


def test_another_model_is_refused_with_both_shapes(path: Path) -> None:
    message = refusal(path, Architecture(6, (5,), 3).parameters)

    assert "(4, 6)" in message
    assert "(5, 6)" in message
    assert "belongs to another model" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(
    path: Path, weights: Weights, value: float
) -> None:
    weights["hidden1.bias"][2] = value
    save_checkpoint(path, weights, FACTS)

    assert "hidden1.bias of" in refusal(path)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_weights_of_another_type_are_refused(
    path: Path, weights: Weights, dtype: type[np.generic]
) -> None:
    save_file({name: value.astype(dtype) for name, value in weights.items()}, path)
    digest_path(path).unlink()

    assert "is not finite float32" in refusal(path)


def test_a_type_numpy_lacks_is_refused(path: Path) -> None:
    header = json.dumps({"last.bias": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}})
    content = len(header).to_bytes(8, "little") + header.encode() + bytes(6)
    replace_file(path, content, with_digest=True)

    assert "cannot be read as a safetensors checkpoint" in refusal(path)


def test_an_altered_weight_is_noticed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)

    assert f"{path} is damaged or was altered: its SHA-256 is" in refusal(path)


def test_facts_that_are_no_facts_are_none(tmp_path: Path, weights: Weights) -> None:
    for facts in ("{", "[1]", '"ab"'):
        save_file(weights, tmp_path / "foreign.safetensors", {"gradatlas": facts})

        assert read_facts(tmp_path / "foreign.safetensors") == {}


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"{}"])
def test_what_is_no_checkpoint_has_no_facts(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert read_facts(path) == {}

    path.unlink()
    assert read_facts(path) == {}


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_bytes_are_refused_and_without_a_digest_no_worse_than_that(
    path: Path, data: st.DataObject
) -> None:
    original = path.read_bytes()
    position = data.draw(st.integers(0, len(original) - 1))
    damage = data.draw(st.binary(min_size=1, max_size=8))
    damaged = path.with_name("damaged.safetensors")
    damaged.write_bytes(original[:position] + damage + original[position + len(damage) :])

    digest_path(damaged).write_bytes(digest_path(path).read_bytes())
    if damaged.read_bytes() != original:
        assert "is damaged or was altered" in refusal(damaged)

    digest_path(damaged).unlink()
    with suppress(InputError):
        load_checkpoint(damaged, SHAPES)
