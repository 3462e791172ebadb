"""Specs in YAML or JSON files, and changes to them by ``--set``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

# PyYAML implements YAML 1.1, which reads 1e-3 as a text instead of a number.
_FLOAT = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+")


def read_spec(source: str) -> dict[str, Any]:
    """The object in a file; ``-`` is standard input.

    Raises:
        OSError: the file cannot be read.
        ValueError: the content is neither YAML nor JSON, or is not an object.
        ImportError: the content is YAML, and PyYAML is not installed.
    """
    name = "standard input" if source == "-" else source
    text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    value = _json(text, name) if source.endswith(".json") else parsed(text, name)
    if not isinstance(value, dict):
        raise ValueError(f"{name}: expected an object with the fields of the spec, got {type(value).__name__}")
    return value


def parsed(text: str, name: str) -> Any:
    """The value of a text in JSON or YAML."""
    # JSON first: it requires no package.
    if text.lstrip().startswith(("{", "[")):
        try:
            return json.loads(text)
        except ValueError:
            pass  # YAML also allows braces
    return _yaml(text, name)


def with_changes(spec: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """The spec after changes ``path.to.field=value``, applied in order. A number in a path is an index of a list.

    A value that is not JSON is a text. Raises typer.BadParameter.
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


def _set(container: Any, path: Sequence[str], value: Any) -> None:
    first, rest = path[0], path[1:]
    if isinstance(container, list):
        if not first.isdigit() or int(first) >= len(container):
            raise LookupError(f"expected an index from 0 to {len(container) - 1}, got {first!r}")
        key: Any = int(first)
    elif isinstance(container, dict):
        key = first
        if rest:
            container.setdefault(key, {})
    else:
        raise TypeError(f"expected an object or a list above {first!r}, got {container!r}")
    if rest:
        _set(container[key], rest, value)
    else:
        container[key] = value


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
        """SafeLoader that reads 1e-3 as a number."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        message = " ".join(str(error).split())
        raise ValueError(f"{name}: expected YAML or JSON: {message}") from error
