"""Model runner: one forward over scheduled tokens, for generation and captures alike."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Protocol

import torch

from service.engine.activations.gather import GatherRequest, StepGather
from service.engine.activations.interventions import step_changes
from service.engine.activations.logit_lens import TokenRanker
from service.engine.attention.kernels import AttentionMetadata
from service.engine.model.hooks import ForwardHooks, StopForward
from service.engine.model.hosted_model import HostedModel
from service.engine.model.layers.partial_mlp import MIN_SAVING, PartialMLP, unread_mlp
from service.engine.parallel.leader import Leader, announced
from service.engine.parallel.messages import Forward
from service.engine.scheduling.scheduler import ScheduledTokens
from service.engine.shapes import Float, Tensor
from service.engine.transfers import to_device


class PackedTokens(AttentionMetadata, Protocol):
    """Attention metadata that knows the positions `[tokens]` of the packed tokens."""

    positions: Tensor

    @property
    def indices(self) -> Sequence[Tensor]:
        """int64 tensors on the host that the attention needs on the device."""

    def place(self, indices: Sequence[Tensor]) -> None:
        """Take ``indices`` on the device."""


class LogitRows:
    """The packed tokens whose logits a forward computes.

    Attributes:
        by_packed: packed index → row of the logits.
        packed: the packed indices, in the order of the rows.
    """

    def __init__(self, packed: Sequence[int]) -> None:
        self.by_packed = {index: row for row, index in enumerate(packed)}
        self.packed = torch.tensor(packed, dtype=torch.long)

    def last(self, scheduled: ScheduledTokens) -> int | None:
        """Row of the logits after the last of the scheduled tokens, if they reach the end of the sequence."""
        return self.by_packed.get(scheduled.offset + scheduled.n_new - 1) if scheduled.reaches_end else None

    def all(self, scheduled: ScheduledTokens) -> slice:
        """Rows of the logits after all of the scheduled tokens."""
        first = self.by_packed[scheduled.offset]
        return slice(first, first + scheduled.n_new)


def gather_requests(scheduled: Iterable[ScheduledTokens]) -> list[GatherRequest]:
    """What the rows capture of these tokens. Call it once per forward: capture buffers count the tokens that were read."""
    requests = []
    for part in scheduled:
        if (capture := part.row.capture) is not None:
            chosen = capture.select(part.begin, part.end, n_input=part.row.n_input)
            packed = tuple(part.offset + p - part.begin for p in chosen)
            requests.append(GatherRequest(capture, part.offset, part.n_new, packed))
    return requests


class ModelRunner:
    """Runs forwards of one model, with the edits and captures of the rows."""

    def __init__(self, model: HostedModel, *, ranker: TokenRanker) -> None:
        self._model = model
        self._ranker = ranker
        self._no_logits = torch.empty(0, model.catalogue.vocab_size)

    def gather(self, requests: Sequence[GatherRequest], *, logits: LogitRows, stops: bool = False) -> StepGather:
        """The gather for one ``run``; its ``attention_reads`` go into the attention metadata.

        Args:
            stops: nothing of the forward is needed but the captures, so that it can stop after the last of them.
        """
        division = self._model.division
        whole = None if division is None else division.whole_rows_of_heads
        return StepGather(requests, logit_rows=logits.by_packed, rank=self._ranker.rank, stops=stops, whole=whole)

    def run(
        self,
        metadata: PackedTokens,
        scheduled: Sequence[ScheduledTokens],
        *,
        gather: StepGather,
        logits: LogitRows,
    ) -> Float[Tensor, "kept vocab"]:
        """Run the scheduled tokens and fill the rows' capture buffers.

        Returns:
            The logits at ``logits``; no rows if the forward stopped before them.
        """
        ids = torch.tensor([t for part in scheduled for t in part.row.ids[part.begin : part.end]], dtype=torch.long)
        ids.clamp_(min=0)  # any token will do where a vector replaces its embedding
        needed = gather.chosen if gather.stops else tuple(logits.by_packed)
        ids_at, positions_at, kept_at, needed_at, *indices = to_device(
            self._model.device,
            [ids, metadata.positions, logits.packed, torch.tensor(needed, dtype=torch.long), *metadata.indices],
        )
        metadata.place(indices)
        edits = [
            edit
            for part in scheduled
            if part.row.edits is not None
            for edit in part.row.edits.within(part.begin, part.end, offset=part.offset)
        ]
        changes = step_changes(edits, logit_rows=logits.by_packed)
        hooks = ForwardHooks(
            self._model.module, self._model.architecture, reads=gather.taps, on_read=gather.on_read, changes=changes
        )
        mlp = self._partial_mlp(gather, needed, n_tokens=len(ids), is_edited=bool(edits))
        partial_mlp = (
            contextlib.nullcontext() if mlp is None else PartialMLP(self._model.architecture.mlps[mlp], needed_at)
        )

        def message(leader: Leader) -> Forward:
            return leader.forward(
                metadata,
                ids=ids,
                logits_at=logits.packed,
                reads=gather.taps,
                changed=tuple(changes),
                stops=gather.stops,
                mlp=None if mlp is None else (mlp, needed),
            )

        found: Tensor = self._no_logits
        with announced(self._model.leader, message), partial_mlp, hooks, contextlib.suppress(StopForward):
            found = self._model.forward(metadata, ids=ids_at, positions=positions_at, logits_at=kept_at)
        gather.flush()
        return found

    def _partial_mlp(self, gather: StepGather, needed: Sequence[int], *, n_tokens: int, is_edited: bool) -> int | None:
        """Layer, to run the MLP of the last block on the tokens that are read above it only.

        None: these are not few, or something else reads the MLP.
        """
        if is_edited or not needed or len(needed) * MIN_SAVING >= n_tokens:
            return None
        return unread_mlp(gather.taps, self._model.architecture, model=self._model.module, stops=gather.stops)
