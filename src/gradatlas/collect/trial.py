"""What a trial yields: the concepts that every engine shares."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ParameterGradients:
    """Gradients of one parameter in T trials; g_t is that of minibatch t's summed loss."""

    gradient: NDArray[Any]  # S, the sum of all g_t, float, shape (T, *parameter)
    path_length: NDArray[np.float64]  # sum of the norms of g_t, float64, shape (T,)
    sum_of_squares: NDArray[np.float64]  # sum of the squared norms of g_t, float64, shape (T,)


@dataclass(frozen=True)
class TrialGradients:
    """What T consecutive trials yield."""

    parameters: dict[str, ParameterGradients]  # of each parameter that is kept, by name
    # mean loss of the first minibatch before any step, nats, float64, shape (T,)
    first_loss: NDArray[np.float64]
    # mean loss of the last minibatch before its step, nats, float64, shape (T,)
    last_loss: NDArray[np.float64]


#: From the sample indices of T trials, shape (T, sample), to their gradients.
Engine = Callable[[NDArray[np.unsignedinteger[Any]]], TrialGradients]


def together(parts: list[TrialGradients]) -> TrialGradients:
    """One after another, the trials of several calls."""
    names = parts[0].parameters
    return TrialGradients(
        {name: _joined([part.parameters[name] for part in parts]) for name in names},
        first_loss=np.concatenate([part.first_loss for part in parts]),
        last_loss=np.concatenate([part.last_loss for part in parts]),
    )


def _joined(parts: list[ParameterGradients]) -> ParameterGradients:
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    return ParameterGradients(*map(np.concatenate, columns))
