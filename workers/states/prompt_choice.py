"""Loads the prompt under which states are read: a stored prompt, a mix, or prompts one after the other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from promptatlas.types.references import Concat, Ensemble, PromptRef

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, concat_prompts, mix_prompts
from service.errors import InvalidRequest
from service.store.prompts.store import PromptStore
from workers.inputs.prompts import read_prompt


@dataclass(frozen=True, kw_only=True)
class ChosenPrompt:
    """A prompt of the model. ref: its label, ``name@version``, or the mix or concatenation as text."""

    ref: str
    prompt: Prompt


def choose_prompt(store: PromptStore, ref: PromptRef | None, *, model: HostedModel) -> ChosenPrompt | None:
    """The prompt of a reference; None for the bare model.

    Raises:
        NotFound, DamagedArtifact: from the store.
        InvalidRequest: it is for another model or other weights, or prompts of a mix or concatenation differ in form.
    """
    if ref is None:
        return None
    if isinstance(ref, Ensemble):
        raise InvalidRequest("Expected a prompt or a mix; an ensemble is served by completions and trajectories only.")
    names = [ref] if isinstance(ref, str) else ref.concat if isinstance(ref, Concat) else [part.ref for part in ref.mix]
    manifests = [store.resolve(name, base=model.card.name) for name in names]
    prompts = [read_prompt(store, manifest, model=model) for manifest in manifests]
    if isinstance(ref, str):
        return ChosenPrompt(ref=manifests[0].ref, prompt=prompts[0])
    if isinstance(ref, Concat):
        label = " then ".join(manifest.ref for manifest in manifests)
        return ChosenPrompt(ref=label, prompt=concat_prompts(prompts))
    weights = [part.weight for part in ref.mix]
    shown = " + ".join(f"{weight:g}·{manifest.ref}" for weight, manifest in zip(weights, manifests, strict=True))
    return ChosenPrompt(ref=shown, prompt=mix_prompts(list(zip(prompts, weights, strict=True))))


def prompt_digest(prompt: Prompt) -> str:
    """sha256 over a prompt's kind, shape and values; of a mix, over the mixed values."""
    digest = hashlib.sha256(repr(prompt.form).encode())
    for name in sorted(prompt.tensors):
        digest.update(prompt.tensors[name].detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
