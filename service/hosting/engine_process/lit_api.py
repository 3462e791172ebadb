"""LitServe's interface to the engine: the LitAPI that loads all base models, and the loop that runs their engines."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, cast

import structlog
from litserve import LitAPI
from litserve.loops import LitLoop

from service.errors import AtlasError
from service.hosting.engine_process.engine_loop import EngineLoop
from service.hosting.engine_process.request_spans import RequestSpans
from service.hosting.engine_process.served_model import ServedModel
from service.hosting.ipc.tensor_results import ResultWriter
from service.hosting.processes.process_setup import die_with_parent, ignore_interrupts, keep_freed_memory
from service.hosting.processes.runtime_directory import Runtime
from service.hosting.processes.waits import RunBeats, ShortWaits, follow_runs
from service.logs import configure_logs
from service.settings import ModelSource, Settings
from service.tracing.opening import open_tracer

SETUP_FAILED = 3
"""Exit status of an engine process whose models cannot be hosted: a restart would not help."""

_log = structlog.get_logger(__name__)

LoadModel = Callable[..., ServedModel]


class EngineLitLoop(LitLoop):  # type: ignore[misc]
    """LitServe's worker calls ``run`` forever. An exception from it ends the process, which is then replaced."""

    def __init__(self) -> None:
        super().__init__()
        self._engine_loop: EngineLoop | None = None

    def run(self, lit_api: EngineLitAPI, *_: Any) -> None:
        """One iteration of the engine loop. LitServe's queue and transport are ignored: the loop has its own socket."""
        if self._engine_loop is None:
            self._engine_loop = lit_api.open_loop()
        self._engine_loop.run_once()


class EngineLitAPI(LitAPI):  # type: ignore[misc]
    """The main process creates it; LitServe calls ``setup`` in the engine process.

    Args:
        settings: which models to host, and the limits.
        runtime: the service's runtime folder.
        generation: 1 for the first engine process of a service, one more for each that replaces it.
        loader: dotted name, ``module:function``, of a function ``(source, settings=…)`` that returns a
            :class:`ServedModel`. It is a name, so that only the engine process imports torch.
    """

    def __init__(self, settings: Settings, *, runtime: Runtime, generation: int, loader: str) -> None:
        super().__init__(api_path="/engine", stream=True, loop=EngineLitLoop())
        self._settings = settings
        self._runtime = runtime
        self._generation = generation
        self._loader = loader
        self._parent_pid = os.getpid()
        self._served: dict[str, ServedModel] = {}

    def setup(self, device: object) -> None:
        """Load the models. If one fails, log the reason and end the process with :data:`SETUP_FAILED`."""
        die_with_parent(self._parent_pid)
        keep_freed_memory()
        ignore_interrupts()
        configure_logs(self._settings.log)
        module, _, function = self._loader.partition(":")
        load = cast(LoadModel, getattr(importlib.import_module(module), function))
        for source in self._settings.model_sources:
            self._served[source.name] = self._load(load, source)

    def open_loop(self) -> EngineLoop:
        """The loop over the loaded models; requests are accepted from now on."""
        results = ResultWriter(self._runtime.results_folder(self._generation))
        _log.info("engine ready", generation=self._generation, models=sorted(self._served))
        tracer = open_tracer(os.environ, process="engine")
        follow_runs(ShortWaits(RunBeats(), start_team=start_team))
        return EngineLoop(
            self._runtime.socket_path,
            served=self._served,
            results=results,
            generation=self._generation,
            spans=None if tracer is None else RequestSpans(tracer),
        )

    def _load(self, load: LoadModel, source: ModelSource) -> ServedModel:
        _log.info("loading model", model=source.name, path=source.path)
        try:
            return load(source, settings=self._settings)
        except AtlasError as error:
            _log.error("model cannot be hosted", model=source.name, path=source.path, reason=error.detail)
        except Exception:
            _log.exception("model cannot be loaded", model=source.name, path=source.path)
        sys.exit(SETUP_FAILED)


def start_team() -> None:
    """Run one operation on all threads of torch."""
    import torch  # this module must not import it: the API process uses its names

    torch.ones(1 << 20).add_(1)  # large enough for all threads
