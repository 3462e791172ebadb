"""Is the server alive, and is it ready."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from promptatlas.types.wire import ResponseBody


class Health(ResponseBody):
    """The API process answers."""

    status: Literal["ok"] = "ok"


class ComponentState(ResponseBody):
    """One part of the server. ``off``: not configured, and not missed."""

    status: Literal["ok", "starting", "lost", "off"]
    detail: str | None = None


class Ready(ResponseBody):
    """Whether requests that run the model can be answered now, and if not, which part is to blame.

    Without redis and workers models run all the same; runs need both.
    """

    status: Literal["ready", "not_ready"]
    engine: ComponentState
    store: ComponentState
    redis: ComponentState
    workers: ComponentState = Field(default_factory=lambda: ComponentState(status="off"))
