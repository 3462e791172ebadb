"""One sequence of the batch: its tokens, where it stands, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.engine.activations.capture_buffer import CaptureBuffer
from service.engine.activations.interventions import RowEdits
from service.engine.prompts.cache import LoadedPrompt
from service.engine.requests import Capture, FinishReason, Generate, TokenLogprob
from service.engine.scheduling.detokenizer import TextStream
from service.engine.scheduling.sampler import RowSampler


@dataclass(eq=False)
class RequestState:
    """A request in work, and the rows that serve it. Rows of a request end at different times; it ends with the last."""

    request: Generate | Capture
    prompt: LoadedPrompt | None
    rows: list[SequenceState] = field(default_factory=list)
    n_open: int = 0

    @property
    def request_id(self) -> str:
        return self.request.request_id


@dataclass(eq=False)
class SequenceState:
    """Text tokens ``ids`` (input, then generated), of which the first ``n_read`` are in the cache behind the prompt's.

    max_tokens: how many tokens it may generate; 0 for a row that is only captured or scored.
    reads_last: its last token is read too when it ends by length, so that a trajectory has a state for it.
    logprobs: of generated tokens, where a trajectory or the client wants them.
    reported: token log-probabilities that no delta has carried yet.
    """

    job: RequestState
    index: int
    ids: list[int]
    n_input: int
    max_tokens: int
    prompt: LoadedPrompt | None = None
    sampler: RowSampler | None = None
    text: TextStream | None = None
    capture: CaptureBuffer | None = None
    edits: RowEdits | None = None
    reads_last: bool = False
    n_read: int = 0
    finish_reason: FinishReason | None = None
    logprobs: list[float] = field(default_factory=list)
    reported: list[TokenLogprob] = field(default_factory=list)
    n_reported_ids: int = 0
    text_length: int = 0
    logprob_offset: int = 0
    is_reported: bool = False

    @property
    def n_virtual(self) -> int:
        return self.prompt.compiled.n_virtual if self.prompt is not None else 0

    @property
    def n_cached(self) -> int:
        """Entries in the cache: virtual positions and text read so far."""
        return self.n_virtual + self.n_read

    @property
    def n_reserved(self) -> int:
        """Entries it may ever need."""
        return self.n_virtual + self.n_input + self.max_tokens

    @property
    def is_decoding(self) -> bool:
        return self.n_read >= self.n_input

    @property
    def n_pending(self) -> int:
        """Tokens known but not read yet."""
        return len(self.ids) - self.n_read

    @property
    def n_generated(self) -> int:
        return len(self.ids) - self.n_input

    @property
    def wants_token(self) -> bool:
        """Whether the logits after its last known token decide a next one."""
        return self.finish_reason is None and self.n_generated < self.max_tokens

    @property
    def is_over(self) -> bool:
        """Nothing is left to read or to choose."""
        if self.finish_reason is None:
            return self.max_tokens == 0 and self.n_pending == 0
        return not (self.reads_last and self.finish_reason == "length" and self.n_pending > 0)

    @property
    def scores_input(self) -> bool:
        """Whether log-probabilities of the input's tokens are reported."""
        request = self.job.request
        return isinstance(request, Generate) and request.echo and request.logprobs is not None

    @property
    def is_streamed(self) -> bool:
        return isinstance(self.job.request, Generate) and self.job.request.stream
