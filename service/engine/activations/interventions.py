"""Interventions: declarative changes to the states of rows (add, set, scale, project_out). No client code runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from service.engine.activations.positions import position_rank
from service.engine.model.hooks import Change
from service.engine.model.sites import SiteCatalogue, Tap
from service.engine.requests import Intervention, Positions, Slice
from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest

_Loc = tuple[str | int, ...]


@dataclass(frozen=True)
class Edit:
    """One intervention with its sites resolved. loc: its location in the request."""

    taps: tuple[Tap, ...]
    spec: Intervention
    loc: _Loc = ()


@dataclass(frozen=True)
class StepEdit:
    """One edit in one forward: the packed tokens that it changes, with ``ranks`` into a value of several vectors."""

    edit: Edit
    packed: tuple[int, ...]
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class _Target:
    """One edit at one tap: the rows ``index`` of the tap's tensor, with ``ranks`` into a value of several vectors."""

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


def edits_of_vectors(vectors: Float[Tensor, "n d_model"]) -> tuple[Edit, ...]:
    """Vectors in place of the embeddings of the first n tokens of a row, as an edit of the row."""
    positions = tuple(range(len(vectors)))
    spec = Intervention(site="embed", layers=(), positions=positions, op="set", value=vectors, strength=1.0)
    return (Edit((Tap("embed"),), spec),)


def _resolve(spec: Intervention, catalogue: SiteCatalogue, *, loc: _Loc) -> Edit:
    with _errors_in(loc):
        taps = catalogue.resolve((spec.site,), spec.layers)
    for tap in taps:
        if tap.path in catalogue.read_only:
            raise InvalidRequest(f"{tap.label} can be read but not changed.", loc=(*loc, "site"))
        if tap.is_reported:
            raise InvalidRequest(f"{tap.kind} can be read but not changed.", loc=(*loc, "site"))
        _check_value(spec, width=catalogue.n_values(tap, n_keys=0), label=tap.label, loc=(*loc, "value"))
    return Edit(taps, spec, loc)


@contextmanager
def _errors_in(loc: _Loc) -> Iterator[None]:
    """Locate errors of sites, layers and positions in the intervention at ``loc``, which has one site."""
    try:
        yield
    except InvalidRequest as error:
        inner: _Loc = error.loc or ()
        inner = ("site",) if inner[:1] == ("sites",) else inner
        raise InvalidRequest(error.detail, loc=(*loc, *inner)) from None


def _check_value(spec: Intervention, *, width: int, label: str, loc: _Loc) -> None:
    if spec.op == "scale":
        if spec.value is not None:
            raise InvalidRequest("scale expects a strength and no value, got a value.", loc=loc)
        return
    if spec.value is None:
        raise InvalidRequest(f"{spec.op} expects a value of {width} numbers, got none.", loc=loc)
    n = _n_listed(spec.positions)
    shapes = [(width,)] if n is None else [(width,), (n, width)]
    if tuple(spec.value.shape) not in shapes:
        expected = " or ".join(str(list(shape)) for shape in shapes)
        raise InvalidRequest(f"value at {label}: expected shape {expected}, got {list(spec.value.shape)}.", loc=loc)
    if not bool(torch.isfinite(spec.value).all()):
        raise InvalidRequest("value: expected finite numbers, got NaN or infinity.", loc=loc)


def _n_listed(positions: Positions) -> int | None:
    """The number of positions, if it does not depend on the input."""
    if isinstance(positions, tuple):
        return len(positions)
    if isinstance(positions, Slice) and positions.start is not None and positions.stop is not None:
        same_sign = (positions.start >= 0) == (positions.stop >= 0)
        return max(0, positions.stop - positions.start) if same_sign else None
    return 1 if positions == "last" else None


class RowEdits:
    """The edits of one row, whose input is known."""

    def __init__(self, edits: Sequence[Edit], *, n_input: int, n_total: int) -> None:
        self._edits = edits
        self._ranks = [_rank(edit, n_input=n_input, n_total=n_total) for edit in edits]

    def within(self, begin: int, end: int, *, offset: int) -> list[StepEdit]:
        """The edits at text positions ``begin``…``end − 1``, whose first packed token is ``offset``."""
        found = []
        for edit, rank in zip(self._edits, self._ranks, strict=True):
            ranks = {offset + p - begin: r for p in range(begin, end) if (r := rank(p)) is not None}
            if ranks:
                found.append(StepEdit(edit, tuple(ranks), tuple(ranks.values())))
        return found


def _rank(edit: Edit, *, n_input: int, n_total: int) -> Callable[[int], int | None]:
    with _errors_in(edit.loc):
        return position_rank(edit.spec.positions, n_input=n_input, n_total=n_total)


def step_changes(edits: Sequence[StepEdit], *, logit_rows: dict[int, int]) -> dict[Tap, list[Change]]:
    """The changes of one forward. Logits are changed where the forward computes them.

    Args:
        logit_rows: packed index → row of the logits.
    """
    targets: dict[Tap, list[_Target]] = defaultdict(list)
    for step_edit in edits:
        for tap in step_edit.edit.taps:
            pairs = list(zip(step_edit.packed, step_edit.ranks, strict=True))
            if tap.kind == "logits":
                pairs = [(logit_rows[i], r) for i, r in pairs if i in logit_rows]
            if pairs:
                index, ranks = (torch.tensor(values) for values in zip(*pairs, strict=True))
                targets[tap].append(_Target(step_edit.edit, index, ranks))
    return {tap: [_change(members)] for tap, members in targets.items()}


def prompt_changes(spans: Sequence[tuple[int, int, Mapping[Tap, Tensor]]]) -> dict[Tap, list[Change]]:
    """Changes of one forward of whole texts: (first packed token, number of tokens, what the prompt in front adds)."""
    found = [
        StepEdit(edit, packed=tuple(range(offset, offset + n_tokens)), ranks=(0,) * n_tokens)
        for offset, n_tokens, additions in spans
        for edit in edits_of_prompt(additions)
    ]
    return step_changes(found, logit_rows={})


def _change(targets: Sequence[_Target]) -> Change:
    def change(states: Tensor) -> Tensor:
        changed = states.clone()
        for target in targets:
            index = target.index.to(states.device)
            changed[index] = _operate(changed[index], target)
        return changed

    return change


def _operate(rows: Tensor, target: _Target) -> Tensor:
    spec = target.edit.spec
    if spec.op == "scale":
        return rows * spec.strength
    assert spec.value is not None  # ensured by _check_value
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
