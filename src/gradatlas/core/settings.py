"""What is measured, in frozen dataclasses: every setting, its unit and its meaning are said here.

``TrialSettings`` is the record of a set of trials. It goes whole into shards, statistics and
tables; nothing copies its fields one by one.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gradatlas.core.errors import InputError
from gradatlas.core.files import mapping_digest
from gradatlas.core.training import Training
from gradatlas.core.updates import Update, update_from, update_settings


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """The record of a set of trials: everything that determines what is measured in them."""

    protocol: str  # name of the protocol
    epoch: int  # epoch of the checkpoint that every trial starts from
    batch_size: int  # samples of one minibatch; the last one of a trial is the remainder
    update: Update  # what the weights do between minibatches
    samples_per_trial: int  # samples that a trial draws without replacement, N
    # number of sample sets that the trials share, trial k taking set k % sample_sets in an order of
    # its own; None: each trial draws samples of its own
    sample_sets: int | None = None
    parameter: str  # parameter whose gradient is stored, such as ``last.weight``
    seed: int  # seed of the trials' samples and their order
    training_seed: int  # seed of the training run: initial weights and order of samples
    dataset: str  # name of the data set
    training_samples: int  # samples of its training set, P; 0 until the data have been read
    # the network, as the configuration describes it; None in files of format version 1
    model: Mapping[str, Any] | None = field(hash=False)  # a mapping has no hash
    training: Training | None  # how the checkpoint was trained; None in files of format version 1
    # SHA-256 of the data set's files and of the code, each None in files that recorded none
    data_sha256: str | None = None
    training_code: str | None = None  # that made the checkpoint
    collection_code: str | None = None  # that made the tensors

    @property
    def batches_per_trial(self) -> int:
        """Minibatches of one trial, K = ceil(N / B), the remainder included."""
        return -(-self.samples_per_trial // self.batch_size)

    @property
    def shared(self) -> "TrialSettings":
        """What all trials of a protocol have in common, whatever epoch and batch size."""
        return replace(self, epoch=0, batch_size=0)

    @property
    def checkpoint(self) -> dict[str, Any]:
        """What the bytes of a training run's checkpoints depend on, whatever the epoch."""
        nested = to_mapping(self)
        return {name: nested[name] for name in _OF_CHECKPOINT}

    @property
    def checkpoint_key(self) -> str:
        """Eight hexadecimal digits of ``checkpoint``, by which its folder is named."""
        return mapping_digest(self.checkpoint)[:KEY_DIGITS]

    @property
    def key(self) -> str:
        """Eight hexadecimal digits of what the tensors of a protocol depend on.

        They name the folder of its shards, of any epoch and batch size.
        """
        nested = to_mapping(self)
        return mapping_digest({k: v for k, v in nested.items() if k not in _NOT_IN_KEY})[
            :KEY_DIGITS
        ]

    @property
    def digest(self) -> str:
        """SHA-256 of ``shared``, by which shards of one experiment and protocol are told."""
        return mapping_digest(to_mapping(self.shared))


KEY_DIGITS = 8
_OF_CHECKPOINT = (
    *("dataset", "data_sha256", "model", "training", "training_seed", "training_code"),
)
# The first three stand in the path beside the key; the last follows from the data.
_NOT_IN_KEY = {"protocol", "epoch", "batch_size", "training_samples"}

#: Fields that the keys of a protocol in the configuration set, beside ``update``.
PROTOCOL_FIELDS = ("samples_per_trial", "sample_sets")


def check_samples(settings: TrialSettings, available: int) -> None:
    """Raise InputError where the training set is too small to draw a trial's samples from."""
    if settings.samples_per_trial > available:
        raise InputError(
            f"samples_per_trial of protocol {settings.protocol} is {settings.samples_per_trial}, "
            f"expected at most {available}, the training samples of {settings.dataset}: a trial "
            "draws without replacement"
        )


def check_one_experiment(records: Iterable[TrialSettings]) -> None:
    """Refuse records that cannot stand in one table.

    Raises:
        InputError: Two of a protocol differ in more than epoch and batch size, or two protocols in
            more than what a protocol sets.
    """
    of_protocol = {"protocol", "update", *PROTOCOL_FIELDS}
    first: dict[str, TrialSettings] = {}
    for record in records:
        known = first.get(record.protocol)
        other = known or next(iter(first.values()), record)
        shared = vars(other.shared)
        for name, value in vars(record.shared).items():
            found = shared[name]
            if value != found and (known or name not in of_protocol):
                raise InputError(
                    f"{_place(record)} has {name} {value}, but {_place(other)} has {found}; "
                    "results of different experiments are not mixed, make one of them again"
                )
        first.setdefault(record.protocol, record)


def _place(record: TrialSettings) -> str:
    return f"protocol {record.protocol}, epoch {record.epoch}, batch size {record.batch_size}"


@dataclass(frozen=True)
class TrialRange:
    """Consecutive trials, such as those of one shard; ``last`` is included."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __len__(self) -> int:
        return self.last - self.first + 1


def to_mapping(settings: TrialSettings) -> dict[str, Any]:
    """The record as nested mappings that JSON can hold."""
    return {**asdict(settings), "update": update_settings(settings.update)}


def from_mapping(mapping: Mapping[str, Any]) -> TrialSettings:
    """Inverse of ``to_mapping``, also after JSON."""
    nested = {
        "update": update_from(mapping["update"]),
        "training": None if mapping["training"] is None else Training(**mapping["training"]),
    }
    return TrialSettings(**{**mapping, **nested})


def to_attributes(settings: TrialSettings) -> dict[str, str | int | float]:
    """The record as attributes of an HDF5 file.

    Returns:
        The whole of it under ``settings``, as JSON, and single fields under their own names for
        people to read; a field that is None has none.
    """
    nested = to_mapping(settings)
    whole = json.dumps(nested, sort_keys=True)
    update = nested.pop("update")
    flat = {**nested, "update": update.pop("name"), **update}
    single = {name: value for name, value in flat.items() if isinstance(value, str | int | float)}
    return {**single, "settings": whole}


# Those of format version 1 that stand as they are; a field that came later has its default there.
_FIRST_FIELDS = {
    *("protocol", "epoch", "batch_size", "samples_per_trial", "parameter", "seed", "dataset"),
    "training_samples",
}


def from_attributes(attributes: Mapping[str, Any]) -> TrialSettings:
    """Inverse of ``to_attributes``, also for files of format version 1.

    Those have single fields only. Files from before there were several training seeds lack
    ``training_seed``: it was the seed.

    Raises:
        KeyError: An attribute is missing.
    """
    if "settings" in attributes:
        return from_mapping(json.loads(attributes["settings"]))
    others = {
        "sample_sets": attributes.get("sample_sets"),
        "training_seed": attributes.get("training_seed", attributes["seed"]),
        "model": None,
        "training": None,
        "update": _first_update(attributes),
    }
    return from_mapping({name: attributes[name] for name in _FIRST_FIELDS} | others)


def _first_update(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Format version 1 gave every update a learning rate, 0 where the weights stay."""
    rate = {"learning_rate": attributes["learning_rate"]}
    return {"name": attributes["update"], **(rate if attributes["update"] == "sgd" else {})}
