"""Loops compiled by numba."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[Function], Function]:  # noqa: ANN401 - numba's
    """Decorate a function to be compiled, once for all processes where that can be stored.

    Numba refuses to store anything where neither the package's folder nor the user's own is
    writable, as in many containers; then every process compiles for itself.

    Args:
        options: Those of ``numba.njit``.
    """

    def decorate(function: Function) -> Function:
        try:
            result: Function = njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            result = njit(**options)(function)
        return result

    return decorate
