"""One forward of members × examples, differentiable in the members' prompts.

The same function of a prompt as serving it: its virtual tokens attend causally to themselves, the text to them and to
itself, through the engine's attention. Compiled or packed beside the text, the keys and values are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 (the name everybody uses)
from torch.utils.checkpoint import checkpoint

from service.engine.model.block_hooks import BlockCall, ReplacedBlocks, Selection
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, has_states
from service.engine.shapes import Float, Tensor
from workers.tuning.training.batches import Batch
from workers.tuning.training.frozen_layers import FrozenLayers
from workers.tuning.training.layout import KeysValues, Layout, MemberMetadata, by_member

# In the last block the answers' tokens alone are needed, beside everybody's keys and values. Worth it while they are few:
# keys and values are computed twice for them.
MOST_ANSWERS = 0.6


class TuningForward:
    """Losses of prompts of one form on batches of examples.

    Args:
        form: any prompt of that form.
        frozen: keeps what lies below the lowest tuned layer of a deep prompt that does not begin at the embeddings.
        gradient_checkpointing: blocks are run again on the way back.
    """

    def __init__(
        self, model: HostedModel, form: Prompt, *, frozen: FrozenLayers | None, gradient_checkpointing: bool = False
    ) -> None:
        self.model = model
        self._form = form
        self._frozen = frozen
        self._checkpoints = gradient_checkpointing
        self.first_layer = lowest_layer(form)
        self._packs_virtual = form.kind == "soft" or form.where == "carried"

    def losses(self, prompts: Sequence[Mapping[str, Tensor]], batch: Batch) -> Float[Tensor, " n_members"]:
        """Negative log-likelihood in nats of all answers of the batch under each prompt, added up; float32."""
        layout = Layout(
            batch,
            n_members=len(prompts),
            n_virtual=self._form.n_virtual,
            n_packed_virtual=0 if self._form.kind == "prefix" else self._form.n_virtual,
        )
        stacked = {name: torch.stack([prompt[name] for prompt in prompts]) for name in prompts[0]}
        logits = self._logits(layout, _Pass(self, layout, stacked))
        values = F.cross_entropy(logits.float(), layout.targets.to(logits.device), reduction="none")
        return layout.sums_by_member(values)

    def _logits(self, layout: Layout, run: _Pass) -> Float[Tensor, "answers vocab"]:
        n_answers = layout.n_members * layout.batch.n_answers

        def fill_up(module: Any, args: Any, output: Tensor) -> Tensor:
            # Some models look at the number of tokens once more after their last norm.
            return F.pad(output, (0, 0, 0, layout.n_tokens - n_answers))

        handle = self.model.architecture.final_norm.register_forward_hook(fill_up)
        try:
            with ReplacedBlocks(self.model.architecture, run.block, n_tokens=layout.n_tokens):
                return self.model.forward(
                    MemberMetadata(layout),
                    positions=layout.positions,
                    logits_at=torch.arange(n_answers),
                    **run.inputs(),
                )
        finally:
            handle.remove()


def lowest_layer(form: Prompt) -> int:
    """The lowest block that prompts of this form reach."""
    return form.layers[0] if form.kind == "deep" else 0


class _Pass:
    """What the blocks do during one forward. ``stacked``: the prompts' tensors, `[n_members, …]` each."""

    def __init__(self, forward: TuningForward, layout: Layout, stacked: Mapping[str, Tensor]) -> None:
        self._model = forward.model
        self._form = forward._form
        self._frozen = forward._frozen
        self._checkpoints = forward._checkpoints
        self._packs_virtual = forward._packs_virtual
        self._first = forward.first_layer
        self._last = forward.model.architecture.n_layers - 1
        self._layout = layout
        self._stacked = stacked
        self._answers = layout.answers
        # Before the blocks are replaced: what is not kept yet runs through the model as it is.
        self._below = None if self._frozen is None else self._frozen_states(self._frozen)

    def inputs(self) -> dict[str, Tensor]:
        """Token ids or vectors to call the model with."""
        layout, device, d_model = self._layout, self._model.device, self._model.d_model
        if self._form.kind == "prefix":
            return {"ids": layout.ids}
        if self._first > 0:
            return {"vectors": torch.zeros(1, d_model).expand(layout.n_tokens, d_model)}
        with torch.no_grad():
            text = self._model.architecture.embed(layout.ids.to(device))
        if self._form.kind == "soft":
            front = self._stacked["soft"].to(device=device, dtype=text.dtype).flatten(0, 1)
        else:
            front = text.new_zeros(layout.n_front, d_model)
        return {"vectors": torch.cat([front, text])}

    def block(self, call: BlockCall) -> Tensor:
        """What a block gives: states of the pack; of the last one, those of the answers' tokens `[1, answers, d_model]`."""
        if call.layer < self._first:
            return call.hidden
        if self._checkpoints and torch.is_grad_enabled():
            out: Tensor = checkpoint(self._block, call, call.hidden, use_reentrant=False)
            return out
        return self._block(call, call.hidden)

    def _block(self, call: BlockCall, hidden: Tensor) -> Tensor:
        hidden, virtual, at = self._enter(call, hidden)
        if call.layer < self._last:
            metadata = MemberMetadata(self._layout, virtual=virtual, in_front=self._packs_virtual)
            return call.run(hidden, metadata=metadata, at=at)
        return self._last_block(call, hidden, virtual, at)

    def _enter(self, call: BlockCall, hidden: Tensor) -> tuple[Tensor, KeysValues | None, Selection]:
        """The states that go in, what is known of the virtual positions, and which tokens the states are of."""
        layer, layout = call.layer, self._layout
        if self._form.kind == "prefix":
            pair = self._stacked["prefix"][:, layer].to(hidden.device)
            return hidden, (pair[:, 0], pair[:, 1]), None
        if self._form.kind == "soft":
            return hidden, None, None
        if layer == self._first:
            hidden = hidden[:, layout.text] if self._below is None else self._below.to(hidden)
        elif self._packs_virtual:
            hidden, front = hidden[:, layout.text], hidden[:, layout.front]
        if f"deep.{layer}" in self._stacked:
            front = self._stacked[f"deep.{layer}"].to(device=hidden.device, dtype=hidden.dtype).flatten(0, 1)[None]
        if self._packs_virtual:
            return torch.cat([front, hidden], dim=1), None, None
        if not has_states(self._form, layer):
            return hidden, None, layout.text
        key, value = call.keys_values(front, at=layout.front)
        n = layout.n_members
        return hidden, (by_member(key, n_members=n), by_member(value, n_members=n)), layout.text

    def _last_block(self, call: BlockCall, hidden: Tensor, virtual: KeysValues | None, at: Selection) -> Tensor:
        layout, n = self._layout, self._layout.n_members
        begin = layout.n_front if self._packs_virtual else 0
        answers = self._answers.to(hidden.device)
        if len(answers) > MOST_ANSWERS * hidden.shape[1]:
            metadata = MemberMetadata(layout, virtual=virtual, in_front=self._packs_virtual)
            return call.run(hidden, metadata=metadata, at=at).index_select(1, answers + begin)
        key, value = call.keys_values(hidden, at=at)
        if self._packs_virtual:
            virtual = (by_member(key[:begin], n_members=n), by_member(value[:begin], n_members=n))
        metadata = MemberMetadata(layout, virtual=virtual, text=(key[begin:], value[begin:]))
        return call.run(hidden.index_select(1, answers + begin), metadata=metadata, at=answers + layout.n_front)

    def _frozen_states(self, frozen: FrozenLayers) -> Float[Tensor, "1 text d_model"]:
        parts = []
        for group in self._layout.batch.groups:
            rows = torch.cat([frozen.states(example) for example in group.examples])
            parts += [rows] * self._layout.n_members
        return torch.cat(parts)[None]
