"""Limit of a chat without ``max_tokens``: what the context leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from service.engine.requests import Capture, Generate

CountChat = Callable[[Sequence[Mapping[str, str]]], int]


def with_chat_limit(
    request: Generate | Capture, *, n_context: int | None, count_chat: CountChat | None
) -> Generate | Capture:
    """The request with a limit for its new tokens, if it is a chat without one; else the request itself.

    Args:
        n_context: maximum number of input and generated tokens together; None for a request with a limit.
        count_chat: number of tokens of a chat; None for a model without chat template.
    """
    if n_context is None or not isinstance(request, Generate) or count_chat is None:
        return request
    return replace(request, max_tokens=max(1, n_context - count_chat(request.messages or ())))
