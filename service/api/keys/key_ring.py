"""The accepted API keys: those of the settings, and those of a file, which is read again when it changes."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from promptatlas.types import ComponentState

from service.settings import ApiKey, Settings
from service.settings.api_keys import read_keys_file

_CHECK_S = 2.0
_SETTLE_S = 2.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Version:
    """A version of the file, as far as its metadata tells. settled: a later change would have another ``identity``."""

    identity: tuple[int, ...]
    settled: bool

    @classmethod
    def of(cls, path: Path, *, now_s: float) -> _Version | None:
        """The present version; None if there is no file. Links are followed: Kubernetes replaces a link to a folder."""
        try:
            found = os.stat(path)
        except OSError:
            return None
        # Two changes within one tick of the file system's clock have the same time.
        settled = found.st_mtime + _SETTLE_S < now_s
        return cls(identity=(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size), settled=settled)


class KeyRing:
    """Finds API keys. A broken file keeps the keys that were read last.

    Args:
        keys: keys that do not change.
        file: file with further keys; see :func:`service.settings.api_keys.read_keys_file`. It is examined at most every two
            seconds, when keys are used.
        clock: monotonic seconds. now: seconds since the epoch, as in the file system.
    """

    def __init__(
        self,
        keys: Sequence[ApiKey] = (),
        *,
        file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._fixed = tuple(keys)
        self._file = file
        self._clock = clock
        self._now = now
        self._read: Sequence[ApiKey] = ()
        self._version: _Version | None = None
        self._fault: str | None = None
        self._checked_s = clock()
        if file is not None:
            self._check(file)

    @classmethod
    def of(cls, settings: Settings) -> KeyRing:
        """The keys that the settings define."""
        file = settings.api_keys_file
        return cls(settings.api_keys, file=None if file is None else Path(file).expanduser())

    @property
    def required(self) -> bool:
        """Whether requests need a key; also true while a file has none."""
        return bool(self._fixed) or self._file is not None

    def find(self, key: str) -> ApiKey | None:
        """The record of a key; None for an unknown one. The comparison takes constant time. It may be expired."""
        self._refresh()
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        matching = [known for known in (*self._fixed, *self._read) if hmac.compare_digest(known.sha256, digest)]
        return matching[0] if matching else None

    def is_expired(self, key: ApiKey) -> bool:
        """Whether the time of ``key`` is over."""
        return key.expires is not None and key.expires.timestamp() <= self._now()

    def state(self) -> ComponentState:
        """State of the file."""
        self._refresh()
        if self._file is None:
            return ComponentState(status="off")
        if self._fault is not None:
            # Anyone can read this: the fault itself is in the log.
            detail = f"the file of API keys is invalid: {len(self._read)} keys of its last valid version are used"
            return ComponentState(status="lost", detail=detail)
        return ComponentState(status="ok")

    def _refresh(self) -> None:
        if self._file is not None and self._clock() - self._checked_s >= _CHECK_S:
            self._checked_s = self._clock()
            self._check(self._file)

    def _check(self, file: Path) -> None:
        version = _Version.of(file, now_s=self._now())
        if version is not None and version == self._version and version.settled:
            return
        try:
            keys, fault = read_keys_file(file), None
        except ValueError as error:
            keys, fault = self._read, str(error)
        if fault is not None and fault != self._fault:
            _log.error("file of API keys is invalid", file=str(file), reason=fault, n_kept=len(keys))
        elif fault is None and (keys != self._read or self._fault is not None):
            _log.info("API keys read", file=str(file), n_keys=len(keys))
        self._version, self._read, self._fault = version, keys, fault
