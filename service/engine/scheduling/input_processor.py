"""Input processor: turns a request into rows. Invalid requests are refused here, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from service.engine.activations.capture_buffer import DTYPES, CaptureBuffer, n_values_per_row
from service.engine.activations.interventions import Edit, RowEdits, edits_of_prompt, edits_of_vectors, resolve_edits
from service.engine.activations.logit_lens import TokenRanker
from service.engine.activations.positions import chosen_positions
from service.engine.inputs import NO_TOKEN, Input, Vectors
from service.engine.model.detokenizer import Detokenizer
from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.prompts.cache import LoadedPrompt, PromptCache
from service.engine.prompts.prompt import Prompt
from service.engine.requests import Capture, CaptureSpec, Detokenize, Generate, Limits, Projection, Ranking, Tokenize
from service.engine.sampling.row_sampler import RowSampler
from service.engine.scheduling.chat_ids import chat_ids
from service.engine.scheduling.request_checks import check_ensemble, check_lengths, check_scored
from service.engine.scheduling.sequence import RequestState, SequenceState
from service.engine.scheduling.text_stream import TextStream
from service.errors import InvalidRequest, TooLarge


class InputProcessor:
    """Builds the states of requests for one model."""

    def __init__(
        self,
        model: HostedModel,
        *,
        limits: Limits,
        prompts: PromptCache,
        detokenizer: Detokenizer | None,
        ranker: TokenRanker,
        eos_ids: frozenset[int],
    ) -> None:
        self._model = model
        self._limits = limits
        self._prompts = prompts
        self._detokenizer = detokenizer
        self._ranker = ranker
        self._eos_ids = eos_ids
        self._detokenizer_with_special = (
            Detokenizer(model.tokenizer, with_special=True) if detokenizer is not None else None
        )

    def generate(self, request: Generate, *, contents: Mapping[str, Prompt]) -> RequestState:
        """One row for each (input, n), in that order; with an ensemble, each has a follower for each further member.

        Args:
            contents: prompts by content hash, which are not loaded.

        Raises:
            InvalidRequest, TooLarge, and the errors of loading the prompt.
        """
        prompts = self._loaded(request, contents)
        inputs = (
            [chat_ids(self._model.tokenizer, request.messages)]
            if request.messages is not None
            else self.token_ids(request.inputs)
        )
        edits = [self._edits(request, prompt) for prompt in prompts]
        check_lengths(inputs, prompts=prompts, max_tokens=request.max_tokens, n_positions=self._model.n_positions)
        self._check_ending(request)
        check_scored(request)
        check_ensemble(request, n_members=len(prompts), max_rows=self._limits.max_rows)
        state = RequestState(request, prompts)
        for index in range(len(inputs) * request.n):
            given = index // request.n
            row = self._generating_row(state, index, inputs[given], edits=edits[0][given])
            if len(prompts) > 1:
                row.leader = row
                row.followers = tuple(
                    self._follower(row, prompt, edits=found[given])
                    for prompt, found in zip(prompts[1:], edits[1:], strict=True)
                )
            state.rows.append(row)
        if request.capture is not None:
            self._add_trajectories(state, request.capture, include_input=request.include_input)
        state.n_open = len(state.rows)
        return state

    def capture(self, request: Capture, *, contents: Mapping[str, Prompt], check_bytes: bool = True) -> RequestState:
        """One row for each (input, prompt), in that order, nothing generated. Arguments as for ``generate``.

        Raises:
            InvalidRequest, TooLarge, and the errors of loading the prompt.
        """
        prompts = self._loaded(request, contents)
        inputs = self.token_ids(request.inputs)
        taps = self._taps(request.capture)
        edits = [self._edits(request, prompt) for prompt in prompts]
        check_lengths(inputs, prompts=prompts, max_tokens=0, n_positions=self._model.n_positions)
        state = RequestState(request, prompts)
        for index, (given, k) in enumerate(product(range(len(inputs)), range(len(prompts)))):
            ids, prompt, changes = inputs[given], prompts[k], edits[k][given]
            n_keys = prompt.compiled.n_virtual if prompt is not None else 0
            n_virtual = n_keys if request.capture.include_virtual else 0
            row = SequenceState(state, index, list(ids), len(ids), max_tokens=0, prompt=prompt)
            positions = chosen_positions(request.capture.positions, n_input=len(ids))
            if not positions and request.capture.reduce == "mean":
                raise InvalidRequest("positions: expected at least one for reduce mean, got none.", loc=("positions",))
            row.capture = CaptureBuffer(
                request.capture, taps, positions=positions, n_virtual=n_virtual, n_virtual_keys=n_keys
            )
            row.edits = RowEdits(changes, n_input=len(ids), n_total=len(ids)) if changes else None
            state.rows.append(row)
        if check_bytes:
            self._check_bytes(state)
        state.n_open = len(state.rows)
        return state

    def n_bytes(self, state: RequestState) -> int:
        """Upper bound of the size of the response's tensors."""
        captures = [(m, m.capture) for row in state.rows for m in row.members if m.capture is not None]
        if not captures:
            return 0
        spec, taps = captures[0][1].spec, captures[0][1].taps
        n_keys = max(row.n_virtual + row.n_input + row.max_tokens for row, _ in captures)
        n_values = n_values_per_row(spec, taps, self._model.catalogue, n_keys=n_keys)
        n_rows = sum(capture.n_rows + (row.max_tokens if spec.reduce != "mean" else 0) for row, capture in captures)
        return n_rows * n_values * (4 if isinstance(spec.reduce, Ranking) else DTYPES[spec.dtype].itemsize)

    def token_ids(self, inputs: Sequence[Input]) -> list[tuple[int, ...]]:
        """Token ids of each input, special tokens of the tokenizer included; those of vectors are ``NO_TOKEN``.

        Raises:
            InvalidRequest: an input has no tokens, ids outside the vocabulary, or vectors of another width.
        """
        if not inputs:
            raise InvalidRequest("expected at least one input, got none.", loc=("inputs",))
        texts = [item for item in inputs if isinstance(item, str)]
        encoded = iter(self._model.tokenizer(texts)["input_ids"] if texts else ())
        vocab_size = self._model.catalogue.vocab_size
        found = []
        for i, item in enumerate(inputs):
            if isinstance(item, Vectors):
                found.append(self._vector_ids(item, loc=("inputs", i)))
                continue
            ids = tuple(next(encoded)) if isinstance(item, str) else item
            if not ids:
                raise InvalidRequest("an input has no tokens: the model needs at least one.", loc=("inputs", i))
            if bad := next((t for t in ids if not 0 <= t < vocab_size), None):
                raise InvalidRequest(
                    f"token id {bad} is outside the vocabulary (0 to {vocab_size - 1}).", loc=("inputs", i)
                )
            found.append(ids)
        return found

    def tokenize(self, request: Tokenize) -> tuple[tuple[int, ...], ...]:
        """Token ids of each text; none for a text without tokens."""
        encoded = self._model.tokenizer(list(request.texts), add_special_tokens=request.add_special_tokens)
        return tuple(tuple(ids) for ids in encoded["input_ids"])

    def detokenize(self, request: Detokenize) -> str:
        """Text of tokens, special tokens included.

        Raises:
            InvalidRequest: an id is outside the vocabulary.
        """
        self._check_vocabulary(request.token_ids, field="tokens")
        detokenizer = self._detokenizer_with_special
        return "" if detokenizer is None else detokenizer.decode(request.token_ids)

    def _generating_row(
        self, state: RequestState, index: int, ids: tuple[int, ...], *, edits: Sequence[Edit]
    ) -> SequenceState:
        request = state.request
        assert isinstance(request, Generate)
        row = SequenceState(state, index, list(ids), len(ids), max_tokens=request.max_tokens)
        row.prompt = state.prompts[0]
        stop_ids = frozenset(request.stop_token_ids)
        row.ending_ids = stop_ids if request.ignore_eos else stop_ids | self._eos_ids
        row.prompt_logprobs = None if request.prompt_logprobs is None else []
        row.sampler = RowSampler(
            request.sampling,
            vocab_size=self._model.catalogue.vocab_size,
            input_ids=row.input_ids,
            stream=index % request.n,
            min_tokens=request.min_tokens,
            ending_ids=stop_ids | self._eos_ids,
        )
        row.text = self._text_stream(request, row.input_ids)
        if edits:
            row.edits = RowEdits(edits, n_input=len(ids), n_total=len(ids) + request.max_tokens)
        return row

    def _follower(self, leader: SequenceState, prompt: LoadedPrompt | None, *, edits: Sequence[Edit]) -> SequenceState:
        """A row that reads the tokens of ``leader`` under another prompt."""
        row = SequenceState(
            leader.request_state,
            leader.index,
            list(leader.ids),
            leader.n_input,
            max_tokens=leader.max_tokens,
            prompt=prompt,
            leader=leader,
        )
        if edits:
            row.edits = RowEdits(edits, n_input=row.n_input, n_total=row.n_input + row.max_tokens)
        return row

    def _text_stream(self, request: Generate, ids: Sequence[int]) -> TextStream | None:
        detokenizer = self._detokenizer if request.skip_special_tokens else self._detokenizer_with_special
        if detokenizer is None:
            return None
        special_ends = {token for token in self._eos_ids if detokenizer.is_special(token)}
        return TextStream(
            detokenizer,
            stop=request.stop,
            input_ids=ids,
            hidden_ids={*request.stop_token_ids, *(() if request.ignore_eos else special_ends)},
            min_tokens=request.min_tokens,
        )

    def _add_trajectories(self, state: RequestState, spec: CaptureSpec, *, include_input: bool) -> None:
        if spec.reduce == "mean":
            raise InvalidRequest(
                'reduce "mean" is for activations: a trajectory has one row per token.', loc=("reduce",)
            )
        taps = self._taps(spec)
        for row in (member for leader in state.rows for member in leader.members):
            positions = range(row.n_input) if include_input else ()
            n_keys = row.n_virtual
            row.capture = CaptureBuffer(spec, taps, positions=positions, n_virtual_keys=n_keys, keep_generated=True)
            row.reads_last = True
        self._check_bytes(state)

    def _loaded(self, request: Generate | Capture, contents: Mapping[str, Prompt]) -> tuple[LoadedPrompt | None, ...]:
        """The prompt of the request, or those of its ensemble."""
        if request.prompt is None:
            return (None,)
        return tuple(self._prompts.get(choice, contents=contents) for choice in request.prompt.members)

    def _edits(self, request: Generate | Capture, prompt: LoadedPrompt | None) -> list[tuple[Edit, ...]]:
        """For each input: its vectors, what the prompt adds, then the request's interventions."""
        asked = resolve_edits(request.interventions, self._model.catalogue)
        shared = asked if prompt is None else (*edits_of_prompt(prompt.additions), *asked)
        return [
            (*edits_of_vectors(given.values), *shared) if isinstance(given, Vectors) else shared
            for given in request.inputs or ("",)
        ]

    def _taps(self, spec: CaptureSpec) -> tuple[Tap, ...]:
        taps = self._model.catalogue.resolve(spec.sites, spec.layers)
        if isinstance(spec.reduce, Projection):
            self._require_width(taps, spec.reduce.mean.shape[0], what="the projection")
        if isinstance(spec.reduce, Ranking):
            self._require_width(taps, self._model.d_model, what="the token embeddings")
            self._ranker.require(spec.reduce)
        return taps

    def _require_width(self, taps: Sequence[Tap], width: int, *, what: str) -> None:
        for tap in taps:
            n_values = self._model.catalogue.n_values(tap, n_keys=0)
            if tap.is_reported or n_values != width:
                raise InvalidRequest(
                    f"{tap.label}: expected {width} values per row, the width of {what}, got "
                    f"{'one per head and key' if tap.is_reported else n_values}."
                )

    def _vector_ids(self, vectors: Vectors, *, loc: tuple[str | int, ...]) -> tuple[int, ...]:
        shape, width = tuple(vectors.values.shape), self._model.d_model
        if len(shape) != 2 or shape[0] < 1 or shape[1] != width:
            raise InvalidRequest(f"vectors: expected shape [n, {width}] with n at least 1, got {list(shape)}.", loc=loc)
        return (NO_TOKEN,) * shape[0]

    def _check_ending(self, request: Generate) -> None:
        if request.min_tokens > request.max_tokens:
            raise InvalidRequest(
                f"min_tokens: expected at most max_tokens, {request.max_tokens}, got {request.min_tokens}.",
                loc=("min_tokens",),
            )
        self._check_vocabulary(request.stop_token_ids, field="stop_token_ids")
        n_ends = len({*request.stop_token_ids, *self._eos_ids})
        if request.min_tokens and n_ends >= self._model.catalogue.vocab_size:
            raise InvalidRequest("stop_token_ids: expected fewer than all tokens, got all.", loc=("stop_token_ids",))

    def _check_vocabulary(self, token_ids: Sequence[int], *, field: str) -> None:
        vocab_size = self._model.catalogue.vocab_size
        for i, token in enumerate(token_ids):
            if not 0 <= token < vocab_size:
                raise InvalidRequest(
                    f"token id {token} is outside the vocabulary (0 to {vocab_size - 1}).", loc=(field, i)
                )

    def _check_bytes(self, state: RequestState) -> None:
        n_bytes = self.n_bytes(state)
        if n_bytes > self._limits.max_capture_bytes:
            raise TooLarge(
                f"the response would have {n_bytes:,} bytes; this server sends at most {self._limits.max_capture_bytes:,}. "
                "Request fewer inputs, layers or positions, reduce mean or norm, or dtype float16."
            )
