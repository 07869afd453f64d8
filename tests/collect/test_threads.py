"""A call from Python gives the bits that the workflow's jobs give, which have one thread each."""

import os
import subprocess
import sys

import pytest

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PROGRAM = """
import hashlib, sys
import numpy as np
from gradatlas.collect.prepare import prepare
from gradatlas.core.updates import SGD
from gradatlas.models.perceptron import Architecture, Perceptron, initial_parameters

random = np.random.default_rng(0)
inputs = random.standard_normal((1000, 784)).astype(np.float32)
weights = initial_parameters(Architecture(784, tuple(map(int, sys.argv[1:])), 10), 0)
run = prepare(Perceptron(weights), SGD(0.01), ["last.weight"], 64, inputs, np.arange(1000) % 10)
trial = run(random.permutation(1000)[None].astype(np.uint32))
print(hashlib.sha256(trial.parameters["last.weight"].gradient.tobytes()).hexdigest())
"""


def digest(hidden: list[str], threads: str | None) -> str:
    """Of the gradient that a fresh Python computes, with so many threads where it is left alone."""
    own = {name: value for name, value in os.environ.items() if name not in THREADS}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *hidden],
        env=own | (dict.fromkeys(THREADS, threads) if threads else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


@pytest.mark.parametrize("hidden", [["1024"], ["300", "200"]], ids=" ".join)
def test_the_bits_do_not_depend_on_the_number_of_threads(hidden: list[str]) -> None:
    """Without a limit two threads give other bits with the first of these networks."""
    assert digest(hidden, "2") == digest(hidden, None) == digest(hidden, "1")
