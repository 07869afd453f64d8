"""The file format: names, types, shapes and attributes that writer and reader share.

``docs/archive-format.md`` describes the same for people.
"""

import json
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import metadata
from typing import Any

import h5py
import numpy as np

from gradatlas.core.settings import TrialRange

FORMAT = "gradatlas"
FORMAT_VERSION = 2
CONVENTIONS = "CF-1.11"
CHUNK_BYTES = 1 << 20

# More than HDF5 takes besides the data: for a file or group, and for each chunk.
_STRUCTURE_BYTES = 1 << 18
_CHUNK_STRUCTURE_BYTES = 128

# Written as trials come, in chunks; the scalars, a few numbers a trial, when all are there.
LARGE = ("gradient", "sample_index")
SCALARS = ("path_length", "sum_of_squares", "first_loss", "last_loss")

# Facts of a checkpoint that are attributes of their own.
_OF_CHECKPOINT = ("loss", "train_loss", "train_accuracy", "test_loss", "test_accuracy")

# One entry a trial.
DATASETS: dict[str, np.dtype[Any]] = {
    "gradient": np.dtype(np.float32),
    "sample_index": np.dtype(np.uint32),
    **dict.fromkeys(SCALARS, np.dtype(np.float64)),
}

LONG_NAMES = {
    "gradient": "gradient of the summed loss, added up over the minibatches of the trial",
    "path_length": "sum over the minibatches of the Euclidean norm of their gradient",
    "sum_of_squares": "sum over the minibatches of the squared Euclidean norm of their gradient",
    "first_loss": "mean loss of the first minibatch",
    "last_loss": "mean loss of the last minibatch",
    "sample_index": "index into the training set of each sample, in processing order",
    "trial": "number of the trial",
    "output": "output unit of the layer",
    "input": "input unit of the layer",
    "sample": "position of the sample in the trial",
    "batch_size": "samples of one minibatch",
}


def plain(value: Any) -> Any:  # noqa: ANN401 - HDF5 attributes are of any type
    """Python number or text for what h5py returns of an attribute.

    Example:
        >>> plain(np.int64(8)), plain("sgd")
        (8, 'sgd')
    """
    return value.item() if isinstance(value, np.generic) else value


def read_attributes(item: h5py.Group) -> dict[str, Any]:
    """Attributes of a file or group as Python numbers and texts."""
    return {name: plain(value) for name, value in item.attrs.items()}


def element(kind: str) -> dict[str, str | int]:
    """Attributes that every group and dataset has: what it is, by which version of the format."""
    return {"kind": kind, "format_version": FORMAT_VERSION}


def file_attributes(kind: str, title: str) -> dict[str, str | int]:
    """Root attributes that every archive file has."""
    return {"Conventions": CONVENTIONS, "title": title, "format": FORMAT, **element(kind)}


def project_attributes() -> dict[str, str]:
    """What wrote a file, in CF's words, and where it can be found, if the package says so."""
    package = metadata("gradient-atlas")
    addresses = package.get_all("Project-URL") or []
    source = {"source": f"Gradient Atlas {package['Version']}"}
    return {**source, **({"references": "; ".join(addresses)} if addresses else {})}


def checkpoint_attributes(facts: Mapping[str, Any]) -> dict[str, str | float]:
    """What a checkpoint says of itself, as attributes of the trials that start from it.

    Args:
        facts: As in the checkpoint; empty for one that was made elsewhere.

    Returns:
        The whole of it under ``checkpoint_facts``, as JSON, and what people look for under names
        of its own.
    """
    if not facts:
        return {}
    of_data = facts.get("normalisation", {})
    single = {name: facts[name] for name in _OF_CHECKPOINT if name in facts}
    scaled = {f"normalisation_{name}": value for name, value in of_data.items()}
    return {"checkpoint_facts": json.dumps(facts, sort_keys=True), **single, **scaled}


