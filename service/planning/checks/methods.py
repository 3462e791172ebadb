"""Does a method fit a model: layers that exist, room for the vectors and some text behind them."""

from __future__ import annotations

from dataclasses import dataclass

from promptatlas.types import DeepMethod, Method, PrefixMethod

from service.errors import InvalidRequest
from service.planning.context import Base
from service.planning.specs import Loc
from service.store.prompts.checks import Kind, Where
from service.store.prompts.manifests import PromptManifest

N_LEAST_TEXT = 2
"""Tokens of the shortest example that can be learnt from: one that is read, one that is predicted."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What prompts of a method look like. layers: of a deep one, ascending; None for the other kinds."""

    kind: Kind
    n_virtual: int
    layers: tuple[int, ...] | None = None
    where: Where | None = None

    @classmethod
    def of(cls, prompt: PromptManifest) -> Form:
        """The form of a stored prompt."""
        is_deep = prompt.kind == "deep"
        return cls(
            kind=prompt.kind,
            n_virtual=prompt.n_virtual,
            layers=prompt.layers if is_deep else None,
            where=prompt.where if is_deep else None,
        )

    def __str__(self) -> str:
        deep = "" if self.layers is None else f" {self.where}, layers {list(self.layers)}"
        return f"{self.kind}{deep}, n_virtual {self.n_virtual}"


def check_method(method: Method, *, base: Base, at: Loc = ("method",)) -> Form:
    """The form of a method's prompts on a model.

    Raises:
        InvalidRequest: at the field of the method that does not fit.
    """
    check_room(method.n_virtual, base=base, at=(*at, "n_virtual"))
    if isinstance(method, PrefixMethod) and not base.has_equal_layers:
        raise InvalidRequest(
            f"{base.name} has layers of different key and value shapes: no prefix fits it; soft and deep do.",
            loc=(*at, "kind"),
        )
    if isinstance(method, DeepMethod):
        layers = tuple(layer_of(layer, base=base, at=(*at, "layers", i)) for i, layer in enumerate(method.layers))
        for i, layer in enumerate(layers):
            if layer in layers[:i]:
                raise InvalidRequest(f"Layer {layer} stands twice.", loc=(*at, "layers", i))
        return Form(kind="deep", n_virtual=method.n_virtual, layers=tuple(sorted(layers)), where=method.where)
    return Form(kind=method.kind, n_virtual=method.n_virtual)


def layer_of(layer: int, *, base: Base, at: Loc) -> int:
    """The index of a layer that may be counted from the end; InvalidRequest at ``at`` when there is none."""
    if not -base.n_layers <= layer < base.n_layers:
        raise InvalidRequest(
            f"{base.name} has layers 0 to {base.n_layers - 1}, or -{base.n_layers} to -1 from the end; got {layer}.",
            loc=at,
        )
    return layer % base.n_layers


def check_room(n_virtual: int, *, base: Base, at: Loc, n_text: int = N_LEAST_TEXT) -> None:
    """Refuse more virtual tokens than leave room for ``n_text`` tokens; InvalidRequest at ``at``."""
    if n_virtual + n_text > base.n_positions:
        raise InvalidRequest(
            f"{n_virtual} virtual tokens and at least {n_text} of text do not fit the {base.n_positions} positions of "
            f"{base.name}.",
            loc=at,
        )
