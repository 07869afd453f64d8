"""The house: imports run one way, names stand once, start-up is light."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "gradatlas"
# Path below the package, without suffix; a folder's own is that of its __init__.
MODULES = {
    "/".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").strip("/"): (
        path
    )
    for path in PACKAGE.rglob("*.py")
}
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}

# In the order in which data flow: a folder may import from itself and from those listed.
MAY_IMPORT = {
    "core": set[str](),
    "data": {"core"},
    "models": {"core", "data"},
    "train": {"core", "data", "models"},
    "archive": {"core"},
    "collect": {"core", "data", "models", "train", "archive"},
    "statistics": {"core", "archive"},
    "figures": {"core", "archive", "statistics"},
    "planning": {"core", "data", "models", "train", "archive"},
    "tidy": {"core", "archive", "train", "planning"},
    "cli": {"core", "archive", "tidy"},
    "__main__": {"cli"},
}
READING_SIDE = ("core", "archive", "statistics", "figures", "cli")
FROM_A_PACKAGE = {("cli", "archive")}  # which uses the public names, as its users do


def seen_by_the_type_checker_alone(tree: ast.AST) -> set[ast.AST]:
    guards = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return {child for guard in guards for child in ast.walk(guard)}


def imported(name: str) -> Iterator[str]:
    """Modules of the package that one imports when it runs, inside functions too."""
    tree = ast.parse(MODULES[name].read_text())
    hidden = seen_by_the_type_checker_alone(tree)
    for node in ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (path(alias.name) for alias in node.names if is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has an import relative to itself"
            if is_ours(node.module or ""):
                base = path(node.module or "")
                targets = [f"{base}/{alias.name}".strip("/") for alias in node.names]
                yield from (target if target in MODULES else base for target in targets)


def is_ours(module: str) -> bool:
    return module.partition(".")[0] == "gradatlas"


def path(module: str) -> str:
    return module.replace(".", "/").removeprefix("gradatlas").strip("/")


IMPORTS = {name: set(imported(name)) - {name} for name in MODULES}


def folder(name: str) -> str:
    return name.partition("/")[0]


def test_every_module_has_its_place_in_the_order() -> None:
    assert {folder(name) for name in MODULES} == {"", *MAY_IMPORT}


def test_imports_follow_the_flow_of_data() -> None:
    against = [
        f"{name} -> {target}"
        for name, targets in IMPORTS.items()
        for target in targets
        if name and folder(target) not in {folder(name), *MAY_IMPORT[folder(name)]}
    ]
    assert against == []


def test_no_cycle_not_even_a_lazy_one() -> None:
    tuple(TopologicalSorter(IMPORTS).static_order())  # raises CycleError and names the cycle


def test_a_name_stands_once() -> None:
    names = Counter(path.name for path in MODULES.values() if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_a_package_s_init_holds_no_logic(name: str) -> None:
    first, *others = ast.parse(MODULES[name].read_text()).body
    assert isinstance(first, ast.Expr)
    assert isinstance(first.value, ast.Constant)
    for node in others:
        is_public_names = isinstance(node, ast.Assign) and ast.unparse(node).startswith(
            "__all__ = "
        )
        assert is_public_names or isinstance(node, ast.ImportFrom), ast.unparse(node)


def test_nothing_inside_imports_from_a_package_s_init() -> None:
    """So that a code digest, which leaves them out, leaves out nothing that runs."""
    found = {(name, target) for name, targets in IMPORTS.items() for target in targets & PACKAGES}
    assert found == FROM_A_PACKAGE


def test_nothing_imports_snakemake_or_by_text() -> None:
    for name, source in MODULES.items():
        text = source.read_text()
        assert not re.search(r"^\s*(import|from) snakemake", text, re.MULTILINE), name
        assert "importlib.import_module" not in text, name


def loaded_by(*names: str) -> set[str]:
    """Modules that a fresh Python has loaded once these are imported."""
    program = "import importlib, sys\nfor n in sys.argv[1:]: importlib.import_module(n)\n"
    result = subprocess.run(
        [sys.executable, "-c", program + "print(*sys.modules)", *names],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(result.stdout.split())


def dotted(name: str) -> str:
    return ".".join(["gradatlas", *filter(None, name.split("/"))])


def test_the_reading_side_loads_no_torch() -> None:
    modules = [dotted(name) for name in MODULES if folder(name) in READING_SIDE]
    loaded = loaded_by(*modules)
    assert set(modules) <= loaded
    assert not loaded & {"torch", "snakemake"}


def test_planning_does_without_torch_and_drawing() -> None:
    """The Snakefile is read anew in every job."""
    assert not loaded_by("gradatlas.planning") & {
        *("torch", "matplotlib", "pandas", "scipy", "numba", "xarray")
    }


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("gradatlas", {"pandas", "scipy", "numba"}),
        ("gradatlas.archive", {"pandas", "scipy", "numba"}),
        ("gradatlas.cli", {"scipy", "numba"}),
    ],
)
def test_archives_are_opened_without_the_heavy_libraries(module: str, heavy: set[str]) -> None:
    loaded = loaded_by(module)
    assert module in loaded
    assert not loaded & (heavy | {"torch", "matplotlib", "snakemake", "xarray"})
