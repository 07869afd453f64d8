"""The file format: names, shapes, chunks and attributes that writer and reader share.

``docs/archive-format.md`` describes the same for people.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gradatlas.sharding import TrialRange

FORMAT = "gradatlas"
FORMAT_VERSION = 1
CONVENTIONS = "CF-1.11"
SCALARS = ("path_length", "sum_of_squares", "first_loss", "last_loss")
CHECKSUMS = {"gradient": "gradient_checksum", "sample_index": "sample_index_checksum"}
ROW_DATASETS = (*CHECKSUMS, *SCALARS, *CHECKSUMS.values())
CHUNK_BYTES = 1 << 20

LONG_NAMES = {
    "gradient": "gradient of the summed loss, added up over the minibatches of the trial",
    "path_length": "sum over the minibatches of the Euclidean norm of their gradient",
    "sum_of_squares": "sum over the minibatches of the squared Euclidean norm of their gradient",
    "first_loss": "mean loss of the first minibatch",
    "last_loss": "mean loss of the last minibatch",
    "sample_index": "index into the training set of each sample, in processing order",
    "gradient_checksum": "weighted sum of the 32-bit words of the trial's gradient",
    "sample_index_checksum": "weighted sum of the trial's sample indices",
    "trial": "number of the trial",
    "output": "output unit of the layer",
    "input": "input unit of the layer",
    "sample": "position of the sample in the trial",
    "batch_size": "samples of one minibatch",
}


@dataclass(frozen=True)
class ShardAttributes:
    """Everything that identifies what a shard holds; the root attributes of its file.

    Attributes:
        protocol: Name of the protocol.
        update: What the weights do between minibatches, ``sgd`` or ``none``.
        epoch: Epoch of the checkpoint the trials start from.
        batch_size: Samples of one minibatch.
        samples_per_trial: Samples of one trial.
        sample_sets: Number of sample sets the trials share; None: each trial has its own.
        seed: Seed of the trials' samples.
        training_seed: Seed of the training run.
        learning_rate: Step size of update ``sgd``; 0 where the weights stay.
        parameter: Parameter whose gradient is stored, such as ``last.weight``.
        dataset: Name of the data set.
        training_samples: Samples of its training set, of which a trial draws without replacement.
        device: Device the trials ran on.
        experiment_digest: SHA-256 of all settings that determine the data, the same for all
            shards of one protocol.
        code_commit: Git commit of the code.
        library_versions: Versions of the libraries, by name.
        checkpoint_sha256: SHA-256 of the checkpoint file.
    """

    protocol: str
    update: str
    epoch: int
    batch_size: int
    samples_per_trial: int
    sample_sets: int | None
    seed: int
    training_seed: int
    learning_rate: float
    parameter: str
    dataset: str
    training_samples: int
    device: str
    experiment_digest: str
    code_commit: str
    library_versions: Mapping[str, str]
    checkpoint_sha256: str


def encode_attributes(attributes: ShardAttributes) -> dict[str, str | int | float]:
    """Attributes as HDF5 stores them; ``sample_sets`` is left out where trials share nothing."""
    stored = {field.name: getattr(attributes, field.name) for field in fields(attributes)}
    stored["library_versions"] = json.dumps(dict(attributes.library_versions), sort_keys=True)
    if attributes.sample_sets is None:
        del stored["sample_sets"]
    return stored


def read_attributes(item: h5py.Group) -> dict[str, Any]:
    """Attributes of a file or group as Python numbers and texts."""
    return {name: plain(value) for name, value in item.attrs.items()}


def decode_attributes(stored: Mapping[str, Any]) -> ShardAttributes:
    """Inverse of ``encode_attributes``, from what ``read_attributes`` returns.

    Files from before there were several training seeds lack ``training_seed``: it was the seed.

    Raises:
        KeyError: If an attribute is missing.
    """
    optional = {"sample_sets": None, "training_seed": stored["seed"]}
    values = {
        field.name: optional[field.name]
        if field.name in optional and field.name not in stored
        else stored[field.name]
        for field in fields(ShardAttributes)
    }
    values["library_versions"] = json.loads(values["library_versions"])
    return ShardAttributes(**values)


def plain(value: Any) -> Any:  # noqa: ANN401 - HDF5 attributes are of any type
    """Python number or text for what h5py returns of an attribute."""
    return value.item() if isinstance(value, np.generic) else value


def file_attributes(kind: str, title: str) -> dict[str, str | int]:
    """Root attributes that every archive file has."""
    return {
        "Conventions": CONVENTIONS,
        "title": title,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": kind,
    }


def dimension_names(tensor_shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of a stored tensor's dimensions: a weight has two, a bias one."""
    return ("output", "input")[: len(tensor_shape)]


def chunk_trials(tensor_shape: tuple[int, ...], samples: int) -> tuple[int, int]:
    """Trials in a chunk near 1 MB of ``gradient`` and of ``sample_index``.

    One is a multiple of the other, so that a writer can fill both in step.
    """
    gradient = max(1, CHUNK_BYTES // (4 * math.prod(tensor_shape)))
    index = max(1, CHUNK_BYTES // (4 * samples))
    if gradient > index:
        return gradient - gradient % index, index
    return gradient, index - index % gradient


def chunks(
    tensor_shape: tuple[int, ...], samples: int, trials: int
) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Chunks of ``gradient`` and ``sample_index``.

    A tensor above 1 MB is cut into equal parts of its rows.
    """
    gradient_trials, index_trials = chunk_trials(tensor_shape, samples)
    parts = min(tensor_shape[0], math.ceil(4 * math.prod(tensor_shape) / CHUNK_BYTES))
    rows = math.ceil(tensor_shape[0] / parts)
    gradient = (min(trials, gradient_trials), rows, *tensor_shape[1:])
    return gradient, (min(trials, index_trials), samples)


def write_attributes(item: h5py.HLObject, attributes: Mapping[str, str | int | float]) -> None:
    """Give a new object its attributes.

    What ``attrs`` does, in half the time: it need not ask whether they are there already.
    """
    scalar = h5py.h5s.create(h5py.h5s.SCALAR)
    for name, value in attributes.items():
        dtype = h5py.string_dtype() if isinstance(value, str) else np.asarray(value).dtype
        kind = h5py.h5t.py_create(dtype, logical=True)
        h5py.h5a.create(item.id, name.encode(), kind, scalar).write(np.asarray(value, dtype))


def add_coordinates(
    group: h5py.Group, trials: TrialRange, tensor_shape: tuple[int, ...], samples: int
) -> None:
    """Write what shards and groups share: trial, the tensor's dimensions and sample."""
    add_coordinate(group, "trial", range(trials.first, trials.last + 1))
    for name, length in zip(dimension_names(tensor_shape), tensor_shape, strict=True):
        add_coordinate(group, name, range(length))
    add_coordinate(group, "sample", range(samples))


def add_coordinate(group: h5py.Group, name: str, values: NDArray[np.integer[Any]] | range) -> None:
    """Write a coordinate as a dimension scale."""
    dataset = group.create_dataset(name, data=np.asarray(values, dtype=np.int64))
    dataset.make_scale(name)
    describe(dataset)


def describe(dataset: h5py.Dataset, scales: Sequence[h5py.Dataset] = ()) -> None:
    """Give a dataset its long name and unit, and attach the scales of its dimensions."""
    name = dataset.name.rpartition("/")[2]
    write_attributes(dataset, {"long_name": LONG_NAMES[name], "units": "1"})
    for axis, scale in zip(dataset.dims, scales, strict=False):
        axis.label = scale.name.rpartition("/")[2]
        axis.attach_scale(scale)
