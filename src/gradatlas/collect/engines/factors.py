"""Sums of gradients from their factors, without forming a gradient for each minibatch.

The gradient of a layer's weight is a sum of outer products over samples, g = P'Q, of the error at
its output (P) and the layer's input (Q); that of its bias is the sum of P. What is said of such
factors uses only operations that NumPy arrays and torch tensors share.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Factors:
    """Per-sample factors of one parameter's gradient."""

    errors: Any  # P, shape (..., sample, output)
    inputs: Any | None  # Q, shape (..., sample, input), or None for a bias


def total(factors: Factors) -> Any:  # noqa: ANN401 - NumPy array or torch tensor, as given
    """Gradient summed over all samples, shape (..., output, input), or (..., output).

    Example:
        >>> import numpy as np
        >>> P, Q = np.array([[1.0], [2.0]]), np.array([[3.0, 0.0], [1.0, 1.0]])
        >>> total(Factors(P, Q)).tolist()  # 1 (3, 0) + 2 (1, 1)
        [[5.0, 2.0]]
    """
    if factors.inputs is None:
        return factors.errors.sum(-2)
    return factors.errors.swapaxes(-1, -2) @ factors.inputs


def squared_norms(factors: Factors, batch_size: int) -> list[Any]:
    """Squared norm of each minibatch's gradient.

    Example:
        >>> import numpy as np
        >>> P, Q = np.array([[1.0], [2.0], [1.0]]), np.array([[3.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
        >>> [part.tolist() for part in squared_norms(Factors(P, Q), 2)]  # of (5, 2), and of (0, 2)
        [[29.0], [4.0]]

    Returns:
        One array of shape (..., whole minibatches) and, where the batch size does not divide the
        number of samples, one of shape (..., 1) for the remainder.
    """
    samples = factors.errors.shape[-2]
    whole = samples - samples % batch_size
    parts = [(slice(0, whole), batch_size), (slice(whole, samples), samples - whole)]
    return [_squares(_split(factors, part, size)) for part, size in parts if size]


def _split(factors: Factors, part: slice, size: int) -> Factors:
    """Samples of a part in minibatches, shape (..., batch, sample, output or input)."""

    def split(values: Any) -> Any:  # noqa: ANN401
        chosen = values[..., part, :]
        shape = (*chosen.shape[:-2], chosen.shape[-2] // size, size, chosen.shape[-1])
        return chosen.reshape(shape)

    inputs = None if factors.inputs is None else split(factors.inputs)
    return Factors(split(factors.errors), inputs)


def _squares(batch: Factors) -> Any:  # noqa: ANN401
    """Squared Frobenius norm of P'Q, through whichever product is smaller.

    |P'Q|^2 = sum of (PP') * (QQ'): two sample x sample products instead of an output x input one.
    """
    if batch.inputs is None:
        return (total(batch) ** 2).sum(-1)
    P, Q = batch.errors, batch.inputs
    size, output, input_ = P.shape[-2], P.shape[-1], Q.shape[-1]
    if size * (output + input_) < output * input_:
        gram = (P @ P.swapaxes(-1, -2)) * (Q @ Q.swapaxes(-1, -2))
        return abs(gram.sum(-1).sum(-1))  # rounding can take a vanishing norm below zero
    return (total(batch) ** 2).sum(-1).sum(-1)
