"""Capture-only requests: whole inputs batched by length, no cache, and no layer above the last one asked for."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Sequence
from itertools import groupby

import torch

from service.engine.activations.capture_buffer import stack_rows
from service.engine.activations.gather import GatherRequest, StepGather
from service.engine.activations.interventions import step_changes
from service.engine.activations.logit_lens import TokenRanker
from service.engine.attention.metadata import PackedMetadata, SequenceGroup
from service.engine.model.hooks import ForwardHooks, StopForward
from service.engine.model.hosted_model import HostedModel
from service.engine.model.partial_mlp import WORTH_IT, PartialMLP, top_layer
from service.engine.model.sites import Tap
from service.engine.prompts.registry import virtual_states
from service.engine.requests import Done, Event, Ranking, Tensors
from service.engine.scheduling.sequence import RequestState, SequenceState

# On a CPU the MLP's intermediate values of more tokens than this fall out of the cache: 2,048 took up to a fifth longer.
CPU_STEP_TOKENS = 1024


class CaptureRunner:
    """Rows that are only looked at. Those of one forward read the same sites, so that it can stop at the same depth."""

    def __init__(self, model: HostedModel, *, max_step_tokens: int, ranker: TokenRanker) -> None:
        self._model = model
        self._ranker = ranker
        on_cpu = model.device.type == "cpu"
        self._max_step_tokens = min(max_step_tokens, CPU_STEP_TOKENS) if on_cpu else max_step_tokens
        self._rows: deque[SequenceState] = deque()
        self._seconds_per_token_layer: float | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, job: RequestState) -> None:
        """Queue a job's rows by length: rows of equal length attend together."""
        self._rows.extend(sorted(job.rows, key=lambda row: row.n_input))

    def remove(self, job: RequestState) -> None:
        self._rows = deque(row for row in self._rows if row.job is not job)

    def next_rows(self) -> list[SequenceState]:
        """Rows for one forward, in the order of waiting, up to the step's budget of tokens."""
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
        """Seconds that one token takes in one layer, as seen lately; measured once if nothing has run yet."""
        if self._seconds_per_token_layer is None:
            n = min(128, self._model.n_positions)
            plan = PackedMetadata([SequenceGroup(0, 1, n, None)])
            began = time.perf_counter()
            with torch.inference_mode():
                self._model.forward(plan, ids=torch.zeros(n, dtype=torch.long), positions=plan.positions)
            self._seconds_per_token_layer = (time.perf_counter() - began) / (n * self._model.architecture.n_layers)
        return self._seconds_per_token_layer

    def run(self, rows: Sequence[SequenceState]) -> list[Event]:
        """One forward for ``rows``; the jobs that it completes."""
        began = time.perf_counter()
        rows = sorted(rows, key=lambda row: (row.n_input, id(row.prompt)))
        offsets = _offsets(rows)
        wants = [
            GatherRequest(
                capture,
                offset,
                row.n_input,
                tuple(offset + p for p in capture.select(0, row.n_input, n_input=row.n_input)),
            )
            for row, offset in zip(rows, offsets, strict=True)
            if (capture := row.capture) is not None
        ]
        self._forward(rows, offsets, wants)
        self._note_speed(rows, time.perf_counter() - began)
        finished: list[Event] = []
        for row in rows:
            row.n_read = row.n_input
            row.job.n_open -= 1
            if row.job.n_open == 0:
                result = capture_result(self._model, row.job, ranker=self._ranker)
                finished.append(Done(request_id=row.job.request_id, result=result))
        return finished

    def _forward(self, rows: Sequence[SequenceState], offsets: Sequence[int], wants: Sequence[GatherRequest]) -> None:
        logits_wanted = any(tap.kind == "logits" for tap in taps_of(rows[0]))
        kept = sorted({i for want in wants for i in want.chosen}) if logits_wanted else []
        logit_rows = {packed: i for i, packed in enumerate(kept)}
        reads = StepGather(wants, logit_rows=logit_rows, rank=self._ranker.rank)
        if not reads.taps:
            return
        struck = [
            (offset, *hit)
            for row, offset in zip(rows, offsets, strict=True)
            if row.edits is not None
            for hit in row.edits.strike(0, row.n_input)
        ]
        observer = ForwardHooks(
            self._model.module,
            self._model.architecture,
            reads=reads.taps,
            on_read=reads.on_read,
            changes=step_changes(struck, logit_rows=logit_rows),
            stop=True,
        )
        plan = PackedMetadata(
            _groups(rows, offsets),
            on_probabilities=reads.on_probabilities,
            probability_layers=reads.probability_layers,
            on_probabilities_done=observer.probabilities_done,
        )
        ids = torch.tensor([t for row in rows for t in row.ids], dtype=torch.long)
        with self._top_mlp(wants, len(ids), edited=bool(struck)), observer, contextlib.suppress(StopForward):
            self._model.forward(plan, ids=ids, positions=plan.positions, logits_at=torch.tensor(kept, dtype=torch.long))
        reads.flush()

    def _top_mlp(
        self, wants: Sequence[GatherRequest], n_tokens: int, *, edited: bool
    ) -> contextlib.AbstractContextManager[object]:
        """Runs the last needed MLP on the chosen tokens only, where nothing else depends on it and there are few of them."""
        chosen = [i for want in wants for i in want.chosen]
        layer = top_layer(wants[0].capture.taps)
        if edited or layer is None or len(chosen) * WORTH_IT >= n_tokens:
            return contextlib.nullcontext()
        return PartialMLP(self._model.architecture.mlps[layer], sorted(set(chosen)))

    def _note_speed(self, rows: Sequence[SequenceState], seconds: float) -> None:
        n_tokens = sum(row.n_input for row in rows)
        speed = seconds / (n_tokens * n_layers_needed(taps_of(rows[0]), n_layers=self._model.architecture.n_layers))
        known = self._seconds_per_token_layer
        self._seconds_per_token_layer = speed if known is None else 0.7 * known + 0.3 * speed


