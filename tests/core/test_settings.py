"""The record of a set of trials comes back whole from attributes and JSON, old files included."""

import json
import re
from dataclasses import fields, replace
from typing import Any

import h5py
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatlas.core.errors import InputError
from gradatlas.core.settings import (
    TrialRange,
    TrialSettings,
    check_one_experiment,
    from_attributes,
    from_mapping,
    to_attributes,
    to_mapping,
)
from gradatlas.core.training import Training, batches
from gradatlas.core.updates import SGD, Frozen
from tests.record import RECORD

SETTINGS = replace(
    RECORD,
    epoch=30,
    batch_size=7,
    seed=1,
    training_seed=2,
    model={"hidden": [64, 32]},
    training=Training(batch_size=1024, learning_rate=0.1, momentum=0.9),
)
COUNTS = st.integers(0, 2**32 - 1)
RATES = st.floats(1e-300, 1e300)
RECORDS = st.builds(
    TrialSettings,
    protocol=st.text(max_size=5),
    epoch=COUNTS,
    batch_size=COUNTS,
    update=st.builds(SGD, RATES) | st.builds(Frozen),
    samples_per_trial=COUNTS,
    sample_sets=st.none() | COUNTS,
    parameter=st.sampled_from(["last.weight", "hidden1.bias"]),
    seed=COUNTS,
    training_seed=COUNTS,
    dataset=st.text(max_size=5),
    training_samples=COUNTS,
    model=st.none() | st.dictionaries(st.text(max_size=3), st.lists(COUNTS, max_size=3)),
    training=st.none() | st.builds(Training, COUNTS, RATES, RATES),
    data_sha256=st.none() | st.text(max_size=5),
    training_code=st.none() | st.text(max_size=5),
    collection_code=st.none() | st.text(max_size=5),
)


@given(RECORDS)
def test_a_record_comes_back_from_attributes_and_from_json(settings: TrialSettings) -> None:
    assert from_attributes(to_attributes(settings)) == settings
    assert from_mapping(to_mapping(settings)) == settings
    assert from_mapping(json.loads(json.dumps(to_mapping(settings)))) == settings


@pytest.mark.parametrize("settings", [SETTINGS, replace(SETTINGS, model=None, training=None)])
def test_a_record_comes_back_from_an_hdf5_file(settings: TrialSettings) -> None:
    with h5py.File("record", "w", driver="core", backing_store=False) as file:
        file.attrs.update(to_attributes(settings))

        assert from_attributes(file.attrs) == settings


def test_attributes_show_single_fields_too_but_for_those_that_are_none() -> None:
    attributes = to_attributes(SETTINGS)

    assert attributes["update"] == "sgd"
    assert attributes["learning_rate"] == 0.01
    assert attributes["batch_size"] == 7
    assert "sample_sets" not in attributes
    assert to_attributes(replace(SETTINGS, sample_sets=4))["sample_sets"] == 4


def test_files_of_format_version_1_say_all_but_model_and_training() -> None:
    attributes = to_attributes(SETTINGS)
    del attributes["settings"]

    assert from_attributes(attributes) == replace(SETTINGS, model=None, training=None)


def test_files_from_before_several_training_seeds_were_trained_with_the_seed() -> None:
    attributes = to_attributes(SETTINGS)
    del attributes["settings"], attributes["training_seed"]

    assert from_attributes(attributes).training_seed == SETTINGS.seed


@pytest.mark.parametrize("name", ["update", "learning_rate", "seed"])
def test_an_attribute_that_is_missing_is_named(name: str) -> None:
    attributes = to_attributes(SETTINGS)
    del attributes["settings"], attributes[name]

    with pytest.raises(KeyError, match=name):
        from_attributes(attributes)


OTHER = TrialSettings(
    protocol="slow",
    epoch=2,
    batch_size=1,
    update=SGD(0.001),
    samples_per_trial=512,
    sample_sets=10,
    parameter="last.bias",
    seed=3,
    training_seed=3,
    dataset="KMNIST",
    training_samples=10_000,
    model={"hidden": [64]},
    training=Training(batch_size=1024, learning_rate=0.1, momentum=0.0),
    data_sha256="d",
    training_code="t",
    collection_code="c",
)


@pytest.mark.parametrize("name", [field.name for field in fields(TrialSettings)])
def test_the_digest_follows_every_field_but_epoch_and_batch_size(name: str) -> None:
    changed = replace(SETTINGS, **{name: getattr(OTHER, name)})

    assert (changed.digest == SETTINGS.digest) == (name in ("epoch", "batch_size"))


@pytest.mark.parametrize("name", [field.name for field in fields(TrialSettings)])
def test_the_key_of_the_tensors_follows_all_that_is_not_in_the_path_beside_it(name: str) -> None:
    changed = replace(SETTINGS, **{name: getattr(OTHER, name)})

    beside = ("protocol", "epoch", "batch_size", "training_samples")
    assert (changed.key == SETTINGS.key) == (name in beside)
    assert re.fullmatch("[0-9a-f]{8}", changed.key)


@pytest.mark.parametrize("name", [field.name for field in fields(TrialSettings)])
def test_the_key_of_a_checkpoint_follows_what_makes_it(name: str) -> None:
    changed = replace(SETTINGS, **{name: getattr(OTHER, name)})

    makes = ("dataset", "data_sha256", "model", "training", "training_seed", "training_code")
    assert (changed.checkpoint_key != SETTINGS.checkpoint_key) == (name in makes)
    assert {*changed.checkpoint} == {*makes}


def test_weights_move_unless_the_update_is_none() -> None:
    assert SGD(0.01).moves
    assert not Frozen().moves


@given(samples=st.integers(1, 200), batch_size=st.integers(1, 200))
def test_minibatches_cover_a_trial_and_the_last_is_the_remainder(
    samples: int, batch_size: int
) -> None:
    slices = [*batches(samples, batch_size)]
    settings = replace(SETTINGS, samples_per_trial=samples, batch_size=batch_size)

    assert [i for part in slices for i in range(part.start, part.stop)] == [*range(samples)]
    assert all(part.stop - part.start == batch_size for part in slices[:-1])
    assert len(slices) == settings.batches_per_trial


def test_a_range_counts_its_last_trial() -> None:
    assert str(TrialRange(20, 39)) == "20-39"
    assert len(TrialRange(20, 39)) == 20
    assert len(TrialRange(7, 7)) == 1


@pytest.mark.parametrize(
    "change",
    [{}, {"epoch": 2}, {"batch_size": 9}, {"protocol": "slow", "update": SGD(0.5)}],
)
def test_records_of_one_experiment_may_stand_in_one_table(change: dict[str, Any]) -> None:
    check_one_experiment([SETTINGS, replace(SETTINGS, **change), SETTINGS])


@pytest.mark.parametrize(
    "name", [name for name in vars(OTHER) if name not in ("protocol", "epoch", "batch_size")]
)
def test_records_of_two_experiments_may_not(name: str) -> None:
    other = replace(SETTINGS, batch_size=8, **{name: getattr(OTHER, name)})
    with pytest.raises(InputError, match=rf"batch size 8 has {name} .*not mixed") as error:
        check_one_experiment([SETTINGS, other])
    assert "batch size 7 has" in str(error.value)


def test_two_protocols_differ_in_what_a_protocol_sets_alone() -> None:
    still = replace(SETTINGS, protocol="still", update=Frozen(), sample_sets=4)
    check_one_experiment([SETTINGS, still])
    with pytest.raises(InputError, match=r"protocol still.* has seed 5"):
        check_one_experiment([SETTINGS, replace(still, seed=5)])
