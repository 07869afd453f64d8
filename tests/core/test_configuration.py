"""The configuration: what it refuses, in which words, and what it makes of the rest."""

import json
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from snakemake.utils import update_config

from gradatlas.core.configuration import (
    Experiment,
    check_file,
    read_experiment,
    remove_nulls,
)
from gradatlas.core.errors import InputError
from gradatlas.core.settings import check_samples, from_mapping, to_mapping
from gradatlas.core.updates import Frozen
from tests.mutations import mutated
from tests.record import RECORD

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
DEFAULT: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())

MISSING = object()


def changed(key: str, value: object) -> dict[str, Any]:
    """The default configuration with one value changed, or its key removed."""
    config = deepcopy(DEFAULT)
    *parents, name = key.split("/")
    section = config
    for parent in parents:
        section = section[parent]
    if value is MISSING:
        del section[name]
    else:
        section[name] = value
    return config


def sentence(config: dict[str, Any]) -> str:
    """What the user reads."""
    with pytest.raises(InputError) as error:
        read_experiment(config, SCHEMA)
    return str(error.value)


def test_the_default_experiment_has_three_protocols_with_their_own_trials() -> None:
    experiment = read_experiment(DEFAULT, SCHEMA)

    assert {name: p.trials for name, p in experiment.protocols.items()} == {
        "sgd": 1000,
        "frozen": 200,
        "sgd_reordered": 200,
    }
    assert len(experiment.protocols["sgd"].batch_sizes) == 15
    assert experiment.protocols["frozen"].batch_sizes == (1, 32, 1024)
    assert experiment.protocols["sgd"].settings.sample_sets is None
    assert experiment.protocols["sgd_reordered"].settings.sample_sets == 10
    assert experiment.checkpoints == (2, 30)


def test_the_record_of_a_protocol_s_trials_is_what_the_configuration_says() -> None:
    experiment = read_experiment(changed("seeds", [0, 4]), SCHEMA)

    assert experiment.trial_settings("sgd_reordered", 30, 32, 4) == replace(
        RECORD,
        protocol="sgd_reordered",
        epoch=30,
        batch_size=32,
        sample_sets=10,
        training_seed=4,
        training_samples=0,
    )
    assert experiment.trial_settings("frozen", 2, 1, 0).update == Frozen()


@pytest.mark.parametrize(
    ("key", "spellings"),
    [
        ("training/momentum", (0, 0.0)),
        ("training/learning_rate", (1, 1.0)),
        ("gradients/protocols/sgd/learning_rate", (2, 2.0)),
    ],
)
def test_a_number_is_one_setting_however_it_is_written(
    key: str, spellings: tuple[int, float]
) -> None:
    experiments = [read_experiment(changed(key, value), SCHEMA) for value in spellings]
    records = [str(to_mapping(item.trial_settings("sgd", 2, 1, 0))) for item in experiments]
    assert records[0] == records[1]
    assert str(experiments[0].training) == str(experiments[1].training)


def test_training_seeds_default_to_the_seed_and_their_order_changes_nothing() -> None:
    assert read_experiment(changed("seed", 5), SCHEMA).training_seeds == (5,)
    assert read_experiment(changed("seeds", [2, 0, 1]), SCHEMA).training_seeds == (0, 1, 2)


def test_every_key_of_the_schema_has_a_description() -> None:
    def nodes(schema: dict[str, Any]) -> list[dict[str, Any]]:
        children = [*schema.get("properties", {}).values()]
        if isinstance(schema.get("additionalProperties"), dict):
            children.append(schema["additionalProperties"])
        return [schema, *(node for child in children for node in nodes(child))]

    everything = nodes(yaml.safe_load(SCHEMA.read_text()))

    assert len(everything) > 30
    assert [node for node in everything if not node.get("description")] == []


def test_batch_sizes_are_sorted_so_that_their_order_in_the_file_changes_nothing() -> None:
    backwards = changed("gradients/batch_sizes", DEFAULT["gradients"]["batch_sizes"][::-1])

    assert read_experiment(backwards, SCHEMA) == read_experiment(DEFAULT, SCHEMA)


