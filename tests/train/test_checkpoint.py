"""Checkpoints: written the same way every time, refused when they are not what they should be."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from gradatlas.core.errors import InputError
from gradatlas.models.perceptron import Architecture, initial_parameters
from gradatlas.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

ARCHITECTURE = Architecture(6, (4,), 3)
METADATA = {"seed": "0", "training": json.dumps({"momentum": 0.0}), "zebra": "é"}

Weights = dict[str, NDArray[np.float32]]


@pytest.fixture
def weights() -> Weights:
    return initial_parameters(ARCHITECTURE, seed=1)


@pytest.fixture
def path(tmp_path: Path, weights: Weights) -> Path:
    target = tmp_path / "checkpoints" / "epoch1.safetensors"
    save_checkpoint(target, weights, METADATA)
    return target


def refusal(path: Path, architecture: Architecture = ARCHITECTURE) -> str:
    """What the user reads."""
    with pytest.raises(InputError) as error:
        load_checkpoint(path, architecture)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_weights_and_metadata_come_back(path: Path, weights: Weights) -> None:
    checkpoint = load_checkpoint(path, ARCHITECTURE)

    assert list(checkpoint.weights) == list(ARCHITECTURE.parameters)
    for name, value in weights.items():
        np.testing.assert_array_equal(checkpoint.weights[name], value)
        assert checkpoint.weights[name].dtype == np.float32
        assert checkpoint.weights[name].flags.writeable
    assert {key: checkpoint.metadata[key] for key in METADATA} == METADATA


def test_other_programs_read_it(path: Path, weights: Weights) -> None:
    found = load_file(path)

    assert found.keys() == weights.keys()
    np.testing.assert_array_equal(found["last.weight"], weights["last.weight"])


def test_the_bytes_depend_on_content_alone(path: Path, weights: Weights) -> None:
    again = path.with_name("again.safetensors")
    save_checkpoint(
        again, dict(reversed(weights.items())), dict(sorted(METADATA.items(), reverse=True))
    )

    assert again.read_bytes() == path.read_bytes()


def test_a_checkpoint_from_elsewhere_needs_no_digest(tmp_path: Path, weights: Weights) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file(weights, path)

    checkpoint = load_checkpoint(path, ARCHITECTURE)

    np.testing.assert_array_equal(checkpoint.weights["last.bias"], weights["last.bias"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "epoch2.safetensors")


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert "cannot be read as a safetensors checkpoint" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"PK\x03\x04" * 9, b"\xff" * 64])
def test_what_is_no_safetensors_file_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    assert "remove it, and the workflow trains it again" in refusal(path)


@pytest.mark.parametrize("length", [0, 7, 8, 100, -4, -1])
def test_a_truncated_file_is_refused(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])

    assert "cannot be read as a safetensors checkpoint" in refusal(path)


def test_another_architecture_is_refused_with_both_shapes(path: Path) -> None:
    message = refusal(path, Architecture(6, (5,), 3))

    assert "(4, 6)" in message
    assert "(5, 6)" in message
    assert "belongs to another model" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(
    path: Path, weights: Weights, value: float
) -> None:
    weights["hidden1.bias"][2] = value
    save_checkpoint(path, weights, METADATA)

    assert "hidden1.bias of" in refusal(path)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_weights_of_another_type_are_refused(
    path: Path, weights: Weights, dtype: type[np.generic]
) -> None:
    save_file({name: value.astype(dtype) for name, value in weights.items()}, path)

    assert "is not finite float32" in refusal(path)


def test_a_type_numpy_lacks_is_refused(path: Path) -> None:
    header = json.dumps({"last.bias": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}})
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(6))

    assert "cannot be read as a safetensors checkpoint" in refusal(path)


def test_an_altered_weight_is_noticed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)

    assert "was altered after it was written" in refusal(path)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_bytes_are_refused_or_leave_the_weights_alone(
    path: Path, weights: Weights, data: st.DataObject
) -> None:
    original = path.read_bytes()
    position = data.draw(st.integers(0, len(original) - 1))
    damage = data.draw(st.binary(min_size=1, max_size=8))
    content = original[:position] + damage + original[position + len(damage) :]
    damaged = path.with_name("damaged.safetensors")
    damaged.write_bytes(content)

    outcome = checkpoint_or_sentence(damaged)

    if isinstance(outcome, str):
        assert str(damaged) in outcome
    else:
        for name, value in weights.items():
            np.testing.assert_array_equal(outcome.weights[name], value)


def checkpoint_or_sentence(path: Path) -> Checkpoint | str:
    """Anything but a ``InputError`` goes through."""
    try:
        return load_checkpoint(path, ARCHITECTURE)
    except InputError as error:
        return str(error)