def dimension_names(tensor_shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of a stored tensor's dimensions: a weight has two, a bias one.

    Example:
        >>> dimension_names((10, 1024)), dimension_names((10,))
        (('output', 'input'), ('output',))
    """
    return ("output", "input")[: len(tensor_shape)]


def entry_shape(name: str, tensor_shape: tuple[int, ...], samples: int) -> tuple[int, ...]:
    """Shape of one trial's entry of a dataset.

    Example:
        >>> [entry_shape(name, (10, 1024), samples=512) for name in DATASETS][:3]
        [(10, 1024), (512,), ()]
    """
    return {"gradient": tensor_shape, "sample_index": (samples,)}.get(name, ())


def entry_dimensions(name: str, tensor_shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the dimensions of one trial's entry of a dataset."""
    return {"gradient": dimension_names(tensor_shape), "sample_index": ("sample",)}.get(name, ())


def chunk_shape(entry: tuple[int, ...], trials: int) -> tuple[int, ...]:
    """Chunk of 32-bit values near 1 MB: whole trials, or equal parts of a larger one's rows.

    Args:
        entry: Shape of one trial's entry.
        trials: Trials of the dataset.

    Example:
        >>> chunk_shape((10, 1024), trials=1000)  # 25 trials of 40 kB
        (25, 10, 1024)
        >>> chunk_shape((1000, 1024), trials=1000)  # a quarter of a trial of 4 MB
        (1, 250, 1024)
    """
    nbytes = 4 * math.prod(entry)
    if nbytes <= CHUNK_BYTES:
        return (min(trials, CHUNK_BYTES // nbytes), *entry)
    parts = min(entry[0], math.ceil(nbytes / CHUNK_BYTES))
    return (1, math.ceil(entry[0] / parts), *entry[1:])


def stored_bytes(trials: int, tensor_shape: tuple[int, ...], samples: int) -> int:
    """Bytes that trials and what describes them take in a file, at most.

    A writer reserves them before HDF5 knows of the file, and gives back what is left over.

    Example:
        A thousand tensors of 10 x 1024 with 1024 samples each are 45 MB of data:

        >>> data = 1000 * (4 * 10 * 1024 + 4 * 1024 + 4 * 8)
        >>> round(stored_bytes(1000, (10, 1024), 1024) / data, 2)
        1.01
    """
    # Scalars and coordinates have 8 bytes a number.
    total = _STRUCTURE_BYTES + 8 * (len(SCALARS) * trials + trials + sum(tensor_shape) + samples)
    for name in LARGE:
        shape = (trials, *entry_shape(name, tensor_shape, samples))
        chunk = chunk_shape(shape[1:], trials)
        parts = math.prod(map(math.ceil, np.divide(shape, chunk)))  # those at an edge are whole
        total += parts * (4 * math.prod(chunk) + _CHUNK_STRUCTURE_BYTES)
    return total


def add_coordinates(
    group: h5py.Group, trials: TrialRange, tensor_shape: tuple[int, ...], samples: int
) -> None:
    """Write what shards and groups share: trial, the tensor's dimensions and sample."""
    add_coordinate(group, "trial", range(trials.first, trials.last + 1))
    for name, length in zip(dimension_names(tensor_shape), tensor_shape, strict=True):
        add_coordinate(group, name, range(length))
    add_coordinate(group, "sample", range(samples))


def add_coordinate(group: h5py.Group, name: str, values: Sequence[int] | range) -> None:
    """Write a coordinate as a dimension scale."""
    dataset = group.create_dataset(name, data=np.asarray(values, dtype=np.int64))
    dataset.make_scale(name)
    describe(dataset, "coordinate")


def describe(dataset: h5py.Dataset, kind: str, dimensions: Sequence[str] = ()) -> None:
    """Give a dataset its kind, long name and unit, and attach the scales of its dimensions."""
    name = dataset.name.rpartition("/")[2]
    dataset.attrs.update({"long_name": LONG_NAMES[name], "units": "1", **element(kind)})
    # Coordinates are described too, without dimensions: theirs is the scale itself.
    for axis, dimension in zip(dataset.dims, dimensions, strict=False):
        axis.label = dimension
        axis.attach_scale(dataset.parent[dimension])
