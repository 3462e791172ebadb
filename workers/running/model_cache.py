"""The base models of one process: each loaded when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import NotFound
from service.settings import Settings

if TYPE_CHECKING:
    from service.engine.model.hosted_model import HostedModel


class ModelCache:
    """Loads models as the settings name and place them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._models: dict[str, HostedModel] = {}

    def get(self, name: str) -> HostedModel:
        """The base model of that name; NotFound when this worker has none such."""
        if name not in self._models:
            self._models[name] = self._load(name)
        return self._models[name]

    def _load(self, name: str) -> HostedModel:
        sources = {source.name: source.path for source in self._settings.model_sources}
        if name not in sources:
            raise NotFound(f"This worker has no model {name!r}; it has {', '.join(sorted(sources))}.")
        import transformers  # torch: only runs that have a model wait for it

        from service.engine.model.hosted_model import HostedModel

        transformers.logging.disable_progress_bar()
        device = self._settings.device_map or self._settings.device
        return HostedModel.load(name, sources[name], device=device, dtype=self._settings.dtype)
