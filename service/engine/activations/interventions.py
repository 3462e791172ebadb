"""Declarative changes to the states of rows: add, set, scale, project_out. No client code runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from service.engine.activations.positions import position_rank
from service.engine.model.hooks import Change
from service.engine.model.sites import SiteCatalogue, Tap
from service.engine.requests import Intervention, Positions, Slice
from service.engine.shapes import Tensor
from service.errors import InvalidRequest


@dataclass(frozen=True)
class Edit:
    """One intervention with its sites resolved."""

    taps: tuple[Tap, ...]
    spec: Intervention


@dataclass(frozen=True)
class Target:
    """Where one edit strikes in a forward: rows ``index`` of the tap's tensor, with ``ranks`` into a value of several vectors."""

    edit: Edit
    index: Tensor
    ranks: Tensor


def resolve_edits(interventions: Sequence[Intervention], catalogue: SiteCatalogue) -> tuple[Edit, ...]:
    """Check interventions against the model.

    Raises:
        InvalidRequest: unknown site or layer, a site that cannot be changed, or a value of the wrong shape.
    """
    return tuple(_resolve(spec, catalogue, loc=("interventions", i)) for i, spec in enumerate(interventions))


def edits_of_prompt(additions: Mapping[Tap, Tensor]) -> tuple[Edit, ...]:
    """The vectors that a prompt adds to the states of every text and generated token, as edits of its rows."""
    return tuple(
        Edit((tap,), Intervention(site=tap.label, layers=(), positions="all", op="add", value=vector, strength=1.0))
        for tap, vector in additions.items()
    )


def _resolve(spec: Intervention, catalogue: SiteCatalogue, *, loc: tuple[str | int, ...]) -> Edit:
    taps = catalogue.resolve((spec.site,), spec.layers)
    for tap in taps:
        if tap.kind == "attn_probs":
            raise InvalidRequest("attn_probs can be read but not changed.", loc=(*loc, "site"))
        _check_value(spec, width=catalogue.n_values(tap, n_keys=0), label=tap.label, loc=(*loc, "value"))
    return Edit(taps, spec)


def _check_value(spec: Intervention, *, width: int, label: str, loc: tuple[str | int, ...]) -> None:
    if spec.op == "scale":
        if spec.value is not None:
            raise InvalidRequest("scale takes a strength, and no value.", loc=loc)
        return
    if spec.value is None:
        raise InvalidRequest(f"{spec.op} needs a value: a tensor of {width} numbers.", loc=loc)
    n = _n_listed(spec.positions)
    shapes = [(width,)] if n is None else [(width,), (n, width)]
    if tuple(spec.value.shape) not in shapes:
        expected = " or ".join(str(list(shape)) for shape in shapes)
        raise InvalidRequest(f"value at {label}: expected shape {expected}, got {list(spec.value.shape)}.", loc=loc)
    if not bool(torch.isfinite(spec.value).all()):
        raise InvalidRequest("value holds numbers that are not finite.", loc=loc)


def _n_listed(positions: Positions) -> int | None:
    """How many positions are meant, where that does not depend on the input."""
    if isinstance(positions, tuple):
        return len(positions)
    if isinstance(positions, Slice) and positions.start is not None and positions.stop is not None:
        same_sign = (positions.start >= 0) == (positions.stop >= 0)
        return max(0, positions.stop - positions.start) if same_sign else None
    return 1 if positions == "last" else None


class RowEdits:
    """The edits of one row; positions are known once its input is."""

    def __init__(self, edits: Sequence[Edit], *, n_input: int, n_total: int) -> None:
        self._edits = edits
        self._ranks = [position_rank(edit.spec.positions, n_input=n_input, n_total=n_total) for edit in edits]

    def strike(self, begin: int, end: int) -> list[tuple[Edit, list[int], list[int]]]:
        """For text positions ``begin``…``end − 1``: each edit that strikes there, with chunk offsets and ranks."""
        struck = []
        for edit, rank in zip(self._edits, self._ranks, strict=True):
            hits = [(p - begin, r) for p in range(begin, end) if (r := rank(p)) is not None]
            if hits:
                struck.append((edit, [offset for offset, _ in hits], [r for _, r in hits]))
        return struck


def step_changes(
    struck: Sequence[tuple[int, Edit, list[int], list[int]]], *, logit_rows: dict[int, int]
) -> dict[Tap, list[Change]]:
    """Changes of one forward from (first packed token of the row, edit, chunk offsets, ranks)."""
    targets: dict[Tap, list[Target]] = defaultdict(list)
    for offset, edit, offsets, ranks in struck:
        packed = [offset + o for o in offsets]
        for tap in edit.taps:
            pairs = list(zip(packed, ranks, strict=True))
            if tap.kind == "logits":
                pairs = [(logit_rows[i], r) for i, r in pairs if i in logit_rows]
            if pairs:
                targets[tap].append(
                    Target(edit, torch.tensor([i for i, _ in pairs]), torch.tensor([r for _, r in pairs]))
                )
    return {tap: [_change(members)] for tap, members in targets.items()}


def prompt_changes(spans: Sequence[tuple[int, int, Mapping[Tap, Tensor]]]) -> dict[Tap, list[Change]]:
    """Changes of one forward of whole texts: (first packed token, number of tokens, what the prompt in front adds)."""
    found = [
        (offset, edit, list(range(n_tokens)), [0] * n_tokens)
        for offset, n_tokens, additions in spans
        for edit in edits_of_prompt(additions)
    ]
    return step_changes(found, logit_rows={})


def _change(targets: Sequence[Target]) -> Change:
    def change(states: Tensor) -> Tensor:
        changed = states.clone()
        for target in targets:
            index = target.index.to(states.device)
            changed[index] = _operate(changed[index], target)
        return changed

    return change


def _operate(rows: Tensor, target: Target) -> Tensor:
    spec = target.edit.spec
    if spec.op == "scale":
        return rows * spec.strength
    assert spec.value is not None  # _check_value has seen to it
    value = spec.value.to(device=rows.device, dtype=torch.float32)
    if value.dim() > 1:
        value = value[target.ranks.to(rows.device)]
    flat = rows.flatten(1).float()
    if spec.op == "add":
        new = flat + spec.strength * value
    elif spec.op == "set":
        new = (spec.strength * value).expand_as(flat)
    else:
        unit = value / torch.linalg.vector_norm(value, dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        new = flat - spec.strength * (flat * unit).sum(-1, keepdim=True) * unit
    return new.to(rows.dtype).view_as(rows)
