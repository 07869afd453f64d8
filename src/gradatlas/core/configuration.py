"""The experiment as the configuration describes it, checked before any job starts."""

import json
import math
import re
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from jsonschema.validators import extend
from yaml.constructor import ConstructorError

from gradatlas.core.errors import InputError
from gradatlas.core.settings import PROTOCOL_FIELDS, TrialSettings
from gradatlas.core.training import Training
from gradatlas.core.updates import ALL_SETTINGS, Update, typed, update_from

LARGEST_INTEGER = 2**32 - 1  # of the seed, and of the sample indices as they are stored
LONGEST_VALUE = 200  # characters of a value that an error message shows
# As torchvision spells them.
DATA_SETS = (
    "MNIST",
    "FashionMNIST",
    "KMNIST",
    "QMNIST",
    "EMNIST",
    "CIFAR10",
    "CIFAR100",
    "SVHN",
    "STL10",
)
MOST_SHARDS = 100_000  # of one batch size; Snakemake plans no workflow of more jobs


@dataclass(frozen=True)
class Protocol:
    """The trials of one protocol, and how many of them are collected."""

    settings: TrialSettings  # their record, in which epoch and batch size are 0
    trials: int  # at each batch size and checkpoint
    batch_sizes: tuple[int, ...]  # ascending


@dataclass(frozen=True)
class Experiment:
    """Everything that is measured."""

    seed: int  # determines the samples of every trial
    # determine initial weights and order of training, one run each; ascending
    training_seeds: tuple[int, ...]
    device: Literal["auto", "cpu", "cuda"]  # ``auto``, ``cpu`` or ``cuda``
    dataset: str  # name of the data set
    data_root: str  # folder above that of its files
    model: Mapping[str, Any]  # the network, as the configuration describes it
    training: Training  # settings that all training runs share
    # epochs after which the weights are kept, ascending; 0 is the untrained network
    checkpoints: tuple[int, ...]
    parameter: str  # weight or bias whose gradient is stored
    trials_per_job: int  # most trials of a shard
    protocols: Mapping[str, Protocol]  # protocols by name

    def trial_settings(
        self, protocol: str, epoch: int, batch_size: int, training_seed: int
    ) -> TrialSettings:
        """The record of the trials of one protocol, epoch and batch size."""
        return replace(
            self.protocols[protocol].settings,
            epoch=epoch,
            batch_size=batch_size,
            training_seed=training_seed,
        )


def read_experiment(config: Mapping[str, Any], schema: Path) -> Experiment:
    """Check a configuration and return the experiment it describes.

    Args:
        config: The merged configuration, as YAML gives it.
        schema: JSON schema of the configuration, a YAML file.

    Raises:
        InputError: One sentence with the key, the value and what is allowed.
    """
    _check_values(config)
    validator = _Validator(yaml.safe_load(schema.read_text()))
    error = best_match(validator.iter_errors(config))
    if error is not None:
        raise InputError(_sentence(error))
    experiment = _build(config)
    _check_relations(experiment)
    return experiment


def _build(config: Mapping[str, Any]) -> Experiment:
    gradients = config["gradients"]
    return Experiment(
        seed=config["seed"],
        training_seeds=tuple(sorted(config.get("seeds", [config["seed"]]))),
        device=config["device"],
        dataset=canonical_name(config["data"]["name"]),
        data_root=config["data"]["root"],
        model=config["model"],
        training=_training(config),
        checkpoints=tuple(config["training"]["checkpoints"]),
        parameter=gradients["parameter"],
        trials_per_job=gradients["trials_per_job"],
        protocols={name: _protocol(name, config) for name in gradients["protocols"]},
    )


def canonical_name(dataset: str) -> str:
    """One name for every spelling of it: torchvision's if it is well known, else in lower case.

    Example:
        >>> canonical_name("mnist"), canonical_name("Letters")
        ('MNIST', 'letters')
    """
    return next((name for name in DATA_SETS if name.lower() == dataset.lower()), dataset.lower())


def _training(config: Mapping[str, Any]) -> Training:
    """The training settings; 0 and 0.0 are one of them, so that neither makes anything anew."""
    keys = config["training"]
    return Training(**{f.name: typed(f.name, keys[f.name], f.type) for f in fields(Training)})


