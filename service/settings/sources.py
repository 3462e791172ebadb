"""Where settings come from: environment variables, a folder of secrets, a TOML file; the first that has a setting wins."""

from __future__ import annotations

import difflib
import os
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
import tomllib
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, SecretsSettingsSource, TomlConfigSettingsSource
from pydantic_settings.exceptions import SettingsError as SourceError

from service.settings.values import SettingsError

PREFIX: Final = "PROMPTATLAS_"
CONFIG_VARIABLE: Final = f"{PREFIX}CONFIG"
SECRETS_VARIABLE: Final = f"{PREFIX}SECRETS_DIR"

_OTHERS = ("CONFIG", "SECRETS_DIR", "URL", "API_KEY")
"""Variables that are no settings: where settings are, and those of the SDK."""

# Tests have variables of their own, and Kubernetes defines these for a Service named "promptatlas".
_FOREIGN = re.compile(r"(TEST_\w+|SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_\w+)")
_MAX_SHOWN = 80

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Given:
    """Settings as they were given. values: by field, not validated. origins: by field, how a message names its source."""

    values: Mapping[str, Any]
    origins: Mapping[str, str]


def read_sources(kind: type[BaseSettings], *, environ: Mapping[str, str]) -> Given:
    """The given settings of type ``kind``. Empty values count as unset.

    Raises:
        SettingsError: a file or folder that the environment names cannot be read, or the file has an unknown setting.
    """
    stripped = {name: text.strip() for name, text in environ.items() if name.startswith(PREFIX)}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    sources = (
        *_toml(kind, stripped.get(CONFIG_VARIABLE)),
        *_secrets(kind, stripped.get(SECRETS_VARIABLE)),
        *((field, value, f"{PREFIX}{field.upper()}") for field, value in _Environ(kind, stripped)().items()),
    )
    for field, value, origin in sources:
        if value != "":
            values[field], origins[field] = value, origin
    return Given(values=values, origins=origins)


def one_line(fault: ErrorDetails, *, kind: type[BaseSettings], origins: Mapping[str, str]) -> str:
    """A fault of validation as a line for the operator. Values of fields with ``repr=False`` are secret and not shown."""
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return message
    field = str(fault["loc"][0])
    origin = origins.get(field, f"{PREFIX}{field.upper()}")
    # Our own messages say what was received.
    is_shown = fault["type"] != "value_error" and field in kind.model_fields and kind.model_fields[field].repr
    received = f", got {repr(fault['input'])[:_MAX_SHOWN]}" if is_shown else ""
    hint = ""
    if field == "port" and str(fault["input"]).startswith("tcp://"):
        hint = "; Kubernetes sets this for a Service of this name, rename it or set enableServiceLinks to false"
    return f"{origin}: {message[:1].lower()}{message[1:]}{received}{hint}"


def warn_of_unknown_variables(environ: Mapping[str, str], *, known: Collection[str]) -> None:
    """Log each variable ``PROMPTATLAS_*`` that is no setting, with the nearest name. known: names of fields."""
    names = [*(field.upper() for field in known), *_OTHERS]
    for variable in sorted(environ):
        name = variable.removeprefix(PREFIX)
        if variable.startswith(PREFIX) and name not in names and not _FOREIGN.fullmatch(name):
            nearest = _nearest(name, names)
            _log.warning("unknown setting is ignored", variable=variable, nearest=nearest and f"{PREFIX}{nearest}")


class _Environ(EnvSettingsSource):
    """Environment variables of a mapping instead of those of this process."""

    def __init__(self, kind: type[BaseSettings], environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(kind, case_sensitive=False, env_prefix=PREFIX, env_ignore_empty=True)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): text for name, text in self._environ.items() if text}


def _toml(kind: type[BaseSettings], name: str | None) -> Iterator[tuple[str, Any, str]]:
    if not name:
        return
    _require(Path(name).expanduser().is_file(), f"{CONFIG_VARIABLE}: expected the path of a TOML file, got {name!r}")
    try:
        given = TomlConfigSettingsSource(kind, toml_file=name)()
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"{CONFIG_VARIABLE}: {name} cannot be read as TOML: {reason}") from None
    for field, value in given.items():
        nearest = _nearest(field, list(kind.model_fields))
        hint = f"; did you mean {nearest}?" if nearest else ""
        _require(field in kind.model_fields, f"{name}: expected names of settings, got {field[:_MAX_SHOWN]!r}{hint}")
        yield field, value, f"{name}: {field}"


def _secrets(kind: type[BaseSettings], name: str | None) -> Iterator[tuple[str, Any, str]]:
    if not name:
        return
    folder = Path(name).expanduser()
    _require(folder.is_dir(), f"{SECRETS_VARIABLE}: expected the path of a folder, got {name!r}")
    for prefix in ("", PREFIX):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # it warns of files that it skips
                given = SecretsSettingsSource(kind, secrets_dir=folder, env_prefix=prefix, case_sensitive=False)()
        except (OSError, UserWarning, SourceError) as error:
            raise SettingsError(f"{SECRETS_VARIABLE}: {name} cannot be read: {_reason(error)}") from None
        for field, value in given.items():
            yield field, value, os.path.join(name, f"{prefix}{field.upper()}" if prefix else field)


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, OSError):
        return f"{cause.filename}: {cause.strerror}"
    if isinstance(cause, UnicodeDecodeError):  # its text would show a part of the secret
        return f"{error}, which is not UTF-8"
    return str(cause)


def _nearest(name: str, names: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.75)), None)


def _require(is_met: bool, message: str) -> None:
    if not is_met:
        raise SettingsError(message)
