"""Which device runs."""

import pytest

from gradatlas.core import device
from gradatlas.core.device import resolve_device
from gradatlas.core.errors import InputError


@pytest.fixture(params=[(False, False), (True, False), (True, True)], ids=str)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Machines by what the driver and torch find; true if CUDA can be used."""
    driver, torch = request.param
    monkeypatch.setattr(device, "_cuda_driver_finds_a_device", lambda: driver)
    monkeypatch.setattr(device, "_torch_finds_a_device", lambda: torch)
    return bool(driver and torch)


def test_auto_takes_cuda_where_there_is_one(machine: bool) -> None:
    assert resolve_device("auto") == ("cuda" if machine else "cpu")


def test_cpu_is_cpu_on_every_machine(machine: bool) -> None:
    assert resolve_device("cpu") == "cpu"


def test_cuda_is_never_replaced_in_silence(machine: bool) -> None:
    if machine:
        assert resolve_device("cuda") == "cuda"
    else:
        with pytest.raises(InputError, match="device is cuda, but torch finds no CUDA device"):
            resolve_device("cuda")


def test_this_machine_has_a_device() -> None:
    import torch

    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
