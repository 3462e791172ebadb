"""What a run leaves of each member: its prompt version with its lineage, its draw, and its way from one to the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from service.engine.model.hosted_model import ModelCard
from service.engine.shapes import Tensor
from service.store.artifacts.tensor_codec import encode
from service.store.prompts.checks import BaseShape
from service.store.prompts.manifests import PromptManifest, Provenance
from service.store.prompts.native_format import PromptFile, make_prompt
from workers.tuning.context import TuningContext
from workers.tuning.initialization import Initialization, NamedMember
from workers.tuning.results.lineage import notes_of, parent_of
from workers.tuning.training.step_report import Outcome

Snapshots = Mapping[int, Mapping[str, Tensor]]


def store_version(
    job: TuningContext,
    member: NamedMember,
    *,
    outcome: Outcome,
    beginning: Initialization,
    metrics: Mapping[str, float],
) -> PromptManifest:
    """The member's prompt as a version of its name. The same content again is the version that it already is."""
    notes = notes_of(
        member,
        outcome=outcome,
        spec=job.spec,
        run_id=job.run.run_id,
        beginning=beginning,
        dataset=job.dataset,
        card=job.model.card,
    )
    provenance = Provenance(
        run_id=job.run.run_id,
        prior=member.plan.prior.model_dump(mode="json", by_alias=True),
        seed=member.plan.seed,
        parent=parent_of(member),
        metrics=metrics,
    )
    prompt = _file(job, outcome.tensors, notes=notes)
    manifest, is_new = job.run.prompts.create(member.name, prompt=prompt, provenance=provenance)
    if not is_new and manifest.run_id != job.run.run_id:
        job.run.log(f"{member.name} has come out as {manifest.ref} once more, bit by bit; no new version is made.")
    job.run.made_prompt(manifest.ref)
    return manifest


def save_draw(job: TuningContext, member: NamedMember, *, beginning: Initialization, ref: str) -> None:
    """``draws/{ref}.safetensors``: what the prior gave, a native file like the version's own."""
    content = _file(job, beginning.draws[member.draw], notes={"draw_of": ref}).to_bytes()
    job.run.save_output(f"draws/{ref}.safetensors", content)


def save_snapshots(job: TuningContext, snapshots: Snapshots, *, ref: str) -> None:
    """``snapshots/{ref}.safetensors``: the native tensors along the way, stacked in a new first axis, and ``steps`` int64."""
    if not snapshots:
        return
    steps = sorted(snapshots)
    arrays: dict[str, npt.NDArray[Any]] = {
        name: np.stack([snapshots[step][name].numpy() for step in steps]) for name in snapshots[steps[0]]
    }
    metadata = {"kind": job.kind, "where": job.where, "base": job.model.card.name, "prompt": ref}
    content = encode({**arrays, "steps": np.array(steps, np.int64)}, metadata=metadata)
    job.run.save_output(f"snapshots/{ref}.safetensors", content)


def _file(job: TuningContext, tensors: Mapping[str, Tensor], *, notes: Any) -> PromptFile:
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return make_prompt(job.kind, tensors=arrays, base=_shape(job.model.card), where=job.where, notes=notes)


def _shape(card: ModelCard) -> BaseShape:
    return BaseShape(
        name=card.name,
        revision=card.revision,
        n_layers=card.n_layers,
        d_model=card.d_model,
        n_kv_heads=card.n_kv_heads,
        d_head=card.d_head,
        n_positions=card.n_positions,
    )
