"""Sites of encoder–decoders: read by harvests only, since such models are not hosted.

``encoder.embed``, ``encoder.resid_pre.l``, ``encoder.resid_post.l``, ``encoder.final_norm``, and the same of the decoder:
the embedding module's output, a block's input and output, and what leaves the side's last norm. Layers count from 0 on
each side. Torch-free, so that a request can be checked by a model's configuration alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from service.errors import InvalidRequest, UnsupportedModel

Side = Literal["encoder", "decoder"]
SIDES: tuple[Side, ...] = ("encoder", "decoder")
MODEL_TYPES = ("t5", "mt5", "umt5")
"""Of transformers: those that are built as T5 is."""

_LAYERED = ("resid_pre", "resid_post")
_UNLAYERED = ("embed", "final_norm")
_DOTTED = re.compile(r"(encoder|decoder)\.([a-z_]+)(?:\.(-?\d+))?")


@dataclass(frozen=True)
class SideTap:
    """One tensor of one side. kind: ``embed``, ``resid_pre``, ``resid_post`` or ``final_norm``."""

    side: Side
    kind: str
    layer: int | None = None

    @property
    def label(self) -> str:
        """Its name in a harvest: ``side.site`` or ``side.site.layer``."""
        return f"{self.side}.{self.kind}" + ("" if self.layer is None else f".{self.layer}")


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderShape:
    """What a configuration says. n_layers: blocks of each side. n_positions: tokens of a side at most; None: any number."""

    model_type: str
    n_layers: Mapping[Side, int]
    d_model: int
    vocab_size: int
    n_positions: int | None

    @classmethod
    def of(cls, config: Mapping[str, Any], *, label: str) -> EncoderDecoderShape:
        """From the fields of a ``config.json``.

        Raises:
            UnsupportedModel: it is of no model that can be read here.
        """
        kind = config.get("model_type")
        if kind not in MODEL_TYPES:
            raise UnsupportedModel(f"{label}: expected a model of type {', '.join(MODEL_TYPES)}, got {kind!r}.")
        try:
            n_encoder = int(config["num_layers"])
            # T5 leaves the decoder's out where it is as deep as the encoder.
            n_decoder = int(config.get("num_decoder_layers") or n_encoder)
            n_positions = config.get("n_positions")
            return cls(
                model_type=str(kind),
                n_layers={"encoder": n_encoder, "decoder": n_decoder},
                d_model=int(config["d_model"]),
                vocab_size=int(config["vocab_size"]),
                n_positions=None if n_positions is None else int(n_positions),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UnsupportedModel(f"{label}: its configuration lacks {error}.") from None

    @property
    def sites(self) -> tuple[str, ...]:
        """Every name that a spec may use."""
        return tuple(f"{side}.{kind}" for side in SIDES for kind in ("embed", *_LAYERED, "final_norm"))

    def resolve(self, sites: Sequence[str], layers: Sequence[int] | Literal["all"]) -> tuple[SideTap, ...]:
        """Names and layers to taps, each once, in the order asked.

        Raises:
            InvalidRequest: an unknown site, or a layer that the side does not have.
        """
        taps: dict[SideTap, None] = {}
        for i, name in enumerate(sites):
            match = _DOTTED.fullmatch(name)
            side = next((side for side in SIDES if match is not None and match[1] == side), None)
            if match is None or side is None or match[2] not in (*_LAYERED, *_UNLAYERED):
                raise self._unknown(name, loc=("sites", i))
            if match[2] in _UNLAYERED:
                if match[3] is not None:
                    raise self._unknown(name, loc=("sites", i))
                taps[SideTap(side, match[2])] = None
            elif match[3] is not None:
                taps[SideTap(side, match[2], self.layer(int(match[3]), side=side, loc=("sites", i)))] = None
            else:
                taps |= dict.fromkeys(SideTap(side, match[2], layer) for layer in self._layers(layers, side=side))
        return tuple(taps)

    def layer(self, layer: int, *, side: Side, loc: tuple[str | int, ...]) -> int:
        """A layer counted from 0; InvalidRequest at ``loc`` when the side has none such."""
        n = self.n_layers[side]
        if not -n <= layer < n:
            raise InvalidRequest(
                f"The {side} has layers 0 to {n - 1}, or -{n} to -1 from the end; got {layer}.", loc=loc
            )
        return layer % n

    def _layers(self, layers: Sequence[int] | Literal["all"], *, side: Side) -> tuple[int, ...]:
        if layers == "all":
            return tuple(range(self.n_layers[side]))
        return tuple(self.layer(layer, side=side, loc=("layers", i)) for i, layer in enumerate(layers))

    def _unknown(self, name: str, *, loc: tuple[str | int, ...]) -> InvalidRequest:
        return InvalidRequest(
            f"Site {name[:120]!r} is not known of a {self.model_type}: expected one of {', '.join(self.sites)}.",
            loc=loc,
        )
