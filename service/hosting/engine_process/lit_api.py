"""LitServe's interface to the engine: the LitAPI that loads all base models, and the loop that runs their engines."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Collection
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
        number: of the engine. models: names of the models that it hosts; empty: all.
        generation: 1 for the first process of this engine, one more for each that replaces it.
        loader: dotted name, ``module:function``, of a function ``(source, settings=…)`` that returns a
            :class:`ServedModel`. It is a name, so that only the engine process imports torch.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        runtime: Runtime,
        generation: int,
        loader: str,
        number: int = 0,
        models: Collection[str] = (),
    ) -> None:
        super().__init__(api_path="/engine", stream=True, loop=EngineLitLoop())
        self._settings = settings
        self._runtime = runtime
        self._generation = generation
        self._loader = loader
        self._number = number
        self._models = frozenset(models)
        self._parent_pid = os.getpid()
        self._served: dict[str, ServedModel] = {}

    def setup(self, device: str) -> None:
        """Load the models. If one fails, log the reason and end the process with :data:`SETUP_FAILED`.

        Args:
            device: of LitServe; an accelerator replaces the device of the settings.
        """
        die_with_parent(self._parent_pid)
        keep_freed_memory()
        ignore_interrupts()
        configure_logs(self._settings.log)
        module, _, function = self._loader.partition(":")
        load = cast(LoadModel, getattr(importlib.import_module(module), function))
        if device != "cpu":
            self._settings = self._settings.model_copy(update={"device": device})
        for source in self._settings.model_sources:
            if not self._models or source.name in self._models:
                self._served[source.name] = self._load(load, source)

    def open_loop(self) -> EngineLoop:
        """The loop over the loaded models; requests are accepted from now on."""
        results = ResultWriter(self._runtime.results_folder(self._generation, engine=self._number))
        _log.info("engine ready", engine=self._number, generation=self._generation, models=sorted(self._served))
        tracer = open_tracer(os.environ, process="engine")
        follow_runs(ShortWaits(RunBeats(), start_team=start_team))
        return EngineLoop(
            self._runtime.socket_path(self._number),
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
