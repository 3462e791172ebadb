"""TransformerLens' names of tensors that are no named site: which module of a model has each of them.

A block's modules differ between architectures: ``post_attention_layernorm`` is in front of the MLP in Llama, and after the
attention in Gemma 2. Each tensor is therefore identified by its definition, in one forward of a few tokens: what is added to
the residual stream adds up to the block's output, and ``hook_z`` and ``hook_post`` are the inputs of the last projections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from service.engine.model.architecture import Architecture, LensSite, first_tensor
from service.engine.parallel.division import Division
from service.engine.shapes import Tensor

TOLERANCE = 1e-3
"""Of a sum, relative to the largest added value; rounding of the largest value of the sum is allowed in addition."""

Records = Mapping[nn.Module, tuple[Tensor, Tensor]]
"""Input and output of each module, `[tokens, …]`."""


@dataclass(frozen=True)
class LensSites:
    """The sites of one model by TransformerLens name, and the names whose tensor none of its modules has."""

    sites: Mapping[str, LensSite]
    unreadable: frozenset[str]


def find_lens_sites(
    architecture: Architecture,
    run: Callable[[], None],
    *,
    n_heads: int,
    embedding_multiplier: float = 1.0,
    residual_multiplier: float = 1.0,
) -> LensSites:
    """Find the tensors in one forward.

    Args:
        run: runs the model on a few tokens.
        embedding_multiplier: factor of the token embeddings, outside their module.
        residual_multiplier: factor of what each block adds to the residual stream.
    """
    modules = {architecture.final_norm, *(part for block in architecture.blocks for part in block.modules())}
    records = _record(modules, run, division=architecture.division)
    sites: dict[str, LensSite] = {}
    unreadable: set[str] = set()
    for layer in range(architecture.n_layers):
        found = _of_block(architecture, layer, records, n_heads=n_heads, scale=residual_multiplier)
        for name, site in found.items():
            full_name = f"blocks.{layer}.{name}"
            if site is None:
                unreadable.add(full_name)
            elif site.module not in (architecture.attentions[layer], architecture.mlps[layer]) or site.is_read_only:
                sites[full_name] = site
    if embedding_multiplier != 1:
        width = tuple(records[architecture.blocks[0]][0].shape[1:])
        scaled = partial(torch.mul, other=embedding_multiplier)
        sites["hook_embed"] = LensSite(architecture.embed, width, transform=scaled)
    if (normalized := _normalized(architecture.final_norm, records)) is not None:
        sites["ln_final.hook_normalized"] = normalized
    else:
        unreadable.add("ln_final.hook_normalized")
    return LensSites(sites, frozenset(unreadable))


def _record(modules: set[nn.Module], run: Callable[[], None], *, division: Division | None) -> Records:
    records: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = first_tensor(args) if args else kwargs.get("hidden_states")
        result = first_tensor(output)
        if isinstance(given, torch.Tensor) and result is not None:
            if division is not None and division.is_part(module, of_input=True):
                given = division.whole(module, given.flatten(0, -2), of_input=True)
            # A model may be placed on several devices.
            records[module] = (_kept(given), _kept(result))

    handles = [module.register_forward_hook(note, with_kwargs=True) for module in modules]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return records


def _of_block(
    architecture: Architecture, layer: int, records: Records, *, n_heads: int, scale: float
) -> dict[str, LensSite | None]:
    block, attention, mlp = architecture.blocks[layer], architecture.attentions[layer], architecture.mlps[layer]
    last, hidden = _projection(attention, records), _projection(mlp, records)
    found: dict[str, LensSite | None] = {"attn.hook_z": None, "mlp.hook_post": None, "hook_resid_mid": None}
    if last is not None and (width := records[last][0].shape[-1]) % n_heads == 0:
        heads = (n_heads, width // n_heads)
        found["attn.hook_z"] = LensSite(last, heads, of_input=True, transform=partial(_split, shape=heads))
    if hidden is not None:
        found["mlp.hook_post"] = LensSite(hidden, tuple(records[hidden][0].shape[1:]), of_input=True)
    added = _added(block, attention, mlp, records, scale=scale)
    if added is None:
        return {**found, "hook_attn_out": None, "hook_mlp_out": None}
    attn_out, mlp_out = added
    middle = _part_with_middle(block, attention, records, added=_value(attn_out, records))
    if middle is not None:
        found["hook_resid_mid"] = LensSite(middle, attn_out.shape, of_input=True, transform=_same)
    return {**found, "hook_attn_out": attn_out, "hook_mlp_out": mlp_out}


def _added(
    block: nn.Module, attention: nn.Module, mlp: nn.Module, records: Records, *, scale: float
) -> tuple[LensSite, LensSite] | None:
    """What the block adds to the residual stream: its attention's and its MLP's part, after a post-norm if it has one."""
    if any(part not in records for part in (block, attention, mlp)):
        return None
    before, after = records[block]
    shape = tuple(before.shape[1:])
    transform = None if scale == 1 else partial(torch.mul, other=scale)
    attn_out, mlp_out = (
        LensSite(_norm_after(block, part, records) or part, shape, transform=transform) for part in (attention, mlp)
    )
    added = _value(attn_out, records) + _value(mlp_out, records)
    return (attn_out, mlp_out) if _is_sum(after, before, added) else None


def _part_with_middle(block: nn.Module, attention: nn.Module, records: Records, *, added: Tensor) -> nn.Module | None:
    """The part of a block whose input is the residual stream after the attention."""
    before = records[block][0]
    parts = [part for part in block.children() if part in records and part is not attention]
    parts = [part for part in parts if records[part][0].shape == before.shape]
    # In parallel blocks, and in front of the attention, the input is the block's own.
    parts = [part for part in parts if not torch.equal(records[part][0], before)]
    if not parts:
        return None
    nearest = min(
        parts, key=lambda part: float((records[part][0].float() - before.float() - added.float()).abs().max())
    )
    return nearest if _is_sum(records[nearest][0], before, added) else None


def _norm_after(block: nn.Module, part: nn.Module, records: Records) -> nn.Module | None:
    """The child whose input is the part's output, and which changes it; a dropout does not."""
    children = [child for child in block.children() if child in records and child is not part]
    found = (child for child in children if torch.equal(records[child][0], records[part][1]))
    return next((child for child in found if not torch.equal(*records[child])), None)


