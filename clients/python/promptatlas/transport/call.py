"""Description of one request: what is sent, and how its response is parsed."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Generic, TypedDict, TypeVar

import pydantic
from httpx_sse import ServerSentEvent

from promptatlas.errors import UnexpectedAnswerError

T = TypeVar("T")
Model = TypeVar("Model", bound=pydantic.BaseModel)

JSON = "application/json"
SAFETENSORS = "application/vnd.safetensors"
EVENTS = "text/event-stream"


class CallOptions(TypedDict, total=False):
    """Options of every verb.

    timeout_s: deadline of the call in seconds, retries included; the server receives it too. request_id: identifies the
    request in the logs of client and server.
    """

    timeout_s: float
    request_id: str


class CommonFields(TypedDict):
    """The fields of a Call that follow from the options of a verb."""

    headers: dict[str, str]
    timeout_s: float | None


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A body that may be larger than memory. open: opens it at its first byte, once for each attempt."""

    n_bytes: int
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, kw_only=True)
class Body:
    """A request body that can be sent more than once.

    parts: multipart, name to (content, content type). upload: streamed from a file. Otherwise ``content`` is sent with
    ``content_type``.
    """

    content: bytes = b""
    content_type: str = JSON
    parts: Mapping[str, tuple[bytes, str]] | None = None
    upload: Upload | None = None


@dataclass(frozen=True, kw_only=True)
class Following:
    """Settings of an event stream that has no deadline and can be reopened after it breaks.

    last_event: event type after which the stream may end. quiet_s: seconds without a byte after which the connection is
    considered broken. on_bytes: called for each received chunk; an exception from it ends the stream.
    """

    last_event: str
    quiet_s: float
    on_bytes: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """One request to the server.

    parse: parses a response body, or the data of one event of a stream. accept: expected content type.
    parse_event: parses an event including its id and type. following: settings of a reopenable event stream.
    retries: False disables retries. accepted_errors: error statuses whose body is parsed like a success.
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
    parse_event: Callable[[ServerSentEvent], T] | None = None
    following: Following | None = None


def reader(model: type[Model]) -> Callable[[bytes], Model]:
    """A parser of JSON bodies. It raises UnexpectedAnswerError for a body that is not a valid ``model``."""

    def read(content: bytes) -> Model:
        try:
            return model.model_validate_json(content)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "body"
            raise UnexpectedAnswerError(f"expected a {model.__name__}, but {where}: {first['msg']}") from error

    return read


def nothing(content: bytes) -> None:
    """The parser of responses without a value."""


def options_of(options: CallOptions, *, creates: bool = False) -> CommonFields:
    """The fields of a Call that follow from the options of a verb.

    creates: adds an ``Idempotency-Key``, so that a retry does not create a second object.
    """
    headers = {"Idempotency-Key": uuid.uuid4().hex} if creates else {}
    if "request_id" in options:
        headers["X-Request-ID"] = options["request_id"]
    return {"headers": headers, "timeout_s": options.get("timeout_s")}
