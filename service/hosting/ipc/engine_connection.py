"""Connection of the engine client: delivers the engine's messages to it until cancelled."""

from __future__ import annotations

import structlog

from service.hosting.ipc.engine_client import EngineClient
from service.hosting.ipc.messages import FromEngine
from service.hosting.ipc.transport import ApiEndpoint

_log = structlog.get_logger(__name__)


async def run_engine_client(client: EngineClient, endpoint: ApiEndpoint) -> None:
    """Keep a client connected until cancelled."""

    def deliver(message: FromEngine) -> None:
        try:
            client.on_message(message)
        except Exception:
            # The connection serves all other requests as well.
            _log.exception("message from the engine could not be handled")

    await endpoint.run(on_message=deliver, on_lost=client.on_lost)
