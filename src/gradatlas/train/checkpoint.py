"""Checkpoints: weights in safetensors, with what trained them as metadata."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from gradatlas.core.errors import InputError
from gradatlas.core.files import check_digest, file_digest, replace_file

FACTS = "gradatlas"  # one entry of metadata: safetensors writes several in an order of its own


@dataclass(frozen=True)
class Checkpoint:
    """Weights by parameter name, float32, the facts about the run, and the file's SHA-256."""

    weights: dict[str, NDArray[np.float32]]
    facts: dict[str, Any]
    sha256: str


def save_checkpoint(
    path: Path, weights: Mapping[str, NDArray[np.float32]], facts: Mapping[str, Any]
) -> None:
    """Write a checkpoint and its digest, byte-identical for equal weights and facts.

    Args:
        path: Target file; complete as soon as it stands under this name.
        weights: Parameters by name.
        facts: About the run; what JSON can hold.
    """
    contiguous = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    metadata = {FACTS: json.dumps(dict(facts), sort_keys=True)}
    replace_file(path, save(contiguous, metadata=metadata), with_digest=True)


def read_facts(path: Path) -> dict[str, Any]:
    """Facts about the run that made a checkpoint, without reading its weights.

    Returns:
        Empty where there is no checkpoint, or one that was made elsewhere.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(json.loads((file.metadata() or {}).get(FACTS, "{}")))
    except (OSError, SafetensorError, ValueError, TypeError):  # damage is told when it is loaded
        return {}


def load_checkpoint(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Checkpoint:
    """Read a checkpoint, compare it with the digest beside it, if any, and with the model.

    Args:
        path: The file.
        shapes: Of the model's parameters, by name, in the order in which they are to be returned.

    Raises:
        InputError: The file is missing, is no safetensors file, was altered, belongs to
            another model, or holds values that are not finite.
    """
    try:
        sha256 = check_digest(path, required=False) or file_digest(path)
        weights = load(path.read_bytes())
    except (OSError, SafetensorError, KeyError, TypeError) as error:  # of a dtype unknown to NumPy
        raise InputError(
            f"{path} cannot be read as a safetensors checkpoint ({error}); "
            "remove it, and the workflow trains it again"
        ) from error
    _check_weights(path, weights, shapes)
    ordered = {name: weights[name] for name in shapes}
    return Checkpoint(ordered, read_facts(path), sha256)


def _check_weights(
    path: Path, weights: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> None:
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
