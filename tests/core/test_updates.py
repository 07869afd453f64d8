"""Update rules against torch.optim, and their settings."""

import json
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import pytest
import torch

from gradatlas.core.errors import InputError
from gradatlas.core.settings import TrialSettings
from gradatlas.core.training import Parameters
from gradatlas.core.updates import (
    ALL_SETTINGS,
    SGD,
    UPDATES,
    Frozen,
    Update,
    update_from,
    update_settings,
)

SHAPES = {"weight": (3, 4), "bias": (3,)}


def gradients(steps: int) -> list[dict[str, torch.Tensor]]:
    random = torch.Generator().manual_seed(0)
    return [
        {
            name: torch.randn(shape, generator=random, dtype=torch.float64)
            for name, shape in SHAPES.items()
        }
        for _ in range(steps)
    ]


def test_sgd_takes_the_steps_of_torch_s() -> None:
    start = {name: torch.ones(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    parameters = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
    optimizer = torch.optim.SGD(parameters.values(), lr=0.3, foreach=False)
    update = SGD(0.3)
    params: Parameters = start
    state = update.init(start)
    for gradient in gradients(5):
        for name, parameter in parameters.items():
            parameter.grad = gradient[name]
        optimizer.step()
        params, state = update.step(params, gradient, state)
        for name, parameter in parameters.items():
            torch.testing.assert_close(params[name], parameter.detach(), rtol=1e-15, atol=1e-15)
    assert all(torch.equal(value, torch.ones(SHAPES[name])) for name, value in start.items())


def test_frozen_weights_stay_the_same_objects() -> None:
    params = {"weight": torch.ones(2)}
    update: Update = Frozen()
    assert update.step(params, gradients(1)[0], update.init(params))[0] is params


@pytest.mark.parametrize("update", [SGD(0.25), Frozen()])
def test_settings_come_back(update: Update) -> None:
    assert update_from(update_settings(update)) == update
    assert UPDATES[update.name] is type(update)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "adagrad"}, "update is 'adagrad', expected one of: sgd, none"),
        ({"name": "sgd"}, "learning_rate is missing; update sgd needs it"),
        ({"name": "none", "learning_rate": 1}, "learning_rate is 1, but update none"),
        ({"name": "sgd", "learning_rate": 1.0, "speed": 2}, "speed is 2, but update sgd"),
        ({"name": "sgd", "learning_rate": "1e-2"}, "learning_rate is '1e-2', expected a number"),
        ({"name": "sgd", "learning_rate": True}, "learning_rate is True, expected a number"),
        ({"name": "sgd", "learning_rate": 0}, "learning_rate is 0.0, expected a value above 0"),
        ({"name": "sgd", "learning_rate": float("nan")}, "learning_rate is nan, expected a value"),
    ],
)
def test_settings_that_no_rule_has_are_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as error:
        update_from(settings)
    assert str(error.value).startswith(expected)


def test_a_whole_number_is_the_same_setting() -> None:
    assert update_settings(update_from({"name": "sgd", "learning_rate": 1})) == {
        "name": "sgd",
        "learning_rate": 1.0,
    }


@dataclass(frozen=True)
class Elaborate:
    """A rule with settings of every type."""

    name: ClassVar[str] = "elaborate"
    moves: ClassVar[bool] = True

    betas: tuple[float, float]
    steps: int
    nesterov: bool = False
    kind: str = "plain"

    init, step = SGD.init, SGD.step


def test_settings_of_every_type_come_back_from_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UPDATES, "elaborate", Elaborate)
    update = update_from({"name": "elaborate", "betas": [0, 0.5], "steps": 3, "nesterov": True})
    assert update == Elaborate((0.0, 0.5), 3, nesterov=True)
    again = update_from(json.loads(json.dumps(update_settings(update))))
    assert again == update
    assert hash(again) == hash(update)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"betas": ["x", 1]}, "betas is 'x', expected a number"),
        ({"steps": "many"}, "steps is 'many', expected a whole number"),
        ({"steps": True}, "steps is True, expected a whole number"),
        ({"nesterov": 1}, "nesterov is 1, expected true or false"),
        ({"kind": 1}, "kind is 1, expected text"),
    ],
)
def test_a_setting_of_another_type_is_refused(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], expected: str
) -> None:
    monkeypatch.setitem(UPDATES, "elaborate", Elaborate)
    settings = {"name": "elaborate", "betas": [0.9, 0.99], "steps": 1, **change}
    with pytest.raises(InputError, match=expected):
        update_from(settings)


def test_no_setting_has_the_name_of_a_field_or_of_another_key() -> None:
    """It would hide it, in the attributes of a shard or in the configuration."""
    taken = {field.name for field in fields(TrialSettings)} | {"trials", "batch_sizes"}
    assert not ALL_SETTINGS & taken
