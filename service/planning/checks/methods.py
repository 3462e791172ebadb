"""Checks of tuning methods against a model: layers that exist, positions left for text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from promptatlas.types.forms import FORMS, Method, PromptForm, PromptKind, Where

from service.errors import InvalidRequest
from service.planning.checks.distinct import require_distinct
from service.planning.context import Base
from service.planning.specs import Loc
from service.store.prompts.manifests import PromptManifest

MIN_TEXT_TOKENS = 2
"""Tokens of the shortest training example: one input token and one target token."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """Form of the prompts of a method. layers: ascending; None for unlayered kinds."""

    kind: PromptKind
    n_virtual: int
    layers: tuple[int, ...] | None = None
    where: Where | None = None

    @classmethod
    def of(cls, prompt: PromptManifest) -> Form:
        """The form of a stored prompt."""
        layers = prompt.layers if prompt.form.is_layered else None
        return cls(kind=prompt.prompt_kind, n_virtual=prompt.n_virtual, layers=layers, where=prompt.where)

    @property
    def prompt_form(self) -> PromptForm:
        """Names and shapes of the kind's tensors."""
        return FORMS[self.kind]

    def __str__(self) -> str:
        where = "" if self.where is None else f" {self.where}"
        layers = "" if self.layers is None else f"{',' if where else ''} layers {list(self.layers)}"
        return f"{self.kind}{where}{layers}, n_virtual {self.n_virtual}"


def check_method(method: Method, *, base: Base, at: Loc = ("method",)) -> Form:
    """The form of a method's prompts on a model.

    Raises:
        InvalidRequest: located at the field of the method that does not fit.
    """
    check_room(method.n_positions, base=base, at=(*at, "n_virtual"))
    _check_frozen(method, at=at)
    if FORMS[method.kind].needs_equal_layers and not base.has_equal_layers:
        others = " and ".join(kind for kind, form in FORMS.items() if not form.needs_equal_layers)
        raise InvalidRequest(
            f"{base.name} has layers of different key and value shapes: no {method.kind} fits it; {others} do.",
            loc=(*at, "kind"),
        )
    layers = None if method.chosen_layers is None else layers_of(method.chosen_layers, base=base, at=(*at, "layers"))
    return Form(kind=method.kind, n_virtual=method.n_positions, layers=layers, where=method.chosen_where)


def _check_frozen(method: Method, *, at: Loc) -> None:
    n_frozen = method.n_untrained
    if n_frozen and n_frozen >= method.n_positions:
        raise InvalidRequest(
            f"Expected n_frozen below n_virtual, {method.n_positions}, so that something is trained; got {n_frozen}.",
            loc=(*at, "n_frozen"),
        )
    if n_frozen and getattr(method, "d_reparametrised", None) is not None:
        raise InvalidRequest(
            "Expected n_frozen or d_reparametrised, got both: an MLP computes all positions of the prefix.",
            loc=(*at, "n_frozen"),
        )


def layers_of(layers: Sequence[int], *, base: Base, at: Loc) -> tuple[int, ...]:
    """Layers counted from 0, ascending. Raises InvalidRequest at a layer that does not exist or is repeated."""
    found = [layer_of(layer, base=base, at=(*at, i)) for i, layer in enumerate(layers)]
    require_distinct(found, what="layers", at=at)
    return tuple(sorted(found))


def layer_of(layer: int, *, base: Base, at: Loc) -> int:
    """Index from 0 of a layer that may count from the end. Raises InvalidRequest at ``at`` if it does not exist."""
    if not -base.n_layers <= layer < base.n_layers:
        raise InvalidRequest(
            f"{base.name} has layers 0 to {base.n_layers - 1}, or -{base.n_layers} to -1 from the end; got {layer}.",
            loc=at,
        )
    return layer % base.n_layers


def check_room(n_virtual: int, *, base: Base, at: Loc, n_text: int = MIN_TEXT_TOKENS) -> None:
    """Raise InvalidRequest at ``at`` if the virtual tokens leave fewer than ``n_text`` positions for text."""
    if n_virtual + n_text > base.n_positions:
        raise InvalidRequest(
            f"{n_virtual} virtual tokens and at least {n_text} of text do not fit the {base.n_positions} positions of "
            f"{base.name}.",
            loc=at,
        )
