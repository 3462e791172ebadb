"""Vectors of tuned prompts with their history, and the states that they become."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import numpy.typing as npt
from promptatlas.types.maps import PromptsSource

from service.errors import InvalidRequest, TooLarge
from service.map_sources.interface import SourceContext
from service.store.prompts.history import Stage, history_of, labels_of
from service.store.prompts.manifests import PromptManifest, require_base


async def add_prompts(source: PromptsSource, *, name: str, to: SourceContext) -> None:
    """Points of one group belong to one vector: its draw, its snapshots in order of step, and its final value."""
    n_stages = 0
    for i, ref in enumerate(source.prompts):
        manifest, stages = await to.reader.run_blocking(partial(_read, ref, source, to))
        n_stages += len(stages)
        _require_few(n_stages, to)
        if source.snapshots and not any(stage.role == "snapshot" for stage in stages):
            to.reader.warn(f"{manifest.ref} has no snapshots: its run kept none.")
        for stage in stages:
            for layer, vectors in (await _vectors_of(stage, manifest, to)).items():
                to.points.add(layer, vectors, source=name, **labels_of(stage, manifest))
        to.progress((i + 1) / len(source.prompts))


def _read(ref: str, source: PromptsSource, to: SourceContext) -> tuple[PromptManifest, list[Stage]]:
    manifest = to.prompts.resolve(ref, base=to.model)
    require_base(manifest, base=to.model, revision=to.revision)
    stages = history_of(manifest, prompts=to.prompts, runs=to.runs, draws=source.draws, snapshots=source.snapshots)
    return manifest, stages


def _require_few(n_stages: int, to: SourceContext) -> None:
    if to.max_stages is not None and n_stages > to.max_stages:
        raise TooLarge(
            f"The source has more than {to.max_stages} prompts, draws and snapshots: name fewer prompts, leave out their "
            "snapshots, or start a map run."
        )


async def _vectors_of(
    stage: Stage, manifest: PromptManifest, to: SourceContext
) -> Mapping[int, npt.NDArray[np.float32]]:
    """The prompt's own vectors `[n, d_model]`, and the states that they become, by layer, where there are any.

    Soft: its vectors at layer 0, and states above. Deep: its vectors at its own layers; carried ones also states above.
    Steering: its vectors among the states that they are added to.
    """
    form = manifest.form
    if not form.has_vectors:
        raise InvalidRequest(f"{manifest.ref} cannot be shown on a map: {form.why_no_vectors}.")
    own = {form.state_layer(form.layer_of(name)): np.atleast_2d(values) for name, values in stage.tensors.items()}
    found = {layer: own[layer] for layer in to.layers if layer in own}
    with_states = form.layers_with_states(manifest.layers, where=manifest.where, wanted=to.layers)
    above = [layer for layer in with_states if layer not in own]
    if above:
        found |= await to.reader.virtual_states(stage.tensors, where=manifest.where, layers=above)
    return {layer: found[layer] for layer in to.layers if layer in found}
