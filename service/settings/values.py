"""Values of settings: their text forms, which environment variables, secrets and the settings file share."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PLACEMENTS = ("auto", "balanced", "balanced_low_0", "sequential")
_DEVICE = re.compile(r"(cpu|mps|(cuda|xpu|npu|hpu)(:[0-9]{1,3})?)")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9._-]*[a-z0-9])?)(:[0-9]{1,5})?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#@*]+")

ANY_HOST: Final = "*"
"""Entry of ``allowed_hosts`` that allows every host."""


class SettingsError(ValueError):
    """A setting is invalid; the message is one line for the operator."""


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A base model: ``name`` identifies it in requests, ``path`` is a directory, a GGUF file or a hub id."""

    name: str
    path: str


@dataclass(frozen=True, kw_only=True)
class TeacherEndpoint:
    """An endpoint that ``generate`` runs can sample from. base_url: of its API, e.g. ``https://host/v1``."""

    name: str
    base_url: str


@dataclass(frozen=True, kw_only=True)
class TeacherKey:
    """The key of a teacher."""

    name: str
    key: str = field(repr=False)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_list(value: object, parse: Callable[[str], object]) -> object:
    """The items of a text with commas or line breaks, or of a list; texts in it are parsed, other values kept."""
    if isinstance(value, str):
        return tuple(parse(item.strip()) for item in re.split(r"[,\n]", value) if item.strip())
    if isinstance(value, Sequence):
        return tuple(parse(item) if isinstance(item, str) else item for item in value)
    return value


def parse_models(value: object) -> object:
    """The models of ``name=path,…``, of a list of such items, or of a table from names to paths."""
    if isinstance(value, Mapping):
        value = [f"{name}={path}" for name, path in value.items()]
    return parse_list(value, _parse_model)


def parse_engines(value: object) -> object:
    """Models by engine: a number of engines with all models, or ``a,b;c`` for one engine with two models and one with one."""
    if isinstance(value, str):
        text = value.strip()
        if text.isdecimal():
            return ((),) * int(text)
        groups = tuple(tuple(name.strip() for name in group.split(",") if name.strip()) for group in text.split(";"))
        if not all(groups):
            raise ValueError(f"expected a number of engines, or models by engine such as a,b;c, got {value[:80]!r}")
        return groups
    return ((),) * value if isinstance(value, int) and not isinstance(value, bool) else value


def parse_teachers(value: object) -> object:
    """The teachers of ``name=base-url,…``, of a list of such items, or of a table from names to addresses."""
    if isinstance(value, Mapping):
        value = [f"{name}={url}" for name, url in value.items()]
    return parse_list(value, _parse_teacher)


def parse_teacher_keys(value: object) -> object:
    """The keys of ``name=key,…``, of a list of such items, or of a table from names to keys."""
    if isinstance(value, Mapping):
        value = [f"{name}={key}" for name, key in value.items()]
    return parse_list(value, _parse_teacher_key)


def parse_device_map(value: object) -> object:
    """A ``device_map`` of transformers: a strategy, one device, or a table (in JSON) from modules to devices."""
    if value is None:
        return None
    if isinstance(value, str) and (value in _PLACEMENTS or _DEVICE.fullmatch(value)):
        return value
    found = value
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except ValueError:
            found = None
    if isinstance(found, dict) and found and all(map(_is_device, found.values())):
        return found
    raise ValueError(
        f"expected {', '.join(_PLACEMENTS)}, a device such as cpu or cuda:1, or a JSON object from module names to devices, "
        f"got {str(value)[:80]!r}"
    )


def parse_index(text: str) -> str:
    """``sqlite``, ``off``, or the URL of a PostgreSQL database; ValueError otherwise, without the URL, which has a password."""
    if text in ("sqlite", "off"):
        return text
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("expected sqlite, off or postgresql://USER:PASSWORD@HOST/DATABASE")
    if find_spec("psycopg") is None:
        raise ValueError("postgresql:// needs psycopg: run pip install 'promptatlas-server[postgresql]'")
    return text


def parse_host(item: str) -> str:
    """A name for ``allowed_hosts``, in lower case."""
    host = item.lower()
    if host != ANY_HOST and not _HOST.fullmatch(host):
        raise ValueError(f"expected host names with an optional :port, or '{ANY_HOST}', got {item[:80]!r}")
    return host


def parse_origin(item: str) -> str:
    """An origin for ``allowed_origins``, in lower case."""
    origin = item.lower()
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(f"expected origins such as https://notebooks.example:8443, without a path, got {item[:80]!r}")
    return origin


def _parse_model(item: str) -> ModelSource:
    name, equals, path = item.partition("=")
    if not equals or not path or not _MODEL_NAME.fullmatch(name):
        raise ValueError(
            f"expected name=path-or-hub-id with a name of letters, digits, '.', '_' and '-', got {item[:80]!r}"
        )
    return ModelSource(name=name, path=path)


def _parse_teacher(item: str) -> TeacherEndpoint:
    name, equals, url = item.partition("=")
    parts = urlsplit(url)
    is_plain = parts.username is None and parts.password is None and not parts.query and not parts.fragment
    if not equals or not _MODEL_NAME.fullmatch(name) or parts.scheme not in ("http", "https") or not is_plain:
        # An address with a password is not shown.
        shown = f", got {item[:80]!r}" if is_plain else ""
        raise ValueError(f"expected name=base-url with http:// or https:// and no user, query or fragment{shown}")
    if not parts.hostname:
        raise ValueError(f"expected name=base-url with a host, got {item[:80]!r}")
    return TeacherEndpoint(name=name, base_url=url.rstrip("/"))


def _parse_teacher_key(item: str) -> TeacherKey:
    name, equals, key = item.partition("=")
    if not equals or not _MODEL_NAME.fullmatch(name) or not key.isascii() or not key.isprintable() or not key:
        raise ValueError("expected name=key with the name of a teacher, got something else")
    return TeacherKey(name=name, key=key)


def _is_device(value: object) -> bool:
    if isinstance(value, str):
        return _DEVICE.fullmatch(value) is not None
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
