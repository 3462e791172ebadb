"""Specs in files, YAML or JSON, and what the command line changes in them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

# YAML 1.1, which PyYAML reads, takes 1e-3 for a text; everybody who writes it means a number.
_FLOAT = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+")


def read_spec(source: str) -> dict[str, Any]:
    """The object in a file; ``-`` is standard input.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is neither YAML nor JSON, or no object.
        ImportError: it is YAML, and PyYAML is not installed.
    """
    name = "standard input" if source == "-" else source
    text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    value = _json(text, name) if source.endswith(".json") else parsed(text, name)
    if not isinstance(value, dict):
        raise ValueError(f"{name}: expected an object with the fields of the spec, got {type(value).__name__}")
    return value


def parsed(text: str, name: str) -> Any:
    """The value that a text is, in JSON or in YAML."""
    # JSON needs nothing to be installed.
    if text.lstrip().startswith(("{", "[")):
        try:
            return json.loads(text)
        except ValueError:
            pass  # YAML has braces too
    return _yaml(text, name)


def with_changes(spec: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """The spec with ``path.to.field=value`` changes made, in order; a number in a path is a list's index.

    A value is JSON, or else a text. Raises typer.BadParameter.
    """
    changed: dict[str, Any] = json.loads(json.dumps(spec))
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not all(path.split(".")):
            raise typer.BadParameter(f"--set: expected path.to.field=value, got {change!r}")
        try:
            _set(changed, path.split("."), _value(text))
        except (LookupError, TypeError) as error:
            raise typer.BadParameter(f"--set {path}: {error.args[0]}") from error
    return changed


def _set(inside: Any, path: Sequence[str], value: Any) -> None:
    first, rest = path[0], path[1:]
    if isinstance(inside, list):
        if not first.isdigit() or int(first) >= len(inside):
            raise LookupError(f"expected an index from 0 to {len(inside) - 1}, got {first!r}")
        key: Any = int(first)
    elif isinstance(inside, dict):
        key = first
        if rest:
            inside.setdefault(key, {})
    else:
        raise TypeError(f"expected an object or a list above {first!r}, got {inside!r}")
    if rest:
        _set(inside[key], rest, value)
    else:
        inside[key] = value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{name}: expected JSON: {error}") from error


def _yaml(text: str, name: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            f"{name}: expected PyYAML to be installed: pip install 'promptatlas[yaml]', or write it as JSON"
        ) from error

    class Loader(yaml.SafeLoader):
        """Safe, with floats as everybody writes them."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{name}: expected YAML or JSON: {said}") from error
