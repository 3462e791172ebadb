"""State of a request and of its sequences: tokens, progress, and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.engine.activations.capture_buffer import CaptureBuffer
from service.engine.activations.interventions import RowEdits
from service.engine.inputs import NO_TOKEN
from service.engine.prompts.cache import LoadedPrompt
from service.engine.requests import Capture, FinishReason, Generate, RankedToken, TokenLogprob
from service.engine.sampling.row_sampler import RowSampler
from service.engine.scheduling.text_offsets import TextOffsets
from service.engine.scheduling.text_stream import TextStream
from service.engine.shapes import Tensor
from service.engine.statistics import FinishedReason


@dataclass(eq=False)
class RequestState:
    """A running request and its rows. The rows end at different times; the request ends with the last.

    Attributes:
        prompts: of the rows, one for each member of an ensemble; otherwise one, or None.
        rows: without the followers of ensembles.
        n_open: rows that have not ended.
        arrived_s: when it reached the engine's process. n_unrecorded: rows whose end the recorder has not seen.
    """

    request: Generate | Capture
    prompts: tuple[LoadedPrompt | None, ...]
    rows: list[SequenceState] = field(default_factory=list)
    n_open: int = 0
    arrived_s: float = 0.0
    n_unrecorded: int = 0

    @property
    def request_id(self) -> str:
        return self.request.request_id

    @property
    def input_lengths(self) -> tuple[int, ...]:
        """Tokens of each input, which ``n`` rows continue."""
        n = self.request.n if isinstance(self.request, Generate) else len(self.prompts)
        return tuple(row.n_input for row in self.rows[::n])


@dataclass(eq=False)
class SequenceState:
    """One row of the batch: text tokens ``ids`` (input, then generated), the first ``n_read`` of which are in the cache.

    Positions with vectors in place of a token have the id ``NO_TOKEN``; the vectors are among the row's ``edits``.

    Attributes:
        index: of the row in its request.
        n_input: tokens of the input.
        max_tokens: how many tokens it may generate; 0 for a row that is only captured or scored.
        ending_ids: tokens that end it.
        reads_last: its last token is read too if it ends by length, so that a trajectory has a state for it.
        logprobs: of generated tokens, if a trajectory or the client needs them.
        reported: token log-probabilities that no delta has carried yet.
        top_tokens: log-probability, most probable ids and their log-probabilities of each generated token, until then.
        prompt_logprobs: of the input's tokens, until a delta has carried them; None if they are not requested.
        followers: rows of the same sequence under the other prompts of an ensemble. They read the tokens that this row, their
            leader, chooses from the mean of all predictions; only the leader is reported.
        leader: of an ensemble, for the leader too; None for a row without one.
        offsets: where the reported tokens begin in the returned text; None before the first one.
        admitted_s, first_token_s, last_token_s, prefilled_s, finished_reason: set by the recorder, None before that.
    """

    request_state: RequestState
    index: int
    ids: list[int]
    n_input: int
    max_tokens: int
    prompt: LoadedPrompt | None = None
    sampler: RowSampler | None = None
    text: TextStream | None = None
    capture: CaptureBuffer | None = None
    edits: RowEdits | None = None
    followers: tuple[SequenceState, ...] = ()
    leader: SequenceState | None = None
    ending_ids: frozenset[int] = frozenset()
    reads_last: bool = False
    n_read: int = 0
    finish_reason: FinishReason | None = None
    logprobs: list[float] = field(default_factory=list)
    reported: list[TokenLogprob] = field(default_factory=list)
    top_tokens: list[tuple[float, Tensor, Tensor]] = field(default_factory=list)
    prompt_logprobs: list[tuple[RankedToken, ...]] | None = None
    n_reported_ids: int = 0
    text_length: int = 0
    offsets: TextOffsets | None = None
    is_reported: bool = False
    admitted_s: float | None = None
    first_token_s: float | None = None
    last_token_s: float | None = None
    prefilled_s: float | None = None
    finished_reason: FinishedReason | None = None

    @property
    def members(self) -> tuple[SequenceState, ...]:
        """The row itself, then its followers."""
        return (self, *self.followers)

    @property
    def is_follower(self) -> bool:
        """Whether another row chooses its tokens."""
        return self.leader is not None and self.leader is not self

    @property
    def input_ids(self) -> list[int]:
        """The input's tokens; positions with vectors have none."""
        return [token for token in self.ids[: self.n_input] if token != NO_TOKEN]

    @property
    def n_virtual(self) -> int:
        return self.prompt.compiled.n_virtual if self.prompt is not None else 0

    @property
    def n_cached(self) -> int:
        """Entries in the cache: virtual positions, and the text that has been read."""
        return self.n_virtual + self.n_read

    @property
    def n_reserved(self) -> int:
        """Cache entries that it needs at most."""
        return self.n_virtual + self.n_input + self.max_tokens

    @property
    def is_decoding(self) -> bool:
        return self.n_read >= self.n_input

    @property
    def n_pending(self) -> int:
        """Tokens that have not been read."""
        return len(self.ids) - self.n_read

    @property
    def n_generated(self) -> int:
        return len(self.ids) - self.n_input

    @property
    def needs_token(self) -> bool:
        """Whether a next token is chosen from the logits after its last one."""
        return self.finish_reason is None and self.n_generated < self.max_tokens

    @property
    def is_over(self) -> bool:
        """Whether no token is left to read or to choose."""
        if self.finish_reason is None:
            return self.max_tokens == 0 and self.n_pending == 0
        return not (self.reads_last and self.finish_reason == "length" and self.n_pending > 0)

    @property
    def scores_input(self) -> bool:
        """Whether log-probabilities of the input's tokens are reported."""
        return self.echoes_logprobs or self.prompt_logprobs is not None

    @property
    def echoes_logprobs(self) -> bool:
        """Whether they are reported in front of those of the generated tokens."""
        request = self.request_state.request
        return isinstance(request, Generate) and request.echo and request.logprobs is not None

    @property
    def is_streamed(self) -> bool:
        return isinstance(self.request_state.request, Generate) and self.request_state.request.stream
