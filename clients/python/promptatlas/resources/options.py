"""Keyword arguments that several nouns share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from promptatlas.resources.encoding import checked, json_body
from promptatlas.resources.interventions import Intervention, multipart_body, split_tensors
from promptatlas.transport.call import Body, CallOptions, CommonFields, options_of
from promptatlas.types import RequestBody

PromptChoice = str | Mapping[str, Any]
"""A prompt reference, or ``{"mix": [{"ref": …, "weight": …}]}``."""

Spec = Mapping[str, Any] | RequestBody
"""A part of a spec: a dict with the fields of the contract, or a type of ``promptatlas.types``."""

Layers = Sequence[int] | Literal["all"]
Reduction = Literal["mean", "norm"] | Mapping[str, Any] | None


class ModelOptions(CallOptions, total=False):
    """Options of every verb that runs the model and waits for the result."""

    prompt_ref: PromptChoice | None
    interventions: Sequence[Intervention]


class SamplingOptions(ModelOptions, total=False):
    """How the next token is chosen; see ``promptatlas.types.SamplingFields``."""

    max_tokens: int
    n: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    logit_bias: Mapping[int, float] | Mapping[str, float]
    stop: str | Sequence[str]
    stop_token_ids: Sequence[int]
    min_tokens: int
    ignore_eos: bool
    skip_special_tokens: bool
    seed: int
    user: str


class ModelFields(CommonFields):
    """The fields of a Call that follow from the arguments of a verb that runs the model."""

    body: Body


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], CallOptions]:
    """The fields of the request, and the options of the call, from the keyword arguments of a verb."""
    call_options: CallOptions = {}
    fields = dict(options)
    for name in CallOptions.__annotations__:
        if name in fields:
            call_options[name] = fields.pop(name)  # type: ignore[literal-required]
    return fields, call_options


def model_request(model: type[RequestBody], *, given: Mapping[str, Any], options: Mapping[str, Any]) -> ModelFields:
    """The fields of a Call that runs the model.

    Args:
        model: type of the request.
        given: named arguments of the verb. options: its other keyword arguments.
    """
    fields, call_options = split_options({**given, **options})
    interventions = fields.pop("interventions", ())
    common = options_of(call_options)
    return {"body": _body(model, fields, interventions), **common}


def page_params(*, limit: int | None, after: str | None) -> dict[str, str]:
    """Query of one page of a list; the server has defaults for what is None."""
    params = {} if limit is None else {"limit": str(limit)}
    return params if after is None else {**params, "after": after}


def _body(model: type[RequestBody], fields: Mapping[str, Any], interventions: Sequence[Intervention]) -> Body:
    """JSON, or multipart if interventions have tensors."""
    if not interventions:
        return json_body(checked(model, fields))
    specs, tensors = split_tensors(interventions)
    request = checked(model, {**fields, "interventions": specs})
    return multipart_body(request, tensors=tensors) if tensors else json_body(request)
