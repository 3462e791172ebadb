"""The LitAPI of the engine process: loads every base model when the process starts, and opens for business."""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

import structlog
from litserve import LitAPI

from service.errors import AtlasError
from service.hosting.engine_process.engine_loop import EngineLoop, Served
from service.hosting.engine_process.lit_loop import EngineLitLoop
from service.hosting.ipc.tensor_results import ResultWriter
from service.hosting.processes.process_setup import die_with_parent, ignore_interrupts, keep_freed_memory
from service.hosting.processes.runtime_directory import Runtime
from service.logs import configure_logs
from service.settings import ModelSource, Settings

SETUP_FAILED = 3
"""Exit status of an engine process whose models cannot be hosted: starting it again would not help."""

_log = structlog.get_logger(__name__)

LoadModel = Callable[..., Served]


class EngineLitAPI(LitAPI):  # type: ignore[misc]
    """Pickled into the engine process, where ``setup`` runs.

    Args:
        settings: what to host and how much of it.
        runtime: the service's folder.
        generation: which engine process of the service this is.
        loader: dotted name, ``module:function``, of what makes a :class:`Served` of ``(source, settings=…)``. A name, so
            that the API process need not import torch.
    """

    def __init__(self, settings: Settings, *, runtime: Runtime, generation: int, loader: str) -> None:
        super().__init__(api_path="/engine", stream=True, loop=EngineLitLoop())
        self._settings = settings
        self._runtime = runtime
        self._generation = generation
        self._loader = loader
        self._parent_pid = os.getpid()
        self._served: dict[str, Served] = {}

    def setup(self, device: object) -> None:
        """Load the models; ends the process with :data:`SETUP_FAILED` and one line in the log when one cannot be."""
        die_with_parent(self._parent_pid)
        keep_freed_memory()
        ignore_interrupts()
        configure_logs(self._settings.log)
        module, _, function = self._loader.partition(":")
        load = cast(LoadModel, getattr(importlib.import_module(module), function))
        for source in self._settings.model_sources:
            self._served[source.name] = self._load(load, source)

    def open_driver(self) -> EngineLoop:
        """The driver of the loaded models; from now on requests are taken."""
        results = ResultWriter(self._runtime.results_folder(self._generation))
        _log.info("engine ready", generation=self._generation, models=sorted(self._served))
        return EngineLoop(self._runtime.socket_path, served=self._served, results=results, generation=self._generation)

    def _load(self, load: LoadModel, source: ModelSource) -> Served:
        _log.info("loading model", model=source.name, path=source.path)
        try:
            return load(source, settings=self._settings)
        except AtlasError as error:
            _log.error("model cannot be hosted", model=source.name, path=source.path, reason=error.detail)
        except Exception:
            _log.exception("model cannot be loaded", model=source.name, path=source.path)
        sys.exit(SETUP_FAILED)


def card_fields(card: Any) -> Mapping[str, Any]:
    """A model's card as plain values, for processes without torch."""
    return dataclasses.asdict(card)
