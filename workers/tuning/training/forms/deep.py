"""Deep prompts: vectors that replace what the virtual tokens bring to chosen blocks."""

from __future__ import annotations

import torch

from service.engine.model.block_hooks import BlockCall, Selection
from service.engine.prompts.prompt import Prompt
from service.engine.prompts.registry import has_states
from service.engine.shapes import Tensor
from workers.tuning.training.forms.form import Pass, TrainingForm, embedded_text
from workers.tuning.training.layout import KeysValues, by_member


class DeepTraining(TrainingForm):
    """Tensors ``deep.{layer}``. Local ones give keys and values only; carried ones run on with the text."""

    kind = "deep"

    def packs_virtual(self, prompt: Prompt) -> bool:
        return prompt.where == "carried"

    def n_packed_virtual(self, prompt: Prompt) -> int:
        return prompt.n_virtual

    def inputs(self, run: Pass) -> dict[str, Tensor]:
        if self.first_layer(run.prompt) > 0:
            n, d = run.layout.n_tokens, run.model.d_model
            return {"vectors": torch.zeros(1, d).expand(n, d)}
        text = embedded_text(run)
        return {"vectors": torch.cat([text.new_zeros(run.layout.n_front, run.model.d_model), text])}

    def enter(self, run: Pass, call: BlockCall, hidden: Tensor) -> tuple[Tensor, KeysValues | None, Selection]:
        layout, packs = run.layout, self.packs_virtual(run.prompt)
        if call.layer == self.first_layer(run.prompt):
            hidden = hidden[:, layout.text] if run.below is None else run.below.to(hidden)
        elif packs:
            hidden, front = hidden[:, layout.text], hidden[:, layout.front]
        if (own := run.vectors(call.layer, like=hidden)) is not None:
            front = own.flatten(0, 1)[None]
        if packs:
            return torch.cat([front, hidden], dim=1), None, None
        if not has_states(run.prompt, call.layer):
            return hidden, None, layout.text
        key, value = call.keys_values(front, at=layout.front)
        n = layout.n_members
        return hidden, (by_member(key, n_members=n), by_member(value, n_members=n)), layout.text
