"""The house: imports run one way, start-up is light, rules name the code behind their output."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}
WITH_TORCH = {
    "gradatlas.collect.reference",
    "gradatlas.train.loop",
    "gradatlas.collect.engines.mlp_batched",
}
CODE_LIST = re.compile(r"(?:\bcode=|_CODE = )code(\(.*?\))", re.DOTALL)


def type_checking_only(tree: ast.AST) -> set[ast.AST]:
    """Nodes that only the type checker sees."""
    guards = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return {child for guard in guards for child in ast.walk(guard)}


def imported(path: Path, *, inside_functions: bool = True) -> Iterator[str]:
    """Modules of the package that a file imports, at its top and, if asked, inside functions."""
    tree = ast.parse(path.read_text())
    hidden = type_checking_only(tree)
    for node in ast.walk(tree) if inside_functions else tree.body:
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else node.module


def closure(path: Path) -> set[str]:
    """Every module of the package that a file needs."""
    found: set[str] = set()
    waiting = [path]
    while waiting:
        new = {name for name in imported(waiting.pop()) if name not in found}
        found |= new
        waiting += [MODULES[name] for name in new]
    return found


def code_lists() -> list[tuple[str, list[str]]]:
    """Script and modules of every ``code=`` in the rules."""
    texts = [path.read_text() for path in sorted((ROOT / "workflow" / "rules").glob("*.smk"))]
    lists = [ast.literal_eval(match) for text in texts for match in CODE_LIST.findall(text)]
    return [(script, list(modules)) for script, *modules in lists]


def test_every_script_has_its_code_list() -> None:
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    with_list = {script for script, _ in code_lists()}
    assert scripts - with_list == {"download"}  # its output is data, which has digests of its own


@pytest.mark.parametrize(("script", "modules"), code_lists())
def test_rule_lists_the_code_that_determines_its_output(script: str, modules: list[str]) -> None:
    needed = closure(ROOT / "scripts" / f"{script}.py")
    assert modules == sorted(name.removeprefix("gradatlas.") for name in needed)


def test_no_cycles() -> None:
    graph = {
        name: set(imported(path, inside_functions=False)) - {name} for name, path in MODULES.items()
    }
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError and names the cycle


def test_nothing_imports_snakemake() -> None:
    for path in MODULES.values():
        assert not re.search(r"^\s*(import|from) snakemake", path.read_text(), re.MULTILINE), path


def test_torch_is_imported_only_where_it_computes() -> None:
    """In one process: every module that may not load torch, then the question whether one did."""
    names = sorted(set(MODULES) - WITH_TORCH)
    program = "import importlib, sys\n" + "".join(
        f"importlib.import_module({name!r})\nassert 'torch' not in sys.modules, {name!r}\n"
        for name in names
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("module", "light"),
    [
        ("gradatlas", {"pandas", "scipy", "numba"}),
        ("gradatlas.archive", {"pandas", "scipy", "numba"}),
        ("gradatlas.cli", set()),
    ],
)
def test_archives_are_opened_without_the_heavy_libraries(module: str, light: set[str]) -> None:
    program = f"import {module}, sys; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert module in loaded
    assert not loaded & (light | {"torch", "matplotlib", "snakemake", "xarray"})
