"""Base class of training forms: how prompts of a kind are drawn and trained. Each kind has a file."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from promptatlas.types.forms import FORMS, Method, PromptForm, PromptKind
from promptatlas.types.priors import Prior as PriorSpec

from service.engine.model.block_hooks import BlockCall, Selection
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.shapes import Float, Tensor
from workers.priors.distributions.random_streams import generator_for
from workers.priors.prior import Prior, Space
from workers.priors.sources.sources import Sources
from workers.tuning.packing.layout import KeysValues, Layout
from workers.tuning.training.parameters import Direct, Parameters, PartlyFrozen
from workers.tuning.training.settings import Member, TuneSettings


@dataclass(frozen=True, kw_only=True)
class ForwardPass:
    """One forward of members × examples.

    Attributes:
        prompt: any prompt of the trained form.
        stacked: the members' tensors, `[n_members, …]` each.
        below: states of the text `[1, text, d_model]` at the input of the lowest block that runs; None if all blocks run.
    """

    model: HostedModel
    prompt: Prompt
    layout: Layout
    stacked: Mapping[str, Tensor]
    below: Tensor | None

    def vectors(self, layer: int | None, *, like: Tensor) -> Float[Tensor, "n_members ..."] | None:
        """The members' tensors of a layer, with the device and dtype of ``like``; None if the layer has no tensors."""
        found = self.stacked.get(self.prompt.prompt_form.tensor_name(layer))
        return None if found is None else found.to(device=like.device, dtype=like.dtype)


class TrainingForm(ABC):
    """Draws, parameters and forward hooks of prompts of one kind. Stateless."""

    kind: PromptKind
    virtual_axis: ClassVar[int] = 0
    """Axis of the virtual positions in the kind's tensors."""

    @property
    def prompt_form(self) -> PromptForm:
        """Names and shapes of the kind's tensors."""
        return FORMS[self.kind]

    # --- draws ---

    def spaces(self, method: Method, prior: PriorSpec, *, model: HostedModel, sources: Sources) -> dict[str, Space]:
        """For each drawn tensor, by name, the space of its vectors."""
        form, n = self.prompt_form, self.prompt_form.n_vectors(method.n_positions)
        layers = sorted({sources.layer(layer) for layer in method.chosen_layers or ()}) or (None,)
        return {
            (name := form.tensor_name(layer)): Space(
                d_model=model.d_model,
                n_virtual=n,
                layer=None if layer is None else form.state_layer(layer),
                tensor=name,
            )
            for layer in layers
        }

    def draw(self, fitted: Mapping[str, Prior], *, method: Method, seed: int, model: HostedModel) -> dict[str, Tensor]:
        """Draw the prompt's tensors. Each has a generator that is derived from the seed and its name."""
        n = self.prompt_form.n_vectors(method.n_positions)
        return {name: prior.sample(n, generator=generator_for(seed, name)) for name, prior in fitted.items()}

    def as_vectors(self, tensor: Tensor) -> Float[Tensor, "n d"]:
        """Reshape one tensor of a prompt to the vectors that its prior draws."""
        return tensor

    # --- training ---

    def parameters(self, member: Member, *, settings: TuneSettings, device: torch.device) -> Parameters:
        """Parameters whose initial prompt is the member's draw."""
        if settings.n_frozen == 0:
            return Direct(member.start, device=device)
        return PartlyFrozen(member.start, n_frozen=settings.n_frozen, axis=self.virtual_axis, device=device)

    def first_layer(self, prompt: Prompt) -> int:
        """The lowest block whose output, keys or values depend on the prompt."""
        return prompt.layers[0] if self.prompt_form.is_layered else 0

    def packs_virtual(self, prompt: Prompt) -> bool:
        """Whether the blocks run the virtual tokens together with the text, from the lowest layer of the prompt upwards."""
        return False

    def n_packed_virtual(self, prompt: Prompt) -> int:
        """Virtual tokens of a member that are packed in front of the text."""
        return 0

    def inputs(self, forward: ForwardPass) -> dict[str, Tensor]:
        """Keyword arguments of the model: token ids or vectors."""
        if forward.below is not None:
            n, d = forward.layout.n_tokens, forward.model.d_model
            return {"vectors": torch.zeros(1, d).expand(n, d)}
        return {"ids": forward.layout.ids}

    def enter(
        self, forward: ForwardPass, call: BlockCall, hidden: Tensor
    ) -> tuple[Tensor, KeysValues | None, Selection]:
        """Prepare the input of a block.

        Returns:
            input states; keys and values of the virtual positions, if they are not packed; and the selection of packed
            tokens that the states belong to, None for all.
        """
        return hidden, None, None

    def leave(self, forward: ForwardPass, layer: int, hidden: Tensor, *, of_answers: bool) -> Tensor:
        """Modify the output states of a block: those of all packed tokens or, if ``of_answers``, of answer tokens only."""
        return hidden


def embedded_text(forward: ForwardPass) -> Float[Tensor, "text d_model"]:
    """Token embeddings of the text."""
    with torch.no_grad():
        embedded: Tensor = forward.model.architecture.embed(forward.layout.ids.to(forward.model.device))
        return embedded
