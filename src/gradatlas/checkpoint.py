"""Checkpoints: weights in safetensors, with what trained them as metadata."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from gradatlas.errors import InputError
from gradatlas.model import Architecture
from gradatlas.replacing import replace_file

METADATA = "__metadata__"  # the header's entry for facts about the file, as safetensors has it
DIGEST = "content_sha256"
TRAINING_DIGEST = "training_digest"


class CheckpointError(InputError):
    """A checkpoint that cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights by parameter name, float32, and the metadata of the run that trained them."""

    weights: dict[str, NDArray[np.float32]]
    metadata: dict[str, str]
    sha256: str


def save_checkpoint(
    path: Path, weights: Mapping[str, NDArray[np.float32]], metadata: Mapping[str, str]
) -> None:
    """Write a checkpoint, byte-identical for equal weights and metadata, with its own digest.

    Args:
        path: Target file; complete as soon as it stands under this name.
        weights: Parameters by name.
        metadata: Facts about the run.
    """
    contiguous = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    header, data = _parts(save(contiguous, metadata=dict(metadata)))
    header[METADATA][DIGEST] = _digest(header, data)
    encoded = _canonical(header)
    encoded += b" " * (-len(encoded) % 8)
    replace_file(path, len(encoded).to_bytes(8, "little") + encoded + data)


def training_digest(path: Path) -> str | None:
    """What made a checkpoint, without reading its weights.

    Returns:
        The digest of settings and code that ``training.run`` recorded; None where there is no
        checkpoint, or one that names none.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get(TRAINING_DIGEST)
    except (OSError, SafetensorError):  # a damaged one is reported when it is loaded
        return None


def _parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data: safetensors is a 64-bit little-endian length, a JSON header, the data."""
    length = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:length]), content[length:]


def _canonical(header: Mapping[str, Any]) -> bytes:
    """The header with its keys in order; safetensors writes metadata in one that changes by run."""
    return json.dumps(header, sort_keys=True).encode()


def _digest(header: Mapping[str, Any], data: bytes) -> str:
    """SHA-256 of everything but the digest's own entry."""
    metadata = {key: value for key, value in header[METADATA].items() if key != DIGEST}
    return hashlib.sha256(_canonical({**header, METADATA: metadata}) + data).hexdigest()


def load_checkpoint(path: Path, architecture: Architecture) -> Checkpoint:
    """Read a checkpoint and check it against the model.

    A safetensors file from elsewhere may lack our digest; one of ours is checked against it.

    Raises:
        CheckpointError: The file is missing, is no safetensors file, was altered, belongs to
            another architecture, or holds values that are not finite.
    """
    try:
        content = path.read_bytes()
        weights = load(content)
        header, data = _parts(content)
    except (OSError, SafetensorError, KeyError, TypeError) as error:  # of a dtype unknown to NumPy
        raise CheckpointError(
            f"{path} cannot be read as a safetensors checkpoint ({error}); "
            "remove it, and the workflow trains it again"
        ) from error
    metadata = header.get(METADATA, {})
    if DIGEST in metadata and metadata[DIGEST] != _digest(header, data):
        raise CheckpointError(
            f"{path} was altered after it was written: its content does not match the digest in "
            "it; remove it, and the workflow trains it again"
        )
    _check_weights(path, weights, architecture)
    return Checkpoint(
        weights={name: weights[name] for name in architecture.parameters},
        metadata=metadata,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _check_weights(
    path: Path, weights: Mapping[str, NDArray[Any]], architecture: Architecture
) -> None:
    found = {name: value.shape for name, value in weights.items()}
    expected = architecture.parameters
    if found != expected:
        raise CheckpointError(
            f"{path} holds the parameters {found}, expected {expected}; "
            "it belongs to another model, train one for this configuration"
        )
    for name, value in weights.items():
        if value.dtype != np.float32 or not np.isfinite(value).all():
            raise CheckpointError(
                f"{name} of {path} is not finite float32 throughout; training diverged or the "
                "file is damaged, so lower training.learning_rate or remove the file"
            )
