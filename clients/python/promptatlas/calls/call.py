"""The description of one call, and how Python values become its body."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Generic, TypedDict, TypeVar

import pydantic

from promptatlas.errors import InvalidRequestError, UnexpectedAnswerError
from promptatlas.types import ProblemItem, RequestBody

T = TypeVar("T")
Model = TypeVar("Model", bound=pydantic.BaseModel)

JSON = "application/json"
SAFETENSORS = "application/vnd.safetensors"


class CallOptions(TypedDict, total=False):
    """What every verb takes.

    timeout_s: deadline of the call, retries included; the server is told. request_id: what both logs know it by.
    """

    timeout_s: float
    request_id: str


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A body that need not fit in memory. open: from its beginning, as often as it is sent."""

    n_bytes: int
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, kw_only=True)
class Body:
    """A request's body, such that it can be sent again.

    parts: multipart, name to (content, content type); upload: read as it is sent; else ``content``, with its type.
    """

    content: bytes = b""
    content_type: str = JSON
    parts: Mapping[str, tuple[bytes, str]] | None = None
    upload: Upload | None = None


@dataclass(frozen=True, kw_only=True)
class ServerEvent:
    """One event of a stream; several ``data`` lines are joined by line feeds. id: of the last event that had one."""

    event: str
    data: str
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class Following:
    """A stream of events without a deadline, which may be gone on with after it breaks.

    last_event: type of the event behind which the stream may end. quiet_s: with no byte for so long it is taken for
    broken. on_bytes: called whenever some have come; what it raises ends the stream.
    """

    last_event: str
    quiet_s: float
    on_bytes: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """One call to the server.

    parse: from an answer's body, or from the data of one event of a stream. accept: the content type wanted.
    parse_event: from an event, where its id and type count too. following: of a stream that is no answer to wait for.
    retries: False where the answer to a failing call is wanted as it is. accepted_errors: statuses parsed as answers.
    """

    method: str
    path: str
    parse: Callable[[bytes], T]
    params: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    accept: str = JSON
    timeout_s: float | None = None
    retries: bool = True
    accepted_errors: tuple[int, ...] = ()
    parse_event: Callable[[ServerEvent], T] | None = None
    following: Following | None = None


def reader(model: type[Model]) -> Callable[[bytes], Model]:
    """A parser of JSON bodies of this type; what is not of it raises UnexpectedAnswerError."""

    def read(content: bytes) -> Model:
        try:
            return model.model_validate_json(content)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "body"
            raise UnexpectedAnswerError(f"expected a {model.__name__}, but {where}: {first['msg']}") from error

    return read


def nothing(content: bytes) -> None:
    """The parser of answers that say nothing."""


def options_of(options: CallOptions, *, creates: bool = False) -> dict[str, Any]:
    """The part of a Call that every verb's options make.

    creates: an ``Idempotency-Key`` makes sending the call again safe.
    """
    headers = {"Idempotency-Key": uuid.uuid4().hex} if creates else {}
    if "request_id" in options:
        headers["X-Request-ID"] = options["request_id"]
    return {"headers": headers, "timeout_s": options.get("timeout_s")}


def checked(model: type[RequestBody], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a request, checked against the contract before anything is sent; only what was given is in it.

    Raises:
        InvalidRequestError: with ``errors`` as the server would name them.
    """
    try:
        body = model.model_validate(plain(fields))
    except pydantic.ValidationError as error:
        raise invalid(error) from error
    return body.model_dump(mode="json", exclude_unset=True, by_alias=True)


def invalid(error: pydantic.ValidationError) -> InvalidRequestError:
    """A failed check as the error that the server would answer with."""
    items = [ProblemItem(loc=list(fault["loc"]), msg=fault["msg"]) for fault in error.errors(include_url=False)]
    return InvalidRequestError("Invalid request", status=422, title="Invalid request", errors=items)


def json_body(content: Mapping[str, Any]) -> Body:
    """A JSON body."""
    return Body(content=json.dumps(content, ensure_ascii=False, allow_nan=False).encode())


def plain(value: Any) -> Any:
    """``value`` with arrays, tuples, ranges and slices as the lists and objects that JSON has for them."""
    if hasattr(value, "tolist"):  # numpy's arrays and numbers, torch's tensors
        return value.tolist()
    if isinstance(value, pydantic.BaseModel):
        return _plain_model(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, slice):
        return _plain_slice(value)
    if isinstance(value, (Sequence, range)) and not isinstance(value, (str, bytes)):
        # Long lists of token ids are the common case and need no second look.
        return [item if type(item) in (int, str, float) else plain(item) for item in value]
    return value


def _plain_model(value: pydantic.BaseModel) -> dict[str, Any]:
    # What was not given is left to the server; a kind tells types apart, so it is sent even where it is the default.
    fields = type(value).model_fields
    given = [name for name in fields if name in value.model_fields_set or name == "kind"]
    return {fields[name].alias or name: plain(getattr(value, name)) for name in given}


def _plain_slice(value: slice) -> dict[str, Any]:
    if value.step not in (None, 1):
        raise ValueError(f"positions: expected a slice of step 1, got step {value.step}")
    return {"start": value.start, "stop": value.stop}
