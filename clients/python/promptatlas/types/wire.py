"""What every message shares: strict bodies in, open answers out, pages of a list, problems."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PrivateAttr

Row = TypeVar("Row")


class RequestBody(BaseModel):
    """What a client sends: unknown fields, NaN, infinities and values of the wrong JSON type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class ResponseBody(BaseModel):
    """What a server answers. Fields that this version does not know are kept, so that servers may grow.

    ``_request_id`` is the answer's ``X-Request-ID``, filled in by the client.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=())
    _request_id: str | None = PrivateAttr(default=None)


def null_means(default: Any, *, schema: Any) -> BeforeValidator:
    """A field that OpenAI's clients may send as null, which then means its default."""

    def replace(value: Any) -> Any:
        return default if value is None else value

    return BeforeValidator(replace, json_schema_input_type=schema)


class ListPage(ResponseBody, Generic[Row]):
    """One page of a list. ``next`` is the cursor to send as ``after`` for the page behind this one."""

    object: Literal["list"] = "list"
    data: list[Row]
    has_more: bool = False
    next: str | None = None


class ProblemItem(ResponseBody):
    """One fault of a request: where it stands and what is wrong with it."""

    loc: list[str | int]
    msg: str


class Problem(ResponseBody):
    """An error as RFC 9457 writes it (``application/problem+json``)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    request_id: str | None = None
    errors: list[ProblemItem] | None = None


class OpenAIError(ResponseBody):
    """The inside of an error on the routes that follow OpenAI."""

    message: str
    type: str
    code: str | None = None
    param: str | None = None


class OpenAIErrorBody(ResponseBody):
    """An error on the routes that follow OpenAI."""

    error: OpenAIError
