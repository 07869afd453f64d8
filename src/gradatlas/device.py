"""Where training and collection run."""

import ctypes

from gradatlas.errors import InputError


class DeviceError(InputError):
    """A device that was asked for and is not there."""


def resolve_device(requested: str) -> str:
    """Turn ``auto`` into ``cuda`` where there is a CUDA device, else ``cpu``.

    Raises:
        DeviceError: ``cuda`` was requested and there is none.
    """
    if requested == "cpu":
        return "cpu"
    available = _cuda_driver_finds_a_device() and _torch_finds_a_device()
    if requested == "cuda" and not available:
        raise DeviceError(
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
