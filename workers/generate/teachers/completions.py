"""Requests to a teacher and its answers, in OpenAI's format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptatlas.types.generation import GenerateSpec

from workers.generate.samples.requests import SampleRequest
from workers.generate.teachers.client import Nonsense

Scored = tuple[str, float]
"""A token as text, and its log-probability."""


@dataclass(frozen=True, kw_only=True)
class TeacherToken:
    """One generated token. top: most probable tokens, in order."""

    text: str
    logprob: float
    top: Sequence[Scored]


@dataclass(frozen=True, kw_only=True)
class Completion:
    """An answer. tokens: empty if the teacher returns no log-probabilities. n_tokens: as the teacher counts."""

    text: str
    finish_reason: str
    n_input: int
    n_tokens: int
    revision: str | None
    tokens: Sequence[TeacherToken]


def path_of(request: SampleRequest) -> str:
    """Path of the route for a request."""
    return "/completions" if isinstance(request.input, str) else "/chat/completions"


def body_of(request: SampleRequest, *, spec: GenerateSpec, with_logprobs: bool) -> dict[str, Any]:
    """Body of a request. Fields that OpenAI's API does not have are sent only if they change something."""
    body: dict[str, Any] = {
        "model": spec.model,
        "max_tokens": spec.max_tokens,
        "temperature": spec.temperature,
        "top_p": spec.top_p,
        "seed": request.seed,
    }
    optional = {
        "presence_penalty": (spec.presence_penalty, 0.0),
        "frequency_penalty": (spec.frequency_penalty, 0.0),
        "stop": (list(spec.stop_strings), []),
        "top_k": (spec.top_k, 0),
        "min_p": (spec.min_p, 0.0),
        "repetition_penalty": (spec.repetition_penalty, 1.0),
        "min_tokens": (spec.min_tokens, 0),
    }
    body |= {name: value for name, (value, default) in optional.items() if value != default}
    is_text = isinstance(request.input, str)
    body |= {"prompt": request.input} if is_text else {"messages": list(request.input)}
    if with_logprobs and spec.logprobs is not None:
        body |= {"logprobs": spec.logprobs} if is_text else {"logprobs": True, "top_logprobs": spec.logprobs}
    return body


def completion_in(answer: Any, *, k: int) -> Completion:
    """Parse an answer of either route.

    Args:
        k: number of most probable tokens that were requested; further ones are dropped.

    Raises:
        Nonsense: It is no completion.
    """
    choice = _item(_field(answer, "choices", list, what="the answer"))
    is_chat = "message" in choice
    text = _field(choice, "message", dict, what="the choice").get("content") if is_chat else choice.get("text")
    if is_chat and text is None:
        text = ""  # e.g. a refusal
    if not isinstance(text, str):
        raise _unlike("text in its choice", text)
    tokens = _tokens(choice.get("logprobs"), k=k)
    usage = answer.get("usage") or {}
    reason = choice.get("finish_reason")
    return Completion(
        text=_clean(text),
        finish_reason=reason if isinstance(reason, str) else "stop",
        n_input=_count(usage, "prompt_tokens", default=0),
        n_tokens=_count(usage, "completion_tokens", default=len(tokens)),
        revision=_revision(answer),
        tokens=tokens,
    )


def _tokens(logprobs: Any, *, k: int) -> list[TeacherToken]:
    if not isinstance(logprobs, Mapping):
        return []
    try:
        if isinstance(logprobs.get("content"), list):
            return [_chat_token(item, k=k) for item in logprobs["content"]]
        if not isinstance(logprobs.get("tokens"), list):
            return []
        texts, values = logprobs["tokens"], logprobs["token_logprobs"]
        tops = logprobs.get("top_logprobs") or [None] * len(texts)
        return [
            TeacherToken(text=_clean(text), logprob=_logprob(value), top=_ordered((top or {}).items(), k=k))
            for text, value, top in zip(texts, values, tops, strict=True)
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Nonsense("expected log-probabilities in OpenAI's format, got others") from None


def _chat_token(item: Mapping[str, Any], *, k: int) -> TeacherToken:
    top = ((each["token"], each["logprob"]) for each in item.get("top_logprobs") or ())
    return TeacherToken(text=_clean(item["token"]), logprob=_logprob(item["logprob"]), top=_ordered(top, k=k))


def _ordered(top: Iterable[tuple[str, Any]], *, k: int) -> list[Scored]:
    scored = [(_clean(text), _logprob(value)) for text, value in top]
    return sorted(scored, key=lambda each: -each[1])[:k]


def _logprob(value: Any) -> float:
    if value is None:
        return math.nan
    if not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _clean(text: str) -> str:
    """The text without lone surrogates, which JSON may contain and UTF-8 may not."""
    return text.encode("utf-8", "replace").decode()


def _revision(answer: Mapping[str, Any]) -> str | None:
    found = answer.get("system_fingerprint") or answer.get("model")
    return _clean(found)[:200] if isinstance(found, str) else None


def _count(usage: Any, name: str, *, default: int) -> int:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default


def _field(value: Any, name: str, kind: type, *, what: str) -> Any:
    found = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(found, kind):
        raise Nonsense(f"expected {name!r} in {what}, got none")
    return found


def _item(choices: Sequence[Any]) -> Mapping[str, Any]:
    if not choices or not isinstance(choices[0], Mapping):
        raise Nonsense("expected one choice in the answer, got none")
    return choices[0]


def _unlike(expected: str, value: object) -> Nonsense:
    return Nonsense(f"expected {expected}, got {type(value).__name__}")
