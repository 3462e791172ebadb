"""Engine: serves completions, trajectories and captures of one model in one continuous batch.

Single-threaded: the thread that calls ``step`` also calls ``submit`` and ``cancel``. Knows no HTTP, no Redis and no paths.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from service.engine.activations.logit_lens import TokenRanker
from service.engine.comparisons import LensDivergence, compare
from service.engine.inputs import PromptChoice
from service.engine.model.detokenizer import Detokenizer
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.cache import PromptCache
from service.engine.prompts.keys_values import cache_tensors
from service.engine.prompts.prompt import Prompt
from service.engine.requests import (
    Capture,
    Detokenize,
    Estimate,
    Event,
    Failed,
    Generate,
    KeysValues,
    Limits,
    Tensors,
    Tokenize,
)
from service.engine.scheduling.capture_runner import CaptureRunner, n_layers_needed, ranking_layers, taps_of
from service.engine.scheduling.generation_runner import GenerationRunner
from service.engine.scheduling.input_processor import InputProcessor
from service.engine.scheduling.model_runner import ModelRunner
from service.engine.scheduling.output_processor import OutputProcessor
from service.engine.scheduling.recorder import Recorder
from service.engine.scheduling.scheduler import Scheduler
from service.engine.scheduling.sequence import RequestState, SequenceState
from service.engine.statistics import EngineStatistics, RequestTimes
from service.errors import AtlasError, Busy, EngineFault, EngineUnavailable, InvalidRequest, TooLarge

logger = logging.getLogger(__name__)

_NO_CONTENTS: Mapping[str, Prompt] = {}


class Engine:
    """Serves requests of one model.

    Args:
        load_prompt: sha256 → the stored prompt; may raise NotFound or DamagedArtifact.
        clock: monotonic seconds, for the statistics.
    """

    def __init__(
        self,
        model: HostedModel,
        *,
        limits: Limits,
        load_prompt: Callable[[str], Prompt],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model
        self._limits = limits
        detokenizer = Detokenizer(model.tokenizer) if model.tokenizer is not None else None
        self._prompts = PromptCache(model, load=load_prompt, max_bytes=limits.prompt_cache_bytes)
        self._ranker = ranker = TokenRanker(model, detokenizer=detokenizer)
        self._input_processor = InputProcessor(
            model, limits=limits, prompts=self._prompts, detokenizer=detokenizer, ranker=ranker, eos_ids=_eos_ids(model)
        )
        self._scheduler = Scheduler(model.kv_shape, limits=limits, cache=model.new_cache())
        self._recorder = Recorder(clock=clock)
        model_runner = ModelRunner(model, ranker=ranker)
        self._captures = CaptureRunner(
            model,
            max_step_tokens=limits.max_step_tokens,
            model_runner=model_runner,
            ranker=ranker,
            recorder=self._recorder,
        )
        self._generation = GenerationRunner(
            model,
            self._scheduler,
            model_runner=model_runner,
            output_processor=OutputProcessor(detokenizer),
            ranker=ranker,
            recorder=self._recorder,
        )
        self._requests: dict[str, RequestState] = {}
        self._n_steps = 0
        self._n_tokens = 0

    def missing(self, choice: PromptChoice | None) -> tuple[str, ...]:
        """Content hashes that ``submit`` would load for this choice; empty while it is compiled."""
        members = () if choice is None else choice.members
        missing = [member for member in members if member not in self._prompts]
        return tuple(dict.fromkeys(sha256 for member in missing for sha256, _ in member.parts))

    def submit(
        self,
        request: Generate | Capture,
        *,
        contents: Mapping[str, Prompt] = _NO_CONTENTS,
        arrived_s: float | None = None,
    ) -> tuple[int, ...]:
        """Queue a request; nothing runs before the next ``step``. Returns the number of tokens of each input.

        Args:
            contents: prompts by content hash, which are not loaded.
            arrived_s: when it reached this process, on the engine's clock; now by default.

        Raises:
            InvalidRequest, NotFound, DamagedArtifact: the request is invalid, or its prompt cannot be loaded.
            TooLarge: its response, or its keys and values, exceed a limit.
            Busy: the queue is full.
        """
        if request.request_id in self._requests:
            raise InvalidRequest("a request with this id is already running.")
        n_rows = self._n_rows(request)
        if self._n_waiting + n_rows > self._limits.max_waiting and self._n_waiting > 0:
            raise Busy(
                f"{self._n_waiting} sequences are waiting; the limit is {self._limits.max_waiting}.", retry_after_s=1.0
            )
        with torch.inference_mode():
            processor = self._input_processor
            if isinstance(request, Generate):
                state = processor.generate(request, contents=contents)
            else:
                state = processor.capture(request, contents=contents)
        self._enqueue(state)
        self._requests[request.request_id] = state
        self._recorder.arrived(state, at_s=arrived_s)
        return state.input_lengths

    def cancel(self, request_id: str, *, has_failed: bool = False) -> None:
        """Drop a request and free its rows; unknown ids are ignored. has_failed: because of an error of the engine."""
        state = self._requests.pop(request_id, None)
        if state is not None:
            self._drop(state)
            self._recorder.dropped(state, "error" if has_failed else "abort")

    def step(self) -> list[Event]:
        """Run one forward of the batch and one of the waiting captures, if there are any; returns their events."""
        events: list[Event] = []
        with torch.inference_mode():
            if len(self._captures):
                rows = self._captures.next_rows()
                n_tokens = sum(row.n_input for row in rows)
                self._recorder.admitted(rows)
                self._recorder.read(n_tokens=n_tokens, n_prompt_tokens=n_tokens)
                events += self._guarded(rows, lambda: self._captures.run(rows), n_tokens=n_tokens)
            n_before = len(self._scheduler.rows)
            self._scheduler.admit()
            self._recorder.admitted(self._scheduler.rows[n_before:])
            if self._scheduler.rows:
                scheduled = self._scheduler.plan()
                rows = [part.row for part in scheduled]
                n_decoding = self._scheduler.n_decoding
                n_prompt_tokens = sum(part.n_new for part in scheduled[n_decoding:])
                n_tokens = n_decoding + n_prompt_tokens
                self._recorder.read(n_tokens=n_tokens, n_prompt_tokens=n_prompt_tokens)
                events += self._guarded(rows, lambda: self._generation.step(scheduled), n_tokens=n_tokens)
        for event in events:
            if event.ends_request:
                self._requests.pop(event.request_id, None)
        return events

    @property
    def has_work(self) -> bool:
        return bool(self._requests)

    def estimate(self, request: Capture, *, contents: Mapping[str, Prompt] = _NO_CONTENTS) -> Estimate:
        """Cost of a capture. Nothing is run except, the first time, one short forward that measures the speed.

        Raises:
            As ``submit``, except that a response over the limit is estimated too.
        """
        with torch.inference_mode():
            state = self._input_processor.capture(request, contents=contents, check_bytes=False)
        n_tokens = sum(row.n_input for row in state.rows)
        depth = n_layers_needed(taps_of(state.rows[0]), n_layers=self.model.architecture.n_layers)
        seconds = (n_tokens * depth + ranking_layers(state, model=self.model)) * self._captures.speed()
        return Estimate(n_tokens=n_tokens, n_bytes=self._input_processor.n_bytes(state), seconds=seconds)

    def keys_values(self, request: KeysValues, *, contents: Mapping[str, Prompt] = _NO_CONTENTS) -> Tensors:
        """Keys and values of a prompt, with the names and shapes of :func:`cache_tensors`, on the CPU.

        Raises:
            InvalidRequest: the prompt does not fit the model, or has no keys and values in every layer.
            NotFound, DamagedArtifact: it cannot be loaded.
            TooLarge: they exceed a limit.
        """
        loaded = self._prompts.get(request.prompt, contents=contents)
        n_bytes, limit = loaded.compiled.n_bytes * self.model.n_head_ranks, self._limits.max_capture_bytes
        if n_bytes > limit:
            raise TooLarge(f"the keys and values have {n_bytes:,} bytes; this server sends at most {limit:,}.")
        return Tensors(tensors=cache_tensors(self.model, loaded), metadata={})

    def lens_divergence(self, request: LensDivergence) -> Tensors:
        """Divergences of states, see :func:`service.engine.comparisons.compare`."""
        return compare(request, ranker=self._ranker, d_model=self.model.d_model)

    def tokenize(self, request: Tokenize) -> tuple[tuple[int, ...], ...]:
        """Token ids of each text."""
        return self._input_processor.tokenize(request)

    def detokenize(self, request: Detokenize) -> str:
        """Text of tokens, special tokens included; raises InvalidRequest for an id outside the vocabulary."""
        return self._input_processor.detokenize(request)

    def stats(self) -> dict[str, float]:
        """Gauges and counters for monitoring."""
        return {
            "n_running": len(self._scheduler.rows),
            "n_waiting": self._n_waiting,
            "n_steps": self._n_steps,
            "n_tokens": self._n_tokens,
            "max_rows": self._limits.max_rows,
            "cache_bytes": self._scheduler.cache.n_bytes,
            "cache_reserved_bytes": self._scheduler.reserved_bytes,
            "cache_limit_bytes": self._limits.cache_bytes,
            "prompt_cache_hits": self._prompts.n_hits,
            "prompt_cache_misses": self._prompts.n_misses,
            "prompt_cache_bytes": self._prompts.n_bytes,
            "prompt_cache_limit_bytes": self._limits.prompt_cache_bytes,
        }

    def statistics(self) -> EngineStatistics:
        """Tokens, ended sequences, and histograms since the start."""
        return self._recorder.snapshot()

    def watch(self, on_end: Callable[[RequestTimes], None]) -> None:
        """Call ``on_end`` with the times of each request that ends from now on, however it ends."""
        self._recorder.on_end = on_end

    @property
    def _n_waiting(self) -> int:
        return len(self._scheduler.waiting) + len(self._captures)

    def _n_rows(self, request: Generate | Capture) -> int:
        n_members = 1 if request.prompt is None else len(request.prompt.members)
        each = request.n if isinstance(request, Generate) else 1
        return max(len(request.inputs), 1) * each * n_members

    def _enqueue(self, state: RequestState) -> None:
        """Captures that fit one step run without a cache; all other requests become rows of the batch."""
        if (
            isinstance(state.request, Capture)
            and max(row.n_input for row in state.rows) <= self._limits.max_step_tokens
        ):
            self._captures.add(state)
            return
        for row in state.rows:
            if not self._scheduler.could_ever_hold(row):
                raise TooLarge(
                    f"keys and values of {row.n_reserved} tokens do not fit this server's cache of "
                    f"{self._limits.cache_bytes:,} bytes. Shorten the input, or request fewer tokens."
                )
        self._scheduler.waiting.extend(member for row in state.rows for member in row.members)

    @torch.inference_mode()
    def _drop(self, state: RequestState) -> None:
        self._captures.remove(state)
        self._scheduler.remove(lambda row: row.request_state is state)

    def _guarded(self, rows: Sequence[SequenceState], run: Callable[[], list[Event]], *, n_tokens: int) -> list[Event]:
        """Run a forward; if it fails, the requests with rows in it fail, and all others continue."""
        self._n_steps += 1
        self._n_tokens += n_tokens
        try:
            return run()
        except AtlasError as error:
            return self._fail(rows, error)
        except torch.OutOfMemoryError:
            gc.collect()
            return self._fail(rows, EngineUnavailable("the device ran out of memory.", retry_after_s=5.0))
        except Exception:
            # An unknown error must end neither the other requests nor the process.
            logger.exception("a forward failed")
            return self._fail(rows, EngineFault("the engine failed on this request; see the server's log."))

    def _fail(self, rows: Sequence[SequenceState], error: AtlasError) -> list[Event]:
        states = {row.request_state.request_id: row.request_state for row in rows}
        for state in states.values():
            self._drop(state)
            self._recorder.dropped(state, "error")
        return [Failed(request_id=request_id, error=error) for request_id in states]


def _eos_ids(model: HostedModel) -> frozenset[int]:
    found: set[int] = set()
    for source in (getattr(model.module, "generation_config", None), model.config, model.tokenizer):
        value = getattr(source, "eos_token_id", None)
        if value is not None:
            found |= {value} if isinstance(value, int) else set(value)
    return frozenset(found)
