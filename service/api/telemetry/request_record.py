"""Record of the current request: what its access line and its spans show. Routes and dependencies add to it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from service.engine.inputs import PromptChoice
from service.hosting.ipc.messages import Submit
from service.hosting.ipc.usage import UsageTally
from service.tracing.spans import Span


@dataclass(kw_only=True)
class RequestRecord:
    """One HTTP request.

    prompt: ``name@version``, the parts of a mix with their weights, or ``concat(…)`` or ``ensemble(…)`` with the parts.
    prompt_sha256: in the same order.
    usages: of the requests that it sent to the engine. submitted_ns: when it sent the first one.
    error: why it failed, if it did. is_complete: whether the whole response was sent.
    """

    span: Span | None = None
    model: str | None = None
    prompt: str | None = None
    prompt_sha256: str | None = None
    usages: list[UsageTally] = field(default_factory=list)
    submitted_ns: int | None = None
    error: Exception | None = None
    is_complete: bool = False


_current: ContextVar[RequestRecord | None] = ContextVar("request_record", default=None)


@contextmanager
def recording(record: RequestRecord) -> Iterator[None]:
    """Make ``record`` the current one."""
    token = _current.set(record)
    try:
        yield
    finally:
        _current.reset(token)


def current_traceparent() -> str | None:
    """Trace context of the current request; None if it is not traced."""
    record = _current.get()
    return None if record is None or record.span is None else record.span.traceparent


def note_model(model: str, *, refs: Sequence[str] = (), prompt: PromptChoice | None = None) -> None:
    """Note the base model and the prompt versions that the request runs.

    Args:
        model: name of the base model.
        refs: ``name@version`` of each part of the prompt, in the order of its parts.
    """
    record = _current.get()
    if record is None:
        return
    record.model = model
    if prompt is not None and refs:
        record.prompt = _in_words(refs, prompt)
        record.prompt_sha256 = "+".join(sha256.removeprefix("sha256:") for sha256, _ in prompt.parts)


def _in_words(refs: Sequence[str], prompt: PromptChoice) -> str:
    if prompt.is_concat or prompt.is_ensemble:
        return f"{'concat' if prompt.is_concat else 'ensemble'}({','.join(refs)})"
    if len(refs) == 1:
        return refs[0]
    return "+".join(f"{weight:g}*{ref}" for ref, (_, weight) in zip(refs, prompt.parts, strict=True))


def note_error(error: Exception) -> None:
    """Note the error that the client receives."""
    record = _current.get()
    if record is not None:
        record.error = error


def note_job(job: Submit, usage: UsageTally) -> Submit:
    """Note a request to the engine; returns it with the trace context. An observer of the engine client."""
    record = _current.get()
    if record is None:
        return job
    record.usages.append(usage)
    record.submitted_ns = record.submitted_ns or time.time_ns()
    return job if record.span is None else replace(job, traceparent=record.span.traceparent)