def capture_result(model: HostedModel, job: RequestState, *, ranker: TokenRanker) -> Tensors:
    """The response of a job whose rows have all been read."""
    captures = [row.capture for row in job.rows if row.capture is not None]
    reduce = captures[0].spec.reduce
    if job.prompt is not None and captures[0].n_virtual:
        for tap, states in virtual_states(model, job.prompt.prompt, captures[0].taps).items():
            virtual = ranker.rank(states, reduce) if isinstance(reduce, Ranking) else states
            for capture in captures:
                capture.put_virtual(tap, virtual)
    tensors = stack_rows(captures, model.catalogue, token_ids=[row.ids for row in job.rows])
    return Tensors(tensors=tensors, metadata=ranker.metadata(tensors, reduce) if isinstance(reduce, Ranking) else {})


def n_layers_needed(taps: Sequence[Tap], *, n_layers: int) -> int:
    """Blocks that must run for these taps, for predicting time; a module path counts by the number in it."""
    needed = 1
    for tap in taps:
        if tap.layer is not None:
            needed = max(needed, tap.layer + 1)
        elif tap.kind != "embed":
            numbers = [int(part) for part in (tap.path or "").split(".") if part.isdecimal()]
            needed = max(needed, numbers[0] + 1 if numbers else n_layers)
    return needed


def ranking_layers(job: RequestState, *, model: HostedModel) -> float:
    """What ranking the vocabulary for all of a job's rows costs, in tokens times blocks: a block has about 12·d² weights."""
    captures = [row.capture for row in job.rows if row.capture is not None]
    if not captures or not isinstance(captures[0].spec.reduce, Ranking):
        return 0.0
    n_states = sum(capture.n_rows * len(capture.taps) for capture in captures)
    return n_states * model.catalogue.vocab_size / (12 * model.d_model)


def taps_of(row: SequenceState) -> tuple[Tap, ...]:
    """What is read of a row; nothing if it captures nothing."""
    return row.capture.taps if row.capture is not None else ()


def _offsets(rows: Sequence[SequenceState]) -> list[int]:
    offsets, total = [], 0
    for row in rows:
        offsets.append(total)
        total += row.n_input
    return offsets


def _groups(rows: Sequence[SequenceState], offsets: Sequence[int]) -> list[SequenceGroup]:
    groups = []
    pairs = zip(rows, offsets, strict=True)
    for (length, _), members in groupby(pairs, key=lambda pair: (pair[0].n_input, id(pair[0].prompt))):
        alike = list(members)
        prompt = alike[0][0].prompt
        groups.append(SequenceGroup(alike[0][1], len(alike), length, prompt.compiled if prompt is not None else None))
    return groups
