"""One step of the continuous batch: read each row's share of tokens, choose next ones, report."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch

from service.engine.activations.capture_buffer import stack_rows
from service.engine.activations.gather import GatherRequest, StepGather
from service.engine.activations.interventions import step_changes
from service.engine.activations.logit_lens import TokenRanker
from service.engine.attention.metadata import BatchMetadata
from service.engine.model.hooks import ForwardHooks
from service.engine.model.hosted_model import HostedModel
from service.engine.model.partial_mlp import WORTH_IT, PartialMLP
from service.engine.model.sites import SiteCatalogue
from service.engine.requests import Done, Event, FinishReason, Generate, Ranking, RowDone, Tensors
from service.engine.scheduling.capture_runner import capture_result
from service.engine.scheduling.output_processor import OutputProcessor
from service.engine.scheduling.sampler import choose, token_logprobs
from service.engine.scheduling.scheduler import ScheduledTokens, Scheduler
from service.engine.scheduling.sequence import RequestState, SequenceState
from service.engine.shapes import Tensor


class GenerationRunner:
    """Drives the running rows of one model."""

    def __init__(
        self,
        model: HostedModel,
        running: Scheduler,
        *,
        reporter: OutputProcessor,
        eos_ids: frozenset[int],
        ranker: TokenRanker,
    ) -> None:
        self._model = model
        self._ranker = ranker
        self._running = running
        self._reporter = reporter
        self._eos_ids = eos_ids

    def step(self, shares: Sequence[ScheduledTokens]) -> list[Event]:
        """One forward for ``shares``, which the rows have planned."""
        kept = _LogitRows(shares)
        logits = self._forward(shares, kept)
        events: list[Event] = []
        for share in shares:
            if share.row.scores_input and not share.row.is_decoding:
                self._reporter.score_input(share.row, logits[kept.of_share(share)], begin=share.begin)
        at = [kept.last(share) for share in shares]
        self._running.advance(shares)
        self._choose([share.row for share in shares], at, logits)
        for share in shares:
            events += self._report(share.row)
        self._running.remove(lambda row: row.is_over)
        return events

    def _forward(self, shares: Sequence[ScheduledTokens], kept: _LogitRows) -> Tensor:
        spans = self._running.spans(shares)
        wants = [w for share in shares if (w := _want(share)) is not None]
        reads = StepGather(wants, logit_rows=kept.by_packed, rank=self._ranker.rank)
        struck = [
            (share.offset, *hit)
            for share in shares
            if share.row.edits is not None
            for hit in share.row.edits.strike(share.begin, share.end)
        ]
        plan = BatchMetadata(
            self._running.cache,
            spans,
            n_decode=self._running.n_decoding,
            on_probabilities=reads.on_probabilities,
            probability_layers=reads.probability_layers,
        )
        observer = ForwardHooks(
            self._model.module,
            self._model.architecture,
            reads=reads.taps,
            on_read=reads.on_read,
            changes=step_changes(struck, logit_rows=kept.by_packed),
        )
        ids = torch.tensor([t for s in shares for t in s.row.ids[s.begin : s.end]], dtype=torch.long)
        top_mlp = self._top_mlp(kept, len(ids), reads=reads, edited=bool(struck))
        with top_mlp, observer:
            logits = self._model.forward(plan, ids=ids, positions=plan.positions, logits_at=kept.packed)
        reads.flush()
        return logits

    def _top_mlp(
        self, kept: _LogitRows, n_tokens: int, *, reads: StepGather, edited: bool
    ) -> contextlib.AbstractContextManager[object]:
        """While inputs are read, only the tokens with logits need the last block's MLP, if nobody looks at the others."""
        last = self._model.architecture.n_layers - 1
        looked_at = any(tap.layer == last or (tap.layer is None and tap.kind != "embed") for tap in reads.taps)
        n_kept = len(kept.by_packed)
        if edited or looked_at or n_kept == 0 or n_kept * WORTH_IT >= n_tokens:
            return contextlib.nullcontext()
        return PartialMLP(self._model.architecture.mlps[last], list(kept.by_packed))

    def _choose(self, rows: Sequence[SequenceState], at: Sequence[int | None], logits: Tensor) -> None:
        """Next tokens of the rows whose known tokens have all been read."""
        choosing = [
            (row, i) for row, i in zip(rows, at, strict=True) if i is not None and row.wants_token and row.sampler
        ]
        if not choosing:
            return
        index = [i for _, i in choosing]
        own = logits if index == list(range(len(logits))) else logits[torch.tensor(index, device=logits.device)]
        tokens = choose(own, [row.sampler for row, _ in choosing if row.sampler is not None])
        self._score(choosing, own, tokens)
        for (row, _), token in zip(choosing, tokens, strict=True):
            row.ids.append(token)
            assert row.sampler is not None
            row.sampler.observe(token)
            row.finish_reason = self._reporter.take_token(row, token) or self._ending(row, token)

    def _score(self, choosing: Sequence[tuple[SequenceState, int]], logits: Tensor, tokens: Sequence[int]) -> None:
        scored = [(i, row) for i, (row, _) in enumerate(choosing) if row.capture is not None or _n_top(row) is not None]
        if not scored:
            return
        n_top = max(_n_top(row) or 0 for _, row in scored)
        chosen = torch.tensor([tokens[i] for i, _ in scored], device=logits.device)
        if len(scored) < len(logits):
            logits = logits[torch.tensor([i for i, _ in scored], device=logits.device)]
        logprobs, top_ids, top = token_logprobs(logits, chosen, n_top)
        values, ids, tops = logprobs.tolist(), top_ids.tolist(), top.tolist()
        for k, (_, row) in enumerate(scored):
            row.logprobs.append(values[k])
            if (n := _n_top(row)) is not None:
                self._reporter.score_token(
                    row, int(chosen[k]), values[k], list(zip(ids[k][:n], tops[k][:n], strict=True))
                )

    def _ending(self, row: SequenceState, token: int) -> FinishReason | None:
        if token in self._eos_ids:
            return "stop"
        return "length" if row.n_generated >= row.max_tokens else None

    def _report(self, row: SequenceState) -> list[Event]:
        if row.finish_reason is None:
            if not row.is_streamed and row.max_tokens:
                return []  # most rows of most steps
            if row.max_tokens == 0 and row.n_pending == 0:
                row.finish_reason = "length"
        if isinstance(row.job.request, Generate):
            events: list[Event] = list(self._reporter.deltas(row))
            if row.is_over:
                events.append(
                    RowDone(
                        request_id=row.job.request_id,
                        row=row.index,
                        finish_reason=row.finish_reason or "length",
                        n_input=row.n_input,
                        n_generated=row.n_generated,
                    )
                )
        else:
            events = []
        if row.is_over:
            row.job.n_open -= 1
            if row.job.n_open == 0:
                events.append(Done(request_id=row.job.request_id, result=self._result(row.job)))
        return events

    def _result(self, job: RequestState) -> Tensors | None:
        if not isinstance(job.request, Generate):
            return capture_result(self._model, job, ranker=self._ranker)
        if job.request.capture is None:
            return None
        found = trajectory_result(job, self._model.catalogue)
        reduce = job.request.capture.reduce
        if not isinstance(reduce, Ranking):
            return found
        return replace(found, metadata={**found.metadata, **self._ranker.metadata(found.tensors, reduce)})


