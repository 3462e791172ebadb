"""Vectors of tuned prompts, with their ways, and the states that they become."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from promptatlas.types.forms import FORMS
from promptatlas.types.maps import PromptsSource

from service.api.map_sources.collector import Collector
from service.errors import TooLarge
from service.store.prompts.history import Stage, history_of, labels_of
from service.store.prompts.manifests import PromptManifest

MAX_STAGES = 512
"""Prompts, draws and snapshots of one source."""


async def add_prompts(source: PromptsSource, *, name: str, to: Collector) -> None:
    """Each prompt's draw, its snapshots and itself, as far as they are wanted and were kept."""
    n_stages = 0
    for ref in source.prompts:
        manifest, stages = await asyncio.to_thread(_read, ref, source, to)
        n_stages += len(stages)
        if n_stages > MAX_STAGES:
            raise TooLarge(
                f"These are more than {MAX_STAGES} prompts, draws and snapshots: name fewer prompts, leave out their "
                "snapshots, or make a map of them."
            )
        for stage in stages:
            for layer, vectors in (await _vectors_of(stage, manifest, to)).items():
                to.points.add(layer, vectors, source=name, **labels_of(stage, manifest))


def _read(ref: str, source: PromptsSource, to: Collector) -> tuple[PromptManifest, list[Stage]]:
    prompts = to.services.prompts
    manifest = prompts.resolve(ref, base=to.found.facts.model)
    found = history_of(manifest, prompts=prompts, runs=to.services.runs, draws=source.draws, snapshots=source.snapshots)
    return manifest, found


async def _vectors_of(stage: Stage, manifest: PromptManifest, to: Collector) -> Mapping[int, npt.NDArray[np.float32]]:
    """Own vectors, and what they become above, at those of the request's layers where there are any."""
    form = FORMS[manifest.kind]
    layers = {name: form.layer_of(name) for name in stage.tensors}
    own = {form.state_layer(layers[name]): np.atleast_2d(values) for name, values in stage.tensors.items()}
    found = {layer: own[layer] for layer in to.layers if layer in own}
    n_layers = int(to.card["n_layers"])
    above = [
        layer
        for layer in form.layers_with_states(manifest.layers, where=manifest.where, n_layers=n_layers, wanted=to.layers)
        if layer not in own
    ]
    if above:
        # A deep prompt's vectors enter their blocks as they are, also the first one.
        put = {
            "embed" if (layer := layers[name]) is None else f"resid_pre.{layer}": values
            for name, values in stage.tensors.items()
        }
        found |= await to.states.virtual_states(put, n_virtual=manifest.n_virtual, layers=above)
    return found
