"""Response to one completion or chat, complete or in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from promptatlas.types import ChatCompletionRequest, CompletionRequest, PromptLogprobs, PromptUsed, Usage
from pydantic import BaseModel

from service.completions.formats import CHAT, COMPLETION, Piece
from service.completions.prompt_logprobs import prompt_logprobs_of
from service.engine.requests import Delta, RowDone
from service.errors import InvalidRequest


class ResponseBuilder:
    """Collects the output of one request and formats it.

    Args:
        request_id: of the response, without its prefix.
        created: seconds since 1970.
        used: the member of a posterior, or the members of an ensemble, to be named in the response.
    """

    def __init__(
        self,
        spec: CompletionRequest | ChatCompletionRequest,
        *,
        request_id: str,
        created: int,
        used: PromptUsed | None = None,
    ) -> None:
        self.is_streamed = spec.stream
        self._spec = spec
        self._n = spec.n
        self._model = spec.model
        self._with_usage = spec.stream_options is not None and spec.stream_options.include_usage
        self._format = CHAT if isinstance(spec, ChatCompletionRequest) else COMPLETION
        self._id = f"{self._format.id_prefix}-{request_id}"
        # A chat has a flag, a completion a number.
        self._with_logprobs = spec.logprobs is not None and spec.logprobs is not False
        self._used = used
        self._excluded: dict[str, Any] = {} if used is not None else {"prompt": True}
        if spec.prompt_logprobs is None:
            self._excluded |= {"prompt_logprobs": True, "choices": {"__all__": {"prompt_logprobs"}}}
        self._created = created
        self._deltas: dict[int, list[Delta]] = {}
        self._ends: dict[int, RowDone] = {}

    def error_of(self, error: InvalidRequest) -> InvalidRequest:
        """The engine's error, with the name of the field that the client sent."""
        if error.loc is None or error.loc[0] != "inputs":
            return error
        return type(error)(error.detail, loc=self._input_loc(error.loc))

    def add(self, step: Delta | RowDone) -> None:
        """Record one step of a row."""
        if isinstance(step, RowDone):
            self._ends[step.row] = step
        elif not self.is_streamed:
            self._deltas.setdefault(step.row, []).append(step)

    def chunk(self, step: Delta | RowDone) -> BaseModel | None:
        """The chunk of one step; None for a step without content."""
        if isinstance(step, RowDone):
            return self._chunk(Piece(index=step.row, finish_reason=step.finish_reason))
        logprobs = step.logprobs if self._with_logprobs and step.logprobs else None
        if not step.text and logprobs is None:
            return None
        return self._chunk(Piece(index=step.row, text=step.text, logprobs=logprobs))

    def complete(self) -> BaseModel:
        """The complete response, with choices in row order."""
        choices = [self._format.choice(self._row(index)) for index in sorted({*self._deltas, *self._ends})]
        message = self._message(self._format.complete, choices, usage=self._usage)
        if self._format.has_one_prompt:
            return message.model_copy(update={"prompt_logprobs": self._prompt_logprobs(0)})
        return message

    def json(self, message: BaseModel) -> bytes:
        """The JSON of a response or chunk; it has ``prompt_logprobs`` only if the client requested them,
        and ``prompt`` only for posteriors and ensembles.
        """
        return message.model_dump_json(exclude=self._excluded).encode()

    def first_chunks(self) -> Iterator[BaseModel]:
        """Chunks before all output."""
        if self._format.opening is not None:
            for index in range(self._n):
                yield self._message(self._format.chunk, [self._format.opening(index)])

    def last_chunk(self) -> BaseModel | None:
        """The chunk with the token counts, if the client requested it."""
        return self._message(self._format.chunk, [], usage=self._usage) if self._with_usage else None

    @property
    def _usage(self) -> Usage:
        """Token counts. An input counts once, however many rows continue it."""
        n_input = sum(end.n_input for index, end in self._ends.items() if index % self._n == 0)
        n_generated = sum(end.n_generated for end in self._ends.values())
        return Usage(prompt_tokens=n_input, completion_tokens=n_generated, total_tokens=n_input + n_generated)

    def _row(self, index: int) -> Piece:
        deltas, end = self._deltas.get(index, []), self._ends.get(index)
        return Piece(
            index=index,
            text="".join(delta.text for delta in deltas),
            logprobs=[token for delta in deltas for token in delta.logprobs] if self._with_logprobs else None,
            finish_reason=None if end is None else end.finish_reason,
            prompt_logprobs=self._prompt_logprobs(index),
        )

    def _prompt_logprobs(self, index: int) -> PromptLogprobs | None:
        found = (delta.prompt_logprobs for delta in self._deltas.get(index, []) if delta.prompt_logprobs is not None)
        tokens = next(found, None)
        return None if tokens is None else prompt_logprobs_of(tokens)

    def _input_loc(self, loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
        if isinstance(self._spec, ChatCompletionRequest):
            return ("messages",)
        return self._spec.loc_of_input(loc[1] if len(loc) > 1 and isinstance(loc[1], int) else None)

    def _chunk(self, piece: Piece) -> BaseModel:
        return self._message(self._format.chunk, [self._format.chunk_choice(piece)])

    def _message(self, kind: type[BaseModel], choices: list[BaseModel], *, usage: Usage | None = None) -> BaseModel:
        return kind(
            id=self._id, created=self._created, model=self._model, choices=choices, usage=usage, prompt=self._used
        )
