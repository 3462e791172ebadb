"""Idempotency records: a repeated POST with the same Idempotency-Key gets the stored response of the first one.

    idempotency/{hash of API key name, route and key}/{generation}.json

The process that creates a generation executes the request and then replaces the record with the response. An expired or
abandoned record is followed by the next generation, which again only one process can create.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from service.errors import Conflict, DamagedArtifact, InvalidRequest
from service.store.artifacts.clock import Clock, read_time, utc_now, write_time
from service.store.artifacts.sealed_records import canonical_json
from service.store.artifacts.store import ArtifactStore

MAX_KEY = 255

_LABEL = "the record of an Idempotency-Key"


@dataclass(frozen=True, kw_only=True)
class StoredResponse:
    """A stored response."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """Claim of a key: its holder executes the request and calls ``finish`` or ``abandon``."""

    record_key: str
    owner: str
    body_sha256: str
    started_at: datetime


class IdempotencyStore:
    """Responses by Idempotency-Key in an artifact store; safe across threads, processes and hosts.

    Args:
        artifacts: The artifact store.
        clock: Determines what has expired.
        lifetime: How long a response is kept.
        patience: Time after which an unfinished request counts as crashed; longer than any deadline.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        *,
        clock: Clock = utc_now,
        lifetime: timedelta = timedelta(hours=24),
        patience: timedelta = timedelta(minutes=15),
    ) -> None:
        self._artifacts = artifacts
        self._clock = clock
        self._lifetime = lifetime
        self._patience = patience

    def begin(self, key: str, *, api_key_name: str, route: str, body: bytes) -> Attempt | StoredResponse:
        """Claim ``key`` for this request, or return the stored response.

        Args:
            key: Value of the header, 1 to 255 printable ASCII characters.
            api_key_name: Owner of the key; keys of different clients are independent.
            route: Method, path and query of the request.
            body: Body of the request.

        Raises:
            InvalidRequest: The key is malformed.
            Conflict: The key was used with another body, or its first request is still running.
        """
        if not (1 <= len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
            raise InvalidRequest(
                f"An Idempotency-Key has 1 to {MAX_KEY} printable ASCII characters; this key has {len(key)}.",
                loc=("header", "Idempotency-Key"),
            )
        folder = _folder(key, api_key_name=api_key_name, route=route)
        body_sha256 = hashlib.sha256(body).hexdigest()
        generation = max(self._generations(folder), default=0)
        if generation:
            answer = self._response_of(f"{folder}/{generation}.json", body_sha256=body_sha256)
            if answer is not None:
                return answer
        attempt = Attempt(
            record_key=f"{folder}/{generation + 1}.json",
            owner=secrets.token_hex(16),
            body_sha256=body_sha256,
            started_at=self._clock(),
        )
        if not self._artifacts.create_record(attempt.record_key, _record_of(attempt)):
            raise _still_running()
        return attempt

    def finish(self, attempt: Attempt, *, response: StoredResponse) -> None:
        """Store the response for repeated requests."""
        answer = {
            "status": response.status,
            "headers": dict(response.headers),
            "body": base64.b64encode(response.body).decode("ascii"),
        }
        self._artifacts.put_record(attempt.record_key, {**_record_of(attempt), "response": answer})

    def abandon(self, attempt: Attempt) -> None:
        """Release the key after a failure that a retry may fix."""
        self._artifacts.put_record(attempt.record_key, {**_record_of(attempt), "abandoned": True})

    def sweep(self) -> int:
        """Remove records older than twice the lifetime; returns their number."""
        expired = self.expired()
        for key in expired:
            self._artifacts.remove_record(key)
        return len(expired)

    def expired(self) -> list[str]:
        """Keys of the records that ``sweep`` removes."""
        found = []
        for entry in self._artifacts.names("idempotency"):
            folder = f"idempotency/{entry}"
            keys = [f"{folder}/{generation}.json" for generation in self._generations(folder)]
            if all(map(self._is_removable, keys)):
                found += keys
        return found

    def _generations(self, folder: str) -> list[int]:
        return [int(name.removesuffix(".json")) for name in self._artifacts.names(folder)]

    def _is_removable(self, record_key: str) -> bool:
        try:
            record = self._artifacts.get_record(record_key, label=_LABEL)
        except DamagedArtifact:
            # The age of a damaged record is unknown.
            return False
        return record is None or self._age(record) > 2 * self._lifetime

    def _response_of(self, record_key: str, *, body_sha256: str) -> StoredResponse | None:
        """The response in a record, or None if the key is free; raises Conflict if it is in use."""
        record = self._artifacts.get_record(record_key, label=_LABEL)
        if record is None or record.get("abandoned") or self._age(record) > self._lifetime:
            return None
        if record["body_sha256"] != body_sha256:
            raise Conflict("This Idempotency-Key was used with another request body; use a new key for a new request.")
        response = record.get("response")
        if response is not None:
            body = base64.b64decode(response["body"])
            return StoredResponse(status=response["status"], headers=response["headers"], body=body)
        if self._age(record) > self._patience:
            return None
        raise _still_running()

    def _age(self, record: Mapping[str, Any]) -> timedelta:
        return self._clock() - read_time(record["started_at"])


def _folder(key: str, *, api_key_name: str, route: str) -> str:
    # Hashed as a JSON list, so that different triples have different hashes.
    return f"idempotency/{hashlib.sha256(canonical_json([api_key_name, route, key])).hexdigest()}"


def _record_of(attempt: Attempt) -> dict[str, object]:
    return {
        "owner": attempt.owner,
        "body_sha256": attempt.body_sha256,
        "started_at": write_time(attempt.started_at),
    }


def _still_running() -> Conflict:
    return Conflict("A request with this Idempotency-Key is still running; retry to get its response.")
