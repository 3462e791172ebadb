"""Generator of the SDK's synchronous classes from the asynchronous ones.

The sources are ``promptatlas/async_client.py`` and every ``promptatlas/**/_async/*.py``. Each gets a twin, ``client.py`` or
``_sync/*.py``, in which ``async`` and ``await`` are dropped and names lose their prefix ``Async`` or suffix ``_async``.
Definitions without asynchronous code are not copied: the twin imports them from the source.

    python clients/python/generate_sync.py           writes the twins
    python clients/python/generate_sync.py --check   exits with 1 if one of them is not current
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parent / "promptatlas"
RUFF = (sys.executable, "-m", "ruff")
# Given explicitly: ruff's own detection depends on whether the folder of the file exists already.
_RUFF_COMMANDS = (
    ("check", "--fix-only", "--select", "F401,I", "--config", "lint.isort.known-first-party=['promptatlas']"),
    ("format",),
)

_NAMES = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "AbstractAsyncContextManager": "AbstractContextManager",
    "aclose": "close",
    "AsyncByteStream": "SyncByteStream",
    "aiter_bytes": "iter_bytes",
    "aiter_sse": "iter_sse",
    "anyio": "time",
    "aread": "read",
}
_TEXTS = (
    (re.compile(r"\bAsync(?=[A-Z])"), ""),
    (re.compile(r"\basync (?=for\b|with\b)"), ""),
    (re.compile(r"\bawait "), ""),
    (re.compile(r"\bAsynchronous\b"), "Synchronous"),
    (re.compile(r"\basynchronous\b"), "synchronous"),
)
_TEXT_TOKENS = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
_ASYNC_NODES = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)

_Position = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Module:
    """A source, parsed. converted: the names of its definitions that the twin has a version of."""

    source: str
    tree: ast.Module
    converted: frozenset[str]


def twins(package: Path) -> dict[Path, Path]:
    """Each source, and the path of its twin."""
    rooms = {path: path.parents[1] / "_sync" / path.name for path in sorted(package.rglob("_async/*.py"))}
    return {package / "async_client.py": package / "client.py", **rooms}


def generated(package: Path) -> dict[Path, str]:
    """The text of each twin."""
    found = twins(package)
    modules = {_module_name(path, package): read_module(path.read_text(encoding="utf-8")) for path in found}
    return {
        twin: _formatted(convert(_module_name(path, package), modules=modules), path=twin)
        for path, twin in found.items()
    }


def read_module(source: str) -> Module:
    """Parses a source, and finds the definitions that contain or use asynchronous code."""
    tree = ast.parse(source)
    converted: set[str] = set()
    while True:
        found = {name for node in tree.body for name in _defined(node) if _is_asynchronous(node, converted)}
        if found <= converted:
            return Module(source=source, tree=tree, converted=frozenset(converted))
        converted |= found


def convert(name: str, *, modules: Mapping[str, Module]) -> str:
    """The twin of one module, before formatting.

    Args:
        name: dotted name of the source.
        modules: all sources by dotted name; the twin imports converted names from their twins.
    """
    module = modules[name]
    docstring, imports, typing_imports, shared, definitions = [], [], [], [], []
    for node in module.tree.body:
        if isinstance(node, ast.Expr):
            docstring.append(_rewritten(_segment(module.source, node)))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            imports += _imports(node, modules)
        elif isinstance(node, ast.If):  # if TYPE_CHECKING
            inner = [
                line
                for part in node.body
                if isinstance(part, (ast.Import, ast.ImportFrom))
                for line in _imports(part, modules)
            ]
            typing_imports += [f"if {ast.unparse(node.test)}:", *(f"    {line}" for line in inner)]
        elif module.converted.isdisjoint(_defined(node)):
            shared += _defined(node)
        else:
            definitions.append(_rewritten(_segment(module.source, node)))
    header = f"# Generated from {name} by generate_sync.py: edit that module, then run `make generate`."
    imports += [f"from {name} import {', '.join(shared)}"] if shared else []
    return "\n".join([header, *docstring, *imports, *typing_imports, *definitions]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Generates the SDK's synchronous classes.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is not current")
    parser.add_argument("--package", type=Path, default=PACKAGE, help="folder of the package")
    options = parser.parse_args(arguments)
    outdated = {path: text for path, text in generated(options.package).items() if not _holds(path, text)}
    for path, text in outdated.items():
        if not options.check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        print(f"{'not current' if options.check else 'written'}: {path.relative_to(options.package)}")
    return 1 if options.check and outdated else 0


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def _module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _defined(node: ast.stmt) -> list[str]:
    """Names that a top-level statement defines."""
    if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]


def _is_asynchronous(node: ast.stmt, converted: set[str]) -> bool:
    for part in ast.walk(node):
        name = part.id if isinstance(part, ast.Name) else part.name if isinstance(part, ast.ClassDef) else ""
        if isinstance(part, _ASYNC_NODES) or name.startswith("Async") or name in converted:
            return True
    return False


def _segment(source: str, node: ast.stmt) -> str:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(each.lineno for each in decorators)])
    return "\n".join(source.splitlines()[first - 1 : node.end_lineno])


def _imports(node: ast.Import | ast.ImportFrom, modules: Mapping[str, Module]) -> list[str]:
    """The same imports of synchronous names. ruff removes the unused ones."""
    if isinstance(node, ast.Import):
        return [f"import {_imported(alias)}" for alias in node.names]
    origin = node.module or ""
    converted = modules[origin].converted if origin in modules else frozenset(alias.name for alias in node.names)
    twin = [_imported(alias) for alias in node.names if alias.name in converted]
    same = [ast.unparse(alias) for alias in node.names if alias.name not in converted]
    lines = [f"from {origin.replace('._async.', '._sync.')} import {', '.join(dict.fromkeys(twin))}"] if twin else []
    return lines + ([f"from {origin} import {', '.join(same)}"] if same else [])


def _imported(alias: ast.alias) -> str:
    name = _renamed(alias.name)
    return f"{name} as {alias.asname}" if alias.asname else name


def _renamed(name: str) -> str:
    """The synchronous name."""
    return _NAMES.get(name, name.removeprefix("Async").removesuffix("_async"))


def _rewritten(segment: str) -> str:
    """A definition without its asynchronous words."""
    lines = segment.split("\n")
    tokens = list(tokenize.generate_tokens(io.StringIO(segment).readline))
    for start, end, text in sorted(_edits(tokens), reverse=True):
        before, after = lines[start[0] - 1][: start[1]], lines[end[0] - 1][end[1] :]
        lines[start[0] - 1 : end[0]] = (before + text + after).split("\n")
    return "\n".join(lines)


def _edits(tokens: Sequence[tokenize.TokenInfo]) -> Iterator[tuple[_Position, _Position, str]]:
    """Replacements in a segment: start, end, text."""
    for index, token in enumerate(tokens):
        if token.string in ("async", "await"):
            yield token.start, tokens[index + 1].start, ""
        elif token.type == tokenize.NAME and token.string == "Awaitable" and tokens[index + 1].string == "[":
            closing = _closing(tokens, index + 1)
            yield token.start, tokens[index + 1].end, ""
            yield closing.start, closing.end, ""
        elif token.type == tokenize.NAME and _renamed(token.string) != token.string:
            yield token.start, token.end, _renamed(token.string)
        elif token.type in _TEXT_TOKENS:
            text = token.string
            for pattern, replacement in _TEXTS:
                text = pattern.sub(replacement, text)
            if text != token.string:
                yield token.start, token.end, text


def _closing(tokens: Sequence[tokenize.TokenInfo], opening: int) -> tokenize.TokenInfo:
    """The bracket that closes the one at this index."""
    depth = 0
    for token in tokens[opening:]:
        depth += {"[": 1, "]": -1}.get(token.string, 0)
        if depth == 0:
            return token
    raise ValueError(f"expected a closing bracket after line {tokens[opening].start[0]}")


def _formatted(text: str, *, path: Path) -> str:
    """As ruff writes it: unused imports removed, the others sorted."""
    for command in _RUFF_COMMANDS:
        arguments = [*RUFF, *command, "--quiet", "--stdin-filename", str(path), "-"]
        text = subprocess.run(arguments, input=text, capture_output=True, text=True, check=True).stdout
    return text


if __name__ == "__main__":
    sys.exit(main())
