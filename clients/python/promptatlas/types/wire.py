"""Base classes of messages: strict requests, extensible responses, list pages, and problems."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PrivateAttr

Row = TypeVar("Row")


class RequestBody(BaseModel):
    """Base of request bodies. Unknown fields, NaN, infinities and values of the wrong JSON type are invalid."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class ResponseBody(BaseModel):
    """Base of responses. Unknown fields, e.g. of a newer server, are kept.

    ``_request_id`` is the ``X-Request-ID`` header of the response, set by the client.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=())
    _request_id: str | None = PrivateAttr(default=None)


def null_means(default: Any, *, schema: Any) -> BeforeValidator:
    """Validator for a field that OpenAI's clients may send as null, which means its default."""

    def replace(value: Any) -> Any:
        return default if value is None else value

    return BeforeValidator(replace, json_schema_input_type=schema)


class ListPage(ResponseBody, Generic[Row]):
    """One page of a list. ``next``: cursor of the next page, to send as ``after``."""

    object: Literal["list"] = "list"
    data: list[Row]
    has_more: bool = False
    next: str | None = None


class ProblemItem(ResponseBody):
    """One error of a request. loc: path of the field. msg: the error."""

    loc: list[str | int]
    msg: str


class OpenAIError(ResponseBody):
    """The content of an error in OpenAI's format."""

    message: str
    type: str
    code: str | None = None
    param: str | None = None


class Problem(ResponseBody):
    """An error in the format of RFC 9457 (``application/problem+json``).

    error: the same error in OpenAI's format, on the routes of models, which OpenAI's clients call too.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    request_id: str | None = None
    errors: list[ProblemItem] | None = None
    error: OpenAIError | None = None


class OpenAIErrorBody(ResponseBody):
    """An error on the OpenAI-compatible routes."""

    error: OpenAIError
