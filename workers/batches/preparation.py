"""Preparation of requests: from the body of a line to a request of the engine, with the prompt that it names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from promptatlas.types import ChatCompletionRequest, CompletionRequest
from promptatlas.types.batches import BatchSpec
from pydantic import ValidationError

from service.completions.errors import openai_body, openai_error, status_of, validation_detail, validation_items
from service.completions.generation import generation_of, with_chat, with_completion
from service.completions.response_builder import ResponseBuilder
from service.engine.inputs import PromptChoice
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.requests import Generate
from service.engine.scheduling.chat_ids import chat_ids
from service.errors import AtlasError, InvalidRequest
from service.store.prompts.store import PromptStore
from workers.batches.input_file import LineRequest
from workers.states.prompt_choice import ChosenPrompt, choose_prompt

_BODIES: Mapping[str, type[CompletionRequest] | type[ChatCompletionRequest]] = {
    "/v1/completions": CompletionRequest,
    "/v1/chat/completions": ChatCompletionRequest,
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response or an error, in OpenAI's format. body: JSON."""

    status: int
    body: bytes

    @property
    def is_error(self) -> bool:
        """Whether it belongs to the errors of the batch."""
        return self.status != 200

    @classmethod
    def of_error(cls, error: AtlasError) -> Answer:
        """The answer for an error."""
        return cls(status=status_of(error), body=openai_error(error).model_dump_json().encode())


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A request for the engine, and what collects its response."""

    generate: Generate
    builder: ResponseBuilder


class Preparation:
    """Prepares the requests of one batch. Prompts are resolved and loaded once.

    Args:
        prompts: store of prompts.
        created_s: seconds since 1970, of the responses.
    """

    def __init__(self, model: HostedModel, *, spec: BatchSpec, prompts: PromptStore, created_s: int) -> None:
        self._model = model
        self._kind = _BODIES[spec.endpoint]
        self._store = prompts
        self._created_s = created_s
        self._chosen: dict[str, ChosenPrompt | AtlasError] = {}
        self.loaded: dict[str, Prompt] = {}

    def prepare(self, line: LineRequest, *, request_id: str) -> Prepared | Answer:
        """The request of a line, or the error that the same request would get at its route."""
        try:
            # As JSON: strict validation distinguishes JSON types, not Python types.
            spec = self._kind.model_validate_json(json.dumps(line.body))
        except ValidationError as error:
            items = validation_items(error.errors(include_url=False, include_input=False))
            detail = validation_detail(items)
            body = openai_body(422, title=InvalidRequest.title, detail=detail, items=items)
            return Answer(status=422, body=body.model_dump_json().encode())
        except (RecursionError, ValueError):
            return Answer.of_error(InvalidRequest("Expected JSON of moderate depth."))
        try:
            return self._prepared(spec, request_id=request_id)
        except AtlasError as error:
            return Answer.of_error(error)

    def _prepared(self, spec: CompletionRequest | ChatCompletionRequest, *, request_id: str) -> Prepared:
        _check_supported(spec)
        prompt = self._prompt_of(spec)
        generate = generation_of(spec, request_id=request_id, prompt=prompt)
        if isinstance(spec, ChatCompletionRequest):
            generate = self._with_limit(with_chat(generate, spec), spec)
        else:
            generate = with_completion(generate, spec)
        builder = ResponseBuilder(spec, request_id=request_id, created=self._created_s)
        return Prepared(generate=generate, builder=builder)

    def _with_limit(self, generate: Generate, spec: ChatCompletionRequest) -> Generate:
        """A chat without a limit gets what the context leaves."""
        if spec.token_limit is not None:
            return generate
        n_input = len(chat_ids(self._model.tokenizer, generate.messages or ()))
        prompt = None if generate.prompt is None else self.loaded[generate.prompt.parts[0][0]]
        n_virtual = 0 if prompt is None else prompt.n_virtual
        return replace(generate, max_tokens=max(1, self._model.n_positions - n_virtual - n_input))

    def _prompt_of(self, spec: CompletionRequest | ChatCompletionRequest) -> PromptChoice | None:
        _, colon, inner = spec.model.partition(":")
        if colon and spec.prompt_ref is not None:
            raise InvalidRequest(
                "Expected one prompt reference; model and prompt_ref both name one.", loc=("prompt_ref",)
            )
        ref = inner if colon else spec.prompt_ref
        if ref is None:
            return None
        key = ref if isinstance(ref, str) else ref.model_dump_json()
        if key not in self._chosen:
            self._chosen[key] = self._choose(spec, ref=ref)
        found = self._chosen[key]
        if isinstance(found, AtlasError):
            raise found
        self.loaded[found.ref] = found.prompt
        return PromptChoice(parts=((found.ref, 1.0),))

    def _choose(self, spec: CompletionRequest | ChatCompletionRequest, *, ref: object) -> ChosenPrompt | AtlasError:
        given = spec.prompt_ref if spec.prompt_ref is not None else str(ref)
        try:
            chosen = choose_prompt(self._store, given, model=self._model)
        except AtlasError as error:
            loc = ("model",) if spec.prompt_ref is None else ("prompt_ref",)
            return type(error)(error.detail, loc=error.loc or loc)
        assert chosen is not None
        return chosen


def _check_supported(spec: CompletionRequest | ChatCompletionRequest) -> None:
    """Refuse what needs a connection or tensors."""
    if spec.stream:
        raise InvalidRequest("Expected stream false in a batch, got true.", loc=("stream",))
    if spec.interventions:
        raise InvalidRequest("Expected no interventions in a batch.", loc=("interventions",))
    if isinstance(spec, CompletionRequest) and spec.prompt_embeds is not None:
        raise InvalidRequest("Expected no prompt_embeds in a batch.", loc=("prompt_embeds",))
