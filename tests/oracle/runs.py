"""Oracle: runs of a model under a prompt by plain transformers. Whole sequences, eager attention, no cache, one row.

The only cache is the one that carries a prefix prompt's keys and values in. Nothing here knows the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from tests.oracle.models import EOS, Parts
from tests.oracle.prompts import OraclePrompt

Edit = Callable[[Tensor, int], Tensor]
"""(hidden states of the text `[text, d]`, virtual positions in front of it) → the changed states."""


@dataclass(frozen=True)
class Generated:
    """A greedy continuation. ``logits`` `[n, vocab]` are those that each token was chosen from."""

    token_ids: list[int]
    logits: Tensor
    finish_reason: str

    @property
    def logprobs(self) -> Tensor:
        return self.logits.double().log_softmax(-1)

    @property
    def smallest_margin(self) -> float:
        """The smallest difference between the logits of a chosen token and of the second-best one."""
        best = self.logits.topk(2, dim=-1).values
        return float((best[:, 0] - best[:, 1]).min())

    @property
    def n_read(self) -> int:
        """Number of generated tokens that have a state; an end-of-text token is not read."""
        return len(self.token_ids) - (self.finish_reason == "stop")


@torch.no_grad()
def oracle_generate(
    model: Any,
    parts: Parts,
    input_ids: Sequence[int],
    prompt: OraclePrompt | None,
    max_tokens: int,
    edits: Mapping[int, Edit] | None = None,
    *,
    eos: int = EOS,
) -> Generated:
    """Greedy tokens, each from a new run over all tokens before it. ``edits`` change the outputs of blocks."""
    chosen: list[int] = []
    rows: list[Tensor] = []
    while len(chosen) < max_tokens and eos not in chosen:
        rows.append(_run(model, parts, [*input_ids, *chosen], prompt, reads={}, edits=edits or {})["logits"][-1])
        chosen.append(int(rows[-1].argmax()))
    return Generated(chosen, torch.stack(rows), "stop" if chosen[-1] == eos else "length")


@torch.no_grad()
def oracle_states(
    model: Any,
    parts: Parts,
    input_ids: Sequence[int],
    prompt: OraclePrompt | None,
    edits: Mapping[int, Edit] | None = None,
) -> dict[str, Tensor]:
    """Every site in every layer: ``site`` or ``site.layer`` → `[virtual + text, …]`; with a prefix prompt, the text only.

    Attention patterns are `[rows, n_heads, virtual + text]`. The block's inner module is named by its path.
    """
    blocks = model.get_submodule(parts.blocks)
    reads: dict[str, tuple[nn.Module, str]] = {"final_norm": (model.get_submodule(parts.norm), "output")}
    for i, block in enumerate(blocks):
        reads[f"resid_pre.{i}"] = (block, "input")
        reads[f"resid_post.{i}"] = (block, "output")
        reads[f"attn_out.{i}"] = (block.get_submodule(parts.attention), "output")
        reads[f"attn_probs.{i}"] = (block.get_submodule(parts.attention), "pattern")
        reads[f"mlp_out.{i}"] = (block.get_submodule(parts.mlp), "output")
        reads[f"{parts.blocks}.{i}.{parts.inner}"] = (block.get_submodule(parts.inner), "output")
    return _run(model, parts, input_ids, prompt, reads=reads, edits=edits or {})


def oracle_logits(model: Any, parts: Parts, input_ids: Sequence[int], prompt: OraclePrompt) -> Tensor:
    """Logits of the text `[text, vocab]`, with gradients in the prompt's tensors."""
    return _run(model, parts, input_ids, prompt, reads={}, edits={})["logits"][-len(input_ids) :]


