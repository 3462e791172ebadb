"""Generation runner: one step of the continuous batch reads scheduled tokens, chooses the next ones, and reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch

from service.engine.activations.capture_buffer import stack_rows
from service.engine.activations.logit_lens import TokenRanker
from service.engine.attention.batch_metadata import BatchMetadata
from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import SiteCatalogue
from service.engine.requests import Done, Event, FinishReason, Generate, Ranking, RowDone, Tensors
from service.engine.sampling.choice import choose, token_logprobs
from service.engine.scheduling.capture_runner import capture_result
from service.engine.scheduling.mixture import row_logits
from service.engine.scheduling.model_runner import LogitRows, ModelRunner, gather_requests
from service.engine.scheduling.output_processor import OutputProcessor
from service.engine.scheduling.recorder import Recorder
from service.engine.scheduling.scheduler import ScheduledTokens, Scheduler
from service.engine.scheduling.sequence import RequestState, SequenceState
from service.engine.shapes import Tensor
from service.engine.transfers import to_device, to_host


class GenerationRunner:
    """Runs the scheduled rows of one model."""

    def __init__(
        self,
        model: HostedModel,
        scheduler: Scheduler,
        *,
        model_runner: ModelRunner,
        output_processor: OutputProcessor,
        ranker: TokenRanker,
        recorder: Recorder,
    ) -> None:
        self._model = model
        self._scheduler = scheduler
        self._model_runner = model_runner
        self._output_processor = output_processor
        self._ranker = ranker
        self._recorder = recorder

    def step(self, scheduled: Sequence[ScheduledTokens]) -> list[Event]:
        """Run one forward for ``scheduled``, which comes from ``Scheduler.plan``."""
        rows = LogitRows([i for part in scheduled for i in _logits_needed(part)])
        logits = self._forward(scheduled, rows)
        for part in scheduled:
            if part.row.scores_input and not part.row.is_decoding:
                self._output_processor.score_input(part.row, logits[rows.all(part)], begin=part.begin)
        at = [rows.last(part) for part in scheduled]
        self._scheduler.advance(scheduled)
        self._choose([part.row for part in scheduled], at, logits)
        events = [event for part in scheduled for event in self._report(part.row)]
        self._scheduler.remove(lambda row: row.is_over)
        return events

    def _forward(self, scheduled: Sequence[ScheduledTokens], rows: LogitRows) -> Tensor:
        gather = self._model_runner.gather(gather_requests(scheduled), logits=rows)
        metadata = BatchMetadata(
            self._scheduler.cache,
            self._scheduler.spans(scheduled),
            n_decode=self._scheduler.n_decoding,
            reads=gather.attention_reads,
        )
        return self._model_runner.run(metadata, scheduled, gather=gather, logits=rows)

    def _choose(self, rows: Sequence[SequenceState], at: Sequence[int | None], logits: Tensor) -> None:
        """Choose next tokens for the rows whose tokens have all been read; ``at``: rows of the logits."""
        choosing = [
            (row, i) for row, i in zip(rows, at, strict=True) if i is not None and row.needs_token and row.sampler
        ]
        if not choosing:
            return
        logits = row_logits(logits, choosing, at={id(row): i for row, i in zip(rows, at, strict=True)})
        chosen = choose(logits, [row.sampler for row, _ in choosing if row.sampler is not None])
        for (row, _), token in zip(choosing, self._to_host([row for row, _ in choosing], logits, chosen), strict=True):
            for member in row.members:
                member.ids.append(token)
            assert row.sampler is not None
            row.sampler.observe(token)
            row.finish_reason = self._output_processor.take_token(row, token) or self._finish_reason(row, token)
            for follower in row.followers:
                follower.finish_reason = row.finish_reason
        self._recorder.chose([row for row, _ in choosing])

    def _to_host(self, rows: Sequence[SequenceState], logits: Tensor, chosen: Tensor) -> list[int]:
        """The chosen tokens; they and their log-probabilities, which are reported, leave the device in one copy."""
        scored = [i for i, row in enumerate(rows) if _is_scored(row)]
        if not scored:
            return _ids(to_host([chosen])[0])
        n_top = max(max(_n_top(rows[i]) or 0, _n_top_tokens(rows[i]) or 0) for i in scored)
        of_scored = chosen
        if len(scored) < len(rows):
            index = to_device(logits.device, [torch.tensor(scored)])[0]
            logits, of_scored = logits[index], chosen[index]
        tokens, logprobs, top_ids, top = to_host([chosen, *token_logprobs(logits, of_scored, n_top)])
        found, values = _ids(tokens), logprobs.tolist()
        for k, i in enumerate(scored):
            self._score(rows[i], found[i], logprob=values[k], top_ids=top_ids[k], top=top[k])
        return found

    def _score(self, row: SequenceState, token: int, *, logprob: float, top_ids: Tensor, top: Tensor) -> None:
        row.logprobs.append(logprob)
        if (n := _n_top_tokens(row)) is not None:
            row.top_tokens.append((logprob, top_ids[:n], top[:n]))
        if (n := _n_top(row)) is not None:
            best = list(zip(top_ids[:n].tolist(), top[:n].tolist(), strict=True))
            self._output_processor.score_token(row, token, logprob, best)

    def _finish_reason(self, row: SequenceState, token: int) -> FinishReason | None:
        if token in row.ending_ids:
            return "stop"
        return "length" if row.n_generated >= row.max_tokens else None

    def _report(self, row: SequenceState) -> list[Event]:
        if row.is_follower:
            if row.max_tokens == 0 and row.n_pending == 0:
                row.finish_reason = "length"
            return []
        if row.finish_reason is None:
            if not row.is_streamed and row.max_tokens:
                return []  # most rows of most steps
            if row.max_tokens == 0 and row.n_pending == 0:
                row.finish_reason = "length"
        state = row.request_state
        events: list[Event] = []
        if isinstance(state.request, Generate):
            events += self._output_processor.deltas(row)
            if row.is_over:
                events.append(_row_done(row))
        if row.is_over:
            self._recorder.ended(row)
            state.n_open -= 1
            if state.n_open == 0:
                events.append(Done(request_id=state.request_id, result=self._result(state)))
        return events

    def _result(self, state: RequestState) -> Tensors | None:
        request = state.request
        if not isinstance(request, Generate):
            return capture_result(self._model, state, ranker=self._ranker)
        if request.capture is None:
            return None
        result = trajectory_result(state, self._model.catalogue)
        reduce = request.capture.reduce
        if not isinstance(reduce, Ranking):
            return result
        return replace(result, metadata={**result.metadata, **self._ranker.metadata(result.tensors, reduce)})


def _ids(tokens: Tensor) -> list[int]:
    return [int(token_id) for token_id in tokens.tolist()]


def _row_done(row: SequenceState) -> RowDone:
    return RowDone(
        request_id=row.request_state.request_id,
        row=row.index,
        finish_reason=row.finish_reason or "length",
        n_input=row.n_input,
        n_generated=row.n_generated,
    )


def _logits_needed(part: ScheduledTokens) -> list[int]:
    """Packed indices: all where logits of the input are captured or scored, the last one where a next token is chosen."""
    row = part.row
    captures = row.capture is not None and any(tap.kind == "logits" for tap in row.capture.taps)
    if captures or (row.scores_input and not row.is_decoding):
        return list(range(part.offset, part.offset + part.n_new))
    return [part.offset + part.n_new - 1] if part.reaches_end and row.needs_token else []


def _n_top(row: SequenceState) -> int | None:
    """Number of alternatives to report; None: no log-probabilities."""
    request = row.request_state.request
    return request.logprobs if isinstance(request, Generate) else None


def _n_top_tokens(row: SequenceState) -> int | None:
    """Number of most probable tokens to return as tensors; None: no tensors."""
    request = row.request_state.request
    return request.top_tokens if isinstance(request, Generate) else None


def _is_scored(row: SequenceState) -> bool:
    return row.capture is not None or _n_top(row) is not None or _n_top_tokens(row) is not None


def _reported(row: SequenceState) -> SequenceState:
    """The row that has the text and the log-probabilities: the row itself, or the leader of its ensemble."""
    return row.leader or row


def trajectory_result(state: RequestState, catalogue: SiteCatalogue) -> Tensors:
    """All trajectories, with ``generated``, ``logprobs`` (NaN where not generated), and a summary of each in the metadata."""
    rows = [member for row in state.rows for member in row.members]
    captures = [row.capture for row in rows if row.capture is not None]
    tensors = stack_rows(captures, catalogue, token_ids=[row.ids for row in rows])
    at = [(row, position) for row, capture in zip(rows, captures, strict=True) for position in capture.positions]
    tensors["generated"] = torch.tensor([p >= row.n_input for row, p in at], dtype=torch.bool)
    tensors["logprobs"] = torch.tensor(
        [_reported(row).logprobs[p - row.n_input] if p >= row.n_input else float("nan") for row, p in at],
        dtype=torch.float32,
    )
    inputs = [
        {
            "text": stream.text if (stream := _reported(row).text) is not None else "",
            "finish_reason": row.finish_reason,
            "n_input": row.n_input,
            "n_generated": row.n_generated,
        }
        for row in rows
    ]
    return Tensors(tensors=tensors, metadata={"inputs": cast(object, inputs)})
