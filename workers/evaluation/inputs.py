"""What an evaluation takes from the store and the settings: prompts in the engine's form, examples, limits of the batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from promptatlas.types.datasets import Split, Template

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, from_tensors
from service.engine.requests import Limits
from service.errors import InvalidRequest
from service.settings import Settings
from service.store.datasets.store import DatasetStore
from service.store.prompts.manifests import PromptManifest
from service.store.prompts.store import PromptStore
from workers.evaluation.items import Item, prepare

Log = Callable[[str], None]


def read_prompt(store: PromptStore, manifest: PromptManifest, *, model: HostedModel) -> Prompt:
    """A stored prompt, ready for the engine.

    Raises:
        InvalidRequest: it was made for another model, or for other weights.
    """
    made_for, hosted = (manifest.base, manifest.base_revision), (model.card.name, model.card.revision)
    if made_for != hosted:
        raise InvalidRequest(
            f"Prompt {manifest.ref} is for {made_for[0]!r} in revision {made_for[1]!r}; "
            f"the model is {hosted[0]!r} in revision {hosted[1]!r}."
        )
    stored = store.load(manifest)
    # Copied, because the store's arrays are read-only views of the file.
    tensors = {name: torch.from_numpy(np.array(values)) for name, values in stored.tensors.items()}
    return from_tensors(tensors, where=stored.where)


def engine_limits(settings: Settings) -> Limits:
    """The limits that the serving engine has too, so that batches have the same size."""
    return Limits(
        max_rows=settings.max_batch,
        max_waiting=max(settings.max_waiting, settings.max_batch),
        cache_bytes=settings.cache_bytes,
        max_step_tokens=settings.max_step_tokens,
        max_capture_bytes=settings.max_capture_bytes,
        prompt_cache_bytes=settings.prompt_cache_bytes,
    )


def read_items(
    datasets: DatasetStore,
    name: str,
    *,
    model: HostedModel,
    split: Split,
    n: int | None,
    seed: int,
    template: Template | None,
    n_virtual: int,
    log: Log,
) -> list[Item]:
    """Examples of a split: ``n`` drawn by ``seed``, or all. Those that do not fit the context are left out, and ``log`` told.

    n_virtual: positions of the context that prompts take.
    """
    drawn = seed if n is not None else None
    examples = datasets.examples(name, split=split, n=n, seed=drawn, template=template)
    items, n_dropped = prepare(model, examples, max_tokens=model.n_positions - n_virtual)
    if n_dropped:
        log(
            f"{n_dropped} of {n_dropped + len(items)} {split} examples of {name} are left out: with {n_virtual} virtual "
            f"positions they are longer than the model's context of {model.n_positions} tokens."
        )
    return items
