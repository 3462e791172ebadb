"""Stored prompts in the engine's form."""

from __future__ import annotations

import numpy as np
import torch

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, from_tensors
from service.store.prompts.manifests import PromptManifest, require_base
from service.store.prompts.store import PromptStore


def read_prompt(store: PromptStore, manifest: PromptManifest, *, model: HostedModel) -> Prompt:
    """Load a stored prompt for the engine.

    Raises:
        InvalidRequest: the prompt was tuned on another model or on other weights.
    """
    require_base(manifest, base=model.card.name, revision=model.card.revision)
    stored = store.load(manifest)
    # Copied, because the store's arrays are read-only views of the file.
    tensors = {name: torch.from_numpy(np.array(values)) for name, values in stored.tensors.items()}
    return from_tensors(tensors, where=stored.where)
