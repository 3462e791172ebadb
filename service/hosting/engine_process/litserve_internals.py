"""Start of the engine process through LitServe. The only module that uses LitServe's private names (pinned to 0.2.19).

LitServe's own ``run`` is not used: it does not fail pending requests when their worker dies, leaves its children running
after SIGTERM, restricts the addresses to bind, and accepts no requests before the models are loaded.

LitServe starts the process with multiprocessing's spawn, which pickles the LitAPI: settings and paths of the service, no
client data.
"""

from __future__ import annotations

from multiprocessing.process import BaseProcess

from litserve import LitServer

from service.hosting.engine_process.lit_api import EngineLitAPI


class EngineServer(LitServer):  # type: ignore[misc]
    """A LitServer whose worker communicates over the service's own socket.

    One server for each engine, so that each process is replaced on its own.

    Args:
        cuda_index: the device that LitServe passes to ``setup``; None: ``cpu``, with which the settings decide.
    """

    def __init__(self, api: EngineLitAPI, *, cuda_index: int | None = None) -> None:
        accelerator, devices = ("cpu", 1) if cuda_index is None else ("cuda", [cuda_index])
        super().__init__(
            api,
            accelerator=accelerator,
            devices=devices,
            workers_per_device=1,
            timeout=False,
            restart_workers=True,
        )
        self._api = api

    def register_endpoints(self) -> None:
        """Register no routes: the API process has its own application."""

    def start_worker(self) -> BaseProcess:
        """Start the engine process: a new interpreter in which LitServe calls ``setup`` and then the loop."""
        self.workers_setup_status: dict[str, str] = {}
        self.litapi_request_queues = {self._api.api_path: None}
        self._transport = None
        (worker,) = self.launch_inference_worker(self._api)
        return worker  # type: ignore[no-any-return]
