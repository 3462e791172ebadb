"""One model, one continuous batch of completions, trajectories and captures.

Single-threaded: whoever drives ``step`` also submits and cancels. Knows no HTTP, no Redis and no paths.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Sequence

import torch

from service.engine.activations.logit_lens import TokenRanker
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.cache import PromptCache
from service.engine.prompts.prompt import Prompt
from service.engine.requests import Capture, Estimate, Event, Failed, Generate, Limits
from service.engine.scheduling.capture_runner import CaptureRunner, n_layers_needed, ranking_layers, taps_of
from service.engine.scheduling.detokenizer import Detokenizer
from service.engine.scheduling.generation_runner import GenerationRunner
from service.engine.scheduling.input_processor import InputProcessor
from service.engine.scheduling.output_processor import OutputProcessor
from service.engine.scheduling.scheduler import Scheduler
from service.engine.scheduling.sequence import RequestState, SequenceState
from service.errors import AtlasError, Busy, EngineFault, InvalidRequest, TooLarge, Unavailable

logger = logging.getLogger(__name__)


class Engine:
    """Serves requests of one model.

    Args:
        load_prompt: sha256 → the stored prompt; may raise NotFound or DamagedArtifact.
    """

    def __init__(self, model: HostedModel, *, limits: Limits, load_prompt: Callable[[str], Prompt]) -> None:
        self.model = model
        self._limits = limits
        detokenizer = Detokenizer(model.tokenizer) if model.tokenizer is not None else None
        self._prompts = PromptCache(model, load=load_prompt, max_bytes=limits.prompt_cache_bytes)
        ranker = TokenRanker(model, detokenizer=detokenizer)
        self._intake = InputProcessor(
            model, limits=limits, prompts=self._prompts, detokenizer=detokenizer, ranker=ranker
        )
        self._running = Scheduler(model.kv_shape, limits=limits)
        self._captures = CaptureRunner(model, max_step_tokens=limits.max_step_tokens, ranker=ranker)
        self._generation = GenerationRunner(
            model, self._running, reporter=OutputProcessor(detokenizer), eos_ids=_eos_ids(model), ranker=ranker
        )
        self._jobs: dict[str, RequestState] = {}
        self._n_steps = 0
        self._n_tokens = 0

    def submit(self, request: Generate | Capture) -> None:
        """Queue a request; nothing runs before the next ``step``.

        Raises:
            InvalidRequest, NotFound, DamagedArtifact: it cannot be done as asked.
            TooLarge: its answer, or its keys and values, are over a limit.
            Busy: the queue is full.
        """
        if request.request_id in self._jobs:
            raise InvalidRequest("a request with this id is already running.")
        n_rows = self._n_rows(request)
        if self._n_waiting + n_rows > self._limits.max_waiting and self._n_waiting > 0:
            raise Busy(f"{self._n_waiting} sequences are waiting already.", retry_after_s=1.0)
        with torch.inference_mode():
            job = self._intake.generate(request) if isinstance(request, Generate) else self._intake.capture(request)
        self._enqueue(job)
        self._jobs[request.request_id] = job

    def cancel(self, request_id: str) -> None:
        """Drop a request and free its rows; unknown ids are fine."""
        job = self._jobs.pop(request_id, None)
        if job is not None:
            self._drop(job)

    def step(self) -> list[Event]:
        """One forward of the batch and one of the waiting captures, as far as there is work; what became of it."""
        events: list[Event] = []
        with torch.inference_mode():
            if len(self._captures):
                rows = self._captures.next_rows()
                events += self._guarded(rows, lambda: self._captures.run(rows), n_tokens=sum(r.n_input for r in rows))
            self._running.admit()
            if self._running.rows:
                shares = self._running.plan()
                rows = [share.row for share in shares]
                events += self._guarded(
                    rows, lambda: self._generation.step(shares), n_tokens=sum(s.n_new for s in shares)
                )
        for event in events:
            if event.ends_request:
                self._jobs.pop(event.request_id, None)
        return events

    @property
    def has_work(self) -> bool:
        return bool(self._jobs)

    def estimate(self, request: Capture) -> Estimate:
        """What the capture would cost; nothing is run except, the first time, one short forward to learn the speed.

        Raises:
            as ``submit``, but an answer over the limit is estimated all the same.
        """
        with torch.inference_mode():
            job = self._intake.capture(request, check_bytes=False)
        n_tokens = sum(row.n_input for row in job.rows)
        depth = n_layers_needed(taps_of(job.rows[0]), n_layers=self.model.architecture.n_layers)
        seconds = (n_tokens * depth + ranking_layers(job, model=self.model)) * self._captures.speed()
        return Estimate(n_tokens=n_tokens, n_bytes=self._intake.n_bytes(job), seconds=seconds)

    def stats(self) -> dict[str, float]:
        """Gauges and counters for monitoring."""
        return {
            "n_running": len(self._running.rows),
            "n_waiting": self._n_waiting,
            "n_steps": self._n_steps,
            "n_tokens": self._n_tokens,
            "cache_bytes": self._running.cache.n_bytes,
            "prompt_cache_hits": self._prompts.n_hits,
            "prompt_cache_misses": self._prompts.n_misses,
            "prompt_cache_bytes": self._prompts.n_bytes,
        }

    @property
    def _n_waiting(self) -> int:
        return len(self._running.waiting) + len(self._captures)

    def _n_rows(self, request: Generate | Capture) -> int:
        n_inputs = len(request.inputs)
        return max(n_inputs, 1) * request.n if isinstance(request, Generate) else n_inputs

    def _enqueue(self, job: RequestState) -> None:
        """Captures that fit one step go without cache; everything else becomes rows of the batch."""
        if isinstance(job.request, Capture) and max(row.n_input for row in job.rows) <= self._limits.max_step_tokens:
            self._captures.add(job)
            return
        for row in job.rows:
            if not self._running.could_ever_hold(row):
                raise TooLarge(
                    f"{row.n_reserved} tokens of keys and values do not fit this server's cache of "
                    f"{self._limits.cache_bytes:,} bytes. Shorten the input, or ask for fewer tokens."
                )
        self._running.waiting.extend(job.rows)

    @torch.inference_mode()
    def _drop(self, job: RequestState) -> None:
        self._captures.remove(job)
        self._running.remove(lambda row: row.job is job)

    def _guarded(self, rows: Sequence[SequenceState], run: Callable[[], list[Event]], *, n_tokens: int) -> list[Event]:
        """Run a forward; if it fails, the requests that have rows in it fail, and all others stay."""
        self._n_steps += 1
        self._n_tokens += n_tokens
        try:
            return run()
        except AtlasError as error:
            return self._fail(rows, error)
        except torch.OutOfMemoryError:
            gc.collect()
            return self._fail(rows, Unavailable("the device ran out of memory.", retry_after_s=5.0))
        except Exception:
            # Whatever it is, it must not take the other requests, or the process, with it.
            logger.exception("a forward failed")
            return self._fail(rows, EngineFault("the engine failed on this request; the server's log says why."))

    def _fail(self, rows: Sequence[SequenceState], error: AtlasError) -> list[Event]:
        jobs = {row.job.request_id: row.job for row in rows}
        for job in jobs.values():
            self._drop(job)
        return [Failed(request_id=request_id, error=error) for request_id in jobs]


def _eos_ids(model: HostedModel) -> frozenset[int]:
    found: set[int] = set()
    config = getattr(model.module, "generation_config", None)
    for source in (config, model.config, model.tokenizer):
        value = getattr(source, "eos_token_id", None)
        if value is not None:
            found |= {value} if isinstance(value, int) else set(value)
    return frozenset(found)
