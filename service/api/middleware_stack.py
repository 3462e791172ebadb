"""The middleware of the application, in order."""

from __future__ import annotations

import functools

from fastapi import FastAPI

from service.api.body_pace import BodyPace
from service.api.middleware import BodyLimit, IntakeGate, RequestScope
from service.api.origin_guard import CorsHeaders, OriginGuard
from service.api.origin_policy import OriginPolicy
from service.api.requests.bodies import FORM_TYPE, JSON_TYPE
from service.api.services import Services
from service.settings import Settings
from service.tracing.spans import Tracer


def add_middleware(app: FastAPI, services: Services, *, tracer: Tracer | None) -> None:
    """Add all middleware; the last one is called first. tracer: makes the spans of requests; None without traces."""
    settings = services.settings
    policy = OriginPolicy.of(settings)
    app.add_middleware(BodyLimit, limit_of=functools.partial(_body_limit, settings=settings))
    app.add_middleware(
        BodyPace,
        window_s=settings.read_timeout_s,
        min_bytes_per_s=settings.min_bytes_per_s,
        total_s_of=lambda content_type: settings.timeout_s if content_type == JSON_TYPE else None,
    )
    app.add_middleware(OriginGuard, policy=policy)
    app.add_middleware(IntakeGate, intake=services.intake)
    app.add_middleware(RequestScope, metrics=services.metrics, tracer=tracer)
    app.add_middleware(CorsHeaders, policy=policy)


def _body_limit(path: str, content_type: str, *, settings: Settings) -> int:
    limits = {
        "/v1/prompts": settings.max_upload_bytes,
        "/v1/datasets": settings.max_dataset_bytes,
        "/v1/files": settings.max_dataset_bytes,
    }
    if path in limits:
        return limits[path]
    if content_type == FORM_TYPE:
        return settings.max_body_bytes
    return min(settings.max_body_bytes, settings.max_json_body_bytes)