def _projection(parent: nn.Module, records: Records) -> nn.Module | None:
    """The child whose output is the parent's: its last projection."""
    if parent not in records:
        return None
    parts = [part for part in parent.modules() if part is not parent and part in records]
    matching = [part for part in parts if torch.equal(records[part][1], records[parent][1])]
    return next((part for part in matching if getattr(part, "weight", None) is not None), None)


def _normalized(norm: nn.Module, records: Records) -> LensSite | None:
    """The final norm without its weight and bias: x over its root mean square, or (x − mean) over its standard deviation."""
    if norm not in records:
        return None
    given, result = records[norm]
    weight, bias = (
        None if (value := getattr(norm, name, None)) is None else value.cpu() for name in ("weight", "bias")
    )
    eps = next((getattr(norm, name) for name in ("eps", "variance_epsilon") if hasattr(norm, name)), 0.0)
    for transform in (partial(_rms_normalized, eps=eps), partial(_layer_normalized, eps=eps)):
        normalized = transform(given)
        for factor in (weight, None if weight is None else 1 + weight):
            scaled = normalized if factor is None else normalized * factor
            if _equal(scaled if bias is None else scaled + bias, result):
                return LensSite(norm, tuple(given.shape[1:]), of_input=True, transform=transform)
    return None


def _rms_normalized(x: Tensor, *, eps: float) -> Tensor:
    return (x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps)).to(x.dtype)


def _layer_normalized(x: Tensor, *, eps: float) -> Tensor:
    return _rms_normalized(x.float() - x.float().mean(-1, keepdim=True), eps=eps).to(x.dtype)


def _kept(x: Tensor) -> Tensor:
    return x.detach().flatten(0, -2).to("cpu", copy=True)


def _split(x: Tensor, *, shape: tuple[int, ...]) -> Tensor:
    return x.reshape(*x.shape[:-1], *shape)


def _same(x: Tensor) -> Tensor:
    return x


def _value(site: LensSite, records: Records) -> Tensor:
    value = records[site.module][0 if site.of_input else 1]
    return value if site.transform is None else site.transform(value)


def _is_sum(total: Tensor, before: Tensor, added: Tensor) -> bool:
    if not total.shape == before.shape == added.shape:
        return False
    error = (total.float() - before.float() - added.float()).abs().max()
    rounding = 4 * torch.finfo(total.dtype).eps * total.abs().max()
    return bool(error <= TOLERANCE * added.abs().max() + rounding)


def _equal(a: Tensor, b: Tensor) -> bool:
    tolerance = max(TOLERANCE, 4 * torch.finfo(a.dtype).eps)
    return a.shape == b.shape and bool(
        (a.float() - b.float()).abs().max() <= tolerance * max(1.0, float(b.abs().max()))
    )
