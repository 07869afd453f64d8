"""The third seam: from a problem, an update and a data set to a function that runs trials."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatlas.collect.engines import mlp_cpu
from gradatlas.collect.trial import Engine, TrialGradients
from gradatlas.core.errors import InputError
from gradatlas.core.runtime import resolve_device, single_threaded
from gradatlas.core.updates import SGD, Frozen, Update
from gradatlas.models.perceptron import Perceptron
from gradatlas.models.problem import Problem, Tree, leaves

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
        problem: Network, loss and the checkpoint's weights, whose one floating dtype is that of the
            arithmetic and of the result.
        update: What the weights do between the minibatches of a trial.
        kept: Names of the parameters whose gradients are wanted.
        batch_size: Samples of a minibatch.
        inputs: The whole training set, arrays or tensors, or tuples and dicts of them, first axis
            the sample. It must not change afterwards.
        targets: Its targets, such as classes, first axis the sample.
        device: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        A function from the sample indices of T trials, whole numbers of shape (T, sample), to their
        gradients.

    Raises:
        InputError: An argument, or later an index, is not as said here.

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
    device = resolve_device(device)
    samples = _check(problem, kept, batch_size, inputs, targets)
    prepare_engine = _engine_for(problem, update, device)
    with single_threaded():
        engine = prepare_engine(problem, update, kept, batch_size, inputs, targets, device)

    @wraps(engine)
    def run(sample_index: SampleIndex) -> TrialGradients:
        _check_index(sample_index, samples)
        with single_threaded():
            return engine(sample_index)

    return run


def _engine_for(problem: Problem, update: Update, device: str) -> Callable[..., Engine]:
    # By type: a rule that inherits from SGD takes other steps.
    if type(problem) is Perceptron and type(update) in (SGD, Frozen) and len(problem.layers) > 1:
        if device == "cpu" and mlp_cpu.serves(problem):
            return mlp_cpu.prepare
        # Torch costs two seconds and 500 MB, which the default experiment's jobs do not need.
        from gradatlas.collect.engines import mlp_batched

        return mlp_batched.prepare
    from gradatlas.collect import reference

    return reference.prepare


def _check(
    problem: Problem, kept: Sequence[str], batch_size: int, inputs: Tree, targets: Tree
) -> int:
    """Refuse what no engine can use; returns the number of samples."""
    if isinstance(kept, str) or not kept or not {*kept} <= {*problem.params}:
        raise InputError(
            f"kept is {kept!r}, expected a list of parameters out of: {', '.join(problem.params)}"
        )
    if not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise InputError(f"batch_size is {batch_size!r}, expected a whole number of at least 1")
    dtypes = {str(value.dtype).removeprefix("torch.") for value in problem.params.values()}
    if len(dtypes) > 1 or not dtypes <= {"float32", "float64"}:
        raise InputError(
            f"the parameters are {', '.join(sorted(dtypes))}, expected all float32 or all float64"
        )
    lengths = {len(leaf) for tree in (inputs, targets) for leaf in leaves(tree)}
    if len(lengths) != 1:
        raise InputError(
            f"inputs and targets have {sorted(lengths)} entries, expected one number of samples"
        )
    if type(problem) is Perceptron:
        problem.check_data(inputs, targets)
    return lengths.pop()


def _check_index(sample_index: SampleIndex, samples: int) -> None:
    """The compiled loops do not look: an index beyond the data set would read other memory."""
    if sample_index.ndim != 2 or sample_index.size == 0 or sample_index.dtype.kind not in "iu":
        raise InputError(
            f"the sample indices are {sample_index.dtype} of shape {sample_index.shape}, expected "
            "whole numbers of shape (trial, sample)"
        )
    lowest, highest = int(sample_index.min()), int(sample_index.max())
    if lowest < 0 or highest >= samples:
        raise InputError(
            f"the sample indices reach from {lowest} to {highest}, expected 0 to {samples - 1}, "
            "the samples of the data set"
        )
