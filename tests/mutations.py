"""Configurations with something wrong in them, at random."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

# What people type, and what YAML makes of it: 1e3 is text, 1.0 a float, an empty value None.
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**32, 2**63, 10**30]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "1e3", "1e-2", "auto", "sgd", "last.weight\n", "../../etc", "\0", "{x}"]),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.text(max_size=10), st.integers()), inner, max_size=3),
    ),
    max_leaves=5,
)


def places(value: dict[Any, Any] | list[Any]) -> Iterator[tuple[Any, Any]]:
    """Every (container, key or index) of nested mappings and lists."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in entries:
        yield value, key
        if isinstance(item, dict | list):
            yield from places(item)


@st.composite
def mutated(draw: st.DrawFn, config: dict[str, Any]) -> dict[str, Any]:
    """Replace, remove or add one to three entries anywhere in a configuration."""
    result = deepcopy(config)
    for _ in range(draw(st.integers(1, 3))):
        every_place = list(places(result))
        if not every_place:
            break
        container, key = draw(st.sampled_from(every_place))
        match draw(st.sampled_from(["replace", "replace", "remove", "add"])):
            case "replace":
                container[key] = draw(VALUES)
            case "remove":
                del container[key]
            case "add" if isinstance(container, dict):
                container[draw(st.one_of(st.text(max_size=10), st.integers()))] = draw(VALUES)
            case "add":
                container.insert(key, draw(VALUES))
    return result