@pytest.mark.parametrize(
    ("key", "value", "key_named", "expectation"),
    [
        ("sede", 1, "sede is not a known key", "seed"),
        ("training/epochs", 1, "training.epochs is not a known key", "checkpoints"),
        (
            "gradients/protocols/sgd/trails",
            5,
            "gradients.protocols.sgd.trails is not a known key",
            "learning_rate, sample_sets",
        ),
        ("gradients/protocols/sgd/momentum", 1, "protocols.sgd.momentum is not", "update"),
        ("seed", MISSING, "seed is missing", "Root of every random number"),
        ("gradients/trials", MISSING, "gradients.trials is missing", "Trials at each"),
        ("seed", -1, "seed is -1", "at least 0"),
        ("seed", 2**32, "seed is 4294967296", "at most 4294967295"),
        ("seed", 0.0, "seed is 0.0", "a whole number"),
        ("seed", True, "seed is True", "a whole number"),
        ("seed", "0", "seed is '0'", "a whole number"),
        ("seed", None, "seed is None", "a whole number"),
        ("seeds", [], "seeds is []", "at least 1 entry"),
        ("seeds", [1, 0, 1], "seeds is [1, 0, 1]", "no value twice"),
        ("seeds", [0, -1], "seeds.1 is -1", "at least 0"),
        ("seeds", [2**32], "seeds.0 is 4294967296", "at most 4294967295"),
        ("seeds", 3, "seeds is 3", "a list"),
        ("seeds", None, "seeds is None", "a list"),
        ("seeds", {0: 1}, "seeds is {0: 1}", "a list"),
        ("seeds", "0, 1", "seeds is '0, 1'", "a list"),
        ("seeds", ["1"], "seeds.0 is '1'", "a whole number"),
        ("seeds", [0.0], "seeds.0 is 0.0", "a whole number"),
        ("seeds", [True], "seeds.0 is True", "a whole number"),
        ("device", "gpu", "device is 'gpu'", "auto, cpu, cuda"),
        ("data", "MNIST", "data is 'MNIST'", "keys with values"),
        ("data/name", "../MNIST", "data.name is '../MNIST'", "text that matches"),
        ("data/name", "MNIST\n", r"data.name is 'MNIST\n'", "printable text"),
        ("data/root", "", "data.root is ''", "at least 1 character"),
        ("data/root", "a\0b", r"data.root is 'a\x00b'", "printable text"),
        ("model/hidden", [], "model.hidden is []", "at least 1 entry"),
        ("model/hidden", [0], "model.hidden.0 is 0", "at least 1"),
        ("model/hidden", 1024, "model.hidden is 1024", "a list"),
        ("training/batch_size", 0, "training.batch_size is 0", "at least 1"),
        ("training/learning_rate", 0, "training.learning_rate is 0", "above 0"),
        ("training/learning_rate", float("nan"), "training.learning_rate is nan", "finite"),
        ("training/learning_rate", float("inf"), "training.learning_rate is inf", "finite"),
        ("training/learning_rate", "1e-2", "training.learning_rate is '1e-2'", "0.01 or 1.0e-2"),
        ("training/learning_rate", -0.1, "training.learning_rate is -0.1", "above 0"),
        ("training/momentum", 1, "training.momentum is 1", "below 1"),
        ("training/checkpoints", [30, 2], "training.checkpoints is [30, 2]", "ascending order"),
        ("training/checkpoints", [2, 2], "training.checkpoints is [2, 2]", "no value twice"),
        ("training/checkpoints", [-1], "training.checkpoints.0 is -1", "at least 0"),
        ("gradients/samples_per_trial", 0, "gradients.samples_per_trial is 0", "at least 1"),
        ("gradients/trials", 0, "gradients.trials is 0", "at least 1"),
        ("gradients/trials", 2**31, "gradients.trials_per_job is 1000", "at least 21475"),
        ("gradients/trials", -5, "gradients.trials is -5", "at least 1"),
        ("gradients/trials_per_job", 0, "gradients.trials_per_job is 0", "at least 1"),
        ("gradients/batch_sizes", [0], "gradients.batch_sizes.0 is 0", "at least 1"),
        ("gradients/batch_sizes", [8, -1], "gradients.batch_sizes.1 is -1", "at least 1"),
        ("gradients/batch_sizes", [4.0], "gradients.batch_sizes.0 is 4.0", "a whole number"),
        ("gradients/batch_sizes", [1, 1], "gradients.batch_sizes is [1, 1]", "no value twice"),
        ("gradients/batch_sizes", [1, 1025], "batch size 1025 of gradients.protocols.sgd", "1024"),
        ("gradients/batch_sizes", [], "gradients.batch_sizes is []", "at least 1 entry"),
        ("gradients/protocols", {}, "gradients.protocols is {}", "at least 1 entry"),
        ("gradients/protocols/a", None, "gradients.protocols.a is None", "keys with values"),
        ("gradients/protocols/a", {}, "gradients.protocols.a.update is missing", "sgd moves"),
        ("gradients/protocols/A", {"update": "none"}, "a key of gradients.protocols is 'A'", "^["),
        (
            "gradients/protocols",
            {1: {"update": "none"}},
            "a key of gradients.protocols is 1",
            "text",
        ),
        ("gradients/protocols/a", {"update": "adam"}, "a.update is 'adam'", "sgd, none"),
        ("gradients/protocols/a", {"update": "sgd"}, "a.learning_rate is missing", "needs it"),
        (
            "gradients/protocols/a",
            {"update": "none", "learning_rate": 1},
            "protocols.a.learning_rate is 1",
            "remove the key",
        ),
        ("gradients/protocols/a", {"update": 3}, "a.update is 3", "text"),
        (
            "gradients/protocols/sgd/learning_rate",
            float("nan"),
            "gradients.protocols.sgd.learning_rate is nan",
            "finite",
        ),
        (
            "gradients/protocols/sgd/sample_sets",
            7,
            "gradients.protocols.sgd.sample_sets is 7",
            "a divisor of its 1000 trials",
        ),
        ("gradients/protocols/sgd/samples_per_trial", 512, "batch size 1024", "512 samples"),
        ("statistics/max_order", 3, "statistics.max_order is 3", "at least 4"),
        ("statistics/confidence", 95, "statistics.confidence is 95", "below 1"),
        ("figures/formats", ["gif"], "figures.formats.0 is 'gif'", "svg, png, pdf"),
    ],
)
def test_a_wrong_value_gets_one_sentence_with_key_value_and_expectation(
    key: str, value: object, key_named: str, expectation: str
) -> None:
    message = sentence(changed(key, value))

    assert key_named in message
    assert expectation in message.partition(key_named)[2]
    assert "\n" not in message


