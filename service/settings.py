"""Settings of the service: environment variables ``PROMPTATLAS_*``, validated once, then frozen."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from service.keeping import KEEP_ALL, Keep, parse_keep

Scope = Literal["read", "write", "admin"]

_PREFIX = "PROMPTATLAS_"
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PLACEMENTS = ("auto", "balanced", "balanced_low_0", "sequential")
_DEVICE = re.compile(r"(cpu|mps|(cuda|xpu|npu|hpu)(:[0-9]{1,3})?)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9._-]*[a-z0-9])?)(:[0-9]{1,5})?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#@*]+")

ANY_HOST: Final = "*"
"""Entry of ``allowed_hosts`` that allows every host."""


class SettingsError(ValueError):
    """An environment variable is invalid; the message is one line for the operator."""


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A base model: ``name`` identifies it in requests, ``path`` is a directory or a hub id."""

    name: str
    path: str


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """An accepted API key: name of its owner, scope, and sha256 of the key in hexadecimal."""

    name: str
    scope: Scope
    sha256: str


def default_model_path(*, cwd: Path) -> Path:
    """Path of the demo model: next to the package if it exists there, else under the working directory."""
    bundled = Path(__file__).resolve().parent.parent / "demo" / "model"
    return bundled if bundled.is_dir() else cwd / "demo" / "model"


