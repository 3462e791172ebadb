"""Build hooks of the server's wheel: they put ``service`` and ``workers`` into the package ``promptatlas_server``.

The repository keeps both as top-level packages. Installed, such names would collide with those of other distributions, so
the wheel contains ``promptatlas_server.service`` and ``promptatlas_server.workers``, with rewritten imports and dotted names.
Version and requirements are those of the repository's ``pyproject.toml``.
"""

from __future__ import annotations

import io
import re
import tempfile
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomllib
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

NAMESPACE = "promptatlas_server"
CODE = ("service", "workers")
FILES = ("clients/web", "demo/model", "demo/data", "LICENSE")
"""Copied unchanged, to the same paths in the package: the code finds them relative to itself."""

KEPT = frozenset({"workers.jobs.run", "workers.jobs.help_run"})
"""Names of jobs in Redis. Hosts of one Redis may have different installations, so these are the same in all of them."""

_DOTTED = re.compile(r"(?<![\w./-])(?:service|workers)(?:\.\w+)+|(?<=-m )(?:service|workers)\b")
_LAYOUT = frozenset(
    {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT, tokenize.ENCODING}
)


class UnsupportedCode(ValueError):
    """Code that cannot be rewritten; the message has its line."""


class ServerMetadata(MetadataHookInterface):
    """Version and requirements, from the ``pyproject.toml`` of the repository."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the dynamic fields."""
        project = tomllib.loads((repository(Path(self.root)) / "pyproject.toml").read_text("utf-8"))["project"]
        extras = project["optional-dependencies"]
        required = [*extras["dev-service"], *extras["dev-workers"]]
        metadata["version"] = project["version"]
        metadata["dependencies"] = [
            f"promptatlas=={project['version']}",
            *(name for name in required if not name.startswith("promptatlas[")),
        ]
        metadata["optional-dependencies"] = {
            "gguf": extras["gguf"],
            "hub": extras["hub"],
            "otel": extras["dev-otel"],
            "postgresql": extras["dev-postgresql"],
            "s3": extras["dev-s3"],
        }


class ServerFiles(BuildHookInterface[Any]):
    """The files of the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the package to a temporary folder and include that folder. ``version``: of the target, not used."""
        self._folder = tempfile.TemporaryDirectory()
        package = Path(self._folder.name)
        root = repository(Path(self.root))
        for path in code_files(root):
            target = package / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(wheel_content(root / path, root=root))
        (package / "__init__.py").write_text('"""Server of Prompt Atlas: service and workers."""\n', "utf-8")
        (package / "commands.py").write_bytes(wheel_content(Path(self.root) / "commands.py", root=root))
        build_data["force_include"][str(package)] = NAMESPACE
        for name in FILES:
            build_data["force_include"][str(root / name)] = f"{NAMESPACE}/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary folder."""
        self._folder.cleanup()


def repository(root: Path) -> Path:
    """Root of the repository, for the folder of this file; in a source distribution, the part of it that is included."""
    included = root / "repository"
    return included if included.is_dir() else root.parents[1]


def code_files(root: Path) -> Iterator[Path]:
    """Paths of all files of ``service`` and ``workers``, relative to the repository, sorted."""
    for folder in CODE:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(root)


def wheel_content(path: Path, *, root: Path) -> bytes:
    """Content of a file in the wheel: Python rewritten, anything else unchanged."""
    if path.suffix != ".py":
        return path.read_bytes()
    try:
        return rewrite(path.read_text("utf-8"), root=root).encode()
    except UnsupportedCode as error:
        raise UnsupportedCode(f"{path}: {error}") from None


def rewrite(source: str, *, root: Path) -> str:
    """Python code whose imports and dotted names of ``service`` and ``workers`` lie in the namespace.

    Imports, strings and comments are rewritten; a dotted name only if it names a module of the repository.

    Raises:
        UnsupportedCode: ``import service.module`` without ``as``, which would bind another name; a module in an f-string.
    """
    lines = list(io.StringIO(source))  # as tokenize counts them; splitlines also splits at other characters
    edits = list(_edits(list(tokenize.generate_tokens(io.StringIO(source).readline)), root=root))
    for (first, start), (last, end), text in reversed(edits):
        tail = lines[last - 1][end:]
        lines[first - 1 : last] = [f"{lines[first - 1][:start]}{text}{tail}"]
    return "".join(lines)


def _edits(tokens: list[tokenize.TokenInfo], *, root: Path) -> Iterator[tuple[tuple[int, int], tuple[int, int], str]]:
    starts_statement = True
    before = ["", ""]
    for index, token in enumerate(tokens):
        if token.type == tokenize.NAME and token.string in ("from", "import") and starts_statement:
            name = tokens[index + 1]
            if name.string in CODE:
                _require_binding(tokens, index)
                yield name.start, name.end, f"{NAMESPACE}.{name.string}"
        elif token.type in (tokenize.STRING, tokenize.COMMENT) or "FSTRING" in tokenize.tok_name[token.type]:
            text = _rewritten(token, before=before, root=root)
            if text != token.string:
                yield token.start, token.end, text
        starts_statement = token.type in _LAYOUT or token.string in (";", ":")
        if token.type not in _LAYOUT:
            before = [before[1], token.string]


def _require_binding(tokens: list[tokenize.TokenInfo], index: int) -> None:
    statement = []
    for token in tokens[index:]:
        if token.type == tokenize.NEWLINE:
            break
        statement.append(token.string)
    if statement[0] == "import" and "as" not in statement:
        raise UnsupportedCode(f"line {tokens[index].start[0]}: expected `from {statement[1]}… import`, got `import`")


def _rewritten(token: tokenize.TokenInfo, *, before: list[str], root: Path) -> str:
    # A package by its bare name: the arguments ["-m", "workers"] and find_spec("workers").
    if token.string.strip("\"'") in CODE and (before == ['"-m"', ","] or before == ["find_spec", "("]):
        return f'"{NAMESPACE}.{token.string[1:]}'
    text = _DOTTED.sub(lambda match: _qualified(match[0], root=root), token.string)
    is_formatted = token.type != tokenize.STRING or "f" in re.split("[\"']", token.string, maxsplit=1)[0].lower()
    if text != token.string and is_formatted and token.type != tokenize.COMMENT:
        raise UnsupportedCode(f"line {token.start[0]}: expected no name of a module in an f-string, got {token.string}")
    return text


def _qualified(name: str, *, root: Path) -> str:
    top, *rest = name.split(".")
    inner = root.joinpath(top, *rest[:1])
    if name in KEPT or not (inner.is_dir() or inner.with_suffix(".py").is_file()):
        return name
    return f"{NAMESPACE}.{name}"
