"""Training of soft prompts: vectors that are packed in front of the token embeddings of the text."""

from __future__ import annotations

import torch

from service.engine.prompts.prompt import Prompt
from service.engine.shapes import Tensor
from workers.tuning.training.forms.form import ForwardPass, TrainingForm, embedded_text


class SoftTraining(TrainingForm):
    """Trains the tensor ``soft``."""

    kind = "soft"

    def packs_virtual(self, prompt: Prompt) -> bool:
        return True

    def n_packed_virtual(self, prompt: Prompt) -> int:
        return prompt.n_virtual

    def inputs(self, forward: ForwardPass) -> dict[str, Tensor]:
        text = embedded_text(forward)
        front = forward.vectors(None, like=text)
        assert front is not None
        return {"vectors": torch.cat([front.flatten(0, 1), text])}
