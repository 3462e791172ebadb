"""Stored prompts in the engine's form."""

from __future__ import annotations

import numpy as np
import torch

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, from_tensors
from service.errors import InvalidRequest
from service.store.prompts.manifests import PromptManifest
from service.store.prompts.store import PromptStore


def read_prompt(store: PromptStore, manifest: PromptManifest, *, model: HostedModel) -> Prompt:
    """Load a stored prompt for the engine.

    Raises:
        InvalidRequest: the prompt was tuned on another model or on other weights.
    """
    tuned_on, hosted = (manifest.base, manifest.base_revision), (model.card.name, model.card.revision)
    if tuned_on != hosted:
        raise InvalidRequest(
            f"Prompt {manifest.ref} is for {tuned_on[0]!r} in revision {tuned_on[1]!r}; "
            f"the model is {hosted[0]!r} in revision {hosted[1]!r}."
        )
    stored = store.load(manifest)
    # Copied, because the store's arrays are read-only views of the file.
    tensors = {name: torch.from_numpy(np.array(values)) for name, values in stored.tensors.items()}
    return from_tensors(tensors, where=stored.where)
