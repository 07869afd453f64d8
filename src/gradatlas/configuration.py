"""The experiment as the configuration describes it, checked before any job starts."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from gradatlas.errors import InputError
from gradatlas.provenance import mapping_digest


class ConfigurationError(InputError):
    """A value of the configuration that cannot be used; the message names key, value and remedy."""


@dataclass(frozen=True)
class Training:
    """The training run; ``checkpoints`` are epochs in ascending order."""

    batch_size: int
    learning_rate: float
    momentum: float
    checkpoints: tuple[int, ...]


@dataclass(frozen=True)
class Protocol:
    """What the weights do between the minibatches of a trial, and which trials are collected.

    ``sample_sets`` is None where every trial draws samples of its own.
    """

    name: str
    update: Literal["sgd", "none"]
    learning_rate: float
    samples_per_trial: int
    trials: int
    sample_sets: int | None
    batch_sizes: tuple[int, ...]


@dataclass(frozen=True)
class Experiment:
    """Everything that is measured."""

    seed: int
    device: Literal["auto", "cpu", "cuda"]
    dataset: str
    data_root: str
    hidden: tuple[int, ...]
    training: Training
    parameter: str
    trials_per_job: int
    protocols: Mapping[str, Protocol]

    def collection(self, protocol: str) -> "Collection":
        """What determines the tensors of a protocol at a given epoch, batch size and trial."""
        chosen = self.protocols[protocol]
        return Collection(
            seed=self.seed,
            dataset=self.dataset,
            hidden=self.hidden,
            training_batch_size=self.training.batch_size,
            training_learning_rate=self.training.learning_rate,
            training_momentum=self.training.momentum,
            parameter=self.parameter,
            protocol=protocol,
            update=chosen.update,
            learning_rate=chosen.learning_rate,
            samples_per_trial=chosen.samples_per_trial,
            sample_sets=chosen.sample_sets,
        )


@dataclass(frozen=True)
class Collection:
    """The part of an experiment that determines the tensors of one protocol.

    Numbers of trials, batch sizes and checkpoints are not part of it: an experiment can grow by
    them without touching what is already collected.
    """

    seed: int
    dataset: str
    hidden: tuple[int, ...]
    training_batch_size: int
    training_learning_rate: float
    training_momentum: float
    parameter: str
    protocol: str
    update: Literal["sgd", "none"]
    learning_rate: float
    samples_per_trial: int
    sample_sets: int | None

    @property
    def digest(self) -> str:
        """SHA-256 that two shards share if they belong to one experiment and protocol."""
        return mapping_digest(asdict(self))


def read_experiment(config: Mapping[str, Any], schema: Path) -> Experiment:
    """Check a configuration and return the experiment it describes.

    Args:
        config: The merged configuration, as YAML gives it.
        schema: JSON schema of the configuration, a YAML file.

    Raises:
        ConfigurationError: One sentence with the key, the value and what is allowed.
    """
    validator = Draft202012Validator(yaml.safe_load(schema.read_text()))
    error = best_match(validator.iter_errors(config))
    if error is not None:
        raise ConfigurationError(_sentence(error))
    _check_finite(config, "")
    experiment = _build(config)
    _check_relations(experiment)
    return experiment


def _build(config: Mapping[str, Any]) -> Experiment:
    gradients = config["gradients"]
    return Experiment(
        seed=config["seed"],
        device=config["device"],
        dataset=config["data"]["name"],
        data_root=config["data"]["root"],
        hidden=tuple(config["model"]["hidden"]),
        training=Training(
            **{**config["training"], "checkpoints": tuple(config["training"]["checkpoints"])}
        ),
        parameter=gradients["parameter"],
        trials_per_job=gradients["trials_per_job"],
        protocols={
            name: _protocol(name, {**_protocol_defaults(gradients), **settings})
            for name, settings in gradients["protocols"].items()
        },
    )


def _protocol_defaults(gradients: Mapping[str, Any]) -> dict[str, Any]:
    return {key: gradients[key] for key in ("trials", "samples_per_trial", "batch_sizes")}


def _protocol(name: str, settings: Mapping[str, Any]) -> Protocol:
    key = f"gradients.protocols.{name}.learning_rate"
    moves = settings["update"] == "sgd"
    if moves and "learning_rate" not in settings:
        raise ConfigurationError(f"{key} is missing; update sgd needs a step size, such as 0.01")
    if not moves and "learning_rate" in settings:
        raise ConfigurationError(
            f"{key} is {settings['learning_rate']}, but update none takes no step; remove the key"
        )
    return Protocol(
        name=name,
        update=settings["update"],
        learning_rate=float(settings.get("learning_rate", 0.0)),
        samples_per_trial=settings["samples_per_trial"],
        trials=settings["trials"],
        sample_sets=settings.get("sample_sets"),
        batch_sizes=tuple(sorted(settings["batch_sizes"])),
    )


def _check_finite(value: object, key: str) -> None:
    """Refuse .nan and .inf, which satisfy every bound of a JSON schema or hide from it."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            _check_finite(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigurationError(f"{key} is {value}, expected a finite number")


