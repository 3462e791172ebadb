"""Baselines for last-token states of one block: all hidden states, a stopping hook, and nnsight."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Reader = Callable[[Tensor], Tensor]
"""Ids `[batch, length]` → states `[batch, d_model]` at the last token."""


class _Enough(Exception):
    """Raised once the state has been read."""


def hidden_states_reader(module: Any, *, layer: int, whole_head: bool = True) -> Reader:
    """A forward with all hidden states; without ``whole_head``, with logits of the last token only."""
    keep = {} if whole_head else {"logits_to_keep": 1}

    @torch.inference_mode()
    def read(ids: Tensor) -> Tensor:
        out = module(input_ids=ids, output_hidden_states=True, use_cache=False, **keep)
        states: Tensor = out.hidden_states[layer + 1][:, -1]
        return states.clone()

    return read


def stopping_hook_reader(module: Any, *, layer: int) -> Reader:
    """A forward hook on the block that raises once it has the state."""

    @torch.inference_mode()
    def read(ids: Tensor) -> Tensor:
        found: list[Tensor] = []

        def keep(block: Any, args: Any, output: Any) -> None:
            states = output[0] if isinstance(output, tuple) else output
            found.append(states[:, -1].clone())
            raise _Enough

        handle = module.model.layers[layer].register_forward_hook(keep)
        with contextlib.suppress(_Enough):
            module(input_ids=ids, use_cache=False)
        handle.remove()
        return found[0]

    return read


def nnsight_is_installed() -> bool:
    """Import nnsight, which is in the extra ``bench``."""
    return importlib.util.find_spec("nnsight") is not None


def nnsight_reader(module: Any, *, layer: int) -> Reader:
    """nnsight's trace with save and stop."""
    from nnsight import NNsight

    model: Any = NNsight(module)

    @torch.inference_mode()
    def read(ids: Tensor) -> Tensor:
        with model.trace(ids, use_cache=False) as tracer:
            states = model.model.layers[layer].output[:, -1].clone().save()
            tracer.stop()
        found: Tensor = states
        return found

    return read


def read_all(reader: Reader, texts: Sequence[Sequence[int]], *, n_batch: int) -> Tensor:
    """States `[n_texts, d_model]` of texts of equal length, in batches of ``n_batch``."""
    ids = torch.tensor(texts)
    return torch.cat([reader(ids[i : i + n_batch]) for i in range(0, len(ids), n_batch)])
