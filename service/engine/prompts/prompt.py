"""Tuned prompts, their affine mixes and their concatenations."""

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
    """A tuned prompt.

    Attributes:
        tensors: float32, with the names and shapes of :class:`promptatlas.types.forms.PromptForm`.
        where: for deep prompts: ``local`` (keys and values at the chosen layers only) or ``carried`` (the vectors continue
            through the blocks above). None for other kinds.
    """

    kind: Kind
    tensors: Mapping[str, Tensor]
    where: Where | None = None

    @property
    def prompt_form(self) -> PromptForm:
        """Names and shapes of the kind's tensors."""
        return FORMS[self.kind]

    @property
    def n_virtual(self) -> int:
        return self.prompt_form.positions_in(next(iter(self.tensors.values())).shape)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that a layered prompt has tensors for, ascending; empty for the other kinds."""
        return self.prompt_form.layers_of(self.tensors)

    @property
    def form(self) -> tuple[object, ...]:
        """Kind, where, names and shapes. Prompts with equal values can be mixed."""
        return (self.kind, self.where, tuple(sorted((name, tuple(t.shape)) for name, t in self.tensors.items())))

    def vectors(self) -> dict[int, Tensor]:
        """Vectors `[n, d_model]` by the number of blocks before the residual stream that they belong to.

        Empty for kinds without vectors.
        """
        if not self.prompt_form.has_vectors:
            return {}
        form = self.prompt_form
        found = {
            form.state_layer(form.layer_of(name)): tensor.reshape(-1, tensor.shape[-1])
            for name, tensor in self.tensors.items()
        }
        return dict(sorted(found.items()))


def from_tensors(tensors: Mapping[str, Tensor], *, where: str | None = None) -> Prompt:
    """A prompt whose kind follows from the names of its tensors, as in the native file format.

    Raises:
        InvalidRequest: the names belong to no kind, or to several.
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


def concat_prompts(prompts: Sequence[Prompt]) -> Prompt:
    """One prompt with the virtual positions of ``prompts`` in order: their vectors, or the keys and values of prefixes.

    Raises:
        InvalidRequest: the kind has no virtual positions, or the prompts differ in more than their number of positions.
    """
    first = prompts[0]
    axis = first.prompt_form.virtual_axis
    if axis is None:
        raise InvalidRequest(f"{first.kind} prompts have no virtual positions, so they cannot follow one another.")
    expected = _form_without(first, axis)
    for prompt in prompts[1:]:
        if prompt.kind != first.kind or _form_without(prompt, axis) != expected:
            raise InvalidRequest(
                f"only prompts of one kind, with the same layers, can follow one another: expected {first.form}, "
                f"got {prompt.form}."
            )
    joined = {name: torch.cat([prompt.tensors[name] for prompt in prompts], dim=axis) for name in first.tensors}
    return Prompt(first.kind, joined, first.where)


def _form_without(prompt: Prompt, axis: int) -> tuple[object, ...]:
    """The prompt's form without the sizes of an axis."""
    shapes = ((name, *t.shape[:axis], *t.shape[axis + 1 :]) for name, t in prompt.tensors.items())
    return (prompt.where, tuple(sorted(shapes)))
