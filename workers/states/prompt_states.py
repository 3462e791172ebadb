"""Where a prompt itself lies: its vectors at the layers that they are put in, and above the states that they become."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.prompts.prompt import Prompt, has_states, run_virtual
from service.engine.shapes import Tensor
from service.errors import InvalidRequest

Floats = npt.NDArray[np.float32]


def own_vectors(prompt: Prompt, *, layer: int) -> Floats | None:
    """The prompt's own vectors `[n_virtual, d_model]` at a layer, as they are stored; None where it has none.

    Layer 0 is the token embeddings: a soft prompt's. A prefix has vectors nowhere: it is keys and values.
    """
    name = "soft" if prompt.kind == "soft" and layer == 0 else f"deep.{layer}"
    return prompt.tensors[name].detach().float().cpu().numpy() if name in prompt.tensors else None


def prompt_states(model: HostedModel, prompt: Prompt, *, layers: Sequence[int]) -> dict[int, Floats]:
    """Own vectors and states `[n_virtual, d_model]` float32 at every one of ``layers`` where the prompt has any.

    Of a soft prompt: its vectors at layer 0 and the states that they become above. Of a deep one: its vectors at its own
    layers; carried ones also what they become in between and above.

    Raises:
        InvalidRequest: it is a prefix, or does not fit the model.
    """
    if prompt.kind == "prefix":
        raise InvalidRequest("a prefix is keys and values in each layer: it has no vectors among the model's states.")
    found = {layer: own for layer in layers if (own := own_vectors(prompt, layer=layer)) is not None}
    taps = [Tap("resid_pre", layer) for layer in layers if layer not in found and has_states(prompt, layer) and layer]
    if taps:
        found |= _become(model, prompt, taps)
    return {layer: found[layer] for layer in layers if layer in found}


def _become(model: HostedModel, prompt: Prompt, taps: Sequence[Tap]) -> dict[int, Floats]:
    states: dict[int, Floats] = {}

    def keep(tap: Tap, rows: Tensor) -> None:
        assert tap.layer is not None
        states[tap.layer] = rows.detach().float().cpu().numpy().copy()

    with torch.inference_mode():
        run_virtual(model, prompt, reads=taps, on_read=keep)
    return states
