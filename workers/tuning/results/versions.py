"""Stored results of each member: the prompt version with its lineage, the draw, and the snapshots of its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from service.engine.model.card import ModelCard
from service.engine.shapes import Tensor
from service.store.artifacts.tensor_codec import encode
from service.store.prompts.checks import BaseShape
from service.store.prompts.manifests import PromptManifest, Provenance
from service.store.prompts.native_format import PromptFile, make_prompt
from workers.tuning.context import TuningContext
from workers.tuning.initialization import Initialization, RunMember
from workers.tuning.results.lineage import notes_of, parent_of
from workers.tuning.training.step_report import Outcome

Snapshots = Mapping[int, Mapping[str, Tensor]]


def store_version(
    context: TuningContext,
    member: RunMember,
    *,
    outcome: Outcome,
    initialization: Initialization,
    metrics: Mapping[str, float],
) -> PromptManifest:
    """Store the member's prompt as a version of its name. Content that is already stored under that name gets no new version."""
    notes = notes_of(
        member,
        outcome=outcome,
        spec=context.spec,
        run_id=context.run.run_id,
        initialization=initialization,
        dataset=context.dataset,
        card=context.model.card,
    )
    provenance = Provenance(
        run_id=context.run.run_id,
        prior=member.plan.prior.model_dump(mode="json", by_alias=True),
        seed=member.plan.seed,
        parent=parent_of(member),
        metrics=metrics,
    )
    prompt = _file(context, outcome.tensors, notes=notes)
    manifest, is_new = context.run.prompts.create(member.name, prompt=prompt, provenance=provenance)
    if not is_new and manifest.run_id != context.run.run_id:
        context.run.log(f"{member.name} is equal to {manifest.ref} bit by bit; no new version is created.")
    context.run.made_prompt(manifest.ref)
    return manifest


def save_draw(context: TuningContext, member: RunMember, *, initialization: Initialization, ref: str) -> None:
    """Save ``draws/{ref}.safetensors``: the member's draw as a native prompt file."""
    content = _file(context, initialization.draws[member.draw], notes={"draw_of": ref}).to_bytes()
    context.run.save_output(f"draws/{ref}.safetensors", content)


def save_snapshots(context: TuningContext, snapshots: Snapshots, *, ref: str) -> None:
    """Save ``snapshots/{ref}.safetensors``: snapshots of the tensors, stacked along a new first axis, and ``steps``, int64."""
    if not snapshots:
        return
    steps = sorted(snapshots)
    arrays: dict[str, npt.NDArray[Any]] = {
        name: np.stack([snapshots[step][name].numpy() for step in steps]) for name in snapshots[steps[0]]
    }
    metadata = {"kind": context.kind, "where": context.where, "base": context.model.card.name, "prompt": ref}
    content = encode({**arrays, "steps": np.array(steps, np.int64)}, metadata=metadata)
    context.run.save_output(f"snapshots/{ref}.safetensors", content)


def _file(context: TuningContext, tensors: Mapping[str, Tensor], *, notes: Any) -> PromptFile:
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return make_prompt(
        context.kind, tensors=arrays, base=base_shape(context.model.card), where=context.where, notes=notes
    )


def base_shape(card: ModelCard) -> BaseShape:
    """The shape of a model, which prompts are checked against."""
    return BaseShape(
        name=card.name,
        revision=card.revision,
        n_layers=card.n_layers,
        d_model=card.d_model,
        n_kv_heads=card.n_kv_heads,
        d_head=card.d_head,
        n_positions=card.n_positions,
    )
