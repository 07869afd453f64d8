"""Which code a result depends on: of a script and the modules it imports, what has an effect.

Comments, docstrings, layout and the text in a ``raise`` statement do not count, so that a reworded
sentence there makes nothing anew. Tokens are compared, since their text is the same in every
version of Python; what Python makes of a syntax tree is not.
"""

import ast
import hashlib
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

# They report what happens, or decide that a file stays: nothing of it reaches a result.
WITHOUT_EFFECT = (
    *(f"gradatlas/core/{name}.py" for name in ("errors", "job_log", "provenance", "stamps")),
    "gradatlas/collect/kept.py",
)
# From Python 3.12 on, an f-string is many tokens. None where there are no such tokens.
_START, _END = (getattr(tokenize, f"FSTRING_{end}", None) for end in ("START", "END"))


def code_digest(script: Path, source: Path) -> str:
    """SHA-256 of what a script and the modules of ours that it needs compute.

    Args:
        script: A Python file.
        source: Folder that holds our package. Its ``__init__`` files hold no logic and do not
            count.
    """
    digest = hashlib.sha256()
    for path in _closure(script, source):
        digest.update(_digest(path.read_text(encoding="utf-8")))
    return digest.hexdigest()


@cache  # of the text: a module stands behind many scripts
def _digest(text: str) -> bytes:
    return hashlib.sha256(repr(statements(text)).encode()).digest()


def _closure(script: Path, source: Path) -> list[Path]:
    """A script and the modules below ``source`` that it imports, directly or through others."""
    found, silent = [script], {source / name for name in WITHOUT_EFFECT}
    for path in found:  # which grows
        names = _imported(path.read_text(encoding="utf-8"))
        modules = {source / f"{name.replace('.', '/')}.py" for name in names} - silent
        found += sorted(module for module in modules if module.is_file() and module not in found)
    return found


@cache
def _imported(text: str) -> frozenset[str]:
    """What a module imports when it runs, inside functions too: modules, and names in them."""
    tree = ast.parse(text)
    guards = (node for node in ast.walk(tree) if isinstance(node, ast.If))
    typing = {
        child
        for guard in guards
        if ast.unparse(guard.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in guard.body  # what else there is runs
        for child in ast.walk(statement)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and node not in typing:
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node not in typing:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def statements(text: str) -> list[list[str]]:
    r"""What a module computes: the tokens of each statement that has an effect.

    Example:
        >>> statements("def half(x):  # of x\n    'A docstring.'\n    return x/2\n")
        [['def', 'half', '(', 'x', ')', ':'], ['>'], ['return', 'x', '/', '2'], ['<']]
        >>> statements("if x < 0: raise ValueError('x is below 0')")
        [['if', 'x', '<', '0', ':', 'raise', 'ValueError', '(', ')']]
    """
    found: list[list[str]] = [[]]
    for kind, string in _tokens(text):
        if kind == tokenize.NEWLINE:
            found.append([])
        elif kind in (tokenize.INDENT, tokenize.DEDENT):
            found[-1:] = [[">" if kind == tokenize.INDENT else "<"], []]
        elif kind != tokenize.STRING or "raise" not in found[-1]:  # a keyword: nowhere else
            found[-1].append(string)
    return [statement for statement in found if statement and not _is_text(statement)]


def _is_text(statement: list[str]) -> bool:
    """Whether it is a string and nothing else, such as a docstring; an f-string may compute."""
    return len(statement) == 1 and re.match(r"[rRuUbB]*[\"']", statement[0]) is not None


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    """Kind and text of each token but comments and blank lines; an f-string is one."""
    lines = [*io.StringIO(text)]
    depth, start = 0, (0, 0)
    for token in tokenize.generate_tokens(iter(lines).__next__):
        if token.type == _START:
            start = start if depth else token.start
            depth += 1
        elif token.type == _END:
            depth -= 1
            if not depth:
                yield tokenize.STRING, _between(lines, start, token.end)
        elif not depth and token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER):
            yield token.type, token.string


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """The text from a (line, column) to another; lines are counted from 1."""
    part = lines[start[0] - 1 : end[0]]
    part[-1] = part[-1][: end[1]]
    part[0] = part[0][start[1] :]
    return "".join(part)