def _run(
    model: Any,
    parts: Parts,
    input_ids: Sequence[int],
    prompt: OraclePrompt | None,
    *,
    reads: Mapping[str, tuple[nn.Module, str]],
    edits: Mapping[int, Edit],
) -> dict[str, Tensor]:
    n_virtual = prompt.n_virtual if prompt is not None else 0
    embeds = model.get_input_embeddings()(torch.tensor(input_ids))
    n_front = 0 if prompt is None or prompt.kind == "prefix" else n_virtual
    if n_front:
        assert prompt is not None
        # A deep prompt has no vectors below its layers: no text attends to these zeros.
        front = prompt.tensors["soft"] if prompt.kind == "soft" else embeds.new_zeros(n_front, embeds.shape[1])
        embeds = torch.cat([front, embeds])
    first = n_virtual - n_front
    positions = torch.arange(first, first + len(embeds))
    states: dict[str, Tensor] = {}
    with ExitStack() as stack:
        blocks = list(model.get_submodule(parts.blocks))
        for layer, block in enumerate(blocks):
            if prompt is not None and prompt.kind == "deep":
                stack.enter_context(_deep_layer(block, prompt, layer))
            if prompt is not None and layer in prompt.added:
                stack.enter_context(_edited(block, _adding(prompt.added[layer]), n_front))
            if layer in edits:
                stack.enter_context(_edited(block, edits[layer], n_front))
        for name, (module, what) in reads.items():
            stack.enter_context(_reading(module, what, states, name))
        out = model(
            inputs_embeds=embeds[None],
            position_ids=positions[None],
            past_key_values=_cache(prompt) if prompt is not None and prompt.kind == "prefix" else None,
            use_cache=prompt is not None and prompt.kind == "prefix",
        )
    return {**states, "embed": embeds, "logits": out.logits[0]}


def _adding(vector: Tensor) -> Edit:
    return lambda hidden, n_front: hidden + vector


def _cache(prompt: OraclePrompt) -> DynamicCache:
    """Keys and values of all virtual positions in every layer; the model's own masks apply a sliding window to them."""
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(prompt.tensors["prefix"]):
        cache.update(keys[None], values[None], layer)
    return cache


@contextmanager
def _deep_layer(block: nn.Module, prompt: OraclePrompt, layer: int) -> Iterator[None]:
    """Write the layer's vectors, if any, to the virtual positions, and mask these where text does not attend to them."""
    n = prompt.n_virtual
    vectors = prompt.deep.get(layer)
    is_visible = prompt.is_visible(layer)

    def change(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        hidden, *rest = args
        if vectors is not None:
            hidden = torch.cat([vectors[None], hidden[:, n:]], dim=1)
        if is_visible:
            return (hidden, *rest), kwargs
        hide = [_is_mask(value) for value in rest]
        assert sum(hide) + _is_mask(kwargs.get("attention_mask")) == 1, "expected one attention mask of a block"
        rest = [_hidden(value, n) if is_mask else value for value, is_mask in zip(rest, hide, strict=True)]
        if not any(hide):
            kwargs = {**kwargs, "attention_mask": _hidden(kwargs["attention_mask"], n)}
        return (hidden, *rest), kwargs

    handle = block.register_forward_pre_hook(change, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _is_mask(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4 and value.shape[-1] == value.shape[-2]


def _hidden(mask: Tensor, n_virtual: int) -> Tensor:
    """The additive mask ``[1, 1, rows, keys]``, in which text rows do not attend to virtual keys."""
    mask = mask.clone()
    mask[..., n_virtual:, :n_virtual] = torch.finfo(mask.dtype).min
    return mask


@contextmanager
def _edited(block: nn.Module, edit: Edit, n_front: int) -> Iterator[None]:
    def change(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        changed = torch.cat([hidden[0, :n_front], edit(hidden[0, n_front:], n_front)])[None]
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = block.register_forward_hook(change)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _reading(module: nn.Module, what: str, states: dict[str, Tensor], name: str) -> Iterator[None]:
    def read_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states[name] = args[0][0].clone()

    def read_output(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if what == "pattern":
            states[name] = output[1][0].transpose(0, 1).clone()
        else:
            states[name] = (output[0] if isinstance(output, tuple) else output)[0].clone()

    handle = (
        module.register_forward_pre_hook(read_input, with_kwargs=True)
        if what == "input"
        else module.register_forward_hook(read_output)
    )
    try:
        yield
    finally:
        handle.remove()
