"""Sites: the tensors of a model that are read and changed, by name.

``embed`` the embedding module's output · ``resid_pre.l`` / ``resid_post.l`` a block's input / output · ``attn_out.l``,
``mlp_out.l`` those modules' outputs, before any post-norm · ``final_norm`` · ``logits`` · ``attn_probs.l`` the attention
pattern · any module path (its output). TransformerLens names are aliases where they mean one of these tensors; others, such as
``blocks.0.hook_resid_mid``, are names of their own (``lens_sites``).

Torch-free, so that a request can be checked by a model's card alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from promptatlas.types.sites import NAMED_SITES, NamedSite, parse_alias

from service.errors import InvalidRequest

if TYPE_CHECKING:
    from torch.nn import Module

    from service.engine.model.architecture import Architecture
else:
    Module = Architecture = Any


@dataclass(frozen=True)
class ModelSite:
    """Where a named site is in a model.

    Attributes:
        find: the module whose output it is, from the model, its parts and a layer (0 for sites without layers); None: the
            attention reports it, with rows `[n_heads, n_keys]`, and it cannot be changed.
        width: shape of one row, from the catalogue and the number of keys.
        of_input: it is the module's input instead of its output.
        in_encoder_decoders: each side of an encoder–decoder has it too.
    """

    find: Callable[[Module, Architecture, int], Module] | None
    width: Callable[[SiteCatalogue, int], tuple[int, ...]] = lambda catalogue, _: (catalogue.d_model,)
    of_input: bool = False
    in_encoder_decoders: bool = False


MODEL_SITES: Mapping[str, ModelSite] = {
    "embed": ModelSite(lambda model, parts, _: parts.embed, in_encoder_decoders=True),
    "resid_pre": ModelSite(lambda model, parts, layer: parts.blocks[layer], of_input=True, in_encoder_decoders=True),
    "resid_post": ModelSite(lambda model, parts, layer: parts.blocks[layer], in_encoder_decoders=True),
    "attn_out": ModelSite(lambda model, parts, layer: parts.attentions[layer]),
    "mlp_out": ModelSite(lambda model, parts, layer: parts.mlps[layer]),
    "attn_probs": ModelSite(None, lambda catalogue, n_keys: (catalogue.n_heads, n_keys)),
    "final_norm": ModelSite(lambda model, parts, _: parts.final_norm, in_encoder_decoders=True),
    "logits": ModelSite(lambda model, parts, _: model, lambda catalogue, _: (catalogue.vocab_size,)),
}
"""By name, a row for each of the SDK's ``NAMED_SITES``."""

_NAMED: Mapping[str, NamedSite] = {site.name: site for site in NAMED_SITES}
_LAYERED = "|".join(site.name for site in NAMED_SITES if site.layered)
_DOTTED = re.compile(rf"({_LAYERED})\.(-?\d+)")


@dataclass(frozen=True)
class Tap:
    """One tensor of the model: ``kind`` is a site's name, or "module" with its path."""

    kind: str
    layer: int | None = None
    path: str | None = None

    @property
    def label(self) -> str:
        """Its name in a response: ``site``, ``site.layer`` or the module path."""
        if self.path is not None:
            return self.path
        return self.kind if self.layer is None else f"{self.kind}.{self.layer}"

    @property
    def is_reported(self) -> bool:
        """Whether the attention reports it: rows `[n_heads, n_keys]` that can be read but not changed."""
        return self.path is None and MODEL_SITES[self.kind].find is None

    @property
    def is_after_blocks(self) -> bool:
        """Whether it may be above the blocks: a site without layers other than the embeddings, or a module path."""
        return self.layer is None and self.kind != "embed"

    @property
    def is_of_input(self) -> bool:
        """Whether it is its module's input instead of its output."""
        return self.path is None and MODEL_SITES[self.kind].of_input

    def module(self, model: Module, architecture: Architecture) -> Module:
        """The module to hook; a tap that ``is_reported`` has none."""
        if self.path is not None:
            lens = architecture.lens.get(self.path)
            return lens.module if lens is not None else model.get_submodule(self.path)
        find = MODEL_SITES[self.kind].find
        assert find is not None
        return find(model, architecture, self.layer or 0)


