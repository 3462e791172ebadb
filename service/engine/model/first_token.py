"""Whether a model parks attention on the first position of every text.

Such a position is an attention sink (Xiao et al. 2024): its state has many times the norm of all others and says nothing about
the text. Models whose tokenizer adds a beginning-of-text token have it there; in others it is the text's own first token.
"""

from __future__ import annotations

from typing import Any

import torch

from service.engine.attention.metadata import RecordingMetadata
from service.engine.model.architecture import Architecture, first_tensor
from service.engine.model.startup_checks import Forward
from service.engine.shapes import Tensor

N_TOKENS = 16
SEED = 20241218
MIN_RATIO = 20.0
"""Of the first state's norm to the median of the others, at some block's output. SmolLM2-135M has 150, the demo model 2."""


def first_token_is_sink(forward: Forward, *, architecture: Architecture, vocab_size: int) -> bool:
    """Run random tokens, and compare the norm of the first state with the others at the output of every block."""
    ratios: list[float] = []

    def note(_: Any, __: Any, output: Any) -> None:
        states = first_tensor(output)
        if states is not None:
            norms = states.reshape(-1, states.shape[-1])[:N_TOKENS].float().norm(dim=1)
            ratios.append(float(norms[0] / norms[1:].median().clamp_min(1e-12)))

    ids: Tensor = torch.randint(vocab_size, (N_TOKENS,), generator=torch.Generator().manual_seed(SEED))
    metadata = RecordingMetadata(N_TOKENS)
    handles = [block.register_forward_hook(note) for block in architecture.blocks]
    try:
        with torch.inference_mode():
            forward(metadata, ids=ids, positions=metadata.positions, logits_at=torch.tensor([0]))
    finally:
        for handle in handles:
            handle.remove()
    return max(ratios, default=0.0) >= MIN_RATIO
