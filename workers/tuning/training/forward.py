"""Forward of members × examples, differentiable in the members' prompts.

It computes the same function of a prompt as serving does, through the engine's attention: virtual tokens attend causally to
each other, and the text attends to them and causally to itself. Virtual tokens have the same keys and values whether they
are packed with the text or compiled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 (the conventional name)
from torch.utils.checkpoint import checkpoint

from service.engine.model.block_hooks import BlockCall, ReplacedBlocks, Selection
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.shapes import Float, Tensor
from workers.tuning.packing.batches import Batch
from workers.tuning.packing.layout import KeysValues, Layout
from workers.tuning.packing.member_metadata import MemberMetadata
from workers.tuning.training.criterion import Criterion, CrossEntropy
from workers.tuning.training.forms.form import ForwardPass, TrainingForm
from workers.tuning.training.forms.registry import TRAINING_FORMS
from workers.tuning.training.frozen_layers import FrozenLayers

# Highest share of answer tokens at which the last block runs on these alone. This computes their keys and values twice, so
# it is faster only if they are few.
MAX_ANSWER_SHARE = 0.6


class TuningForward:
    """Losses of prompts of one form on batches of examples.

    Args:
        prompt: any prompt of that form.
        frozen: provides the states below the lowest tuned layer; None if tuning begins at the embeddings.
        gradient_checkpointing: recompute blocks in the backward pass.
        criterion: the loss of each answer token; None: cross-entropy.
    """

    def __init__(
        self,
        model: HostedModel,
        prompt: Prompt,
        *,
        frozen: FrozenLayers | None,
        gradient_checkpointing: bool = False,
        criterion: Criterion | None = None,
    ) -> None:
        self.model = model
        self._prompt = prompt
        self._form = TRAINING_FORMS[prompt.kind]
        self._frozen = frozen
        self._checkpoints = gradient_checkpointing
        self._criterion: Criterion = criterion or CrossEntropy()

    def losses(self, prompts: Sequence[Mapping[str, Tensor]], batch: Batch) -> Float[Tensor, " n_members"]:
        """The loss of the batch under each prompt, by default −log p of its answers: a sum in nats, float32."""
        layout = Layout(
            batch,
            n_members=len(prompts),
            n_virtual=self._prompt.n_virtual,
            n_packed_virtual=self._form.n_packed_virtual(self._prompt),
        )
        forward = ForwardPass(
            model=self.model,
            prompt=self._prompt,
            layout=layout,
            stacked={name: torch.stack([prompt[name] for prompt in prompts]) for name in prompts[0]},
            # Computed before the blocks are replaced, because missing states need the original blocks.
            below=None if self._frozen is None else _frozen_states(self._frozen, layout),
        )
        blocks = _Blocks(self._form, forward, checkpoints=self._checkpoints, state_layers=self._criterion.state_layers)
        logits = self._logits(forward, blocks)
        return layout.sums_by_member(self._criterion.values(logits, layout=layout, states=blocks.states))

    def _logits(self, forward: ForwardPass, blocks: _Blocks) -> Float[Tensor, "answers vocab"]:
        layout = forward.layout
        n_answers = layout.n_members * layout.batch.n_answers

        def pad_to_pack(module: Any, args: Any, output: Tensor) -> Tensor:
            # Some models use the number of tokens again after the final norm.
            return F.pad(output, (0, 0, 0, layout.n_tokens - n_answers))

        handle = self.model.architecture.final_norm.register_forward_hook(pad_to_pack)
        try:
            with ReplacedBlocks(self.model.architecture, blocks.run, n_tokens=layout.n_tokens):
                return self.model.forward(
                    MemberMetadata(layout),
                    positions=layout.positions,
                    logits_at=torch.arange(n_answers),
                    **self._form.inputs(forward),
                )
        finally:
            handle.remove()


def lowest_layer(prompt: Prompt) -> int:
    """The lowest block that prompts of this form affect."""
    return TRAINING_FORMS[prompt.kind].first_layer(prompt)


class _Blocks:
    """Replacements of the model's blocks during one forward.

    Attributes:
        states: outputs of the blocks ``state_layers`` at the tokens that predict answers.
    """

    def __init__(
        self, form: TrainingForm, forward: ForwardPass, *, checkpoints: bool, state_layers: frozenset[int]
    ) -> None:
        self._form = form
        self._forward = forward
        self._layout = forward.layout
        self._checkpoints = checkpoints
        self._packs_virtual = form.packs_virtual(forward.prompt)
        self._first = form.first_layer(forward.prompt)
        self._last = forward.model.architecture.n_layers - 1
        self._answers = forward.layout.answers
        self._state_layers = state_layers
        self.states: dict[int, Tensor] = {}

    def run(self, call: BlockCall) -> Tensor:
        """Output of a block: states of all packed tokens or, in the last block, of answer tokens `[1, answers, d_model]`."""
        if call.layer < self._first:
            return call.hidden
        if self._checkpoints and torch.is_grad_enabled():
            out: Tensor = checkpoint(self._block, call, call.hidden, use_reentrant=False)
        else:
            out = self._block(call, call.hidden)
        if call.layer in self._state_layers:
            self.states[call.layer] = self._at_answers(call.layer, out)
        return out

    def _at_answers(self, layer: int, out: Tensor) -> Float[Tensor, "answers d_model"]:
        if layer == self._last:
            return out[0]
        start = self._layout.n_front if self._packs_virtual else 0
        return out[0].index_select(0, self._answers.to(out.device) + start)

    def _block(self, call: BlockCall, hidden: Tensor) -> Tensor:
        hidden, virtual, at = self._form.enter(self._forward, call, hidden)
        if call.layer < self._last:
            metadata = MemberMetadata(self._layout, virtual=virtual, packs_virtual=self._packs_virtual)
            out = call.run(hidden, metadata=metadata, at=at)
        else:
            out = self._last_block(call, hidden, virtual, at)
        return self._form.leave(self._forward, call.layer, out, of_answers=call.layer == self._last)

    def _last_block(self, call: BlockCall, hidden: Tensor, virtual: KeysValues | None, at: Selection) -> Tensor:
        layout = self._layout
        start = layout.n_front if self._packs_virtual else 0
        answers = self._answers.to(hidden.device)
        if len(answers) > MAX_ANSWER_SHARE * hidden.shape[1]:
            metadata = MemberMetadata(layout, virtual=virtual, packs_virtual=self._packs_virtual)
            return call.run(hidden, metadata=metadata, at=at).index_select(1, answers + start)
        whole = call.keys_values(hidden, at=at)
        metadata = MemberMetadata(layout, virtual=virtual, packs_virtual=self._packs_virtual, whole=whole)
        return call.run(hidden.index_select(1, answers + start), metadata=metadata, at=answers + layout.n_front)


def _frozen_states(frozen: FrozenLayers, layout: Layout) -> Float[Tensor, "1 text d_model"]:
    parts = []
    for group in layout.batch.groups:
        rows = torch.cat([frozen.states(example) for example in group.examples])
        parts += [rows] * layout.n_members
    return torch.cat(parts)[None]
