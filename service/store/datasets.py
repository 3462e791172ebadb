"""Datasets by name: stored ones, those that come with the server, and those of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from service.store.artifacts import ArtifactStore
from service.store.times import Clock, utc_now


class DatasetStore:
    """The datasets in an artifact store; safe to share between threads, beside any number of others on the same store.

    Args:
        artifacts: where they lie.
        builtin: folder of the datasets that come with the server.
        max_bytes: the most that is taken of a dataset of the hub.
        clock: stamps ``created_at``.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        *,
        builtin: Path | None = None,
        max_bytes: int = 4 << 30,
        clock: Clock = utc_now,
    ) -> None:
        self._artifacts = artifacts
        self._builtin = builtin
        self._max_bytes = max_bytes
        self._clock = clock
