"""Attention sinks at the first position: found in blocks with such states, and in no other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from service.engine.model.first_token import MIN_RATIO, N_TOKENS, first_token_is_sink
from service.engine.model.hosted_model import HostedModel
from tests.oracle.models import build_model


class Block(nn.Module):
    """A block whose output at position 0 is ``scale`` times as long as the others."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor]:
        out = states.clone()
        out[0, 0] *= self.scale
        return (out,)


class Modules:
    def __init__(self, *scales: float) -> None:
        self.blocks = tuple(map(Block, scales))

    def forward(self, _metadata: Any, *, ids: torch.Tensor, **_: Any) -> torch.Tensor:
        states = torch.ones(1, len(ids), 3)
        for block in self.blocks:
            (states,) = block(states)
        return states


@pytest.mark.parametrize(
    ("scales", "expected"),
    [((1.0, 1.0), False), ((1.0, 0.9 * MIN_RATIO, 1.0), False), ((1.0, 1.1 * MIN_RATIO, 0.01), True), ((), False)],
)
def test_a_sink_is_a_long_state_at_some_block(scales: tuple[float, ...], expected: bool) -> None:
    model: Any = Modules(*scales)
    assert first_token_is_sink(model.forward, architecture=model, vocab_size=7) == expected
    assert not any(block._forward_hooks for block in model.blocks)


def test_a_hosted_model_is_measured_through_its_own_blocks() -> None:
    plain = HostedModel("small", build_model("llama"), None, revision="")
    assert not plain.first_token_is_sink
    module = build_model("llama")

    def lengthen(_: Any, __: Any, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        if states.shape[1] == N_TOKENS:
            states[:, 0] *= 1000
        return output

    module.model.layers[1].register_forward_hook(lengthen)
    assert HostedModel("sink", module, None, revision="").first_token_is_sink
