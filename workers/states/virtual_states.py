"""States of a prompt's virtual positions."""

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

Floats = npt.NDArray[np.float32]


def virtual_states(model: HostedModel, prompt: Prompt, *, layers: Sequence[int]) -> dict[int, Floats]:
    """States `[n_virtual, d_model]` float32 at the inputs of blocks, of a soft or deep prompt.

    Args:
        layers: above 0, at which the prompt's virtual positions exist.

    Raises:
        InvalidRequest: the prompt does not fit the model.
    """
    states: dict[int, Floats] = {}

    def keep(tap: Tap, rows: Tensor) -> None:
        assert tap.layer is not None
        states[tap.layer] = rows.detach().float().cpu().numpy().copy()

    with torch.inference_mode():
        compiler_of(prompt).run(model, prompt, reads=[Tap("resid_pre", layer) for layer in layers], on_read=keep)
    return states
