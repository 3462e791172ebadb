"""All settings of the service and the workers, validated once, then frozen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.settings.api_keys import ApiKey, parse_key, read_keys_file
from service.settings.default_paths import default_model_path
from service.settings.keeping import KEEP_ALL, Keep, parse_keep
from service.settings.sources import PREFIX, one_line, read_sources
from service.settings.values import (
    ANY_HOST,
    ModelSource,
    SettingsError,
    TeacherEndpoint,
    TeacherKey,
    is_loopback,
    parse_device_map,
    parse_engines,
    parse_host,
    parse_index,
    parse_list,
    parse_models,
    parse_origin,
    parse_teacher_keys,
    parse_teachers,
)


class Settings(BaseSettings):
    """All settings. Field names are the environment variables in lower case, without the prefix.

    The constructor takes values as they are; :meth:`from_environ` reads them. Fields with ``repr=False`` are secret.

    cache: folder of this host for hashes of weights, converted models and copies of prompts; None: see host_cache.py.
    max_batch: rows that are decoded together. max_waiting: rows queued in the engine before requests get 429.
    prompt_timeout_s: how long a request waits for its prompt to be read from the store. content_cache_bytes: copies of prompts
    from a store that is not on this host.
    max_pending: maximum number of pending requests in the API process. grace_s: how long a stopping server waits for running
    requests. drain_s: how long it takes new requests, with a failing ``/ready``.
    read_timeout_s: time for a request head, and over which the rate of a body is measured. write_timeout_s: the same for a
    response that the client reads. min_bytes_per_s: the rate that clients must keep.
    threads, worker_threads: of the engine process and of each run; by default all cores, and equal shares of them.
    worker_nice: how far the priority of runs is below that of the engine process; the default depends on ``workers``.
    workers: number of worker processes. worker_devices: CUDA devices of their runs.
    memory_share: of a device, or of the host on a CPU, that each run may use; by default equal shares.
    worker_grace_s: how long a run may take to save a checkpoint when its worker stops.
    api_keys_file: keys that are read again when the file changes; each line is one key, see api_keys.py.
    requests_per_minute, tokens_per_minute, max_rows_per_key: limits of API keys without their own.
    run_attempts: a run fails after this many attempts whose worker died.
    allowed_hosts: names for ``Host`` besides loopback names. allowed_origins: origins whose pages may use this server.
    read_models: encoder–decoders that only workers load, to read their states. max_harvest_bytes: shards of one harvest.
    teachers: endpoints that runs can sample from. teacher_requests: at once, of one run. teacher_patience_s: how long a run
    repeats failing requests to a teacher.
    index: ``sqlite``, ``off`` or the URL of a PostgreSQL database, for lists of a large store.
    tensor_parallel: ranks that divide each model of the engine. tensor_parallel_timeout_s: how long one waits for another.
    engines: for each engine process the names of its models; none: all.
    keep_…: how long and how much of ended runs is kept, e.g. ``30d,200GiB``.
    Times are in seconds (``_s``), sizes in bytes (``_bytes``).
    """

    # Lists have text forms of their own, see values.py, so texts are not decoded as JSON.
    model_config = SettingsConfigDict(frozen=True, enable_decoding=False, validate_default=False)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    home: str = Field(default="./.atlas", min_length=1)
    cache: str | None = None
    index: str = Field(default="sqlite", repr=False)
    models: tuple[ModelSource, ...] = ()
    teachers: tuple[TeacherEndpoint, ...] = ()
    teacher_keys: tuple[TeacherKey, ...] = Field(default=(), repr=False)
    teacher_requests: int = Field(default=8, ge=1, le=1024)
    teacher_patience_s: float = Field(default=600.0, ge=0, le=86_400, allow_inf_nan=False)
    read_models: tuple[ModelSource, ...] = ()
    engines: tuple[tuple[str, ...], ...] = Field(default=((),), min_length=1, max_length=256)
    device: str = Field(default="auto", min_length=1)
    device_map: str | dict[str, int | str] | None = None
    tensor_parallel: int = Field(default=1, ge=1, le=64)
    tensor_parallel_timeout_s: float = Field(default=300.0, gt=0, le=86_400, allow_inf_nan=False)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    redis_url: str | None = Field(default=None, repr=False)
    api_keys: tuple[ApiKey, ...] = Field(default=(), repr=False)
    api_keys_file: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    log: Literal["json", "text"] = "text"

    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    max_rows_per_key: int | None = Field(default=None, ge=1)

    max_batch: int = Field(default=64, ge=1, le=4096)
    max_waiting: int = Field(default=1024, ge=0)
    max_step_tokens: int = Field(default=2048, ge=1)
    cache_bytes: int = Field(default=2 << 30, ge=1)
    prompt_cache_bytes: int = Field(default=512 << 20, ge=0)
    prompt_timeout_s: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    content_cache_bytes: int = Field(default=1 << 30, ge=0)
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
    read_timeout_s: float = Field(default=20.0, gt=0, le=3600, allow_inf_nan=False)
    write_timeout_s: float = Field(default=60.0, gt=0, le=3600, allow_inf_nan=False)
    min_bytes_per_s: int = Field(default=500, ge=0, le=1 << 30)
    threads: int | None = Field(default=None, ge=1, le=4096)
    worker_threads: int | None = Field(default=None, ge=1, le=4096)
    worker_nice: int | None = Field(default=None, ge=0, le=19)

    workers: int = Field(default=1, ge=0, le=256)
    worker_devices: tuple[str, ...] = ()
    memory_share: float | None = Field(default=None, gt=0, le=1)
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
        """Settings of an environment like ``os.environ``, and of the secrets folder and the file that it names.

        Raises:
            SettingsError: names the first invalid variable or file, what was expected and what was received.
        """
        given = read_sources(cls, environ=environ)
        try:
            return cls.model_validate(given.values)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            raise SettingsError(one_line(fault, kind=cls, origins=given.origins)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The arguments only: work horses receive settings as JSON, and must not read their environment."""
        return (init_settings,)

    @field_validator("models", "read_models", mode="before")
    @classmethod
    def _parse_models(cls, value: object) -> object:
        return parse_models(value)

    @field_validator("models", "read_models")
    @classmethod
    def _distinct_models(cls, value: tuple[ModelSource, ...]) -> tuple[ModelSource, ...]:
        names = [source.name for source in value]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"each model needs its own name, but {repeated[0]!r} is given twice")
        return value

    @field_validator("teachers", mode="before")
    @classmethod
    def _parse_teachers(cls, value: object) -> object:
        return parse_teachers(value)

    @field_validator("teacher_keys", mode="before")
    @classmethod
    def _parse_teacher_keys(cls, value: object) -> object:
        return parse_teacher_keys(value)

    @model_validator(mode="after")
    def _keys_of_known_teachers(self) -> Settings:
        known = {teacher.name for teacher in self.teachers}
        for item in self.teacher_keys:
            if item.name not in known:
                raise ValueError(f"{PREFIX}TEACHER_KEYS: {item.name!r} is not the name of one of {PREFIX}TEACHERS")
        return self

    @field_validator("keep_events", "keep_checkpoints", "keep_outputs", "keep_harvests", "keep_maps", mode="before")
    @classmethod
    def _parse_keep(cls, value: object) -> object:
        return parse_keep(value) if isinstance(value, str) else value

    @field_validator("index")
    @classmethod
    def _check_index(cls, value: str) -> str:
        return parse_index(value)

    @field_validator("engines", mode="before")
    @classmethod
    def _parse_engines(cls, value: object) -> object:
        return parse_engines(value)

    @field_validator("worker_devices", "api_keys", "allowed_hosts", "allowed_origins", mode="before")
    @classmethod
    def _parse_items(cls, value: object, info: ValidationInfo) -> object:
        parse = {"api_keys": parse_key, "allowed_hosts": parse_host, "allowed_origins": parse_origin}
        return parse_list(value, parse.get(str(info.field_name), str))

    @model_validator(mode="after")
    def _require_keys_for_any_host(self) -> Settings:
        if ANY_HOST in self.allowed_hosts and not self.requires_keys:
            raise ValueError(
                f"{PREFIX}ALLOWED_HOSTS: '{ANY_HOST}' needs {PREFIX}API_KEYS or {PREFIX}API_KEYS_FILE; without keys every "
                "web page could use this server"
            )
        return self

    @field_validator("device_map", mode="before")
    @classmethod
    def _parse_device_map(cls, value: object) -> object:
        return parse_device_map(value)

    @model_validator(mode="after")
    def _require_keys_unless_local(self) -> Settings:
        if not self.requires_keys and not is_loopback(self.host):
            raise ValueError(
                f"{PREFIX}API_KEYS or {PREFIX}API_KEYS_FILE must be set to serve on {self.host}, which other machines can reach; "
                "without keys only a loopback address such as 127.0.0.1 is allowed"
            )
        return self

    @model_validator(mode="after")
    def _distinct_read_models(self) -> Settings:
        hosted = {source.name for source in self.model_sources}
        for source in self.read_models:
            if source.name in hosted:
                raise ValueError(f"{PREFIX}READ_MODELS: {source.name!r} is already the name of a hosted model")
        return self

    @model_validator(mode="after")
    def _check_engines(self) -> Settings:
        hosted = [source.name for source in self.model_sources]
        named = {name for engine in self.engines for name in engine}
        if unknown := sorted(named.difference(hosted)):
            raise ValueError(f"{PREFIX}ENGINES: {unknown[0]!r} is not the name of one of {PREFIX}MODELS")
        if all(self.engines) and (missing := [name for name in hosted if name not in named]):
            raise ValueError(f"{PREFIX}ENGINES: {missing[0]!r} has no engine")
        over_devices = {"DEVICE_MAP": self.device_map is not None, "TENSOR_PARALLEL": self.tensor_parallel > 1}
        for name, is_set in over_devices.items():
            if len(self.engines) > 1 and is_set:
                raise ValueError(f"{PREFIX}ENGINES: expected one engine with {PREFIX}{name}, got {len(self.engines)}")
        return self

    def require_models(self) -> None:
        """Check that the demo model exists if it is to be hosted, before the engine process starts.

        Raises:
            SettingsError: no model is configured and there is no demo model.
        """
        demo = self.model_sources[0]
        if not self.models and not Path(demo.path).is_dir():
            raise SettingsError(
                f"no model to host: set {PREFIX}MODELS=name=path-or-hub-id, or place the demo model at {demo.path}"
            )

    def require_keys_file(self) -> None:
        """Check the file of API keys, if there is one.

        Raises:
            SettingsError: the file cannot be read or is invalid.
        """
        if self.api_keys_file is not None:
            try:
                read_keys_file(Path(self.api_keys_file).expanduser())
            except ValueError as error:
                raise SettingsError(f"{PREFIX}API_KEYS_FILE: {self.api_keys_file}: {error}") from None

    @property
    def requires_keys(self) -> bool:
        """Whether requests need an API key: keys are configured, or a file that may have some."""
        return bool(self.api_keys) or self.api_keys_file is not None

    @property
    def rows_per_key(self) -> int:
        """Rows that the owner of a key may have at the same time. By default a sixteenth of all places is left to others."""
        n_places = self.max_batch + self.max_waiting
        return self.max_rows_per_key or max(n_places - max(n_places // 16, 1), 1)

    @property
    def model_sources(self) -> tuple[ModelSource, ...]:
        """The models to host: the configured ones, else the demo model."""
        if self.models:
            return self.models
        return (ModelSource(name="demo", path=str(default_model_path(cwd=Path.cwd()))),)
