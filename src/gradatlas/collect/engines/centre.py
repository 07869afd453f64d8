"""Where the engines measure inputs from, so that what all inputs share is rounded only once.

With x = m + z and p = z . m + (m . m + 1) / 2,

    x . x' + 1 = z . z' + p + p'        W x + b = W z + (W m + b)

Most of the left-hand sides is the same for all samples, and a product in single precision rounds
it in each of its hundreds of terms.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatlas.core.training import batches

EXAMPLES = 500  # samples that the centre is taken from, all over the data set: it may be sorted
ROWS = 500  # samples of the data set that are projected at a time


def centre_of(inputs: NDArray[Any]) -> NDArray[Any]:
    """The centre m of a data set of shape (sample, input), in its dtype, shape (input,).

    The median equals the inputs in as many places as a centre can, such as an image's background:
    there z is 0, and nothing is rounded.

    Example:
        >>> centre_of(np.array([[0.0, 1.0], [0.0, 5.0], [9.0, 2.0]])).tolist()
        [0.0, 2.0]
    """
    every = max(1, len(inputs) // EXAMPLES)
    median: NDArray[Any] = np.median(inputs[::every], axis=0)
    return median


def projections_of(inputs: NDArray[Any], centre: NDArray[Any]) -> NDArray[np.float64]:
    """The p of every sample, shape (sample,), in float64: every product takes the same one.

    Example:
        >>> x, m = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([2.0, 0.0])
        >>> p, z = projections_of(x, m), x - m
        >>> float(x[0] @ x[1] + 1), float(z[0] @ z[1] + p[0] + p[1])
        (2.0, 2.0)
    """
    double = centre.astype(np.float64)
    result = np.empty(len(inputs))
    for rows in batches(len(inputs), ROWS):
        result[rows] = (inputs[rows] - centre) @ double
    result += (double @ double + 1) / 2
    return result
