"""Vectors of tuned prompts, with the draws that they began at and their ways through training."""

from __future__ import annotations

import numpy as np
import torch
from promptatlas.types.maps import PromptsSource

from service.engine.prompts.prompt import from_tensors
from service.errors import InvalidRequest
from service.store.prompts.history import Stage, history_of, labels_of
from service.store.prompts.manifests import PromptManifest
from workers.maps.layer_points import PointCollector
from workers.states.prompt_states import prompt_states


def add_prompts(source: PromptsSource, *, name: str, to: PointCollector) -> None:
    """Points of one group are one vector's: its draw, its snapshots in order of step, and its posterior."""
    for i, ref in enumerate(source.prompts):
        to.run.check()
        manifest = to.run.prompts.resolve(ref, base=to.model.card.name)
        _require_same_weights(manifest, to)
        stages = history_of(
            manifest, prompts=to.run.prompts, runs=to.runs, draws=source.draws, snapshots=source.snapshots
        )
        if source.snapshots and not any(stage.role == "snapshot" for stage in stages):
            to.run.log(f"{manifest.ref} has no snapshots: none were kept when it was made.", level="warning")
        for stage in stages:
            _add_stage(stage, name=name, manifest=manifest, to=to)
        to.tell((i + 1) / len(source.prompts))


def _add_stage(stage: Stage, *, name: str, manifest: PromptManifest, to: PointCollector) -> None:
    tensors = {key: torch.from_numpy(np.array(values)) for key, values in stage.tensors.items()}
    prompt = from_tensors(tensors, where=manifest.where)
    for layer, vectors in prompt_states(to.model, prompt, layers=to.layers).items():
        to.points[layer].add(vectors, source=name, **labels_of(stage, manifest))


def _require_same_weights(manifest: PromptManifest, to: PointCollector) -> None:
    made_for, hosted = (manifest.base, manifest.base_revision), (to.model.card.name, to.model.card.revision)
    if made_for != hosted:
        raise InvalidRequest(
            f"Prompt {manifest.ref} is for {made_for[0]!r} in revision {made_for[1]!r}; "
            f"the map's model is {hosted[0]!r} in revision {hosted[1]!r}."
        )
