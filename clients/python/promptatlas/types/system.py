"""Health and readiness of the server."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from promptatlas.types.wire import ResponseBody


class Health(ResponseBody):
    """The API process answers."""

    status: Literal["ok"] = "ok"


class ComponentState(ResponseBody):
    """State of one part of the server. ``off``: not configured.

    problem: type of the problem that requests get because of it, e.g. ``urn:promptatlas:problem:store-read-only``. count: of
    workers on all hosts; None for other parts.
    """

    status: Literal["ok", "starting", "lost", "off"]
    detail: str | None = None
    problem: str | None = None
    count: int | None = None


class Ready(ResponseBody):
    """Whether the server can answer requests that run the model, and the state of each part.

    Models need engine and store only; runs also need redis and workers. engine: "ok" while each model has an engine.
    engines: each engine process. keys: the file of API keys, if the server has one.
    """

    status: Literal["ready", "not_ready"]
    engine: ComponentState
    engines: list[ComponentState] = Field(default_factory=list)
    store: ComponentState
    redis: ComponentState
    workers: ComponentState = Field(default_factory=lambda: ComponentState(status="off"))
    keys: ComponentState = Field(default_factory=lambda: ComponentState(status="off"))
