"""Capture buffers: the states kept of one row, and the tensors of a response."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch.nn import functional as F  # noqa: N812 (the usual name)

from service.engine.model.sites import SiteCatalogue, Tap
from service.engine.requests import CaptureSpec, Lens, Projection, Ranking
from service.engine.shapes import Tensor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class CaptureBuffer:
    """The states of one row: ``taps`` at the text positions ``positions``, in the order of the request.

    Args:
        positions: of the input, possibly repeated; generated positions are appended when they are read.
        n_virtual: rows in front for the prompt's virtual positions; 0 if the response does not include them.
        n_virtual_keys: virtual positions that the row attends to, included in the response or not.
        keep_generated: states of generated tokens are kept too.
    """

    def __init__(
        self,
        spec: CaptureSpec,
        taps: Sequence[Tap],
        *,
        positions: Sequence[int],
        n_virtual: int = 0,
        n_virtual_keys: int = 0,
        keep_generated: bool = False,
    ) -> None:
        self.spec = spec
        self.taps = tuple(taps)
        self.positions = list(positions)
        self.n_virtual = n_virtual
        self.n_virtual_keys = n_virtual_keys
        self.keep_generated = keep_generated
        self._chosen = frozenset(positions)
        self._read: list[int] = []
        self._parts: dict[Tap, list[Tensor]] = defaultdict(list)
        self._virtual: dict[Tap, Tensor] = {}
        self._sums: dict[Tap, Tensor] = {}

    def select(self, begin: int, end: int, *, n_input: int) -> list[int]:
        """The text positions of ``begin``…``end − 1`` that are kept. Call it once for each chunk, in order."""
        if begin >= n_input:  # one generated token, as in every decode step
            chosen = list(range(begin, end)) if self.keep_generated else []
            self.positions += chosen
        else:
            chosen = [p for p in range(begin, end) if p in self._chosen]
        self._read += chosen
        return chosen

    def set_virtual(self, tap: Tap, states: Tensor) -> None:
        """Set the states of the virtual positions `[n_virtual, …]`, on the CPU: unreduced, or ranked if the spec ranks."""
        self._virtual[tap] = states

    def add(self, tap: Tap, part: Tensor) -> None:
        """Append the reduced rows of one chunk, on the CPU; with "mean", their float32 sum `[1, …]`."""
        if self.spec.reduce == "mean":
            self._sums[tap] = _added(self._sums[tap], part) if tap in self._sums else part
        else:
            self._parts[tap].append(part)

    @property
    def n_rows(self) -> int:
        """Rows in the response."""
        return 1 if self.spec.reduce == "mean" else self.n_virtual + len(self.positions)

    def finish(self, tap: Tap, catalogue: SiteCatalogue, *, n_keys: int) -> Tensor:
        """`[n_rows, …]` in the order of ``positions``, virtual rows first; rows over keys are padded to ``n_keys``."""
        if self.spec.reduce == "mean":
            return self._mean(tap, n_keys=n_keys)
        parts = self._parts[tap] or [self._no_rows(catalogue.row_shape(tap, n_keys=n_keys))]
        if tap.is_reported and self.spec.reduce is None:
            parts = [F.pad(part, (0, n_keys - part.shape[-1])) for part in parts]
        text = torch.cat(parts) if len(parts) > 1 else parts[0]
        if self.positions != self._read:
            index = {position: i for i, position in enumerate(self._read)}
            text = text[torch.tensor([index[p] for p in self.positions], dtype=torch.long)]
        if not self.n_virtual:
            return text
        virtual = self._virtual[tap]
        if tap.is_reported:
            virtual = F.pad(virtual, (0, n_keys - virtual.shape[-1]))
        return torch.cat([virtual if isinstance(self.spec.reduce, Ranking) else reduce_rows(virtual, self.spec), text])

    def _no_rows(self, shape: tuple[int, ...]) -> Tensor:
        """The part of a row of which nothing was read, such as a trajectory that ended at its first token."""
        if isinstance(self.spec.reduce, Ranking):
            return torch.zeros(0, 2, self.spec.reduce.k)
        return reduce_rows(torch.zeros(0, *shape), self.spec)

    def _mean(self, tap: Tap, *, n_keys: int) -> Tensor:
        total, n = self._sums[tap], len(self.positions)
        if self.n_virtual:
            virtual = self._virtual[tap].float().sum(0, keepdim=True)
            total, n = _added(total, virtual), n + self.n_virtual
        if tap.is_reported:
            total = F.pad(total, (0, n_keys - total.shape[-1]))
        mean: Tensor = (total / n).to(DTYPES[self.spec.dtype])
        return mean


def _added(total: Tensor, part: Tensor) -> Tensor:
    """Their sum. Rows over keys end at their chunk's last key; the shorter one is padded."""
    n_keys = max(total.shape[-1], part.shape[-1])
    return F.pad(total, (0, n_keys - total.shape[-1])) + F.pad(part, (0, n_keys - part.shape[-1]))


