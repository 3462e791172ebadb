"""Capture runner: inputs of captures, batched by length, without a cache and without layers above the last tap."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from itertools import groupby

import torch

from service.engine.activations.capture_buffer import stack_rows
from service.engine.activations.logit_lens import TokenRanker
from service.engine.attention.metadata import PackedMetadata, SequenceGroup
from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.prompts.registry import virtual_states
from service.engine.requests import Done, Event, Ranking, Tensors
from service.engine.scheduling.model_runner import LogitRows, ModelRunner, gather_requests
from service.engine.scheduling.recorder import Recorder
from service.engine.scheduling.scheduler import ScheduledTokens
from service.engine.scheduling.sequence import RequestState, SequenceState

# On a CPU, the MLP's intermediate values of more tokens do not fit the cache: 2,048 tokens took up to a fifth longer.
CPU_STEP_TOKENS = 1024


class CaptureRunner:
    """Runs rows that are only captured. The rows of one forward have the same taps, so that it stops at the same depth."""

    def __init__(
        self,
        model: HostedModel,
        *,
        max_step_tokens: int,
        model_runner: ModelRunner,
        ranker: TokenRanker,
        recorder: Recorder,
    ) -> None:
        self._model = model
        self._model_runner = model_runner
        self._ranker = ranker
        self._recorder = recorder
        on_cpu = model.device.type == "cpu"
        self._max_step_tokens = min(max_step_tokens, CPU_STEP_TOKENS) if on_cpu else max_step_tokens
        self._rows: deque[SequenceState] = deque()
        self._seconds_per_token_layer: float | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, state: RequestState) -> None:
        """Queue a request's rows by length: rows of equal length attend together."""
        self._rows.extend(sorted(state.rows, key=lambda row: row.n_input))

    def remove(self, state: RequestState) -> None:
        self._rows = deque(row for row in self._rows if row.request_state is not state)

    def next_rows(self) -> list[SequenceState]:
        """Rows for one forward, in the order of the queue, up to the step's budget of tokens."""
        rows: list[SequenceState] = []
        n_tokens = 0
        while self._rows:
            row = self._rows[0]
            if rows and (n_tokens + row.n_input > self._max_step_tokens or taps_of(row) != taps_of(rows[0])):
                break
            rows.append(self._rows.popleft())
            n_tokens += row.n_input
        return rows

    def speed(self) -> float:
        """Seconds per token and layer: a running mean, or one measurement if nothing has run yet."""
        if self._seconds_per_token_layer is None:
            n = min(128, self._model.n_positions)
            metadata = PackedMetadata([SequenceGroup(0, 1, n, None)])
            start = time.perf_counter()
            with torch.inference_mode():
                self._model.forward(metadata, ids=torch.zeros(n, dtype=torch.long), positions=metadata.positions)
            self._seconds_per_token_layer = (time.perf_counter() - start) / (n * self._model.architecture.n_layers)
        return self._seconds_per_token_layer

    def run(self, rows: Sequence[SequenceState]) -> list[Event]:
        """Run one forward for ``rows``; returns the results of the requests that it completes."""
        start = time.perf_counter()
        scheduled = _schedule(rows)
        self._forward(scheduled)
        self._note_speed(rows, time.perf_counter() - start)
        finished: list[Event] = []
        for part in scheduled:
            row, state = part.row, part.row.request_state
            row.n_read = row.n_input
            self._recorder.ended(row)
            state.n_open -= 1
            if state.n_open == 0:
                result = capture_result(self._model, state, ranker=self._ranker)
                finished.append(Done(request_id=state.request_id, result=result))
        return finished

    def _forward(self, scheduled: Sequence[ScheduledTokens]) -> None:
        requests = gather_requests(scheduled)
        reads_logits = any(tap.kind == "logits" for tap in taps_of(scheduled[0].row))
        logits = LogitRows([i for request in requests for i in request.chosen] if reads_logits else [])
        gather = self._model_runner.gather(requests, logits=logits, stops=True)
        if gather.taps:
            metadata = PackedMetadata(_groups(scheduled), reads=gather.attention_reads)
            self._model_runner.run(metadata, scheduled, gather=gather, logits=logits)

    def _note_speed(self, rows: Sequence[SequenceState], seconds: float) -> None:
        n_tokens = sum(row.n_input for row in rows)
        speed = seconds / (n_tokens * n_layers_needed(taps_of(rows[0]), n_layers=self._model.architecture.n_layers))
        known = self._seconds_per_token_layer
        self._seconds_per_token_layer = speed if known is None else 0.7 * known + 0.3 * speed


def capture_result(model: HostedModel, state: RequestState, *, ranker: TokenRanker) -> Tensors:
    """The response of a request whose rows have all been read."""
    captures = [row.capture for row in state.rows if row.capture is not None]
    reduce = captures[0].spec.reduce
    for k, prompt in enumerate(state.prompts):
        if prompt is None or not captures[k].n_virtual:
            continue
        for tap, states in virtual_states(model, prompt.prompt, captures[k].taps).items():
            virtual = ranker.rank(states, reduce) if isinstance(reduce, Ranking) else states
            for capture in captures[k :: len(state.prompts)]:
                capture.set_virtual(tap, virtual)
    tensors = stack_rows(captures, model.catalogue, token_ids=[row.ids for row in state.rows])
    return Tensors(tensors=tensors, metadata=ranker.metadata(tensors, reduce) if isinstance(reduce, Ranking) else {})


def n_layers_needed(taps: Sequence[Tap], *, n_layers: int) -> int:
    """Number of blocks that must run for these taps, for time estimates; a module path counts by the first number in it."""
    needed = 1
    for tap in taps:
        if tap.layer is not None:
            needed = max(needed, tap.layer + 1)
        elif tap.is_after_blocks:
            numbers = [int(part) for part in (tap.path or "").split(".") if part.isdecimal()]
            needed = max(needed, numbers[0] + 1 if numbers else n_layers)
    return needed


def ranking_layers(state: RequestState, *, model: HostedModel) -> float:
    """Cost of ranking the vocabulary for all rows of a request, in tokens times blocks. A block has about 12·d² weights."""
    captures = [row.capture for row in state.rows if row.capture is not None]
    if not captures or not isinstance(captures[0].spec.reduce, Ranking):
        return 0.0
    n_states = sum(capture.n_rows * len(capture.taps) for capture in captures)
    return n_states * model.catalogue.vocab_size / (12 * model.d_model)


def taps_of(row: SequenceState) -> tuple[Tap, ...]:
    """The taps of a row; none if it captures nothing."""
    return row.capture.taps if row.capture is not None else ()


def _schedule(rows: Sequence[SequenceState]) -> list[ScheduledTokens]:
    """All tokens of the rows, with rows of equal length and prompt next to each other."""
    scheduled, offset = [], 0
    for row in sorted(rows, key=lambda row: (row.n_input, id(row.prompt))):
        scheduled.append(ScheduledTokens(row, offset, row.n_input))
        offset += row.n_input
    return scheduled


def _groups(scheduled: Sequence[ScheduledTokens]) -> list[SequenceGroup]:
    groups = []
    for (length, _), members in groupby(scheduled, key=lambda part: (part.n_new, id(part.row.prompt))):
        alike = list(members)
        prompt = alike[0].row.prompt
        groups.append(
            SequenceGroup(alike[0].offset, len(alike), length, prompt.compiled if prompt is not None else None)
        )
    return groups
