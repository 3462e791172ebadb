"""All the captures of one forward: each site is gathered once for all rows, and everything leaves the device in one copy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from service.engine.activations.capture_buffer import CaptureBuffer, reduce_rows
from service.engine.model.sites import Tap
from service.engine.requests import CaptureSpec, Projection, Ranking
from service.engine.shapes import Tensor


@dataclass(frozen=True)
class GatherRequest:
    """One row's packed tokens ``offset``…``offset + n_new − 1`` in a forward, of which the indices ``chosen`` are kept."""

    capture: CaptureBuffer
    offset: int
    n_new: int
    chosen: tuple[int, ...]


class StepGather:
    """Receives the taps of one forward, and hands each row its part.

    Args:
        wants: rows that capture something in this forward.
        logit_rows: packed index → row of the logits, for the ``logits`` site.
        rank: what makes ids and scores `[rows, 2, k]` of states; only when the forward is over, since it runs parts of the model.
    """

    def __init__(
        self, wants: Sequence[GatherRequest], *, logit_rows: dict[int, int], rank: Callable[[Tensor, Ranking], Tensor]
    ) -> None:
        self._logit_rows = logit_rows
        self._rank = rank
        self._unranked: list[tuple[list[GatherRequest], Tap, Tensor, Ranking]] = []
        self._by_tap: dict[Tap, list[GatherRequest]] = defaultdict(list)
        for want in wants:
            for tap in want.capture.taps:
                if want.chosen:
                    self._by_tap[tap].append(want)
        self._starts = {want.offset: want for want in wants}
        self._index: dict[tuple[int, ...], Tensor] = {}
        self._pending: list[tuple[CaptureBuffer, Tap, Tensor]] = []

    @property
    def taps(self) -> tuple[Tap, ...]:
        return tuple(self._by_tap)

    @property
    def probability_layers(self) -> frozenset[int]:
        return frozenset(tap.layer for tap in self._by_tap if tap.kind == "attn_probs" and tap.layer is not None)

    def on_read(self, tap: Tap, states: Tensor) -> None:
        """states `[tokens, …]` (of the logits: `[kept, …]`)."""
        alike: dict[tuple[object, str], list[GatherRequest]] = defaultdict(list)
        for want in self._by_tap[tap]:
            alike[_treatment(want.capture.spec)].append(want)
        for wants in alike.values():
            self._read_alike(tap, states, wants)

    def on_probabilities(self, layer: int, offset: int, pattern: Tensor) -> None:
        """pattern `[new, n_heads, n_keys]` of the row whose first packed token is ``offset``."""
        tap, want = Tap("attn_probs", layer), self._starts.get(offset)
        if want is None or tap not in want.capture.taps or not want.chosen:
            return
        rows = pattern[torch.tensor([i - offset for i in want.chosen], device=pattern.device)]
        self._keep([want], tap, rows, want.capture.spec)

    def flush(self) -> None:
        """Move everything off the device, in one copy for each dtype, and hand it to the rows; after the forward."""
        for wants, tap, rows, how in self._unranked:
            parts = torch.split(self._rank(rows, how), [len(want.chosen) for want in wants])
            self._pending += [(want.capture, tap, part) for want, part in zip(wants, parts, strict=True)]
        self._unranked.clear()
        on_device = [i for i, (_, _, tensor) in enumerate(self._pending) if tensor.device.type != "cpu"]
        moved = dict(zip(on_device, _copy_together([self._pending[i][2] for i in on_device]), strict=True))
        for i, (capture, tap, tensor) in enumerate(self._pending):
            capture.put(tap, moved.get(i, tensor))
        self._pending.clear()

    def _read_alike(self, tap: Tap, states: Tensor, wants: list[GatherRequest]) -> None:
        """One gather and one reduction serve all rows whose states are treated alike, of whatever requests."""
        chosen = [i for want in wants for i in want.chosen]
        if tap.kind == "logits":
            chosen = [self._logit_rows[i] for i in chosen]
        if len(chosen) == len(states) and chosen == list(range(len(states))):
            rows = states.clone() if states.dtype == torch.float32 else states
        else:
            rows = states.index_select(0, self._indices(tuple(chosen), states.device))
        self._keep(wants, tap, rows, wants[0].capture.spec)

    def _keep(self, wants: list[GatherRequest], tap: Tap, rows: Tensor, spec: CaptureSpec) -> None:
        if isinstance(spec.reduce, Ranking):
            self._unranked.append((wants, tap, rows, spec.reduce))
            return
        sizes = [len(want.chosen) for want in wants]
        if spec.reduce == "mean":
            owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)).to(rows.device)
            sums = torch.zeros(len(sizes), *rows.shape[1:], device=rows.device).index_add_(0, owner, rows.float())
            parts = torch.split(sums, 1)
        else:
            parts = torch.split(reduce_rows(rows, spec), sizes)
        self._pending += [(want.capture, tap, part) for want, part in zip(wants, parts, strict=True)]

    def _indices(self, chosen: tuple[int, ...], device: torch.device) -> Tensor:
        if chosen not in self._index:
            self._index[chosen] = torch.tensor(chosen, dtype=torch.long)
        return self._index[chosen].to(device)


def _treatment(spec: CaptureSpec) -> tuple[object, str]:
    """What is done to gathered rows; projections are told apart by identity, since their tensors cannot be compared cheaply."""
    return (id(spec.reduce) if isinstance(spec.reduce, Projection) else spec.reduce, spec.dtype)


def _copy_together(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies on the CPU, made with one transfer for each (device, dtype)."""
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = defaultdict(list)
    for i, tensor in enumerate(tensors):
        groups[tensor.device, tensor.dtype].append(i)
    copies: dict[int, Tensor] = {}
    for members in groups.values():
        flat = torch.cat([tensors[i].reshape(-1) for i in members]).cpu()
        for i, part in zip(members, torch.split(flat, [tensors[i].numel() for i in members]), strict=True):
            copies[i] = part.view(tensors[i].shape)
    return [copies[i] for i in range(len(tensors))]