@dataclass(frozen=True)
class SiteCatalogue:
    """The sites of one model.

    Attributes:
        widths: the row's shape, of each module path whose output has one row per token, and of each TransformerLens name whose
            tensor is no named site of this model.
        read_only: those of these names that cannot be changed.
        unreadable: TransformerLens names whose tensor no module of this model has.
        scattered: module paths of a divided model, of whose output each rank has a part that cannot be put together.
    """

    n_layers: int
    d_model: int
    vocab_size: int
    n_heads: int
    widths: Mapping[str, tuple[int, ...]]
    read_only: frozenset[str] = frozenset()
    unreadable: frozenset[str] = frozenset()
    scattered: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that a request may use, aliases apart."""
        return (*_NAMED, *self.widths)

    def row_shape(self, tap: Tap, *, n_keys: int) -> tuple[int, ...]:
        """Shape of one row of ``tap``; ``n_keys`` matters for taps that the attention reports only."""
        if tap.path is not None:
            return self.widths[tap.path]
        return MODEL_SITES[tap.kind].width(self, n_keys)

    def n_values(self, tap: Tap, *, n_keys: int) -> int:
        """Values in one row of ``tap``."""
        return math.prod(self.row_shape(tap, n_keys=n_keys))

    def resolve(self, sites: Sequence[str], layers: Sequence[int] | Literal["all"]) -> tuple[Tap, ...]:
        """Taps of names and layers, each once, in the order of the request.

        Raises:
            InvalidRequest: an unknown site, or a layer that the model does not have.
        """
        if not sites:
            raise InvalidRequest("sites is empty: name at least one site.", loc=("sites",))
        indices = self._layers(layers)
        taps: dict[Tap, None] = {}
        for i, name in enumerate(sites):
            for tap in self._taps(name, indices, loc=("sites", i)):
                taps[tap] = None
        return tuple(taps)

    def _layers(self, layers: Sequence[int] | Literal["all"]) -> tuple[int, ...]:
        if layers == "all":
            return tuple(range(self.n_layers))
        return tuple(self._layer(layer, loc=("layers", i)) for i, layer in enumerate(layers))

    def _layer(self, layer: int, *, loc: tuple[str | int, ...]) -> int:
        if not -self.n_layers <= layer < self.n_layers:
            raise InvalidRequest(f"the model has layers 0 to {self.n_layers - 1}, got layer {layer}.", loc=loc)
        return layer % self.n_layers

    def _taps(self, name: str, layers: tuple[int, ...], *, loc: tuple[str | int, ...]) -> tuple[Tap, ...]:
        if name in self.widths:
            return (Tap("module", path=name),)
        if name in self.unreadable:
            raise InvalidRequest(
                f"site {name!r}: no module of this model has the tensor to which TransformerLens gives this name.",
                loc=loc,
            )
        if name in self.scattered:
            raise InvalidRequest(
                f"site {name!r}: expected a tensor that can be collected from all ranks, got parts of it in each of them; read "
                "it with PROMPTATLAS_TENSOR_PARALLEL=1.",
                loc=loc,
            )
        if (found := parse_alias(name)) is not None:
            site, layer = found
            return (Tap(site.name, None if layer is None else self._layer(layer, loc=loc)),)
        if name in _NAMED:
            if not _NAMED[name].layered:
                return (Tap(name),)
            if not layers:
                raise InvalidRequest(f"site {name} needs at least one layer, got none.", loc=("layers",))
            return tuple(Tap(name, layer) for layer in layers)
        if match := _DOTTED.fullmatch(name):
            return (Tap(match[1], self._layer(int(match[2]), loc=loc)),)
        raise InvalidRequest(
            f"site {name[:120]!r} is not known: expected one of {', '.join(_NAMED)}, a TransformerLens name, or the path of "
            "a module whose output has one row per token (GET /v1/models/{id} lists them).",
            loc=loc,
        )
