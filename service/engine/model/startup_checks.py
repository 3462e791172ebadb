"""Startup checks of a model: packed rows against its plain forward, and the modules whose output has one row per token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
import transformers
from torch import nn

from service.engine.attention.batch_metadata import BatchMetadata
from service.engine.attention.kernels import ATTENTION_NAME, register
from service.engine.attention.kv_cache import KVCache, KVShape
from service.engine.attention.metadata import RecordingMetadata
from service.engine.attention.spans import Span
from service.engine.model.architecture import first_tensor
from service.engine.shapes import Tensor
from service.errors import UnsupportedModel

T = TypeVar("T")

N_PROBE_TOKENS = 11
SEED = 20241218
# Relative to the largest logit: packed and plain forwards add the same numbers in another order.
TOLERANCE: Mapping[torch.dtype, float] = {torch.float32: 1e-3, torch.bfloat16: 8e-2, torch.float16: 2e-2}


class Forward(Protocol):
    def __call__(self, metadata: Any, *, positions: Tensor, ids: Tensor, logits_at: Tensor | None = None) -> Tensor: ...


@dataclass(frozen=True)
class Reference:
    """Logits `[tokens, vocab]` of the plain model for two rows, each run alone."""

    rows: tuple[Tensor, Tensor]
    logits: tuple[Tensor, Tensor]


def reference_logits(module: Any, *, vocab_size: int) -> Reference:
    """Run the plain model, before its attention is replaced."""
    generator = torch.Generator().manual_seed(SEED)
    first, second = (torch.randint(vocab_size, (n,), generator=generator) for n in (N_PROBE_TOKENS, N_PROBE_TOKENS - 4))
    device = module.get_input_embeddings().weight.device
    try:
        with torch.inference_mode():
            run = [module(input_ids=ids.to(device)[None], use_cache=False).logits[0] for ids in (first, second)]
    except Exception as error:
        raise UnsupportedModel(f"{type(module).__name__} cannot run plain text: {error}") from error
    return Reference((first, second), (run[0], run[1]))


def use_packed_attention(module: Any, config: Any) -> None:
    """Replace the attention of a model.

    Raises:
        UnsupportedModel: it takes no other attention, or its rotary embeddings depend on the batch.
    """
    if not getattr(module, "_supports_attention_backend", False):
        raise UnsupportedModel(
            f"{type(module).__name__} does not support a custom attn_implementation in transformers "
            f"{transformers.__version__}."
        )
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = {str(part.get("rope_type", "")) for part in (rope, *rope.values()) if isinstance(part, dict)}
    if kinds & {"dynamic", "longrope"}:
        raise UnsupportedModel(
            "rotary embeddings that depend on the longest row of a batch (dynamic, longrope) are not supported."
        )
    register()
    module.set_attn_implementation(ATTENTION_NAME)


def check_against_plain(forward: Forward, reference: Reference, *, shape: KVShape) -> None:
    """Compare the plain forward with two rows of different lengths over the cache, in two chunks and a decode step.

    Raises:
        UnsupportedModel: the logits differ by more than rounding.
    """
    cache = KVCache(shape)
    cache.resize(2, N_PROBE_TOKENS, keep=())
    a, b = (len(ids) for ids in reference.rows)
    steps = (((0, 0, 3), (1, 0, b - 1)), ((0, 3, a - 1),), ((0, a - 1, a), (1, b - 1, b)))
    worst = 0.0
    for step in steps:
        spans, offset = [], 0
        for slot, begin, end in step:
            spans.append(Span(slot, offset, begin, end, None))
            offset += end - begin
        n_decode = len(spans) if all(s.n_new == 1 for s in spans) else 0
        metadata = BatchMetadata(cache, spans, n_decode=n_decode)
        ids = torch.cat([reference.rows[slot][begin:end] for slot, begin, end in step])
        with torch.inference_mode():
            logits = forward(metadata, ids=ids, positions=metadata.positions, logits_at=torch.arange(offset))
        expected = torch.cat([reference.logits[slot][begin:end] for slot, begin, end in step])
        worst = max(worst, float((logits.float() - expected.float()).abs().max() / expected.float().abs().max()))
    if not worst <= TOLERANCE[shape.dtype]:
        raise UnsupportedModel(
            f"packed rows differ from the plain forward by {worst:.1e} of the largest logit "
            f"(allowed {TOLERANCE[shape.dtype]:.0e}): "
            "the attention of this architecture is not supported."
        )


def probe(forward: Forward) -> None:
    """Run the model on a few tokens."""
    metadata = RecordingMetadata(N_PROBE_TOKENS)
    with torch.inference_mode():
        ids = torch.arange(N_PROBE_TOKENS) % 2
        forward(metadata, ids=ids, positions=metadata.positions, logits_at=torch.tensor([0]))


def module_widths(module: nn.Module, forward: Forward) -> dict[str, tuple[int, ...]]:
    """Module path → shape of one token's row, for every module whose output has one row per packed token."""
    return module_rows(module, forward, keep=lambda rows: tuple(rows.shape[1:]))


def module_rows(module: nn.Module, forward: Forward, *, keep: Callable[[Tensor], T]) -> dict[str, T]:
    """Module path → what is kept of its output `[tokens, …]`, for every module whose output has one row per packed token."""
    kept: dict[str, T] = {}

    def note(path: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is None or not tensor.is_floating_point():
                return
            if tensor.dim() > 2 and tensor.shape[:2] == (1, N_PROBE_TOKENS):
                kept[path] = keep(tensor[0])
            elif tensor.dim() == 2 and tensor.shape[0] == N_PROBE_TOKENS:
                kept[path] = keep(tensor)

        return hook

    handles = [part.register_forward_hook(note(path)) for path, part in module.named_modules() if path]
    try:
        probe(forward)
    finally:
        for handle in handles:
            handle.remove()
    return kept
