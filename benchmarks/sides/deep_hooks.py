"""Deep prompts by plain hooks: vectors are prepended to a layer's input and removed from its output."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.sides.tuning import IGNORED, Tuned, TuningTask, padded


def tune_with_hooks(module: Any, task: TuningTask, *, whole_backward: bool = False) -> Tuned:
    """Tunes one prompt after the other on a Llama; batches padded to their longest row; logits at every position.

    whole_backward: differentiate all layers, down to the token embeddings; else those from the lowest tuned one.
    """
    losses, tensors = [], []
    for start in task.starts:
        leaves = {name: vectors.clone().requires_grad_() for name, vectors in start.items()}
        with _hooked(module, leaves):
            losses.append(_train(module, leaves, task, whole_backward=whole_backward))
        tensors.append({name: leaf.detach() for name, leaf in leaves.items()})
    return Tuned(losses=torch.tensor(losses).T, tensors=tensors)


def _train(module: Any, leaves: Mapping[str, Tensor], task: TuningTask, *, whole_backward: bool) -> list[float]:
    parameters = list(leaves.values())
    n_virtual = len(parameters[0])
    adam = torch.optim.AdamW(parameters, lr=task.lr, weight_decay=0.0)
    losses = []
    for batch in task.batches():
        rows = padded(batch)
        ids, labels = rows["input_ids"], rows["labels"]
        positions = torch.arange(n_virtual, n_virtual + ids.shape[1])
        # With right padding, the causal mask is sufficient.
        embeddings = module.get_input_embeddings()(ids).requires_grad_(whole_backward)
        logits = module(inputs_embeds=embeddings, position_ids=positions[None], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED
        )
        adam.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        losses.append(float(loss.detach()))
    return losses


@contextlib.contextmanager
def _hooked(module: Any, leaves: Mapping[str, Tensor]) -> Iterator[None]:
    handles = []
    for name, vectors in leaves.items():
        block = module.model.layers[int(name.removeprefix("deep."))]
        handles.append(block.register_forward_pre_hook(_put_in_front(module, vectors), with_kwargs=True))
        handles.append(block.register_forward_hook(_take_off(len(vectors))))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _put_in_front(module: Any, vectors: Tensor) -> Any:
    def hook(block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hidden = torch.cat([vectors.to(args[0].dtype).expand(len(args[0]), *vectors.shape), args[0]], dim=1)
        positions = torch.arange(hidden.shape[1])[None]
        rotary = module.model.rotary_emb(hidden, position_ids=positions)
        return (hidden, *args[1:]), {**kwargs, "position_embeddings": rotary, "position_ids": positions}

    return hook


def _take_off(n_virtual: int) -> Any:
    return lambda block, args, output: output[:, n_virtual:]
