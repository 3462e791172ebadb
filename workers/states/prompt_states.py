"""Where a prompt lies among the model's states: its own vectors, and the states that they become above."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.prompts.prompt import Prompt
from service.engine.prompts.registry import compiler_of
from service.engine.shapes import Tensor
from service.errors import InvalidRequest

Floats = npt.NDArray[np.float32]


def own_vectors(prompt: Prompt, *, layer: int) -> Floats | None:
    """The prompt's own vectors `[n, d_model]` at a layer, as they are stored; None where it has none.

    Layer 0 is the token embeddings, layer l the input of block l.
    """
    found = prompt.vectors().get(layer)
    return None if found is None else found.detach().float().cpu().numpy()


def prompt_states(model: HostedModel, prompt: Prompt, *, layers: Sequence[int]) -> dict[int, Floats]:
    """Own vectors and states `[n, d_model]` float32 at every one of ``layers`` where the prompt has any.

    Of a soft prompt: its vectors at layer 0 and the states that they become above. Of a deep one: its vectors at its own
    layers; carried ones also what they become in between and above. Of a steering prompt: the vectors themselves.

    Raises:
        InvalidRequest: its kind has no vectors, or it does not fit the model.
    """
    form = prompt.described
    if not form.has_vectors:
        raise InvalidRequest(f"{form.why_no_vectors}.")
    found = {layer: own for layer in layers if (own := own_vectors(prompt, layer=layer)) is not None}
    n_layers = model.architecture.n_layers
    with_states = form.layers_with_states(prompt.layers or None, where=prompt.where, n_layers=n_layers, wanted=layers)
    taps = [Tap("resid_pre", layer) for layer in with_states if layer not in found]
    if taps:
        found |= _states_at(model, prompt, taps)
    return {layer: found[layer] for layer in layers if layer in found}


def _states_at(model: HostedModel, prompt: Prompt, taps: Sequence[Tap]) -> dict[int, Floats]:
    states: dict[int, Floats] = {}

    def keep(tap: Tap, rows: Tensor) -> None:
        assert tap.layer is not None
        states[tap.layer] = rows.detach().float().cpu().numpy().copy()

    with torch.inference_mode():
        compiler_of(prompt).run(model, prompt, reads=taps, on_read=keep)
    return states
