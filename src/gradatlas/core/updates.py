"""What the weights do between the minibatches of a trial: one class for each update rule.

A rule is a frozen dataclass. Its fields are the settings of the same names in ``config.yaml``; they
go into the record of the trials. A further rule is a further class in ``UPDATES``. It runs through
the reference, ten to a hundred times slower than the engines of plain SGD, most at small batch
sizes. ``step`` gets torch tensors. This module loads no torch, as statistics read records too:
plain arithmetic does without, and what needs ``torch.sign`` imports torch inside ``step``.
"""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, ClassVar, Protocol

from gradatlas.core.errors import InputError
from gradatlas.core.training import Parameters

#: Whatever a rule remembers from step to step.
State = Any


class Update(Protocol):
    """A rule that takes parameters from one minibatch of a trial to the next."""

    name: ClassVar[str]  # the word for it in the configuration
    moves: ClassVar[bool]  # whether a minibatch sees other weights than the one before
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def init(self, params: Parameters) -> State:
        """What the rule remembers before its first step, such as a momentum buffer of zeros."""

    def step(
        self, params: Parameters, mean_gradient: Parameters, state: State
    ) -> tuple[Parameters, State]:
        """Take one step; nothing that is handed over is changed.

        Args:
            params: The weights that the minibatch was differentiated at.
            mean_gradient: Gradient of the minibatch's mean loss by each of them.
            state: What ``init``, or the step before, returned.

        Returns:
            The weights that the next minibatch sees, and what the rule remembers then.
        """


@dataclass(frozen=True)
class SGD:
    """Plain stochastic gradient descent, w <- w - learning_rate g (Robbins and Monro, 1951).

    Example:
        >>> SGD(learning_rate=0.5).step({"w": 3.0}, {"w": 4.0}, ())
        ({'w': 1.0}, ())
    """

    name: ClassVar[str] = "sgd"
    moves: ClassVar[bool] = True

    learning_rate: float  # step size, along the gradient of the mean loss

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate is {self.learning_rate}, expected a value above 0")

    def init(self, params: Parameters) -> State:
        """Nothing: a step depends on this minibatch alone."""
        return ()

    def step(
        self, params: Parameters, mean_gradient: Parameters, state: State
    ) -> tuple[Parameters, State]:
        """See ``Update.step``."""
        moved = {
            name: value - self.learning_rate * mean_gradient[name] for name, value in params.items()
        }
        return moved, state


@dataclass(frozen=True)
class Frozen:
    """No step: every minibatch sees the checkpoint, so the sum cannot depend on the batch size.

    Example:
        >>> Frozen().step({"w": 3.0}, {"w": 4.0}, ())
        ({'w': 3.0}, ())
    """

    name: ClassVar[str] = "none"
    moves: ClassVar[bool] = False
    learning_rate: ClassVar[float] = 0.0  # no setting: what an engine of SGD takes for no step

    def init(self, params: Parameters) -> State:
        """Nothing."""
        return ()

    def step(
        self, params: Parameters, mean_gradient: Parameters, state: State
    ) -> tuple[Parameters, State]:
        """See ``Update.step``."""
        return params, state


UPDATES: dict[str, type[Update]] = {rule.name: rule for rule in (SGD, Frozen)}
ALL_SETTINGS = {field.name for rule in UPDATES.values() for field in fields(rule)}


def update_from(settings: Mapping[str, Any]) -> Update:
    """An update rule from its ``name`` and its settings.

    Raises:
        InputError: There is no such rule, a setting is missing, unknown, or has no such value.

    Example:
        >>> update_from({"name": "sgd", "learning_rate": 1})
        SGD(learning_rate=1.0)
    """
    name, arguments = settings["name"], {k: v for k, v in settings.items() if k != "name"}
    if name not in UPDATES:
        raise InputError(f"update is {name!r}, expected one of: {', '.join(UPDATES)}")
    known = {field.name: field for field in fields(UPDATES[name])}
    for key, value in arguments.items():
        if key not in known:
            expected = f"only {', '.join(known)}" if known else "as it takes no step"
            raise InputError(
                f"{key} is {value!r}, but update {name} has no such setting, {expected}; "
                "remove the key"
            )
        arguments[key] = typed(key, value, known[key].type)
    for key, field in known.items():
        if field.default is MISSING and key not in arguments:
            raise InputError(f"{key} is missing; update {name} needs it")
    return UPDATES[name](**arguments)


def typed(key: str, value: object, kind: object) -> Any:  # noqa: ANN401 - of the type asked for
    """A value as YAML or JSON gives it, in the type of the field."""
    if isinstance(value, list | tuple):  # of numbers, such as the betas of Adam
        return tuple(typed(key, item, float) for item in value)
    if kind is float and type(value) in (int, float):
        return float(value)  # type: ignore[arg-type]  # so that 1 and 1.0 are one experiment
    if kind in _EXPECTED and type(value) is not kind:
        raise InputError(f"{key} is {value!r}, expected {_EXPECTED[kind]}")
    return value


_EXPECTED: dict[object, str] = {
    float: "a number, such as 0.01",
    int: "a whole number",
    bool: "true or false",
    str: "text",
}


def update_settings(update: Update) -> dict[str, Any]:
    """Inverse of ``update_from``: name and settings, as JSON can hold them.

    Example:
        >>> update_settings(SGD(0.01))
        {'name': 'sgd', 'learning_rate': 0.01}
    """
    return {"name": update.name, **asdict(update)}
