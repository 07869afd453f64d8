"""How a network is trained, and what training has in common with trials.

Apart from their record and update rules, so that a further rule of theirs trains nothing anew.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: Arrays or tensors by parameter name.
Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Training:
    """How the network is trained: plain minibatch SGD."""

    batch_size: int  # samples of a step
    learning_rate: float  # step size, along the gradient of the mean loss
    momentum: float  # share of the last step that is taken again; 0 is plain SGD


def batches(samples: int, batch_size: int) -> Iterator[slice]:
    """Slices of consecutive minibatches; the last one is the remainder.

    Example:
        >>> [part.stop for part in batches(10, 4)]
        [4, 8, 10]
    """
    for start in range(0, samples, batch_size):
        yield slice(start, min(start + batch_size, samples))
