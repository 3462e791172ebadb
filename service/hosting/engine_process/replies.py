"""Replies of the engine process to API processes; large results are written to files by another thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from service.engine.requests import Done, Event, Failed, Tensors
from service.errors import AtlasError
from service.hosting.ipc.messages import Finished, Reply, Update
from service.hosting.ipc.tensor_results import ResultWriter, discard
from service.hosting.ipc.transport import EngineEndpoint

_log = structlog.get_logger(__name__)


class Replies:
    """Sends updates and results.

    Args:
        results: writes tensor results.
    """

    def __init__(self, endpoint: EngineEndpoint, *, results: ResultWriter) -> None:
        self._endpoint = endpoint
        self._results = results
        self._writers = ThreadPoolExecutor(1, thread_name_prefix="results")

    def send(
        self,
        request_id: str,
        updates: Sequence[Update],
        *,
        connection_id: int,
        n_input: tuple[int, ...] | None = None,
    ) -> None:
        """Send updates; if the API process is gone, the files of their results are removed."""
        reply = Reply(request_id=request_id, updates=tuple(updates), n_input=n_input)
        if not self._endpoint.send(reply, connection_id=connection_id):
            for update in updates:
                if isinstance(update, Finished) and update.result is not None:
                    discard(update.result)

    def send_events(
        self,
        request_id: str,
        events: Sequence[Event],
        *,
        metadata: Mapping[str, Any],
        connection_id: int,
        n_input: tuple[int, ...] | None = None,
    ) -> None:
        """Send the events of one step as one message, and a large result as another.

        Args:
            metadata: added to the header of a tensor result.
            n_input: number of tokens of each input, if no reply has contained it yet.
        """
        updates: list[Update] = []
        for event in events:
            if not isinstance(event, Done):
                updates.append(event)
            elif event.result is None:
                updates.append(Finished())
            elif self._results.is_small(event.result):
                updates.append(self._write(event, event.result, metadata))
            else:
                self._writers.submit(self._write_and_send, event, event.result, metadata, connection_id, n_input)
        if updates:
            self.send(request_id, updates, connection_id=connection_id, n_input=n_input)

    def close(self) -> None:
        """Wait for results that are being written."""
        self._writers.shutdown(wait=True)

    def _write(self, done: Done, result: Tensors, metadata: Mapping[str, Any]) -> Finished | Failed:
        try:
            return Finished(result=self._results.write(result, metadata=metadata))
        except Exception as error:
            return failed(done.request_id, error)

    def _write_and_send(
        self,
        done: Done,
        result: Tensors,
        metadata: Mapping[str, Any],
        connection_id: int,
        n_input: tuple[int, ...] | None,
    ) -> None:
        update = self._write(done, result, metadata)
        self.send(done.request_id, [update], connection_id=connection_id, n_input=n_input)


def failed(request_id: str, error: Exception) -> Failed:
    """The end of a request by an error. An unexpected one is logged, and not shown to the client."""
    if isinstance(error, AtlasError):
        return Failed(request_id=request_id, error=error)
    _log.error("request failed in the engine", request_id=request_id, exc_info=error)
    return Failed(request_id=request_id, error=AtlasError("The engine failed on this request."))