def _protocol(name: str, config: Mapping[str, Any]) -> Protocol:
    """A protocol from its own keys, or those of gradients, and the settings of its update."""
    keys = {**config["gradients"], **config["gradients"]["protocols"][name]}
    settings = TrialSettings(
        protocol=name,
        epoch=0,
        batch_size=0,
        update=_update(name, config["gradients"]["protocols"][name]),
        **{key: keys[key] for key in PROTOCOL_FIELDS if key in keys},
        parameter=keys["parameter"],
        seed=config["seed"],
        training_seed=config["seed"],
        dataset=canonical_name(config["data"]["name"]),
        training_samples=0,
        model=config["model"],
        training=_training(config),
    )
    return Protocol(settings, keys["trials"], tuple(sorted(keys["batch_sizes"])))


def _update(protocol: str, keys: Mapping[str, Any]) -> Update:
    """The update of a protocol, whose settings are its keys that are not the protocol's own."""
    place, own = f"gradients.protocols.{protocol}", {"update", "trials", "batch_sizes"}
    settings = {key: keys[key] for key in keys if key not in own.union(PROTOCOL_FIELDS)}
    for key in sorted(settings.keys() - ALL_SETTINGS):
        expected = ", ".join(sorted(own.union(PROTOCOL_FIELDS, ALL_SETTINGS)))
        raise InputError(f"{place}.{key} is not a known key, expected one of: {expected}")
    try:
        return update_from({"name": keys["update"], **settings})
    except InputError as error:
        raise InputError(f"{place}.{error}") from error


