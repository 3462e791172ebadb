"""Training of deep prompts: vectors that replace the inputs of chosen blocks at the virtual tokens."""

from __future__ import annotations

import torch

from service.engine.model.block_hooks import BlockCall, Selection
from service.engine.prompts.prompt import Prompt
from service.engine.prompts.registry import has_states
from service.engine.shapes import Tensor
from workers.tuning.training.forms.form import ForwardPass, TrainingForm, embedded_text
from workers.tuning.training.layout import KeysValues
from workers.tuning.training.member_metadata import by_member


class DeepTraining(TrainingForm):
    """Trains tensors ``deep.{layer}``. Local ones give keys and values only. Carried ones continue through the blocks above."""

    kind = "deep"

    def packs_virtual(self, prompt: Prompt) -> bool:
        return prompt.where == "carried"

    def n_packed_virtual(self, prompt: Prompt) -> int:
        return prompt.n_virtual

    def inputs(self, forward: ForwardPass) -> dict[str, Tensor]:
        if self.first_layer(forward.prompt) > 0:
            n, d = forward.layout.n_tokens, forward.model.d_model
            return {"vectors": torch.zeros(1, d).expand(n, d)}
        text = embedded_text(forward)
        return {"vectors": torch.cat([text.new_zeros(forward.layout.n_front, forward.model.d_model), text])}

    def enter(
        self, forward: ForwardPass, call: BlockCall, hidden: Tensor
    ) -> tuple[Tensor, KeysValues | None, Selection]:
        layout, packs = forward.layout, self.packs_virtual(forward.prompt)
        if call.layer == self.first_layer(forward.prompt):
            hidden = hidden[:, layout.text] if forward.below is None else forward.below.to(hidden)
        elif packs:
            hidden, front = hidden[:, layout.text], hidden[:, layout.front]
        if (vectors := forward.vectors(call.layer, like=hidden)) is not None:
            front = vectors.flatten(0, 1)[None]
        if packs:
            return torch.cat([front, hidden], dim=1), None, None
        if not has_states(forward.prompt, call.layer):
            return hidden, None, layout.text
        key, value = call.keys_values(front, at=layout.front)
        n = layout.n_members
        return hidden, (by_member(key, n_members=n), by_member(value, n_members=n)), layout.text
