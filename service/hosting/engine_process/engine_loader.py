"""Loading of models and engines in the engine process. No other module of hosting imports torch at import time."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers

from service.engine.engine import Engine
from service.engine.model.hosted_model import HostedModel
from service.engine.parallel.ranks import Ranks, start_ranks
from service.engine.prompts.prompt import Prompt, from_tensors
from service.engine.requests import Limits
from service.errors import EngineFault
from service.hosting.engine_process.prompt_fetches import PromptFetches, Wanted
from service.hosting.engine_process.served_model import ServedModel
from service.settings import ModelSource, Settings
from service.store.artifacts.store import ArtifactStore
from service.store.files.addresses import local_folder
from service.store.host_cache import host_cache_folder
from service.store.local_cache import LocalCache
from service.store.prompts.contents import PromptContents


def load_served(source: ModelSource, *, settings: Settings) -> ServedModel:
    """Load one base model and create its engine.

    Raises:
        UnsupportedModel: the engine cannot host the model; the message gives the reason.
    """
    transformers.logging.disable_progress_bar()
    ranks = _ranks(settings)
    model = HostedModel.load(
        source.name,
        source.path,
        device=settings.device,
        dtype=settings.dtype,
        device_map=settings.device_map if ranks is None else None,
        cache=host_cache_folder(settings.home, cache=settings.cache),
        ranks=ranks,
    )
    engine = Engine(model, limits=_limits(settings), load_prompt=_not_fetched)
    prompts = PromptFetches(_content_loader(settings), timeout_s=settings.prompt_timeout_s)
    card = dataclasses.asdict(model.card)
    return ServedModel(engine=engine, card=card, prompts=prompts, count_chat=_chat_counter(model.tokenizer))


def _ranks(settings: Settings) -> Ranks | None:
    """The other ranks of this process, which have a part of each of its models. None: without tensor parallelism."""
    if settings.tensor_parallel == 1:
        return None
    return _started_ranks(settings.tensor_parallel, settings.device, settings.tensor_parallel_timeout_s)


@functools.cache  # torch.distributed allows one group in a process
def _started_ranks(size: int, device: str, timeout_s: float) -> Ranks:
    return start_ranks(size, device=device, timeout_s=timeout_s)


def _chat_counter(tokenizer: Any) -> Callable[[Sequence[Mapping[str, str]]], int]:
    def count(messages: Sequence[Mapping[str, str]]) -> int:
        try:
            text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        except Exception:  # raised by the template's code: the engine meets the same error and reports it to the client
            return 0
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    return count


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_rows=settings.max_batch,
        max_waiting=settings.max_waiting,
        cache_bytes=settings.cache_bytes,
        max_step_tokens=settings.max_step_tokens,
        max_capture_bytes=settings.max_capture_bytes,
        prompt_cache_bytes=settings.prompt_cache_bytes,
    )


def _content_loader(settings: Settings) -> Callable[[Wanted], Prompt]:
    contents = PromptContents(ArtifactStore(settings.home), cache=_content_cache(settings))

    def load(wanted: Wanted) -> Prompt:
        content = contents.load(wanted.sha256, ref=wanted.ref)
        # Copied, because the store's arrays are read-only views of the file.
        tensors = {name: torch.from_numpy(np.array(values)) for name, values in content.tensors.items()}
        return from_tensors(tensors, where=content.where)

    return load


def _content_cache(settings: Settings) -> LocalCache | None:
    """Copies of prompts on this host; None if the store is a folder of this host."""
    if not settings.content_cache_bytes or local_folder(settings.home) is not None:
        return None
    folder = host_cache_folder(settings.home, cache=settings.cache) / "prompts"
    return LocalCache(folder, max_bytes=settings.content_cache_bytes)


def _not_fetched(sha256: str) -> Prompt:
    raise EngineFault("A prompt was not fetched before its request.")
