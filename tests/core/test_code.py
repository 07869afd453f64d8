"""Which code a result depends on: what is imported, and of it what has an effect."""

import re
import shutil
import tokenize
from pathlib import Path
from typing import NamedTuple

import pytest

from gradatlas.core import code
from gradatlas.core.code import statements

ROOT = Path(__file__).parents[2]
RULES = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))
SCRIPT = "import numpy\nfrom atlas.first import one\nfrom atlas import third\n"
FILES = {
    "src/atlas/__init__.py": "",
    "src/atlas/first.py": "import atlas.stage.second\nfrom typing import TYPE_CHECKING\n"
    "if TYPE_CHECKING:\n    from atlas import hint\nelse:\n    import atlas.other\n",
    "src/atlas/other.py": "",
    "src/atlas/hint.py": "",
    "src/atlas/stage/__init__.py": "from atlas.stage import aside",
    "src/atlas/stage/aside.py": "",
    "src/atlas/stage/second.py": "def f():\n    from atlas.first import one\n"
    "    from atlas.stage.lazy import g\n",
    "src/atlas/stage/lazy.py": "",
    "src/atlas/third.py": "",
    "src/atlas/numpy.py": "",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {"scripts/job.py": SCRIPT, **FILES}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def digest_of(root: Path) -> str:
    return code.code_digest(root / "scripts" / "job.py", root / "src")


def edit(path: Path) -> None:
    """Change what a module computes."""
    path.write_text(path.read_text() + "\nedited = True\n")


def test_a_code_digest_is_the_same_wherever_the_code_lies(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    for part in ("scripts", "src"):
        shutil.copytree(root / part, copy / part)

    assert digest_of(copy) == digest_of(root)


@pytest.mark.parametrize(
    "name", ["first", "stage/second", "stage/lazy", "third", "other"], ids=lambda name: name
)
def test_a_code_digest_follows_every_module_that_is_imported(root: Path, name: str) -> None:
    before = digest_of(root)
    edit(root / "src" / "atlas" / f"{name}.py")

    assert digest_of(root) != before


@pytest.mark.parametrize("name", ["__init__", "hint", "stage/__init__", "stage/aside", "numpy"])
def test_a_code_digest_follows_nothing_else(root: Path, name: str) -> None:
    before = digest_of(root)
    (root / "src" / "atlas" / f"{name}.py").write_text("edited = True\n")

    assert digest_of(root) == before


def test_a_code_digest_follows_the_script(root: Path) -> None:
    before = digest_of(root)
    edit(root / "scripts" / "job.py")

    assert digest_of(root) != before


@pytest.mark.parametrize(
    ("script", "needs", "does_without"),
    [
        ("train", "train/loop", "collect/shard"),
        ("collect", "collect/engines/mlp_cpu", "statistics/moments"),
        ("collect", "collect/engines/mlp_batched", "train/loop"),
        ("atlas", "archive/atlas", "collect/trial"),
    ],
)
def test_scripts_depend_on_their_stage_and_not_on_later_ones(
    tmp_path: Path, script: str, needs: str, does_without: str
) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src")
    path = ROOT / "scripts" / f"{script}.py"
    digests = [code.code_digest(path, tmp_path / "src")]
    for module in (does_without, needs):
        edit(tmp_path / "src" / "gradatlas" / f"{module}.py")
        digests.append(code.code_digest(path, tmp_path / "src"))

    assert digests[0] == digests[1] != digests[2]


MODULE = '''"""What it is for."""

import math

LIMIT = 3  # of what


class Shape:
    """A shape."""

    def area(self, radius: float) -> float:
        """Its area."""
        if radius < 0:
            raise ValueError(f"radius is {radius}, expected 0 or more")
        self.name = f"é{radius!r:>{LIMIT}}"
        return math.pi * radius**2
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("What it is for", "What it was for"),
        ("# of what", "# of something"),
        ("A shape", "Any shape"),
        ("LIMIT = 3  #", "LIMIT   =   3  #"),
        ("import math\n", "import math\n\n\n# A comment of its own.\n"),
        ("area(self, radius: float)", "area(\n        self, radius: float  # metres\n    )"),
        ("radius is {radius}", "the radius is {radius:.3f}"),
        ('f"radius is', '"this is wrong: " f"radius is'),
        ("    ", "  "),
    ],
)
def test_what_has_no_effect_does_not_count(old: str, new: str) -> None:
    assert old in MODULE
    assert statements(MODULE.replace(old, new)) == statements(MODULE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("radius < 0", "radius <= 0"),
        ("radius**2", "radius**3"),
        ("        return", "    return"),
        ("raise ValueError", "print"),
        ("ValueError", "TypeError"),  # which somebody may catch
        ('f"radius', 'radius, f"radius'),
        ("{radius!r:>{LIMIT}}", "{radius!r:<{LIMIT}}"),
        ("class Shape", "class Form"),
        ("import math", "import cmath as math"),
    ],
)
def test_what_has_an_effect_counts(old: str, new: str) -> None:
    assert old in MODULE
    assert statements(MODULE.replace(old, new)) != statements(MODULE)


class Token(NamedTuple):
    """As of ``tokenize``."""

    type: int
    string: str
    start: tuple[int, int] = (1, 0)
    end: tuple[int, int] = (1, 0)


def test_an_f_string_is_one_token_in_every_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 3.12 on it is many, nested ones too; here it is taken apart as they do."""
    text = "x = f\"a{f'b{c}'}\"\n"
    expected = statements(text)
    whole = {"start": (1, 4), "end": (1, 17)}
    inner = {"start": (1, 8), "end": (1, 15)}
    parts = [
        *(Token(tokenize.NAME, "x"), Token(tokenize.OP, "=")),
        *(Token(1000, 'f"', **whole), Token(1002, "a"), Token(tokenize.OP, "{")),
        *(Token(1000, "f'", **inner), Token(1002, "b"), Token(tokenize.NAME, "c")),
        *(Token(1001, "'", **inner), Token(tokenize.OP, "}"), Token(1001, '"', **whole)),
        Token(tokenize.NEWLINE, "\n"),
    ]
    monkeypatch.setattr(code, "_START", 1000)
    monkeypatch.setattr(code, "_END", 1001)
    monkeypatch.setattr(tokenize, "generate_tokens", lambda _: iter(parts))
    assert statements(text) == expected == [["x", "=", "f\"a{f'b{c}'}\""]]


def test_the_digest_is_the_same_in_every_python(tmp_path: Path) -> None:
    """Stored under 3.11."""
    (tmp_path / "job.py").write_text(MODULE)
    digest = code.code_digest(tmp_path / "job.py", tmp_path)
    assert digest[:16] == "3d62ba4c1e884d77"


def reword(path: Path) -> None:
    """Change what has no effect: comments, blank lines, what an error says."""
    text = re.sub(r'(raise InputError\(\s*)(f?")', r'\1"Sorry: " \2', path.read_text())
    path.write_text(text.replace("\n\n", "\n\n\n") + "# The end.\n")


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_follows_what_computes_and_not_what_is_said(rule: str, tmp_path: Path) -> None:
    script, sources = ROOT / "scripts" / f"{rule}.py", tmp_path / "src"
    shutil.copytree(ROOT / "src", sources)
    before = code.code_digest(script, sources)
    for path in sources.rglob("*.py"):
        reword(path)
    assert code.code_digest(script, sources) == before
    edit(sources / "gradatlas" / "core" / "errors.py")  # reports alone
    assert code.code_digest(script, sources) == before
    edit(sources / "gradatlas" / "core" / "files.py")  # every rule writes files
    assert code.code_digest(script, sources) != before