def reduce_rows(states: Tensor, spec: CaptureSpec) -> Tensor:
    """Apply the spec's reduction and dtype to `[rows, …]`. "mean" is summed by the caller, since its rows come in chunks."""
    dtype = DTYPES[spec.dtype]
    if spec.reduce == "norm":
        norms: Tensor = torch.linalg.vector_norm(states.flatten(1).float(), dim=1)
        return norms.to(dtype)
    if isinstance(spec.reduce, Projection):
        mean, components = spec.reduce.mean.to(states.device), spec.reduce.components.to(states.device)
        return ((states.float() - mean) @ components.T).to(dtype)
    return states.to(dtype)


def n_values_per_row(spec: CaptureSpec, taps: Sequence[Tap], catalogue: SiteCatalogue, *, n_keys: int) -> int:
    """Values in one row of the response over all taps."""
    if spec.reduce == "norm":
        return len(taps)
    if isinstance(spec.reduce, Projection):
        return len(taps) * len(spec.reduce.components)
    if isinstance(spec.reduce, Ranking):
        return len(taps) * 3 * spec.reduce.k  # an id has the size of two values
    return sum(catalogue.n_values(tap, n_keys=n_keys) for tap in taps)


def stack_rows(
    rows: Sequence[CaptureBuffer], catalogue: SiteCatalogue, *, token_ids: Sequence[Sequence[int]]
) -> dict[str, Tensor]:
    """The tensors of a response: each tap over all rows, ``row_offsets``, and the rows' ``token_ids`` and ``positions``.

    Args:
        token_ids: of each row's whole text, input and generated.
    """
    spec, taps = rows[0].spec, rows[0].taps
    n_keys = max((row.n_virtual_keys + len(ids) for row, ids in zip(rows, token_ids, strict=True)), default=0)
    tensors: dict[str, Tensor] = {}
    for tap in taps:
        tensors |= _named(tap, torch.cat([row.finish(tap, catalogue, n_keys=n_keys) for row in rows]), spec=spec)
    counts = torch.tensor([0, *(row.n_rows for row in rows)])
    tensors["row_offsets"] = counts.cumsum(0)
    if spec.reduce != "mean":
        at = [[*range(-row.n_virtual, 0), *row.positions] for row in rows]
        tensors["positions"] = torch.tensor([p for row in at for p in row], dtype=torch.int32)
        tensors["token_ids"] = torch.tensor(
            [ids[p] if p >= 0 else -1 for row, ids in zip(at, token_ids, strict=True) for p in row], dtype=torch.int64
        )
    return tensors


def _named(tap: Tap, rows: Tensor, *, spec: CaptureSpec) -> dict[str, Tensor]:
    """The tensors of one tap in a response: its rows, or ids and scores of a ranking."""
    if not isinstance(spec.reduce, Ranking):
        return {tap.label: rows}
    ids, scores = rows[:, 0].to(torch.int64), rows[:, 1].contiguous()
    if isinstance(spec.reduce, Lens):
        return {f"{tap.label}.lens_ids": ids, f"{tap.label}.lens_logprobs": scores}
    return {f"{tap.label}.nearest_ids": ids, f"{tap.label}.nearest_distances": scores}
