"""What the code must not contain, found in its syntax; and paths that stay where they belong."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gradatlas.core.configuration import read_experiment
from gradatlas.core.errors import InputError

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("src", "scripts", "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.py")
)
RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]

# Each can run code that a file or a string brings along.
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.unsafe_load"),
    *("torch.load", "torch.save", "tempfile.mktemp", "yaml.full_load"),
}
SAFE_LOADERS = {"_Loader", "yaml.SafeLoader", "yaml.CSafeLoader"}


def offences(source: str) -> list[str]:
    """Dangerous imports and calls of a piece of Python."""
    return [*_offences(ast.parse(source))]


def _offences(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (f"import {name.name}" for name in names if _root(name.name) in MODULES)
            case ast.ImportFrom(module=str(module)) if _root(module) in MODULES:
                yield f"from {module} import"
            case ast.Call(func=function):
                yield from _call_offences(ast.unparse(function), node)


def _call_offences(name: str, call: ast.Call) -> Iterator[str]:
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in CALLS or name.endswith((".to_pickle", ".read_pickle")):
        yield name
    if keywords.get("shell", "False") != "False":
        yield f"{name}(shell={keywords['shell']})"
    if name in ("np.load", "numpy.load") and keywords.get("allow_pickle") != "False":
        yield f"{name} without allow_pickle=False"
    loaders = {*keywords.values(), *(ast.unparse(argument) for argument in call.args)}
    if name == "yaml.load" and not loaders & SAFE_LOADERS:
        yield "yaml.load without a safe loader"


def _root(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_runs_what_a_file_or_string_brings_along(path: Path) -> None:
    assert offences(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, pickle",
        "from joblib import load",
        "import joblib.externals",
        "torch.load(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(command, shell=True)",
        "subprocess.run(command, shell=flag)",
        "os.system('ls')",
        "yaml.load(text, yaml.Loader)",
        "yaml.load(text, Loader=yaml.FullLoader)",
        "table.to_pickle(path)",
        "eval(expression)",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert len(offences(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "np.load(path, allow_pickle=False)",
        "subprocess.run(command)",
        "subprocess.run(command, shell=False)",
        "yaml.safe_load(text)",
        "re.compile(pattern)",
    ],
)
def test_the_search_lets_through_what_is_safe(source: str) -> None:
    assert offences(source) == []


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_no_rule_runs_a_shell(path: Path) -> None:
    assert not re.search(r"^\s*(shell|run):|\bshell\(", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("data", "name", "../../etc"),
        ("data", "name", "MNIST/../.."),
        ("data", "name", "a b; rm -rf x"),
        ("gradients", "parameter", "../last.weight"),
        ("gradients", "protocols", {"../sgd": {"update": "none"}}),
        ("gradients", "protocols", {"a/b": {"update": "none"}}),
        ("gradients", "protocols", {"{wildcards}": {"update": "none"}}),
        ("gradients", "protocols", {"$(touch x)": {"update": "none"}}),
        ("figures", "formats", ["../png"]),
    ],
)
def test_no_text_of_the_configuration_leads_out_of_the_results(
    section: str, key: str, value: object
) -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config[section][key] = value

    with pytest.raises(InputError, match="expected"):
        read_experiment(config, ROOT / "workflow" / "schemas" / "config.schema.yaml")