def check_file(path: Path) -> dict[str, Any]:
    """What a configuration file holds: keys, none of them twice, with values as people read them.

    Raises:
        InputError: One sentence with the file, the line and what is wrong there.
        OSError: The file cannot be read.
    """
    try:
        content = _parsed(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        place = f"{path}, line {error.problem_mark.line + 1}" if error.problem_mark else f"{path}"
        is_valid = isinstance(error, _MisreadError)
        raise InputError(
            f"{place}{': ' if is_valid else ' is not valid YAML: '}{error.problem}"
        ) from error
    except (ValueError, RecursionError) as error:  # no text, a date such as 2020-99-99, nesting
        raise InputError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        found = "nothing, or comments alone" if content is None else _short(content)
        raise InputError(
            f"{path} holds {found}, expected keys with values; config.yaml of the repository "
            "shows every one"
        )
    return content


class _MisreadError(ConstructorError):
    """Valid YAML that is most likely not what was meant."""


def _parsed(text: str) -> object:
    """What Snakemake makes of a configuration file: JSON, or else YAML."""
    try:
        return json.loads(text, object_pairs_hook=_without_twins)
    except ValueError:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, whose keys are told apart as those of YAML are."""
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ConstructorError(None, None, f"{name} is given twice")
    return dict(pairs)


# Plain text, what YAML 1.1 makes of it, and what to write instead.
_MISREAD = {
    re.compile(r"[-+]?0[0-9_]+"): "write it without the zero in front",
    re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"): "write the number, or quotes",
    re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+"): "write it as in 1.0e-2",
    re.compile(r"(?i:yes|no|on|off)"): "write true or false, or quotes",
}


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice, of which YAML would silently take the last, and misread values."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401 - any
        value = super().construct_object(node, deep)
        if isinstance(node, yaml.ScalarNode) and node.style is None:
            _check_plain(node, value)
        return value


def _check_plain(node: yaml.ScalarNode, value: object) -> None:
    """Refuse plain text that YAML 1.1 reads otherwise than people do."""
    if isinstance(value, float) and ":" not in node.value:  # as 1.0e-2 is
        return
    for pattern, advice in _MISREAD.items():
        if pattern.fullmatch(node.value):
            kind = "the text" if isinstance(value, str) else "the value"
            raise _MisreadError(
                None,
                None,
                f"{node.value} would be read as {kind} {_short(value)}; {advice}",
                node.start_mark,
            )


def remove_nulls(config: MutableMapping[str, Any]) -> None:
    """Remove every key whose value is null, by which an overlay takes away what is below it.

    Args:
        config: The merged configuration, changed in place.

    Example:
        >>> config = {"seed": 0, "protocols": {"sgd": {"trials": 5}, "frozen": None}}
        >>> remove_nulls(config)
        >>> config
        {'seed': 0, 'protocols': {'sgd': {'trials': 5}}}
    """
    for name, value in [*config.items()]:
        if value is None:
            del config[name]
        elif isinstance(value, MutableMapping):
            remove_nulls(value)


def _items(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Every key and every value that is not a mapping or list, with its path."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            place = f"{key}.{name}" if key else str(name)
            yield f"a key of {key}" if key else "a key", name
            yield from _items(item, place)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _items(item, f"{key}.{index}")
    else:
        yield key, value


def _check_values(config: Mapping[str, Any]) -> None:
    """Refuse values that satisfy a JSON schema, or hide from it, and fail a job later.

    They are .nan and .inf, which pass every bound; integers no array or index can have; text with
    line ends, which a pattern's $ lets through, or with null bytes.
    """
    for key, value in _items(config):
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{key} is {value}, expected a finite number")
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise InputError(f"{key} is {_short(value)}, expected at most {LARGEST_INTEGER}")
        if isinstance(value, str) and not value.isprintable():
            raise InputError(f"{key} is {_short(value)}, expected printable text")


def _check_relations(experiment: Experiment) -> None:
    checkpoints = experiment.checkpoints
    if any(later <= earlier for earlier, later in pairwise(checkpoints)):
        raise InputError(
            f"training.checkpoints is {list(checkpoints)}, expected epochs in ascending order"
        )
    for protocol in experiment.protocols.values():
        _check_protocol(protocol, experiment.trials_per_job)


def _check_protocol(protocol: Protocol, trials_per_job: int) -> None:
    settings = protocol.settings
    key = f"gradients.protocols.{settings.protocol}"
    if protocol.batch_sizes[-1] > settings.samples_per_trial:
        raise InputError(
            f"batch size {protocol.batch_sizes[-1]} of {key} is larger than the "
            f"{settings.samples_per_trial} samples of a trial; expected at most samples_per_trial"
        )
    if settings.sample_sets and protocol.trials % settings.sample_sets:
        raise InputError(
            f"{key}.sample_sets is {settings.sample_sets}, expected a divisor of its "
            f"{protocol.trials} trials"
        )
    if protocol.trials > trials_per_job * MOST_SHARDS:
        raise InputError(
            f"gradients.trials_per_job is {trials_per_job}, expected at least "
            f"{-(-protocol.trials // MOST_SHARDS)} for the {protocol.trials} trials of {key}: "
            "a job for each would be too many"
        )


# JSON schema takes 2.0 for an integer and any YAML value for a key; paths and shapes do not.
_Validator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def _short(value: object) -> str:
    """What YAML gave, cut where it would fill the terminal."""
    # Python writes no integer of thousands of digits in decimal; YAML reads one in hexadecimal.
    text = hex(value) if isinstance(value, int) and abs(value) > LARGEST_INTEGER**9 else repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _sentence(error: Any) -> str:  # noqa: ANN401 - jsonschema types what it reports as unset
    """Say in one sentence which key breaks the schema, with what value, and what is allowed."""
    key = ".".join(str(part) for part in error.absolute_path)
    subject = f"a key of {key}" if "propertyNames" in error.absolute_schema_path else key
    place = f"{subject or 'the configuration'} is {_short(error.instance)}"
    properties = sorted(error.schema.get("properties", ()))
    match error.validator:
        case "additionalProperties":
            unknown = sorted(str(name) for name in set(error.instance) - set(properties))
            name = ".".join(filter(None, (key, unknown[0])))
            return f"{name} is not a known key, expected one of: {', '.join(properties)}"
        case "required":
            missing = sorted(set(error.validator_value) - set(error.instance))
            name = ".".join(filter(None, (key, missing[0])))
            described = error.schema["properties"][missing[0]]["description"]
            return f"{name} is missing; it is needed: {described}"
        case _:
            return f"{place}, expected {_expectation(error)}"


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
    "number": "a number, such as 0.01 or 1.0e-2 (YAML takes 1e-2 for text)",
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
