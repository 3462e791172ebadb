"""Sites of encoder–decoders. Only harvests read them, since such models are not hosted.

``encoder.embed``, ``encoder.resid_pre.l``, ``encoder.resid_post.l``, ``encoder.final_norm``, and the same of the decoder:
the embedding module's output, a block's input and output, and the output of the side's last norm. Layers count from 0 on
each side. Torch-free, so that a request can be checked by a model's configuration alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from promptatlas.types.sites import NAMED_SITES

from service.engine.model.sites import MODEL_SITES
from service.errors import InvalidRequest, UnsupportedModel

Side = Literal["encoder", "decoder"]
SIDES: tuple[Side, ...] = ("encoder", "decoder")
MODEL_TYPES = ("t5", "mt5", "umt5")
"""Model types of transformers that have T5's structure."""

_LAYERED = {site.name: site.layered for site in NAMED_SITES if MODEL_SITES[site.name].in_encoder_decoders}
"""The sites of each side, and whether each block has one."""
_DOTTED = re.compile(r"(encoder|decoder)\.([a-z_]+)(?:\.(-?\d+))?")


@dataclass(frozen=True)
class SideTap:
    """One tensor of one side; ``kind`` is a site's name."""

    side: Side
    kind: str
    layer: int | None = None

    @property
    def label(self) -> str:
        """Its name in a harvest: ``side.site`` or ``side.site.layer``."""
        return f"{self.side}.{self.kind}" + ("" if self.layer is None else f".{self.layer}")


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderShape:
    """Sizes of a model, from its configuration.

    Attributes:
        n_layers: blocks of each side.
        n_positions: the most tokens of a side; None: no limit.
    """

    model_type: str
    n_layers: Mapping[Side, int]
    d_model: int
    vocab_size: int
    n_positions: int | None

    @classmethod
    def of(cls, config: Mapping[str, Any], *, label: str) -> EncoderDecoderShape:
        """From the fields of a ``config.json``.

        Raises:
            UnsupportedModel: another model type, or a field is missing.
        """
        kind = config.get("model_type")
        if kind not in MODEL_TYPES:
            raise UnsupportedModel(f"{label}: expected a model of type {', '.join(MODEL_TYPES)}, got {kind!r}.")
        try:
            n_encoder = int(config["num_layers"])
            # T5 omits the decoder's number of layers where it equals the encoder's.
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
            raise UnsupportedModel(
                f"{label}: the configuration lacks the field {error}, or its value is no number."
            ) from None

    @property
    def sites(self) -> tuple[str, ...]:
        """Every name that a spec may use."""
        return tuple(f"{side}.{kind}" for side in SIDES for kind in _LAYERED)

    def resolve(self, sites: Sequence[str], layers: Sequence[int] | Literal["all"]) -> tuple[SideTap, ...]:
        """Taps of names and layers, each once, in the order of the request.

        Raises:
            InvalidRequest: an unknown site, or a layer that the side does not have.
        """
        taps: dict[SideTap, None] = {}
        for i, name in enumerate(sites):
            for tap in self._taps(name, layers, loc=("sites", i)):
                taps[tap] = None
        return tuple(taps)

    def _taps(
        self, name: str, layers: Sequence[int] | Literal["all"], *, loc: tuple[str | int, ...]
    ) -> tuple[SideTap, ...]:
        match = _DOTTED.fullmatch(name)
        side = next((side for side in SIDES if match is not None and match[1] == side), None)
        if match is None or side is None or match[2] not in _LAYERED or (match[3] and not _LAYERED[match[2]]):
            raise self._unknown(name, loc=loc)
        kind = match[2]
        if not _LAYERED[kind]:
            return (SideTap(side, kind),)
        if match[3] is not None:
            return (SideTap(side, kind, self.layer(int(match[3]), side=side, loc=loc)),)
        return tuple(SideTap(side, kind, layer) for layer in self._layers(layers, side=side))

    def layer(self, layer: int, *, side: Side, loc: tuple[str | int, ...]) -> int:
        """The layer counted from 0; raises InvalidRequest at ``loc`` if the side does not have it."""
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
