"""Where the arithmetic runs: the device and its threads."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import RLock

from threadpoolctl import ThreadpoolController

from gradatlas.core.errors import InputError

_LIMIT = RLock()


@contextmanager
def single_threaded() -> Iterator[None]:
    """Keep BLAS, OpenMP and torch to one thread, inside ``with`` or as a decorator.

    A sum over several threads is taken in another order, so its last digits depend on the number of
    cores; and threads of several jobs, or of two libraries at once, wait for each other. Jobs are
    what runs side by side. Libraries are limited that are loaded when this is entered. The limit
    is of the whole process: a second Python thread waits until the first one leaves. OpenBLAS takes
    one from the thread that set its first limit alone, so compute in one thread.

    Example:
        >>> import numpy as np
        >>> with single_threaded():
        ...     product = np.ones((400, 400)) @ np.ones((400, 400))
    """
    with _LIMIT:
        torch = sys.modules.get("torch")
        threads = torch.get_num_threads() if torch else 0
        with _thread_pools(len(sys.modules)).limit(limits=1):
            if torch:  # its own copy of MKL is out of threadpoolctl's sight
                torch.set_num_threads(1)
            try:
                yield
            finally:
                if torch:
                    torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def _thread_pools(modules: int) -> ThreadpoolController:
    """The libraries' pools, looked for again, in 3 ms, once further modules are loaded."""
    return ThreadpoolController()


def resolve_device(requested: str) -> str:
    """Turn ``auto`` into ``cuda`` where there is a CUDA device, else ``cpu``.

    Raises:
        InputError: ``cuda`` was requested and there is none, or there is no such device.
    """
    if requested not in ("auto", "cpu", "cuda"):
        raise InputError(f"device is {requested!r}, expected one of: auto, cpu, cuda")
    if requested == "cpu":
        return "cpu"
    available = _cuda_driver_finds_a_device() and _torch_finds_a_device()
    if requested == "cuda" and not available:
        raise InputError(
            "device is cuda, but torch finds no CUDA device here; set device: cpu, or auto"
        )
    return "cuda" if available else "cpu"


def _cuda_driver_finds_a_device() -> bool:
    """Ask the driver itself, so that a machine without one need not import torch to know."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    found = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return found and count.value > 0


def _torch_finds_a_device() -> bool:
    import torch  # takes two seconds, which a machine without a driver need not wait

    return torch.cuda.is_available()
