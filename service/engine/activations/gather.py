"""Captures of one forward: each site is gathered once for all rows, and the results leave the device in one copy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from service.engine.activations.capture_buffer import CaptureBuffer, reduce_rows
from service.engine.attention.reads import AttentionReads
from service.engine.model.hooks import StopForward
from service.engine.model.sites import Tap
from service.engine.requests import CaptureSpec, Projection, Ranking
from service.engine.shapes import Tensor


@dataclass(frozen=True)
class GatherRequest:
    """One row's packed tokens ``offset``…``offset + n_new − 1`` in a forward; those at the packed indices ``chosen`` are kept."""

    capture: CaptureBuffer
    offset: int
    n_new: int
    chosen: tuple[int, ...]


class StepGather:
    """Receives the taps of one forward, and gives each row its part.

    Args:
        requests: of the rows that capture something in this forward.
        logit_rows: packed index → row of the logits.
        rank: makes ids and scores `[rows, 2, k]` of states; called after the forward, since it runs parts of the model.
        stops: raise StopForward once all taps have been read: nothing else of the forward is needed.
        whole: of :class:`AttentionReads`.
    """

    def __init__(
        self,
        requests: Sequence[GatherRequest],
        *,
        logit_rows: dict[int, int],
        rank: Callable[[Tensor, Ranking], Tensor],
        stops: bool = False,
        whole: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.stops = stops
        self._whole = whole
        self._logit_rows = logit_rows
        self._rank = rank
        self._unranked: list[tuple[list[GatherRequest], Tap, Tensor, Ranking]] = []
        self._by_tap: dict[Tap, list[GatherRequest]] = defaultdict(list)
        for request in requests:
            for tap in request.capture.taps:
                if request.chosen:
                    self._by_tap[tap].append(request)
        self._unread = set(self._by_tap)
        self._by_offset = {request.offset: request for request in requests if request.chosen}
        self._index: dict[tuple[int, ...], Tensor] = {}
        self._pending: list[tuple[CaptureBuffer, Tap, Tensor]] = []

    @property
    def taps(self) -> tuple[Tap, ...]:
        return tuple(self._by_tap)

    @property
    def chosen(self) -> tuple[int, ...]:
        """Packed indices of all tokens of which something is kept, ascending by row."""
        return tuple(i for request in self._by_offset.values() for i in request.chosen)

    @property
    def attention_reads(self) -> AttentionReads | None:
        """What the attention reports to this gather; None: nothing."""
        layers: dict[str, frozenset[int]] = defaultdict(frozenset)
        for tap in self._by_tap:
            if tap.is_reported and tap.layer is not None:
                layers[tap.kind] |= {tap.layer}
        if not layers:
            return None
        return AttentionReads(layers, sink=self._on_reported, on_done=self._on_reported_all, whole=self._whole)

    def on_read(self, tap: Tap, states: Tensor) -> None:
        """Take the tap of all packed tokens: states `[tokens, …]`, of the logits `[kept, …]`.

        Raises:
            StopForward: this was the last tap, and the gather ``stops``.
        """
        by_reduction: dict[tuple[object, str], list[GatherRequest]] = defaultdict(list)
        for request in self._by_tap[tap]:
            by_reduction[_reduction_key(request.capture.spec)].append(request)
        for requests in by_reduction.values():
            self._gather(tap, states, requests)
        self._finish(tap)

    def flush(self) -> None:
        """Copy the results to the CPU, once for each dtype, and give them to the rows; after the forward."""
        for requests, tap, rows, ranking in self._unranked:
            parts = torch.split(self._rank(rows, ranking), [len(request.chosen) for request in requests])
            self._pending += [(request.capture, tap, part) for request, part in zip(requests, parts, strict=True)]
        self._unranked.clear()
        on_device = [i for i, (_, _, tensor) in enumerate(self._pending) if tensor.device.type != "cpu"]
        copies = dict(zip(on_device, _copy_together([self._pending[i][2] for i in on_device]), strict=True))
        for i, (capture, tap, tensor) in enumerate(self._pending):
            capture.add(tap, copies.get(i, tensor))
        self._pending.clear()

    def _on_reported(self, site: str, layer: int, offset: int, rows: Tensor) -> None:
        """rows `[new, n_heads, n_keys]` of the row whose first packed token is ``offset``."""
        tap, request = Tap(site, layer), self._by_offset.get(offset)
        if request is None or tap not in request.capture.taps:
            return
        chosen = rows[torch.tensor([i - offset for i in request.chosen], device=rows.device)]
        self._keep([request], tap, chosen, request.capture.spec)

    def _on_reported_all(self, site: str, layer: int) -> None:
        self._finish(Tap(site, layer))

    def _finish(self, tap: Tap) -> None:
        self._unread.discard(tap)
        if self.stops and not self._unread:
            raise StopForward

    def _gather(self, tap: Tap, states: Tensor, requests: list[GatherRequest]) -> None:
        """One gather and one reduction for all rows with the same reduction, also of several requests."""
        chosen = [i for request in requests for i in request.chosen]
        if tap.kind == "logits":
            chosen = [self._logit_rows[i] for i in chosen]
        if len(chosen) == len(states) and chosen == list(range(len(states))):
            rows = states.clone() if states.dtype == torch.float32 else states
        else:
            rows = states.index_select(0, self._indices(tuple(chosen), states.device))
        self._keep(requests, tap, rows, requests[0].capture.spec)

    def _keep(self, requests: list[GatherRequest], tap: Tap, rows: Tensor, spec: CaptureSpec) -> None:
        if isinstance(spec.reduce, Ranking):
            self._unranked.append((requests, tap, rows, spec.reduce))
            return
        sizes = [len(request.chosen) for request in requests]
        if spec.reduce == "mean":
            owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)).to(rows.device)
            sums = torch.zeros(len(sizes), *rows.shape[1:], device=rows.device).index_add_(0, owner, rows.float())
            parts = torch.split(sums, 1)
        else:
            parts = torch.split(reduce_rows(rows, spec), sizes)
        self._pending += [(request.capture, tap, part) for request, part in zip(requests, parts, strict=True)]

    def _indices(self, chosen: tuple[int, ...], device: torch.device) -> Tensor:
        if chosen not in self._index:
            self._index[chosen] = torch.tensor(chosen, dtype=torch.long)
        return self._index[chosen].to(device)


def _reduction_key(spec: CaptureSpec) -> tuple[object, str]:
    """Equal for specs that reduce rows alike. Projections are compared by identity: comparing their tensors is too costly."""
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
