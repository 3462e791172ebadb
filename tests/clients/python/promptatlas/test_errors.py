from __future__ import annotations

import json
from datetime import datetime, timezone

import httpx
import pytest
from promptatlas import errors
from promptatlas.errors import ProblemError, class_of, problem_error, retry_after_s, stream_error
from promptatlas.types import ProblemItem

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequestError),
        (401, errors.AuthenticationError),
        (403, errors.ForbiddenError),
        (404, errors.NotFoundError),
        (410, errors.ExpiredError),
        (409, errors.ConflictError),
        (413, errors.TooLargeError),
        (415, errors.UnsupportedFormatError),
        (422, errors.InvalidRequestError),
        (429, errors.TooManyRequestsError),
        (500, errors.ServerError),
        (502, errors.BadGatewayError),
        (503, errors.UnavailableError),
        (504, errors.DeadlineExceededError),
        (418, ProblemError),
        (599, errors.ServerError),
    ],
)
def test_one_class_for_each_status(status: int, kind: type[ProblemError]) -> None:
    assert class_of(status) is kind


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = {word for word in (errors.__doc__ or "").split() if word.endswith("Error")}
    defined = {name for name, value in vars(errors).items() if isinstance(value, type) and name.endswith("Error")}
    assert drawn == {name for name in defined if issubclass(getattr(errors, name), errors.PromptAtlasError)}


def test_all_fields_of_a_problem() -> None:
    body = {
        "type": "about:blank",
        "title": "Invalid request",
        "status": 422,
        "detail": "1 fault",
        "request_id": "req_1",
        "errors": [{"loc": ["body", "layers", 0], "msg": "expected below 6, got 9"}],
    }
    error = problem_error(422, httpx.Headers(), json.dumps(body).encode())
    assert (error.status, error.title, error.detail, error.request_id) == (422, "Invalid request", "1 fault", "req_1")
    assert error.errors[0].loc == ["body", "layers", 0]
    assert str(error) == "422 Invalid request: 1 fault: body.layers.0: expected below 6, got 9 (request req_1)"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"type": "urn:promptatlas:problem:rate-limit-exceeded", "title": "x", "status": 429}, errors.RateLimitError),
        ({"error": {"message": "x", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}, errors.RateLimitError),
        (
            {"type": "urn:promptatlas:problem:too-many-requests", "title": "x", "status": 429},
            errors.TooManyRequestsError,
        ),
        (
            {"error": {"message": "x", "type": "rate_limit_error", "code": "too_many_requests"}},
            errors.TooManyRequestsError,
        ),
    ],
)
def test_the_limit_of_a_key_has_a_class_of_its_own(body: dict[str, object], kind: type[ProblemError]) -> None:
    error = problem_error(429, httpx.Headers({"Retry-After": "40"}), json.dumps(body).encode())
    assert type(error) is kind
    assert error.retry_after_s == 40
    assert isinstance(error, errors.TooManyRequestsError)


def test_a_message_is_not_repeated() -> None:
    item = ProblemItem(loc=["inputs", 0], msg="too long")
    error = ProblemError("too long", status=422, title="Invalid request", errors=[item])
    assert str(error) == "422 Invalid request: too long"


def test_all_fields_of_an_openai_error() -> None:
    body = {"error": {"message": "no such model", "type": "not_found", "code": "model_not_found", "param": "model"}}
    error = problem_error(404, httpx.Headers({"x-request-id": "req_2"}), json.dumps(body).encode())
    assert isinstance(error, errors.NotFoundError)
    assert (error.title, error.detail, error.code, error.param) == (
        "not_found",
        "no such model",
        "model_not_found",
        "model",
    )
    assert error.request_id == "req_2"


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b"[1]", b"\xff\xfe", b'{"error": "no"}'])
def test_a_proxys_page_is_an_error_of_its_status(body: bytes) -> None:
    error = problem_error(502, httpx.Headers(), body)
    assert isinstance(error, errors.BadGatewayError)
    assert "502" in str(error)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("Fri, 02 Jan 2026 03:04:35 GMT", 30.0),
        ("Fri, 02 Jan 2026 03:04:35", 30.0),
        ("Fri, 02 Jan 2026 03:00:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        ("inf", None),
        ("nan", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after_s(httpx.Headers({"Retry-After": value}), now=NOW) == seconds


def test_no_retry_after() -> None:
    assert retry_after_s(httpx.Headers(), now=NOW) is None


def test_messages_of_a_stream_that_are_errors() -> None:
    openai = stream_error({"error": {"message": "lost", "type": "unavailable", "code": "503"}}, httpx.Headers())
    assert isinstance(openai, errors.UnavailableError)
    problem = stream_error({"title": "Deadline exceeded", "status": 504}, httpx.Headers())
    assert isinstance(problem, errors.DeadlineExceededError)
    assert isinstance(stream_error({"error": {"message": "m", "type": "t", "code": "lost"}}, {}), errors.ServerError)
    assert stream_error({"id": "cmpl-1", "choices": []}, httpx.Headers()) is None