def default_datasets_path(*, cwd: Path) -> Path:
    """Path of the built-in datasets: next to the package if they exist there, else under the working directory."""
    bundled = Path(__file__).resolve().parent.parent / "demo" / "data"
    return bundled if bundled.is_dir() else cwd / "demo" / "data"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Settings(BaseModel):
    """All settings. Field names are the environment variables in lower case, without the prefix.

    max_batch: rows that are decoded together. max_waiting: rows queued in the engine before requests get 429.
    max_pending: maximum number of pending requests in the API process. grace_s: how long a stopping server waits for running
    requests. drain_s: how long it answers at least, with a failing ``/ready``.
    workers: number of worker processes. worker_grace_s: how long a run may take to save a checkpoint when its worker stops.
    run_attempts: a run fails after this many attempts whose worker died.
    allowed_hosts: names for ``Host`` besides loopback names. allowed_origins: origins whose pages may use this server.
    read_models: encoder–decoders that only workers load, to read their states. max_harvest_bytes: shards of one harvest.
    keep_…: how long and how much of ended runs is kept, e.g. ``30d,200GiB``.
    Times are in seconds (``_s``), sizes in bytes (``_bytes``).
    """

    model_config = ConfigDict(frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    home: str = Field(default="./.atlas", min_length=1)
    models: tuple[ModelSource, ...] = ()
    read_models: tuple[ModelSource, ...] = ()
    device: str = Field(default="auto", min_length=1)
    device_map: str | dict[str, int | str] | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    redis_url: str | None = None
    api_keys: tuple[ApiKey, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    log: Literal["json", "text"] = "text"

    max_batch: int = Field(default=64, ge=1, le=4096)
    max_waiting: int = Field(default=1024, ge=0)
    max_step_tokens: int = Field(default=2048, ge=1)
    cache_bytes: int = Field(default=2 << 30, ge=1)
    prompt_cache_bytes: int = Field(default=512 << 20, ge=0)
    max_capture_bytes: int = Field(default=1 << 30, ge=1)
    max_pending: int = Field(default=1024, ge=1)
    max_body_bytes: int = Field(default=64 << 20, ge=1024)
    max_json_body_bytes: int = Field(default=16 << 20, ge=1024)
    max_upload_bytes: int = Field(default=256 << 20, ge=1024)
    max_dataset_bytes: int = Field(default=4 << 30, ge=1024)
    max_json_bytes: int = Field(default=4 << 20, ge=1024)
    timeout_s: float = Field(default=300.0, gt=0, allow_inf_nan=False)
    max_timeout_s: float = Field(default=3600.0, gt=0, allow_inf_nan=False)
    grace_s: float = Field(default=30.0, ge=0, le=3600, allow_inf_nan=False)
    drain_s: float = Field(default=1.0, ge=0, le=3600, allow_inf_nan=False)

    workers: int = Field(default=1, ge=0, le=256)
    worker_grace_s: float = Field(default=20.0, ge=0, le=3600, allow_inf_nan=False)
    run_attempts: int = Field(default=3, ge=1, le=1000)
    max_harvest_bytes: int = Field(default=256 << 30, ge=1024)

    keep_events: Keep = KEEP_ALL
    keep_checkpoints: Keep = KEEP_ALL
    keep_outputs: Keep = KEEP_ALL
    keep_harvests: Keep = KEEP_ALL
    keep_maps: Keep = KEEP_ALL

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Settings from a mapping like ``os.environ``; empty values count as unset.

        Raises:
            SettingsError: names the first invalid variable, what was expected and what was received.
        """
        given = {field: environ.get(f"{_PREFIX}{field.upper()}", "").strip() for field in cls.model_fields}
        try:
            return cls.model_validate({field: text for field, text in given.items() if text})
        except ValidationError as error:
            raise SettingsError(_one_line(error)) from None

    @field_validator("models", "read_models", mode="before")
    @classmethod
    def _parse_models(cls, value: object) -> object:
        return tuple(_parse_model(item) for item in _items(value)) if isinstance(value, str) else value

    @field_validator("models", "read_models")
    @classmethod
    def _distinct_models(cls, value: tuple[ModelSource, ...]) -> tuple[ModelSource, ...]:
        names = [source.name for source in value]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"each model needs its own name, but {repeated[0]!r} is given twice")
        return value

    @field_validator("keep_events", "keep_checkpoints", "keep_outputs", "keep_harvests", "keep_maps", mode="before")
    @classmethod
    def _parse_keep(cls, value: object) -> object:
        return parse_keep(value) if isinstance(value, str) else value

    @field_validator("api_keys", mode="before")
    @classmethod
    def _parse_keys(cls, value: object) -> object:
        return tuple(_parse_key(item) for item in _items(value)) if isinstance(value, str) else value

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _parse_hosts(cls, value: object) -> object:
        return tuple(_parse_host(item) for item in _items(value)) if isinstance(value, str) else value

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _parse_origins(cls, value: object) -> object:
        return tuple(_parse_origin(item) for item in _items(value)) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _require_keys_for_any_host(self) -> Settings:
        if ANY_HOST in self.allowed_hosts and not self.api_keys:
            raise ValueError(
                f"{_PREFIX}ALLOWED_HOSTS: '{ANY_HOST}' needs {_PREFIX}API_KEYS; without keys every web page could use this "
                "server"
            )
        return self

    @field_validator("device_map", mode="before")
    @classmethod
    def _parse_device_map(cls, value: object) -> object:
        return _parse_device_map(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _require_keys_unless_local(self) -> Settings:
        if not self.api_keys and not is_loopback(self.host):
            raise ValueError(
                f"{_PREFIX}API_KEYS must be set to serve on {self.host}, which other machines can reach; "
                "without keys only a loopback address such as 127.0.0.1 is allowed"
            )
        return self

    @model_validator(mode="after")
    def _distinct_read_models(self) -> Settings:
        hosted = {source.name for source in self.model_sources}
        for source in self.read_models:
            if source.name in hosted:
                raise ValueError(f"{_PREFIX}READ_MODELS: {source.name!r} is already the name of a hosted model")
        return self

    def require_models(self) -> None:
        """Check that the demo model exists if it is to be hosted, before the engine process starts.

        Raises:
            SettingsError: no model is configured and there is no demo model.
        """
        demo = self.model_sources[0]
        if not self.models and not Path(demo.path).is_dir():
            raise SettingsError(
                f"no model to host: set {_PREFIX}MODELS=name=path-or-hub-id, or place the demo model at {demo.path}"
            )

    @property
    def model_sources(self) -> tuple[ModelSource, ...]:
        """The models to host: the configured ones, else the demo model."""
        if self.models:
            return self.models
        return (ModelSource(name="demo", path=str(default_model_path(cwd=Path.cwd()))),)


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _parse_model(item: str) -> ModelSource:
    name, equals, path = item.partition("=")
    if not equals or not path or not _MODEL_NAME.fullmatch(name):
        raise ValueError(f"expected name=path-or-hub-id with a name of letters, digits, '.', '_' and '-', got {item!r}")
    return ModelSource(name=name, path=path)


def _parse_device_map(text: str) -> str | dict[str, int | str]:
    """A ``device_map`` of transformers: a strategy, one device, or a JSON object from modules to devices."""
    if text in _PLACEMENTS or _DEVICE.fullmatch(text):
        return text
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if isinstance(found, dict) and found and all(map(_is_device, found.values())):
        return found
    raise ValueError(
        f"expected {', '.join(_PLACEMENTS)}, a device such as cpu or cuda:1, or a JSON object from module names to devices"
    )


def _is_device(value: object) -> bool:
    if isinstance(value, str):
        return _DEVICE.fullmatch(value) is not None
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _parse_key(item: str) -> ApiKey:
    name, _, rest = item.partition(":")
    scope, _, digest = rest.partition(":")
    # The received value is not repeated, because it is often the key itself in place of its hash.
    if not name or scope not in ("read", "write", "admin") or not _SHA256.fullmatch(digest.lower()):
        raise ValueError(
            "expected name:scope:sha256-of-key with a scope of read, write or admin and 64 hexadecimal digits, "
            f"got something else for {name!r}"
        )
    return ApiKey(name=name, scope=cast(Scope, scope), sha256=digest.lower())


def _parse_host(item: str) -> str:
    host = item.lower()
    if host != ANY_HOST and not _HOST.fullmatch(host):
        raise ValueError(f"expected host names with an optional :port, or '{ANY_HOST}', got {item!r}")
    return host


def _parse_origin(item: str) -> str:
    origin = item.lower()
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(f"expected origins such as https://notebooks.example:8443, without a path, got {item!r}")
    return origin


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    variable = f"{_PREFIX}{str(first['loc'][0]).upper()}"
    received = "" if variable.endswith(("API_KEYS", "REDIS_URL", "MODELS")) else f", got {first['input']!r}"
    return f"{variable}: {message[:1].lower()}{message[1:]}{received}"
