"""Cache of the base models of one process; each is loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import NotFound
from service.settings import Settings
from service.store.host_cache import host_cache_folder

if TYPE_CHECKING:
    from service.engine.model.hosted_model import HostedModel


class ModelCache:
    """Loads models by the names, paths and devices of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._models: dict[str, HostedModel] = {}

    def get(self, name: str) -> HostedModel:
        """The base model of that name; NotFound if this worker does not have it."""
        if name not in self._models:
            self._models[name] = self._load(name)
        return self._models[name]

    def _load(self, name: str) -> HostedModel:
        sources = {source.name: source.path for source in self._settings.model_sources}
        if name not in sources:
            raise NotFound(f"This worker has no model {name!r}; it has {', '.join(sorted(sources))}.")
        import transformers  # imports torch, which only runs with a model need

        from service.engine.model.hosted_model import HostedModel

        transformers.logging.disable_progress_bar()
        settings = self._settings
        return HostedModel.load(
            name,
            sources[name],
            device=settings.device,
            dtype=settings.dtype,
            device_map=settings.device_map,
            cache=host_cache_folder(settings.home, cache=settings.cache),
        )
