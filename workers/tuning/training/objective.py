"""Loss of members on examples: gradients for training steps and values for validation, split to fit in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from service.engine.model.hosted_model import HostedModel
from service.engine.model.layers.packed_linear import pack_gradients
from service.engine.model.layers.rms_norm import freeze_rms_norms
from service.engine.prompts.prompt import Prompt
from service.engine.shapes import Float, Tensor
from workers.inputs.examples import EncodedExample
from workers.tuning.packing.batches import batch_of
from workers.tuning.training.criterion import Criterion
from workers.tuning.training.forward import TuningForward, lowest_layer
from workers.tuning.training.frozen_layers import FrozenLayers
from workers.tuning.training.memory import costs_of, group_examples, group_members

Tensors = Mapping[str, Tensor]


class Objective:
    """Mean loss of prompts of one form, in nats per answer token."""

    def __init__(
        self,
        model: HostedModel,
        form: Prompt,
        *,
        validation: Sequence[EncodedExample],
        gradient_checkpointing: bool,
        max_bytes: int,
        criterion: Criterion | None = None,
        frozen: FrozenLayers | None = None,
    ) -> None:
        first = lowest_layer(form)
        if first > 0 and frozen is None:
            frozen = FrozenLayers(model, layer=first, n_virtual=form.n_virtual, max_bytes=max_bytes // 2)
        self.frozen = frozen
        self._forward = TuningForward(
            model, form, frozen=frozen, gradient_checkpointing=gradient_checkpointing, criterion=criterion
        )
        self._costs = costs_of(model, first_layer=first, gradient_checkpointing=gradient_checkpointing)
        self._n_virtual = form.n_virtual
        self._max_bytes = self._costs.within(max_bytes, device=model.device)
        pack_gradients(model.module, max_bytes=max_bytes // 4)
        freeze_rms_norms(model.module)
        # Sorted by length, so that a forward has few groups.
        self._validation = sorted(validation, key=lambda example: (example.length, len(example.target_ids)))

    @property
    def device(self) -> torch.device:
        return self._forward.model.device

    @property
    def can_validate(self) -> bool:
        return bool(self._validation)

    def gradients(
        self,
        prompts: Sequence[Tensors],
        parts: Sequence[Sequence[EncodedExample]],
        *,
        sampled: Sequence[Sequence[EncodedExample]] = (),
    ) -> tuple[Float[Tensor, " n_members"], list[dict[str, Tensor]]]:
        """Each member's loss on all examples, and its gradient with respect to the prompt's tensors.

        Args:
            parts: the examples, split into parts that run in separate forwards.
            sampled: for each member, further examples of its own; empty if there are none.
        """
        # Detached leaves: the computation of a prompt's tensors is differentiated once, not once per forward.
        leaves = [{name: tensor.detach().requires_grad_() for name, tensor in prompt.items()} for prompt in prompts]
        n_shared = sum(len(example.target_ids) for part in parts for example in part)
        n_answers = [n_shared] * len(prompts)
        totals = torch.zeros(len(prompts), device=self._forward.model.device)
        for part in parts:
            for examples in self._fitting(part):
                batch = batch_of(examples)
                for members in self._groups(len(prompts), examples):
                    losses = self._forward.losses([leaves[i] for i in members], batch)
                    torch.autograd.backward(losses.sum())
                    totals[members] += losses.detach().to(totals.device)
        for i, own in enumerate(sampled):
            n_answers[i] += sum(len(example.target_ids) for example in own)
            for examples in self._fitting(own):
                losses = self._forward.losses([leaves[i]], batch_of(examples))
                torch.autograd.backward(losses.sum())
                totals[i] += losses.detach()[0].to(totals.device)
        gradients = [
            {name: _gradient(leaf).div_(n) for name, leaf in tensors.items()}
            for tensors, n in zip(leaves, n_answers, strict=True)
        ]
        return totals / torch.tensor(n_answers, device=totals.device), gradients

    @torch.no_grad()
    def validation_losses(self, prompts: Sequence[Tensors]) -> list[float]:
        """Each member's loss on the validation examples."""
        totals = torch.zeros(len(prompts), dtype=torch.float64)
        for examples in self._fitting(self._validation):
            batch = batch_of(examples)
            for members in self._groups(len(prompts), examples):
                totals[members] += self._forward.losses([prompts[i] for i in members], batch).double().cpu()
        n_answers = sum(len(example.target_ids) for example in self._validation)
        return (totals / n_answers).tolist()

    def _fitting(self, examples: Sequence[EncodedExample]) -> list[list[EncodedExample]]:
        return group_examples(examples, costs=self._costs, n_virtual=self._n_virtual, max_bytes=self._max_bytes)

    def _groups(self, n_members: int, examples: Sequence[EncodedExample]) -> list[list[int]]:
        bytes_each = self._costs.of(examples, n_virtual=self._n_virtual)
        return group_members(range(n_members), bytes_each=bytes_each, max_bytes=self._max_bytes)


def _gradient(leaf: Tensor) -> Tensor:
    return leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