def _check_relations(experiment: Experiment) -> None:
    checkpoints = experiment.training.checkpoints
    if any(later <= earlier for earlier, later in pairwise(checkpoints)):
        raise ConfigurationError(
            f"training.checkpoints is {list(checkpoints)}, expected epochs in ascending order"
        )
    layer = experiment.parameter.partition(".")[0]
    layers = [*(f"hidden{n + 1}" for n in range(len(experiment.hidden))), "last"]
    if layer not in layers:
        raise ConfigurationError(
            f"gradients.parameter is {experiment.parameter!r}, expected a weight or bias of one "
            f"of the model's layers: {', '.join(layers)}"
        )
    for protocol in experiment.protocols.values():
        _check_protocol(protocol)


def _check_protocol(protocol: Protocol) -> None:
    key = f"gradients.protocols.{protocol.name}"
    if protocol.batch_sizes[-1] > protocol.samples_per_trial:
        raise ConfigurationError(
            f"batch size {protocol.batch_sizes[-1]} of {key} is larger than the "
            f"{protocol.samples_per_trial} samples of a trial; expected at most samples_per_trial"
        )
    if protocol.sample_sets and protocol.trials % protocol.sample_sets:
        raise ConfigurationError(
            f"{key}.sample_sets is {protocol.sample_sets}, expected a divisor of its "
            f"{protocol.trials} trials"
        )


def _sentence(error: Any) -> str:  # noqa: ANN401 - jsonschema types what it reports as unset
    """Say in one sentence which key breaks the schema, with what value, and what is allowed."""
    key = ".".join(str(part) for part in error.absolute_path)
    place = f"{key} is {error.instance!r}"
    properties = sorted(error.schema.get("properties", ()))
    match error.validator:
        case "additionalProperties":
            unknown = sorted(str(name) for name in set(error.instance) - set(properties))
            name = ".".join(filter(None, (key, unknown[0])))
            return f"{name} is not a known key, expected one of: {', '.join(properties)}"
        case "required":
            missing = sorted(set(error.validator_value) - set(error.instance))
            name = ".".join(filter(None, (key, missing[0])))
            return f"{name} is missing; {_describe(error.schema['properties'][missing[0]])}"
        case _:
            return f"{place or 'the configuration'}, expected {_expectation(error)}"


def _describe(schema: Mapping[str, Any]) -> str:
    return f"it is needed: {schema['description']}"


_EXPECTATIONS = {
    "minimum": "a value of at least {}",
    "maximum": "a value of at most {}",
    "exclusiveMinimum": "a value above {}",
    "exclusiveMaximum": "a value below {}",
    "minItems": "at least {} entry",
    "minProperties": "at least {} entry",
    "minLength": "at least {} character",
    "pattern": "text that matches {}",
}

_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "keys with values",
}


def _expectation(error: Any) -> str:  # noqa: ANN401 - as above
    validator, value = str(error.validator), error.validator_value
    if validator == "type":
        return _TYPES[value]
    if validator == "enum":
        return "one of: " + ", ".join(map(str, value))
    if validator == "uniqueItems":
        return "no value twice"
    return _EXPECTATIONS[validator].format(value)
