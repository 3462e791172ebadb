"""Parameters of a sampling step: those of all rows as tensors, sent to the device in one copy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from service.engine.requests import Sampling
from service.engine.sampling.row_sampler import RowSampler
from service.engine.shapes import Float, Int, Tensor
from service.engine.transfers import to_device


@dataclass(frozen=True)
class Adjustments:
    """Changes of logits, as indices into the flattened logits `[rows * vocab]`.

    Attributes:
        bias_at, bias: logit bias.
        seen_rows, seen_at, repetition: rows with a repetition penalty; their seen tokens, in the flattened logits of these
            rows alone; the penalties `[rows, 1]`.
        counted_rows, counted_at, frequency, presence: the same for generated tokens, each as often as it was generated.
        endings_at: tokens that may not be chosen yet.
    """

    bias_at: Int[Tensor, " n_biased"]
    bias: Float[Tensor, " n_biased"]
    seen_rows: Int[Tensor, " n_seen"]
    seen_at: Int[Tensor, " n_seen_tokens"]
    repetition: Float[Tensor, "n_seen 1"]
    counted_rows: Int[Tensor, " n_counted"]
    counted_at: Int[Tensor, " n_generated"]
    frequency: Float[Tensor, "n_counted 1"]
    presence: Float[Tensor, "n_counted 1"]
    endings_at: Int[Tensor, " n_endings"]

    @classmethod
    def of(cls, samplers: Sequence[RowSampler], *, n_vocab: int) -> Adjustments:
        """On the host."""
        seen = [(row, s.seen, s.sampling) for row, s in enumerate(samplers) if s.seen is not None]
        counted = [(row, s.generated, s.sampling) for row, s in enumerate(samplers) if s.generated is not None]
        biased = [(row, s) for row, s in enumerate(samplers) if len(s.bias_ids)]
        return cls(
            bias_at=_flat(((row, s.bias_ids) for row, s in biased), n_vocab=n_vocab),
            bias=torch.from_numpy(np.concatenate([np.zeros(0), *(s.bias_values for _, s in biased)])),
            seen_rows=_integers(row for row, _, _ in seen),
            seen_at=_flat(((k, tokens.ids) for k, (_, tokens, _) in enumerate(seen)), n_vocab=n_vocab),
            repetition=_column(s.repetition_penalty for _, _, s in seen),
            counted_rows=_integers(row for row, _, _ in counted),
            counted_at=_flat(((k, tokens.ids) for k, (_, tokens, _) in enumerate(counted)), n_vocab=n_vocab),
            frequency=_column(s.frequency_penalty for _, _, s in counted),
            presence=_column(s.presence_penalty for _, _, s in counted),
            endings_at=_flat(((row, s.ending_ids) for row, s in enumerate(samplers) if not s.may_end), n_vocab=n_vocab),
        )


@dataclass(frozen=True)
class FilterGroup:
    """Filters of some rows. width: at most this many tokens remain; a power of two, or the whole vocabulary.

    The width of a row depends on its own parameters, so that the shapes of its group do not change its tokens.
    """

    width: int
    rows: Int[Tensor, " grouped"]
    least: Float[Tensor, "grouped 1"]
    top_k: Int[Tensor, " grouped"]
    top_p: Float[Tensor, "grouped 1"]


@dataclass(frozen=True)
class Draws:
    """Rows that draw. rows: of the logits; the other indices count these rows only. temperature, uniforms: `[drawing, 1]`."""

    rows: Int[Tensor, " drawing"]
    temperature: Float[Tensor, "drawing 1"]
    uniforms: Float[Tensor, "drawing 1"]
    groups: tuple[FilterGroup, ...]

    @classmethod
    def of(
        cls, samplings: Sequence[Sampling], *, rows: Sequence[int], uniforms: Sequence[float], n_vocab: int
    ) -> Draws:
        """On the host."""
        widths: dict[int, list[int]] = {}
        for k, sampling in enumerate(samplings):
            if not _is_unfiltered(sampling):
                widths.setdefault(_width(sampling, n_vocab=n_vocab), []).append(k)
        return cls(
            rows=_integers(rows),
            temperature=_column(sampling.temperature for sampling in samplings),
            uniforms=_column(uniforms),
            groups=tuple(_group(width, at, samplings, n_vocab=n_vocab) for width, at in sorted(widths.items())),
        )


@dataclass(frozen=True)
class StepParameters:
    """Parameters of one step on the device of its logits; None: no row needs them."""

    adjustments: Adjustments | None
    draws: Draws | None

    @classmethod
    def of(cls, samplers: Sequence[RowSampler], *, n_vocab: int, device: torch.device) -> StepParameters:
        """Those of the rows, in the order of the logits."""
        adjustments = None
        if not all(sampler.is_plain for sampler in samplers):
            adjustments = Adjustments.of(samplers, n_vocab=n_vocab)
        drawing = [row for row, sampler in enumerate(samplers) if not sampler.is_greedy]
        draws = None
        if drawing:
            draws = Draws.of(
                [samplers[row].sampling for row in drawing],
                rows=drawing,
                uniforms=[samplers[row].uniform() for row in drawing],
                n_vocab=n_vocab,
            )
        return placed(cls(adjustments, draws), device)


def placed(parameters: StepParameters, device: torch.device) -> StepParameters:
    """The same with all tensors on the device."""
    if device.type == "cpu":
        return parameters
    moved = iter(to_device(device, list(_tensors(parameters))))
    return _replaced(parameters, moved)  # type: ignore[no-any-return]


def _tensors(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, Adjustments | FilterGroup | Draws | StepParameters):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name))


def _replaced(value: Any, tensors: Any) -> Any:
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, tuple):
        return tuple(_replaced(part, tensors) for part in value)
    if isinstance(value, Adjustments | FilterGroup | Draws | StepParameters):
        return type(value)(**{field.name: _replaced(getattr(value, field.name), tensors) for field in fields(value)})
    return value


def _group(width: int, at: Sequence[int], samplings: Sequence[Sampling], *, n_vocab: int) -> FilterGroup:
    chosen = [samplings[k] for k in at]
    return FilterGroup(
        width=width,
        rows=_integers(at),
        least=_column(math.log(s.min_p) if s.min_p > 0 else -math.inf for s in chosen),
        top_k=_integers(min(s.top_k or n_vocab, n_vocab) for s in chosen),
        # Infinity instead of 1, so that rounding cannot remove tokens of a row without top_p.
        top_p=_column(s.top_p if s.top_p < 1 else math.inf for s in chosen),
    )


def _width(sampling: Sampling, *, n_vocab: int) -> int:
    return min(1 << (sampling.top_k - 1).bit_length(), n_vocab) if sampling.top_k else n_vocab


def _is_unfiltered(sampling: Sampling) -> bool:
    return sampling.min_p == 0 and sampling.top_k == 0 and sampling.top_p == 1


def _flat(tokens: Iterable[tuple[int, Any]], *, n_vocab: int) -> Tensor:
    parts = [row * n_vocab + ids for row, ids in tokens]
    return torch.from_numpy(np.concatenate([np.zeros(0, dtype=np.int64), *parts]))


def _integers(values: Iterable[int]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.int64)


def _column(values: Iterable[float]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float64)[:, None]
