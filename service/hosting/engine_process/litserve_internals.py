"""The one module that touches LitServe's private names (pinned to 0.2.19): starts engine workers, and only that.

LitServe's own ``run`` is not used: it cannot tell a waiting request that its worker died, leaves its children behind on
SIGTERM, restricts the addresses to bind, and answers nothing before the models are loaded.
"""

from __future__ import annotations

from multiprocessing.process import BaseProcess

from litserve import LitServer

from service.hosting.engine_process.lit_api import EngineLitAPI


class EngineServer(LitServer):  # type: ignore[misc]
    """A LitServer whose worker speaks over our socket."""

    def __init__(self, api: EngineLitAPI) -> None:
        # One worker whatever the accelerator: the engine places its models itself.
        super().__init__(api, accelerator="cpu", devices=1, workers_per_device=1, timeout=False, restart_workers=True)
        self._api = api

    def register_endpoints(self) -> None:
        """No routes: the API process has its own application."""

    def start_worker(self) -> BaseProcess:
        """Start the engine process: a fresh interpreter in which LitServe calls ``setup`` and then the loop."""
        self.workers_setup_status: dict[str, str] = {}
        self.litapi_request_queues = {self._api.api_path: None}
        self._transport = None
        (worker,) = self.launch_inference_worker(self._api)
        return worker  # type: ignore[no-any-return]
