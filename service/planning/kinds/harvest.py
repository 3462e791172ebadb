"""Can a ``harvest`` run work: sites and layers that exist, texts, room for prompt and text, and for what is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from promptatlas.types.harvest import HarvestSpec
from promptatlas.types.sites import PositionSlice, ProjectReduction

from service.engine.model.encoder_decoder import SIDES, EncoderDecoderShape
from service.engine.model.sites import SiteCatalogue, Tap
from service.errors import InvalidRequest, UnsupportedModel
from service.planning.checks.examples import check_split
from service.planning.checks.methods import check_room
from service.planning.checks.prompt_refs import pin_prompt
from service.planning.context import Base, Lookup
from service.store.datasets.items import DatasetInfo, patterns_of

_ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_BYTES_PER_TOKEN = 4
"""Of a record's JSON, about; only tokens can tell, and the run counts them."""


@dataclass(frozen=True, kw_only=True)
class _Sizes:
    """n_values: numbers of a row in all tensors; None where they are not known here."""

    n_texts: int
    n_tokens: int
    n_values: int | None


def complete_harvest(spec: HarvestSpec, lookup: Lookup) -> HarvestSpec:
    """The spec with layers counted from 0 and its prompt pinned; notes an estimate of what it will hold.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    dataset = lookup.dataset(spec.dataset, at=("dataset",))
    patterns_of(dataset, template=spec.template, loc=("template",))
    n_there = dataset.n_records
    if spec.split is not None:
        n_there = check_split(dataset, split=spec.split, name=spec.dataset, at=("split",))
    if spec.format == "parquet" and spec.dtype == "bfloat16":
        raise InvalidRequest("Parquet has no bfloat16; take float16 or float32, or format safetensors.", loc=("dtype",))
    n_texts = n_there if spec.n is None else min(spec.n, n_there)
    shape = _read_model(spec.model, lookup)
    complete = _hosted(spec, lookup) if shape is None else _two_sided(spec, shape)
    n_values = _hosted_values(complete, lookup) if shape is None else _two_sided_values(complete, shape)
    _check_bytes(complete, _sizes(dataset, spec=complete, n_texts=n_texts, n_values=n_values), lookup)
    return complete


def _hosted(spec: HarvestSpec, lookup: Lookup) -> HarvestSpec:
    base = lookup.model(spec.model)
    layers = spec.layers
    catalogue = _catalogue(base, lookup)
    catalogue.resolve(spec.sites, layers)
    if layers != "all":
        layers = [layer % base.n_layers for layer in layers]
    if isinstance(spec.reduce, ProjectReduction):
        asked = None if layers == "all" else layers
        lookup.linear_basis(spec.reduce.project, layers=asked, at=("reduce", "project"))
    ref, n_virtual = pin_prompt(spec.prompt_ref, base=base, lookup=lookup, at=("prompt_ref",))
    if spec.max_tokens is None:
        check_room(n_virtual, base=base, at=("prompt_ref",), n_text=1)
    else:
        check_room(n_virtual, base=base, at=("max_tokens",), n_text=spec.max_tokens)
    return spec.model_copy(update={"layers": layers, "prompt_ref": ref})


def _two_sided(spec: HarvestSpec, shape: EncoderDecoderShape) -> HarvestSpec:
    taps = shape.resolve(spec.sites, spec.layers)
    sides = [side for side in SIDES if any(tap.side == side for tap in taps)]
    if spec.prompt_ref is not None:
        raise InvalidRequest(
            f"{spec.model} is an encoder–decoder, which is read without a prompt.", loc=("prompt_ref",)
        )
    if isinstance(spec.reduce, ProjectReduction):
        raise InvalidRequest("There are no maps of an encoder–decoder.", loc=("reduce", "project"))
    if len(sides) > 1 and spec.reduce != "mean":
        raise InvalidRequest(
            "The encoder's rows are of other tokens than the decoder's: ask for the sites of one side, or for reduce mean.",
            loc=("sites",),
        )
    if shape.n_positions is not None and spec.max_tokens is not None and spec.max_tokens > shape.n_positions:
        raise InvalidRequest(
            f"{spec.model} reads at most {shape.n_positions} tokens; got {spec.max_tokens}.", loc=("max_tokens",)
        )
    if spec.layers == "all" or len({shape.n_layers[side] for side in sides}) > 1:
        return spec
    layers = [shape.layer(layer, side=sides[0], loc=("layers", i)) for i, layer in enumerate(spec.layers)]
    return spec.model_copy(update={"layers": layers})


def _read_model(name: str, lookup: Lookup) -> EncoderDecoderShape | None:
    models = lookup.around.read_models
    try:
        return None if models is None else models.get(name)
    except UnsupportedModel as error:
        raise InvalidRequest(error.detail, loc=("model",)) from None


def _catalogue(base: Base, lookup: Lookup) -> SiteCatalogue:
    # A card names module paths, but not how wide they are.
    paths = [name for name in lookup.card(base.name).get("sites", ()) if "." in name]
    return SiteCatalogue(
        n_layers=base.n_layers,
        d_model=base.d_model,
        vocab_size=base.vocab_size,
        n_heads=base.n_heads,
        widths=dict.fromkeys(paths, ()),
    )


def _hosted_values(spec: HarvestSpec, lookup: Lookup) -> int | None:
    base = lookup.model(spec.model)
    catalogue = _catalogue(base, lookup)
    taps = catalogue.resolve(spec.sites, spec.layers)
    if spec.reduce == "norm":
        return len(taps)
    if isinstance(spec.reduce, ProjectReduction) or any(_is_wide(tap) for tap in taps):
        return None
    return sum(catalogue.n_values(tap, n_keys=1) for tap in taps)


def _is_wide(tap: Tap) -> bool:
    """Whether a row's width is not known before texts are."""
    return tap.path is not None or tap.is_reported


def _two_sided_values(spec: HarvestSpec, shape: EncoderDecoderShape) -> int:
    taps = shape.resolve(spec.sites, spec.layers)
    return len(taps) if spec.reduce == "norm" else len(taps) * shape.d_model


def _sizes(dataset: DatasetInfo, *, spec: HarvestSpec, n_texts: int, n_values: int | None) -> _Sizes:
    n_each = max(1.0, dataset.n_bytes / max(1, dataset.n_records) / _BYTES_PER_TOKEN)
    if spec.max_tokens is not None:
        n_each = min(n_each, spec.max_tokens)
    return _Sizes(n_texts=n_texts, n_tokens=math.ceil(n_texts * n_each), n_values=n_values)


def _check_bytes(spec: HarvestSpec, sizes: _Sizes, lookup: Lookup) -> None:
    """Note the estimate; refuse only what is certainly too much: the run counts again."""
    least, likely = _n_rows(spec, sizes)
    found: dict[str, Any] = {"n_texts": sizes.n_texts, "n_tokens": sizes.n_tokens, "n_rows": likely}
    if sizes.n_values is not None:
        row_bytes = sizes.n_values * _ITEM_BYTES[spec.dtype]
        found["bytes"] = likely * row_bytes
        limit = lookup.around.max_harvest_bytes
        if limit is not None and least * row_bytes > limit:
            raise InvalidRequest(
                f"The harvest would hold at least {least * row_bytes:,} bytes; this server keeps at most {limit:,} of one. "
                "Ask for fewer texts (n), layers or positions, reduce, or take dtype float16.",
                loc=("sites",),
            )
    lookup.estimate = found


def _n_rows(spec: HarvestSpec, sizes: _Sizes) -> tuple[int, int]:
    """Rows at least, and about how many."""
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
