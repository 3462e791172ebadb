"""One forward of members × examples, differentiable in the members' prompts.

The same function of a prompt as serving it: its virtual tokens attend causally to themselves, the text to them and to
itself, through the engine's attention. Compiled, or packed with the text, the keys and values are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 (the name everybody uses)
from torch.utils.checkpoint import checkpoint

from service.engine.model.block_hooks import BlockCall, ReplacedBlocks, Selection
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.shapes import Float, Tensor
from workers.tuning.training.batches import Batch
from workers.tuning.training.forms.form import Pass, TrainingForm
from workers.tuning.training.forms.registry import TRAINING_FORMS
from workers.tuning.training.frozen_layers import FrozenLayers
from workers.tuning.training.layout import KeysValues, Layout, MemberMetadata, by_member

# In the last block only the answers' tokens are needed, with the keys and values of all. Faster while they are few: keys
# and values are computed twice for them.
MOST_ANSWERS = 0.6


class TuningForward:
    """Losses of prompts of one form on batches of examples.

    Args:
        prompt: any prompt of that form.
        frozen: keeps the states below the lowest tuned layer, where that is above the embeddings.
        gradient_checkpointing: blocks are run again in the backward pass.
    """

    def __init__(
        self, model: HostedModel, prompt: Prompt, *, frozen: FrozenLayers | None, gradient_checkpointing: bool = False
    ) -> None:
        self.model = model
        self._prompt = prompt
        self._form = TRAINING_FORMS[prompt.kind]
        self._frozen = frozen
        self._checkpoints = gradient_checkpointing

    def losses(self, prompts: Sequence[Mapping[str, Tensor]], batch: Batch) -> Float[Tensor, " n_members"]:
        """Negative log-likelihood in nats of all answers of the batch under each prompt, added up; float32."""
        layout = Layout(
            batch,
            n_members=len(prompts),
            n_virtual=self._prompt.n_virtual,
            n_packed_virtual=self._form.n_packed_virtual(self._prompt),
        )
        run = Pass(
            model=self.model,
            prompt=self._prompt,
            layout=layout,
            stacked={name: torch.stack([prompt[name] for prompt in prompts]) for name in prompts[0]},
            # Before the blocks are replaced: what is not kept yet runs through the model as it is.
            below=None if self._frozen is None else _frozen_states(self._frozen, layout),
        )
        logits = self._logits(run, _Blocks(self._form, run, checkpoints=self._checkpoints))
        values = F.cross_entropy(logits.float(), layout.targets.to(logits.device), reduction="none")
        return layout.sums_by_member(values)

    def _logits(self, run: Pass, blocks: _Blocks) -> Float[Tensor, "answers vocab"]:
        layout = run.layout
        n_answers = layout.n_members * layout.batch.n_answers

        def fill_up(module: Any, args: Any, output: Tensor) -> Tensor:
            # Some models look at the number of tokens once more after their last norm.
            return F.pad(output, (0, 0, 0, layout.n_tokens - n_answers))

        handle = self.model.architecture.final_norm.register_forward_hook(fill_up)
        try:
            with ReplacedBlocks(self.model.architecture, blocks.run, n_tokens=layout.n_tokens):
                return self.model.forward(
                    MemberMetadata(layout),
                    positions=layout.positions,
                    logits_at=torch.arange(n_answers),
                    **self._form.inputs(run),
                )
        finally:
            handle.remove()


def lowest_layer(prompt: Prompt) -> int:
    """The lowest block that prompts of this form reach."""
    return TRAINING_FORMS[prompt.kind].first_layer(prompt)


class _Blocks:
    """What the blocks do during one forward."""

    def __init__(self, form: TrainingForm, run: Pass, *, checkpoints: bool) -> None:
        self._form = form
        self._pass = run
        self._layout = run.layout
        self._checkpoints = checkpoints
        self._packs_virtual = form.packs_virtual(run.prompt)
        self._first = form.first_layer(run.prompt)
        self._last = run.model.architecture.n_layers - 1
        self._answers = run.layout.answers

    def run(self, call: BlockCall) -> Tensor:
        """Output of a block: states of the pack; of the last one, those of the answers' tokens `[1, answers, d_model]`."""
        if call.layer < self._first:
            return call.hidden
        if self._checkpoints and torch.is_grad_enabled():
            out: Tensor = checkpoint(self._block, call, call.hidden, use_reentrant=False)
            return out
        return self._block(call, call.hidden)

    def _block(self, call: BlockCall, hidden: Tensor) -> Tensor:
        hidden, virtual, at = self._form.enter(self._pass, call, hidden)
        if call.layer < self._last:
            metadata = MemberMetadata(self._layout, virtual=virtual, in_front=self._packs_virtual)
            out = call.run(hidden, metadata=metadata, at=at)
        else:
            out = self._last_block(call, hidden, virtual, at)
        return self._form.leave(self._pass, call.layer, out, of_answers=call.layer == self._last)

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


def _frozen_states(frozen: FrozenLayers, layout: Layout) -> Float[Tensor, "1 text d_model"]:
    parts = []
    for group in layout.batch.groups:
        rows = torch.cat([frozen.states(example) for example in group.examples])
        parts += [rows] * layout.n_members
    return torch.cat(parts)[None]
