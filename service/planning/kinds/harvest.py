"""Planning of ``harvest`` runs, with an estimate of their size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from promptatlas.types.harvest import HarvestSpec
from promptatlas.types.sites import PositionSlice, ProjectReduction

from service.engine.model.encoder_decoder import SIDES, EncoderDecoderShape
from service.engine.model.sites import SiteCatalogue, Tap
from service.errors import InvalidRequest, UnsupportedModel
from service.planning.checks.examples import n_available
from service.planning.checks.methods import check_room
from service.planning.checks.prompt_refs import pin_prompt
from service.planning.context import Base, Resolver
from service.store.datasets.items import DatasetInfo, patterns_of

_ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_BYTES_PER_TOKEN = 4
"""Approximate bytes of a record's JSON per token; the run counts the tokens."""


@dataclass(frozen=True, kw_only=True)
class _Sizes:
    """Size of a harvest. n_values: per row, over all tensors; None if it depends on the texts."""

    n_texts: int
    n_tokens: int
    n_values: int | None


def complete_harvest(spec: HarvestSpec, resolver: Resolver) -> HarvestSpec:
    """The spec with layers counted from 0 and a pinned prompt; the estimate of its size goes to the resolver.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    dataset = resolver.dataset(spec.dataset, at=("dataset",))
    patterns_of(dataset, template=spec.template, loc=("template",))
    n_texts = n_available(dataset, split=spec.split, name=spec.dataset, at=("split",))
    if spec.format == "parquet" and spec.dtype == "bfloat16":
        raise InvalidRequest(
            "Expected float16 or float32 for Parquet, which has no bfloat16; format safetensors has it.", loc=("dtype",)
        )
    n_texts = n_texts if spec.n is None else min(spec.n, n_texts)
    shape = _read_model(spec.model, resolver)
    complete = _complete_hosted(spec, resolver) if shape is None else _complete_encoder_decoder(spec, shape)
    n_values = _n_hosted_values(complete, resolver) if shape is None else _n_encoder_decoder_values(complete, shape)
    _check_bytes(complete, _sizes(dataset, spec=complete, n_texts=n_texts, n_values=n_values), resolver)
    return complete


def _complete_hosted(spec: HarvestSpec, resolver: Resolver) -> HarvestSpec:
    base = resolver.model(spec.model)
    layers = spec.layers
    catalogue = _catalogue(base, resolver)
    catalogue.resolve(spec.sites, layers)
    if layers != "all":
        layers = [layer % base.n_layers for layer in layers]
    if isinstance(spec.reduce, ProjectReduction):
        projected = None if layers == "all" else layers
        resolver.require_linear_basis(spec.reduce.project, layers=projected, at=("reduce", "project"))
    ref, n_virtual = pin_prompt(spec.prompt_ref, base=base, resolver=resolver, at=("prompt_ref",))
    if spec.max_tokens is None:
        check_room(n_virtual, base=base, at=("prompt_ref",), n_text=1)
    else:
        check_room(n_virtual, base=base, at=("max_tokens",), n_text=spec.max_tokens)
    return spec.model_copy(update={"layers": layers, "prompt_ref": ref})


def _complete_encoder_decoder(spec: HarvestSpec, shape: EncoderDecoderShape) -> HarvestSpec:
    taps = shape.resolve(spec.sites, spec.layers)
    sides = [side for side in SIDES if any(tap.side == side for tap in taps)]
    if spec.prompt_ref is not None:
        raise InvalidRequest(f"Expected no prompt for {spec.model}, an encoder–decoder.", loc=("prompt_ref",))
    if isinstance(spec.reduce, ProjectReduction):
        raise InvalidRequest("Expected no projection: encoder–decoders have no maps.", loc=("reduce", "project"))
    if len(sides) > 1 and spec.reduce != "mean":
        raise InvalidRequest(
            "Expected sites of one side, or reduce mean: rows of encoder and decoder belong to different tokens.",
            loc=("sites",),
        )
    if shape.n_positions is not None and spec.max_tokens is not None and spec.max_tokens > shape.n_positions:
        raise InvalidRequest(
            f"Expected at most {shape.n_positions} tokens, the positions of {spec.model}; got {spec.max_tokens}.",
            loc=("max_tokens",),
        )
    if spec.layers == "all" or len({shape.n_layers[side] for side in sides}) > 1:
        return spec
    layers = [shape.layer(layer, side=sides[0], loc=("layers", i)) for i, layer in enumerate(spec.layers)]
    return spec.model_copy(update={"layers": layers})


def _read_model(name: str, resolver: Resolver) -> EncoderDecoderShape | None:
    models = resolver.context.read_models
    try:
        return None if models is None else models.get(name)
    except UnsupportedModel as error:
        raise InvalidRequest(error.detail, loc=("model",)) from None


def _catalogue(base: Base, resolver: Resolver) -> SiteCatalogue:
    # A card has the names of module paths, not their widths.
    paths = [name for name in resolver.card(base.name).get("sites", ()) if "." in name]
    return SiteCatalogue(
        n_layers=base.n_layers,
        d_model=base.d_model,
        vocab_size=base.vocab_size,
        n_heads=base.n_heads,
        widths=dict.fromkeys(paths, ()),
    )


def _n_hosted_values(spec: HarvestSpec, resolver: Resolver) -> int | None:
    base = resolver.model(spec.model)
    catalogue = _catalogue(base, resolver)
    taps = catalogue.resolve(spec.sites, spec.layers)
    if spec.reduce == "norm":
        return len(taps)
    if isinstance(spec.reduce, ProjectReduction) or any(_is_wide(tap) for tap in taps):
        return None
    return sum(catalogue.n_values(tap, n_keys=1) for tap in taps)


def _is_wide(tap: Tap) -> bool:
    """Whether the width of a row depends on the texts."""
    return tap.path is not None or tap.is_reported


def _n_encoder_decoder_values(spec: HarvestSpec, shape: EncoderDecoderShape) -> int:
    taps = shape.resolve(spec.sites, spec.layers)
    return len(taps) if spec.reduce == "norm" else len(taps) * shape.d_model


def _sizes(dataset: DatasetInfo, *, spec: HarvestSpec, n_texts: int, n_values: int | None) -> _Sizes:
    n_each = max(1.0, dataset.n_bytes / max(1, dataset.n_records) / _BYTES_PER_TOKEN)
    if spec.max_tokens is not None:
        n_each = min(n_each, spec.max_tokens)
    return _Sizes(n_texts=n_texts, n_tokens=math.ceil(n_texts * n_each), n_values=n_values)


def _check_bytes(spec: HarvestSpec, sizes: _Sizes, resolver: Resolver) -> None:
    """Record the estimate; refuse only what is certainly too large. The run checks again with exact counts."""
    at_least, estimated = _n_rows(spec, sizes)
    found: dict[str, Any] = {"n_texts": sizes.n_texts, "n_tokens": sizes.n_tokens, "n_rows": estimated}
    if sizes.n_values is not None:
        row_bytes = sizes.n_values * _ITEM_BYTES[spec.dtype]
        found["bytes"] = estimated * row_bytes
        limit = resolver.context.max_harvest_bytes
        if limit is not None and at_least * row_bytes > limit:
            raise InvalidRequest(
                f"Expected a harvest of at most {limit:,} bytes, got at least {at_least * row_bytes:,}. Fewer texts (n), layers "
                "or positions, reduce, or dtype float16 make it smaller.",
                loc=("sites",),
            )
    resolver.estimate = found


def _n_rows(spec: HarvestSpec, sizes: _Sizes) -> tuple[int, int]:
    """Lower bound and estimate of the number of rows."""
    if spec.reduce == "mean" or spec.positions == "last":
        return sizes.n_texts, sizes.n_texts
    if isinstance(spec.positions, list):
        n = sizes.n_texts * len(spec.positions)
        return n, n
    if isinstance(spec.positions, PositionSlice):
        return sizes.n_texts, max(sizes.n_texts, min(sizes.n_tokens, _of_slice(spec.positions, sizes)))
    return sizes.n_texts, sizes.n_tokens


def _of_slice(positions: PositionSlice, sizes: _Sizes) -> int:
    n_each = sizes.n_tokens // max(1, sizes.n_texts)
    start, stop, _ = slice(positions.start, positions.stop).indices(n_each)
    return sizes.n_texts * max(0, stop - start)
