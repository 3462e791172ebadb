"""Sites: the names under which tensors inside the model are read and changed.

``embed`` the embedding module's output · ``resid_pre.l`` / ``resid_post.l`` a block's input / output · ``attn_out.l``,
``mlp_out.l`` those modules' outputs, before any post-norm · ``final_norm`` · ``logits`` · ``attn_probs.l`` the attention
pattern · any module path (its output). TransformerLens names are aliases.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from service.errors import InvalidRequest

LAYERED = ("resid_pre", "resid_post", "attn_out", "mlp_out", "attn_probs")
UNLAYERED = ("embed", "final_norm", "logits")

_HOOKS_OF_BLOCKS = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "hook_mlp_out": "mlp_out",
    "attn.hook_pattern": "attn_probs",
}
_HOOKS = {"hook_embed": "embed", "ln_final.hook_normalized": "final_norm", "hook_logits": "logits"}
_BLOCK_HOOK = re.compile(r"blocks\.(\d+)\.(.+)")
_DOTTED = re.compile(rf"({'|'.join(LAYERED)})\.(-?\d+)")


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


@dataclass(frozen=True)
class SiteCatalogue:
    """The sites of one model. ``widths`` holds, for each module path that gives one row a token, the row's shape."""

    n_layers: int
    d_model: int
    vocab_size: int
    n_heads: int
    widths: Mapping[str, tuple[int, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that a request may use, aliases apart."""
        return ("embed", *LAYERED, "final_norm", "logits", *self.widths)

    def row_shape(self, tap: Tap, *, n_keys: int) -> tuple[int, ...]:
        """Shape of one row of ``tap``; ``n_keys`` counts for ``attn_probs`` only."""
        if tap.path is not None:
            return self.widths[tap.path]
        if tap.kind == "attn_probs":
            return (self.n_heads, n_keys)
        return (self.vocab_size if tap.kind == "logits" else self.d_model,)

    def n_values(self, tap: Tap, *, n_keys: int) -> int:
        """Numbers in one row of ``tap``."""
        return math.prod(self.row_shape(tap, n_keys=n_keys))

    def resolve(self, sites: Sequence[str], layers: Sequence[int] | Literal["all"]) -> tuple[Tap, ...]:
        """Names and layers to taps, each once, in the order asked.

        Raises:
            InvalidRequest: an unknown site, or a layer that the model does not have.
        """
        if not sites:
            raise InvalidRequest("sites is empty: name at least one site.", loc=("sites",))
        wanted = self._layers(layers)
        taps: dict[Tap, None] = {}
        for i, name in enumerate(sites):
            for tap in self._taps(name, wanted, loc=("sites", i)):
                taps[tap] = None
        return tuple(taps)

    def _layers(self, layers: Sequence[int] | Literal["all"]) -> tuple[int, ...]:
        if layers == "all":
            return tuple(range(self.n_layers))
        return tuple(self._layer(layer, loc=("layers", i)) for i, layer in enumerate(layers))

    def _layer(self, layer: int, *, loc: tuple[str | int, ...]) -> int:
        if not -self.n_layers <= layer < self.n_layers:
            raise InvalidRequest(f"layer {layer}: the model has layers 0 to {self.n_layers - 1}.", loc=loc)
        return layer % self.n_layers

    def _taps(self, name: str, layers: tuple[int, ...], *, loc: tuple[str | int, ...]) -> tuple[Tap, ...]:
        name = _HOOKS.get(name, name)
        if name in UNLAYERED:
            return (Tap(name),)
        if name in LAYERED:
            if not layers:
                raise InvalidRequest(f"site {name} needs at least one layer.", loc=("layers",))
            return tuple(Tap(name, layer) for layer in layers)
        if match := _BLOCK_HOOK.fullmatch(name):
            if kind := _HOOKS_OF_BLOCKS.get(match[2]):
                return (Tap(kind, self._layer(int(match[1]), loc=loc)),)
        elif match := _DOTTED.fullmatch(name):
            return (Tap(match[1], self._layer(int(match[2]), loc=loc)),)
        if name in self.widths:
            return (Tap("module", path=name),)
        raise InvalidRequest(
            f"site {name[:120]!r} is not known: expected one of {', '.join((*UNLAYERED, *LAYERED))}, a TransformerLens name, "
            "or the path of a module that gives one row a token (GET /v1/models/{id} lists all).",
            loc=loc,
        )
