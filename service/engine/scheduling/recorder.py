"""Recorder of one engine: when each sequence arrived, was admitted, got its tokens and ended.

It is called once a step with all rows that got a token, and costs some microseconds then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import chain

from service.engine.requests import Generate
from service.engine.scheduling.sequence import RequestState, SequenceState
from service.engine.statistics import HISTOGRAMS, EngineStatistics, FinishedReason, Histogram, RequestTimes


class Recorder:
    """Collects the statistics of one engine.

    Args:
        clock: monotonic seconds.

    Attributes:
        on_end: called with each request that has ended.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._histograms = {name: Histogram(bounds) for name, bounds in HISTOGRAMS.items()}
        self._first_token = self._histograms["time_to_first_token_seconds"]
        self._next_token = self._histograms["inter_token_latency_seconds"]
        self._step_tokens = self._histograms["iteration_tokens_total"]
        self._finished: dict[str, int] = {}
        self._n_prompt_tokens = 0
        self._n_generated = 0
        self.on_end: Callable[[RequestTimes], None] | None = None

    def arrived(self, state: RequestState, *, at_s: float | None) -> None:
        """A request was queued. at_s: when it reached the engine's process; now by default."""
        state.arrived_s = self._clock() if at_s is None else at_s
        state.n_unrecorded = len(state.rows)

    def admitted(self, rows: Sequence[SequenceState]) -> None:
        """Rows left the queue."""
        if rows:
            now_s = self._clock()
            for row in rows:
                row.admitted_s = now_s

    def read(self, *, n_tokens: int, n_prompt_tokens: int) -> None:
        """A forward begins. n_tokens: all its tokens; n_prompt_tokens: those of inputs."""
        self._step_tokens.observe(n_tokens)
        self._n_prompt_tokens += n_prompt_tokens

    def chose(self, rows: Sequence[SequenceState]) -> None:
        """Each of ``rows`` got a token."""
        now_s = self._clock()
        since: dict[float, int] = {}  # the rows of a step mostly got their last token in the same step
        for row in rows:
            last_s = row.last_token_s
            if last_s is None:
                row.first_token_s = now_s
                self._first_token.observe(now_s - row.request_state.arrived_s)
            else:
                since[last_s] = since.get(last_s, 0) + 1
            row.last_token_s = now_s
        for last_s, n in since.items():
            self._next_token.observe(now_s - last_s, n=n)
        self._n_generated += len(rows)

    def ended(self, row: SequenceState) -> None:
        """A row has ended by itself."""
        now_s, state = self._clock(), row.request_state
        observe = self._observe
        admitted_s = now_s if row.admitted_s is None else row.admitted_s
        first_s, last_s = row.first_token_s, row.last_token_s
        observe("e2e_request_latency_seconds", now_s - state.arrived_s)
        observe("request_queue_time_seconds", admitted_s - state.arrived_s)
        observe("request_inference_time_seconds", (now_s if last_s is None else last_s) - admitted_s)
        observe("request_prefill_time_seconds", (now_s if first_s is None else first_s) - admitted_s)
        observe("request_prompt_tokens", row.n_input)
        if first_s is not None and last_s is not None:
            observe("request_decode_time_seconds", last_s - first_s)
            if row.n_generated > 1:
                observe("request_time_per_output_token_seconds", (last_s - first_s) / (row.n_generated - 1))
        if isinstance(state.request, Generate):
            observe("request_generation_tokens", row.n_generated)
        row.prefilled_s = now_s if first_s is None else first_s
        self._end(row, _reason_of(row), now_s=now_s)

    def dropped(self, state: RequestState, reason: FinishedReason) -> None:
        """A request was cancelled or has failed: its remaining rows end. Their times are not observed."""
        now_s = self._clock()
        for row in state.rows:
            if row.finished_reason is None:
                row.prefilled_s = row.first_token_s
                self._end(row, reason, now_s=now_s)

    def snapshot(self) -> EngineStatistics:
        """The statistics so far."""
        return EngineStatistics(
            prompt_tokens=self._n_prompt_tokens,
            generation_tokens=self._n_generated,
            finished=dict(self._finished),
            counts=tuple(chain.from_iterable(histogram.counts for histogram in self._histograms.values())),
            totals=tuple(histogram.total for histogram in self._histograms.values()),
        )

    def _observe(self, name: str, value: float) -> None:
        self._histograms[name].observe(value)

    def _end(self, row: SequenceState, reason: FinishedReason, *, now_s: float) -> None:
        row.finished_reason = reason
        self._finished[reason] = self._finished.get(reason, 0) + 1
        state = row.request_state
        state.n_unrecorded -= 1
        if state.n_unrecorded == 0:
            self._end_request(state, now_s=now_s)

    def _end_request(self, state: RequestState, *, now_s: float) -> None:
        request = state.request
        if isinstance(request, Generate) and all(row.finished_reason in ("stop", "length") for row in state.rows):
            self._observe("request_max_num_generation_tokens", max(row.n_generated for row in state.rows))
            self._observe("request_params_n", request.n)
            self._observe("request_params_max_tokens", request.max_tokens)
        if self.on_end is not None:
            self.on_end(_times_of(state, now_s=now_s))


def _reason_of(row: SequenceState) -> FinishedReason:
    if not isinstance(row.request_state.request, Generate):
        return "capture"
    return row.finish_reason or "length"


def _times_of(state: RequestState, *, now_s: float) -> RequestTimes:
    rows = state.rows
    prefilled = [row.prefilled_s for row in rows if row.prefilled_s is not None]
    return RequestTimes(
        request_id=state.request_id,
        arrived_s=state.arrived_s,
        admitted_s=min((row.admitted_s for row in rows if row.admitted_s is not None), default=None),
        first_token_s=min((row.first_token_s for row in rows if row.first_token_s is not None), default=None),
        prefilled_s=max(prefilled) if len(prefilled) == len(rows) else None,
        ended_s=now_s,
        n_input=sum(state.input_lengths),
        n_generated=sum(row.n_generated for row in rows),
        reasons=tuple(row.finished_reason for row in rows if row.finished_reason is not None),
    )