class _LogitRows:
    """Which packed tokens need logits: each share's last where a next token is chosen, all where input or logits are wanted."""

    def __init__(self, shares: Sequence[ScheduledTokens]) -> None:
        wanted: list[int] = []
        for share in shares:
            wanted += _logits_of(share)
        self.by_packed = {packed: i for i, packed in enumerate(wanted)}
        self.packed = torch.tensor(wanted, dtype=torch.long)

    def last(self, share: ScheduledTokens) -> int | None:
        """Row of the logits behind the share's last token, if the share reaches the row's end."""
        return self.by_packed.get(share.offset + share.n_new - 1) if share.reaches_end else None

    def of_share(self, share: ScheduledTokens) -> slice:
        first = self.by_packed[share.offset]
        return slice(first, first + share.n_new)


def _logits_of(share: ScheduledTokens) -> list[int]:
    row = share.row
    captures = row.capture is not None and any(tap.kind == "logits" for tap in row.capture.taps)
    if captures or (row.scores_input and not row.is_decoding):
        return list(range(share.offset, share.offset + share.n_new))
    return [share.offset + share.n_new - 1] if share.reaches_end and row.wants_token else []


def _want(share: ScheduledTokens) -> GatherRequest | None:
    capture = share.row.capture
    if capture is None:
        return None
    chosen = capture.select(share.begin, share.end, n_input=share.row.n_input)
    return GatherRequest(capture, share.offset, share.n_new, tuple(share.offset + p - share.begin for p in chosen))


def _n_top(row: SequenceState) -> int | None:
    request = row.job.request
    return request.logprobs if isinstance(request, Generate) else None


def trajectory_result(job: RequestState, catalogue: SiteCatalogue) -> Tensors:
    """All trajectories, with ``generated``, ``logprobs`` (NaN where not generated), and a summary of each in the metadata."""
    rows = job.rows
    captures = [row.capture for row in rows if row.capture is not None]
    tensors = stack_rows(captures, catalogue, token_ids=[row.ids for row in rows])
    at = [(row, position) for row, capture in zip(rows, captures, strict=True) for position in capture.positions]
    tensors["generated"] = torch.tensor([p >= row.n_input for row, p in at], dtype=torch.bool)
    tensors["logprobs"] = torch.tensor(
        [row.logprobs[p - row.n_input] if p >= row.n_input else float("nan") for row, p in at], dtype=torch.float32
    )
    inputs = [
        {
            "text": row.text.text if row.text is not None else "",
            "finish_reason": row.finish_reason,
            "n_input": row.n_input,
            "n_generated": row.n_generated,
        }
        for row in rows
    ]
    return Tensors(tensors=tensors, metadata={"inputs": cast(object, inputs)})
