"""How prompts of one kind are drawn and trained. One :class:`TrainingForm` a kind, in a file of its own."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass

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
from workers.tuning.training.layout import KeysValues, Layout
from workers.tuning.training.parameters import Direct, Parameters
from workers.tuning.training.settings import Member, TuneSettings


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One forward of members × examples.

    prompt: any prompt of the form that is trained. stacked: the members' tensors, `[n_members, …]` each.
    below: states of the text `[1, text, d_model]` at the input of the lowest block that runs; None: they come from the
    embeddings.
    """

    model: HostedModel
    prompt: Prompt
    layout: Layout
    stacked: Mapping[str, Tensor]
    below: Tensor | None

    def vectors(self, layer: int | None, *, like: Tensor) -> Float[Tensor, "n_members ..."] | None:
        """The members' tensors of a layer, on the device and in the type of ``like``; None where they have none."""
        found = self.stacked.get(self.prompt.described.tensor_name(layer))
        return None if found is None else found.to(device=like.device, dtype=like.dtype)


class TrainingForm(ABC):
    """Draws, parameters and the part in a forward of prompts of one kind. Stateless."""

    kind: PromptKind

    @property
    def described(self) -> PromptForm:
        """What is known of the kind."""
        return FORMS[self.kind]

    # --- draws ---

    def spaces(self, method: Method, prior: PriorSpec, *, model: HostedModel, sources: Sources) -> dict[str, Space]:
        """The space of the vectors of each tensor that a prior draws, by the tensor's name."""
        form, n = self.described, self.described.n_vectors(method.n_positions)
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
        """The prompt's tensors, drawn. Each has a generator made of the seed and its name."""
        n = self.described.n_vectors(method.n_positions)
        return {name: prior.sample(n, generator=generator_for(seed, name)) for name, prior in fitted.items()}

    def as_vectors(self, tensor: Tensor) -> Float[Tensor, "n d"]:
        """One tensor of a prompt as the vectors that a prior draws for it."""
        return tensor

    # --- training ---

    def parameters(self, member: Member, *, settings: TuneSettings, device: torch.device) -> Parameters:
        """Parameters that begin at the member's draw."""
        return Direct(member.start, device=device)

    def first_layer(self, prompt: Prompt) -> int:
        """The lowest block whose output, keys or values depend on the prompt."""
        return prompt.layers[0] if self.described.is_layered else 0

    def packs_virtual(self, prompt: Prompt) -> bool:
        """Whether all blocks above the lowest run the virtual tokens side by side with the text."""
        return False

    def n_packed_virtual(self, prompt: Prompt) -> int:
        """Virtual tokens of a member that are packed in front of the text."""
        return 0

    def inputs(self, run: Pass) -> dict[str, Tensor]:
        """Token ids or vectors that the model is called with."""
        if run.below is not None:
            n, d = run.layout.n_tokens, run.model.d_model
            return {"vectors": torch.zeros(1, d).expand(n, d)}
        return {"ids": run.layout.ids}

    def enter(self, run: Pass, call: BlockCall, hidden: Tensor) -> tuple[Tensor, KeysValues | None, Selection]:
        """States that go into a block, known keys and values of virtual positions, and which tokens the states are of."""
        return hidden, None, None

    def leave(self, run: Pass, layer: int, hidden: Tensor, *, of_answers: bool) -> Tensor:
        """States that come out of a block: of all packed tokens, or of the answers' tokens alone."""
        return hidden


def embedded_text(run: Pass) -> Float[Tensor, "text d_model"]:
    """Token embeddings of the text."""
    with torch.no_grad():
        embedded: Tensor = run.model.architecture.embed(run.layout.ids.to(run.model.device))
        return embedded
