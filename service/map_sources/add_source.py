"""One source of a map, by its type."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from promptatlas.types.maps import (
    DatasetSource,
    EmbeddingsMapSource,
    MapSource,
    PriorSource,
    PromptsSource,
    TextsSource,
    TrajectoriesSource,
)

from service.map_sources.interface import SourceContext
from service.map_sources.priors import add_prior
from service.map_sources.prompts import add_prompts
from service.map_sources.text_sources import add_dataset, add_texts
from service.map_sources.trajectories import add_trajectories
from service.map_sources.vocabulary import add_vocabulary

_SOURCES: Mapping[type[Any], Callable[..., Awaitable[None]]] = {
    DatasetSource: add_dataset,
    TextsSource: add_texts,
    PromptsSource: add_prompts,
    PriorSource: add_prior,
    TrajectoriesSource: add_trajectories,
    EmbeddingsMapSource: add_vocabulary,
}


async def add_source(source: MapSource, *, name: str, to: SourceContext) -> None:
    """Add the points of a source, labelled with ``name``.

    Raises:
        InvalidRequest, NotFound, DamagedArtifact, TooLarge: the source cannot be read.
    """
    await _SOURCES[type(source)](source, name=name, to=to)
