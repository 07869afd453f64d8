"""Settings of all tests."""

import os

from hypothesis import settings

# Tests run in two processes, so each computes on one thread. Before NumPy or torch is loaded.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

# The same examples in every run, so that a change is what makes a test fail. New ones are found by
# pytest --hypothesis-profile=default.
settings.register_profile("reproducible", derandomize=True)
settings.load_profile("reproducible")
