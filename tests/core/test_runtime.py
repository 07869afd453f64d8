"""Where the arithmetic runs: which device, and on how many threads."""

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from gradatlas.core import runtime
from gradatlas.core.errors import InputError
from gradatlas.core.runtime import resolve_device, single_threaded


@pytest.fixture(params=[(False, False), (True, False), (True, True)], ids=str)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Machines by what the driver and torch find; true if CUDA can be used."""
    driver, torch = request.param
    monkeypatch.setattr(runtime, "_cuda_driver_finds_a_device", lambda: driver)
    monkeypatch.setattr(runtime, "_torch_finds_a_device", lambda: torch)
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
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


def pools() -> dict[str, int]:
    """Threads of each library that computes in several."""
    return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}


@single_threaded()
def failing_work() -> None:
    assert set(pools().values()) == {1}
    assert torch.get_num_threads() == 1
    with single_threaded():
        assert set(pools().values()) == {1}
    assert set(pools().values()) == {1}
    raise KeyError


def test_libraries_keep_to_one_thread_and_get_theirs_back() -> None:
    torch.set_num_threads(2)
    with threadpool_limits(2):
        before = pools()
        assert 2 in before.values()
        with pytest.raises(KeyError):
            failing_work()
        assert pools() == before
        assert torch.get_num_threads() == 2