def test_an_integer_too_long_for_decimals_is_refused_like_any_other() -> None:
    assert "seed is 0x1000" in sentence(changed("seed", 1 << 20000))


def test_a_long_value_is_cut() -> None:
    assert len(sentence(changed("data", ["MNIST"] * 1000))) < 400


def test_an_empty_configuration_says_which_key_is_missing() -> None:
    assert " is missing; it is needed: " in sentence({})


@settings(max_examples=80, deadline=None)
@given(mutated({**DEFAULT, "seeds": [0, 1]}))
def test_whatever_is_wrong_there_is_one_sentence_or_a_sound_experiment(
    config: dict[str, Any],
) -> None:
    outcome = experiment_or_sentence(config)

    if isinstance(outcome, str):
        assert len(outcome.splitlines()) == 1
    else:
        assert_sound(outcome)


def experiment_or_sentence(config: dict[str, Any]) -> Experiment | str:
    """Anything but a ``InputError`` goes through."""
    try:
        return read_experiment(config, SCHEMA)
    except InputError as error:
        return str(error)


def assert_sound(experiment: Experiment) -> None:
    """What jobs rely on."""
    assert all(a < b for a, b in pairwise(experiment.checkpoints))
    assert type(experiment.seed) is int
    assert all(a < b for a, b in pairwise(experiment.training_seeds))
    assert all(type(seed) is int for seed in experiment.training_seeds)
    for name, protocol in experiment.protocols.items():
        assert name == protocol.settings.protocol
        assert protocol.batch_sizes[0] >= 1
        assert protocol.batch_sizes[-1] <= protocol.settings.samples_per_trial
        assert protocol.trials % (protocol.settings.sample_sets or 1) == 0
        settings = experiment.trial_settings(name, 0, protocol.batch_sizes[0], experiment.seed)
        assert from_mapping(json.loads(json.dumps(to_mapping(settings)))) == settings
        assert len(settings.digest) == 64


def test_the_digest_follows_what_determines_tensors_and_nothing_else() -> None:
    def digest(key: str, value: object) -> str:
        experiment = read_experiment(changed(key, value), SCHEMA)
        return experiment.trial_settings("sgd", 2, 1, 0).digest

    original = digest("seed", 0)

    assert digest("gradients/trials", 5000) == original
    assert digest("gradients/batch_sizes", [9]) == original
    assert digest("training/checkpoints", [7]) == original
    assert digest("statistics/bootstrap", 100) == original
    assert digest("seed", 1) != original
    assert digest("model/hidden", [64]) != original
    assert digest("training/momentum", 0.9) != original
    assert digest("gradients/protocols/sgd/learning_rate", 0.1) != original


