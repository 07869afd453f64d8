"""Checkpoints: weights in safetensors, with what trained them as metadata."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from gradatlas.core.errors import InputError
from gradatlas.core.files import (
    check_digest,
    file_digest,
    has_digest,
    replace_file,
    stored_digest,
)
from gradatlas.core.provenance import FACTS, read_facts

Arrays = Mapping[str, NDArray[np.float32]]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Checkpoint:
    """Weights by parameter name, float32, the facts about the run, and the file's SHA-256."""

    weights: dict[str, NDArray[np.float32]]
    facts: dict[str, Any]
    sha256: str


def table_path(checkpoint: Path) -> Path:
    """The table of all epochs up to a checkpoint.

    Example:
        >>> table_path(Path("epoch2.safetensors")).name
        'epoch2.csv'
    """
    return checkpoint.with_suffix(".csv")


def optimizer_path(checkpoint: Path) -> Path:
    """What the optimizer remembers at a checkpoint.

    Example:
        >>> optimizer_path(Path("epoch2.safetensors")).name
        'epoch2.optimizer.safetensors'
    """
    return checkpoint.with_suffix(f".optimizer{checkpoint.suffix}")


def save_checkpoint(path: Path, weights: Arrays, facts: Mapping[str, Any]) -> None:
    """Write a checkpoint and its digest, byte-identical for equal weights and facts.

    Args:
        path: Target file; complete as soon as it stands under this name.
        weights: Parameters by name.
        facts: About the run; what JSON can hold.
    """
    contiguous = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    metadata = {FACTS: json.dumps(dict(facts), sort_keys=True)}
    replace_file(path, save(contiguous, metadata=metadata), with_digest=True)


def check_facts(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that another run made; one without facts was made elsewhere.

    Args:
        path: The checkpoint.
        found: Its ``facts``.
        expected: ``TrialSettings.checkpoint`` of the run that is meant.

    Raises:
        InputError: Names the first fact that differs.
    """
    stored = found.get("facts", expected)
    for name, value in expected.items():
        if stored.get(name) != value:
            raise InputError(
                f"{path} was made with {name} {stored.get(name)}, expected {value}; restore the "
                "checkpoint that belongs there, or remove it to train it again"
            )


def is_whole_checkpoint(path: Path, *, momentum: bool) -> bool:
    """Whether a checkpoint and all that training writes beside it are there in full length.

    Args:
        path: The checkpoint.
        momentum: Whether its optimizer remembers something.
    """
    try:
        *_, last, end = table_path(path).read_text().split("\n")
    except (OSError, ValueError):  # missing, no text, or no line that ends
        return False
    files = [path, optimizer_path(path)] if momentum else [path]
    is_last = end == "" and last.startswith(f"{path.stem.removeprefix('epoch')},")
    return is_last and all(is_whole(file) and has_digest(file) for file in files)


def is_whole(path: Path) -> bool:
    """Whether a safetensors file has the length that its header announces; nothing else is read."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > path.stat().st_size:
                return False
            entries = json.loads(file.read(length))
    except (OSError, ValueError):
        return False
    ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    return path.stat().st_size == 8 + length + max(ends, default=0)


def read_arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    """What a file of ``save_checkpoint`` holds, compared with the digest beside it.

    Raises:
        InputError: The file is missing, damaged or was altered.
    """
    try:
        check_digest(path, required=False)
        return dict(load(path.read_bytes()))
    except (OSError, SafetensorError, KeyError, TypeError) as error:  # of a dtype unknown to NumPy
        raise InputError(
            f"{path} cannot be read as a safetensors checkpoint ({error}); "
            "remove it, and the workflow trains it again"
        ) from error


def load_checkpoint(path: Path, shapes: Shapes) -> Checkpoint:
    """Read a checkpoint, compare it with the digest beside it, if any, and with the model.

    Args:
        path: The file.
        shapes: Of the model's parameters, by name, in the order in which they are to be returned.

    Raises:
        InputError: The file is missing, is no safetensors file, was altered, belongs to
            another model, or holds values that are not finite.
    """
    weights = read_arrays(path)
    sha256 = stored_digest(path) or file_digest(path)
    _check_weights(path, weights, shapes)
    ordered = {name: weights[name] for name in shapes}
    return Checkpoint(ordered, read_facts(path), sha256)


def _check_weights(path: Path, weights: Mapping[str, NDArray[Any]], shapes: Shapes) -> None:
    found = {name: value.shape for name, value in weights.items()}
    if found != shapes:
        raise InputError(
            f"{path} holds the parameters {found}, expected {dict(shapes)}; "
            "it belongs to another model, train one for this configuration"
        )
    for name, value in weights.items():
        if value.dtype != np.float32 or not np.isfinite(value).all():
            raise InputError(
                f"{name} of {path} is not finite float32 throughout; training diverged or the "
                "file is damaged, so lower training.learning_rate or remove the file"
            )
