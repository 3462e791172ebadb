"""Limits of a batch, from the settings."""

from __future__ import annotations

from service.engine.requests import Limits
from service.settings import Settings


def engine_limits(settings: Settings) -> Limits:
    """Limits of an engine inside a worker: those of the serving engine, so that batches have the same size."""
    return Limits(
        max_rows=settings.max_batch,
        max_waiting=max(settings.max_waiting, settings.max_batch),
        cache_bytes=settings.cache_bytes,
        max_step_tokens=settings.max_step_tokens,
        max_capture_bytes=settings.max_capture_bytes,
        prompt_cache_bytes=settings.prompt_cache_bytes,
    )