def test_a_trial_needs_no_more_samples_than_there_are() -> None:
    check_samples(replace(RECORD, samples_per_trial=60_000), 60_000)

    with pytest.raises(InputError, match=r"sgd is 60001, expected at most 60000.*MNIST"):
        check_samples(replace(RECORD, samples_per_trial=60_001), 60_000)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "holds nothing, or comments alone, expected keys with values"),
        (b"# seed: 1\n", "holds nothing, or comments alone, expected keys with values"),
        (b"- 1\n", "holds [1], expected keys with values"),
        (
            b"seed: 1\nmodel: {hidden: [1\ndata: 2\n",
            "line 3 is not valid YAML: expected ',' or ']'",
        ),
        (b"seed: 1\n\tdevice: cpu\n", "line 2 is not valid YAML"),
        (
            b"model:\n  hidden: [1]\nseed: 1\nseed: 2\n",
            "line 4 is not valid YAML: seed is given",
        ),
        (b"\xff\xfe\x00", "is not valid YAML: 'utf-8' codec"),
        (b"seed: 2020-99-99\n", "is not valid YAML: month must be"),
        (b"[" * 1100, "is not valid YAML: maximum recursion"),
    ],
)
def test_a_file_that_is_no_configuration_is_named_with_its_line(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)

    with pytest.raises(InputError) as error:
        check_file(path)

    assert str(error.value).startswith(str(path))
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("017", "the value 15; write it without the zero in front"),
        ("-010", "the value -8; write it without"),
        ("089", "the text '089'; write it without"),
        ("10:30", "the value 630; write the number, or quotes"),
        ("1:30.5", "the value 90.5; write the number"),
        ("1e-2", "the text '1e-2'; write it as in 1.0e-2"),
        ("1.5E3", "the text '1.5E3'; write it as in 1.0e-2"),
        ("No", "the value False; write true or false, or quotes"),
        ("on", "the value True; write true or false"),
    ],
)
@pytest.mark.parametrize("place", ["a: {}\n", "a: [7, {}]\n", "{}: 7\n", "a: {{b: {}}}\n"])
def test_what_yaml_reads_otherwise_than_people_is_refused(
    tmp_path: Path, text: str, read: str, place: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("seed: 1\n" + place.format(text))
    with pytest.raises(InputError) as error:
        check_file(path)
    assert str(error.value).startswith(f"{path}, line 2: {text} would be read as {read}")


@pytest.mark.parametrize(
    "text", ["0", "10", "0.5", "-0.25", "1.0e-2", ".5", "0x1f", "'017'", "'no'", '"1e-2"', "true"]
)
def test_what_yaml_and_people_read_alike_is_taken(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"a: [{text}]\n")
    assert check_file(path) == yaml.safe_load(path.read_text())


def test_json_is_taken_as_snakemake_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{\n\t"seed":\t1,\n\t"training": {"learning_rate": 1e-2}\n}\n')
    assert check_file(path) == {"seed": 1, "training": {"learning_rate": 0.01}}
    path.write_text('{"training": {"momentum": 0, "momentum": 1}}')
    with pytest.raises(InputError, match="momentum is given twice"):
        check_file(path)


def test_null_removes_what_stands_below() -> None:
    config: dict[str, Any] = deepcopy(DEFAULT)
    update_config(config, {"gradients": {"protocols": {"frozen": None}}})
    update_config(
        config,
        {"gradients": {"protocols": {"sgd": {"update": "none", "learning_rate": None}}}},
    )
    update_config(config, {"gradients": {"protocols": {"sgd_reordered": {"sample_sets": None}}}})
    remove_nulls(config)
    experiment = read_experiment(config, SCHEMA)
    assert sorted(experiment.protocols) == ["sgd", "sgd_reordered"]
    assert experiment.protocols["sgd"].settings.update == Frozen()
    assert experiment.protocols["sgd_reordered"].settings.sample_sets is None


def test_null_for_what_is_needed_says_that_it_is_missing() -> None:
    config: dict[str, Any] = {**deepcopy(DEFAULT), "seed": None}
    remove_nulls(config)
    assert sentence(config).startswith("seed is missing; it is needed: ")


def test_the_configurations_of_the_repository_are_files_to_read() -> None:
    for path in (ROOT / "config.yaml", ROOT / "tests" / "quick.yaml"):
        check_file(path)
