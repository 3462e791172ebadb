"""Tuned prompts as stored, and affine mixes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from promptatlas.types.forms import FORMS, PromptForm, PromptKind, Where, kind_of

from service.engine.shapes import Tensor
from service.errors import InvalidRequest

Kind = PromptKind


@dataclass(frozen=True)
class Prompt:
    """A tuned prompt as stored, float32.

    tensors: named and shaped as in the native format, see :class:`promptatlas.types.forms.PromptForm`.
    where: of kinds that have a choice: "local" (keys and values at the chosen layers, nothing elsewhere) or "carried"
        (outputs run on upwards).
    """

    kind: Kind
    tensors: Mapping[str, Tensor]
    where: Where | None = None

    @property
    def described(self) -> PromptForm:
        """What is known of its kind."""
        return FORMS[self.kind]

    @property
    def n_virtual(self) -> int:
        return self.described.positions_in(next(iter(self.tensors.values())).shape)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that a layered prompt has tensors for, ascending; empty for the other kinds."""
        return self.described.layers_of(self.tensors)

    @property
    def form(self) -> tuple[object, ...]:
        """Prompts of equal form can be mixed."""
        return (self.kind, self.where, tuple(sorted((name, tuple(t.shape)) for name, t in self.tensors.items())))

    def vectors(self) -> dict[int, Tensor]:
        """Its own vectors `[n, d_model]`, by the number of blocks below the residual stream that they lie in.

        Empty for a kind without vectors.
        """
        if not self.described.has_vectors:
            return {}
        form = self.described
        found = {
            form.state_layer(form.layer_of(name)): tensor.reshape(-1, tensor.shape[-1])
            for name, tensor in self.tensors.items()
        }
        return dict(sorted(found.items()))


def from_tensors(tensors: Mapping[str, Tensor], *, where: str | None = None) -> Prompt:
    """Tell the kind from the tensors' names, as in the native file format.

    Raises:
        InvalidRequest: the names are of no kind, or of several.
    """
    try:
        kind = kind_of(tensors)
    except ValueError as error:
        raise InvalidRequest(f"{error}.") from None
    wheres = FORMS[kind].wheres
    chosen = next((known for known in wheres if known == where), wheres[0]) if wheres else None
    return Prompt(kind, {name: tensor.float() for name, tensor in tensors.items()}, chosen)


def mix_prompts(parts: Sequence[tuple[Prompt, float]]) -> Prompt:
    """The affine mix Σ weight·prompt of prompts of one form.

    Raises:
        InvalidRequest: the forms differ.
    """
    first = parts[0][0]
    for prompt, _ in parts[1:]:
        if prompt.form != first.form:
            raise InvalidRequest(f"only prompts of one shape can be mixed: expected {first.form}, got {prompt.form}.")
    mixed = {
        name: torch.stack([weight * prompt.tensors[name] for prompt, weight in parts]).sum(0) for name in first.tensors
    }
    return Prompt(first.kind, mixed, first.where)
