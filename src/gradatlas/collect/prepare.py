"""The third seam: from a problem, an update and a data set to a function that runs trials."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatlas.collect.engines import mlp_cpu
from gradatlas.collect.trial import Engine, TrialGradients
from gradatlas.core.runtime import single_threaded
from gradatlas.core.updates import SGD, Frozen, Update
from gradatlas.models.perceptron import Perceptron
from gradatlas.models.problem import Problem, Tree

SampleIndex = NDArray[np.unsignedinteger[Any]]


def prepare(
    problem: Problem,
    update: Update,
    kept: Sequence[str],
    batch_size: int,
    inputs: Tree,
    targets: Tree,
    *,
    device: str = "cpu",
) -> Engine:
    """Choose an engine, and do once what all trials of a batch size share.

    Our perceptron under plain SGD, or at rest, has engines of its own; everything else runs trial
    by trial as ``gradatlas.collect.reference`` defines it. All arithmetic is on one thread, so that
    a tensor has the same bits on any number of cores.

    Args:
        problem: Network, loss and the checkpoint's weights, whose dtype is that of the arithmetic.
        update: What the weights do between the minibatches of a trial.
        kept: Names of the parameters whose gradients are wanted.
        batch_size: Samples of a minibatch.
        inputs: The whole training set, arrays or tensors, first axis the sample.
        targets: Its targets, such as classes, first axis the sample.
        device: ``cpu`` or ``cuda``.

    Returns:
        A function from the sample indices of T trials, shape (T, sample), to their gradients.

    Example:
        Two trials of four samples each, at batch size 2:

        >>> from gradatlas.models.perceptron import Architecture, initial_parameters
        >>> weights = initial_parameters(Architecture(3, (5,), 2), seed=0)
        >>> inputs = np.linspace(-1, 1, 30, dtype=np.float32).reshape(10, 3)
        >>> labels = np.arange(10) % 2
        >>> run = prepare(Perceptron(weights), SGD(0.1), ["last.weight"], 2, inputs, labels)
        >>> trials = run(np.array([[0, 1, 2, 3], [9, 4, 1, 7]], np.uint32))
        >>> trials.parameters["last.weight"].gradient.shape
        (2, 2, 5)
    """
    prepare_engine = _engine_for(problem, update, device)
    with single_threaded():
        engine = prepare_engine(problem, update, kept, batch_size, inputs, targets, device)

    @wraps(engine)
    def run(sample_index: SampleIndex) -> TrialGradients:
        with single_threaded():
            return engine(sample_index)

    return run


def _engine_for(problem: Problem, update: Update, device: str) -> Callable[..., Engine]:
    # By type: a rule that inherits from SGD takes other steps.
    if type(problem) is Perceptron and type(update) in (SGD, Frozen):
        if device == "cpu" and mlp_cpu.serves(problem):
            return mlp_cpu.prepare
        # Torch costs two seconds and 500 MB, which the default experiment's jobs do not need.
        from gradatlas.collect.engines import mlp_batched

        return mlp_batched.prepare
    from gradatlas.collect import reference

    return reference.prepare
