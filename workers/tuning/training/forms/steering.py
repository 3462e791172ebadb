"""Training of steering prompts: vectors that are added to the output of their block at all tokens of a member."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from promptatlas.types.forms import Method

from service.engine.model.block_hooks import BlockCall, Selection
from service.engine.model.hosted_model import HostedModel
from service.engine.shapes import Float, Tensor
from workers.priors.prior import Prior
from workers.tuning.packing.layout import KeysValues
from workers.tuning.training.forms.form import ForwardPass, TrainingForm


class SteeringTraining(TrainingForm):
    """Trains the tensors ``steering.{layer}`` `[d_model]`."""

    kind = "steering"

    def draw(self, fitted: Mapping[str, Prior], *, method: Method, seed: int, model: HostedModel) -> dict[str, Tensor]:
        drawn = super().draw(fitted, method=method, seed=seed, model=model)
        return {name: vectors[0] for name, vectors in drawn.items()}

    def as_vectors(self, tensor: Tensor) -> Float[Tensor, "n d"]:
        return tensor[None]

    def enter(
        self, forward: ForwardPass, call: BlockCall, hidden: Tensor
    ) -> tuple[Tensor, KeysValues | None, Selection]:
        if forward.below is not None and call.layer == self.first_layer(forward.prompt):
            hidden = forward.below.to(hidden)
        return hidden, None, None

    def leave(self, forward: ForwardPass, layer: int, hidden: Tensor, *, of_answers: bool) -> Tensor:
        vectors = forward.vectors(layer, like=hidden)
        if vectors is None:
            return hidden
        # expand, not indexing: its backward pass sums in a fixed order.
        groups = forward.layout.batch.groups
        counts = [g.n_rows * (g.n_answers if of_answers else g.length) for g in groups]
        each = [vectors[:, None].expand(-1, n, -1).flatten(0, 1) for n in counts]
        return hidden + torch.cat(each)[None]
