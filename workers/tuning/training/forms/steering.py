"""Steering prompts: each member's vector is added to the output of its block, at all of its tokens."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from promptatlas.types.forms import Method

from service.engine.model.block_hooks import BlockCall, Selection
from service.engine.model.hosted_model import HostedModel
from service.engine.shapes import Float, Tensor
from workers.priors.prior import Prior
from workers.tuning.training.forms.form import Pass, TrainingForm
from workers.tuning.training.layout import KeysValues


class SteeringTraining(TrainingForm):
    """Tensors ``steering.{layer}`` `[d_model]`."""

    kind = "steering"

    def draw(self, fitted: Mapping[str, Prior], *, method: Method, seed: int, model: HostedModel) -> dict[str, Tensor]:
        drawn = super().draw(fitted, method=method, seed=seed, model=model)
        return {name: vectors[0] for name, vectors in drawn.items()}

    def as_vectors(self, tensor: Tensor) -> Float[Tensor, "n d"]:
        return tensor[None]

    def enter(self, run: Pass, call: BlockCall, hidden: Tensor) -> tuple[Tensor, KeysValues | None, Selection]:
        if run.below is not None and call.layer == self.first_layer(run.prompt):
            hidden = run.below.to(hidden)
        return hidden, None, None

    def leave(self, run: Pass, layer: int, hidden: Tensor, *, of_answers: bool) -> Tensor:
        vectors = run.vectors(layer, like=hidden)
        if vectors is None:
            return hidden
        # Expanded, not indexed: the backward of an expansion is a sum in a fixed order.
        groups = run.layout.batch.groups
        counts = [g.n_rows * (g.n_answers if of_answers else g.length) for g in groups]
        each = [vectors[:, None].expand(-1, n, -1).flatten(0, 1) for n in counts]
        return hidden + torch.cat(each)[None]
