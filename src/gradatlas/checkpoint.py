"""Checkpoints: weights in safetensors, with what trained them as metadata."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from gradatlas.errors import InputError
from gradatlas.model import Architecture
from gradatlas.provenance import file_digest
from gradatlas.replacing import replace_file


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
    """Write a checkpoint, byte-identical for equal weights and metadata.

    Args:
        path: Target file; complete as soon as it stands under this name.
        weights: Parameters by name.
        metadata: Facts about the run.
    """
    contiguous = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    replace_file(path, _sort_header(save(contiguous, metadata=dict(metadata))))


def _sort_header(content: bytes) -> bytes:
    """Put the header's keys in order: safetensors writes metadata in one that changes by run.

    The format is a little-endian 64-bit length, a JSON header padded with spaces, and the data.
    """
    length = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:length]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[length:]


def load_checkpoint(path: Path, architecture: Architecture) -> Checkpoint:
    """Read a checkpoint and check it against the model.

    Raises:
        CheckpointError: The file is missing, is no safetensors file, belongs to another
            architecture, or holds values that are not finite.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a safetensors checkpoint ({error}); "
            "remove it, and the workflow trains it again"
        ) from error
    _check_weights(path, weights, architecture)
    return Checkpoint(
        weights={name: weights[name] for name in architecture.parameters},
        metadata=metadata,
        sha256=file_digest(path),
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
