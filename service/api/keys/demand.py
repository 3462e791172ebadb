"""What a request needs before it runs, and what it has used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.engine.inputs import Input, Vectors
from service.engine.requests import Capture, Generate
from service.hosting.ipc.engine_client import Exchange
from service.hosting.ipc.messages import Submit

_CHARACTERS_PER_TOKEN = 4
_MESSAGE_TOKENS = 4  # roles and separators of a chat template


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Estimated before a request runs.

    n_rows: rows of the batch. n_input: tokens of its inputs, each counted once; texts have four characters per token.
    Rows and tokens of an ensemble count once for each member.
    n_generated: the largest number of tokens that it can generate.
    """

    n_rows: int
    n_input: int
    n_generated: int

    @classmethod
    def of(cls, job: Submit) -> Demand:
        """The demand of a request."""
        request = job.request
        n_input = sum(map(_n_tokens, request.inputs))
        n_members = 1 if request.prompt is None else len(request.prompt.members)
        if isinstance(request, Capture):
            return cls(n_rows=len(request.inputs) * n_members, n_input=n_input * n_members, n_generated=0)
        n_input += sum(_MESSAGE_TOKENS + _n_tokens(_content(message)) for message in request.messages or ())
        n_rows = max(len(request.inputs), 1) * request.n
        each = request.max_tokens if job.n_context is None else max(job.n_context - n_input, 1)
        return cls(n_rows=n_rows * n_members, n_input=n_input * n_members, n_generated=n_rows * n_members * each)

    @property
    def n_tokens(self) -> int:
        """Tokens of inputs and outputs together."""
        return self.n_input + self.n_generated


def n_used(request: Generate | Capture, exchange: Exchange, *, demand: Demand) -> int:
    """Number of tokens that a request has used, when its exchange is over.

    A request that failed has used nothing. Of a request that was cancelled, the engine reports what it has streamed; one that
    was not streamed has used all that was reserved.
    """
    usage = exchange.usage
    if exchange.failed:
        return 0
    n_members = 1 if request.prompt is None else len(request.prompt.members)
    if exchange.ended and usage is not None:
        return (usage.n_input + usage.n_generated) * n_members
    if usage is None or not (isinstance(request, Generate) and request.stream):
        return demand.n_tokens
    n_input = usage.n_input * n_members if usage.is_known else demand.n_input
    return min(n_input + usage.n_generated * n_members, demand.n_tokens)


def _n_tokens(given: Input) -> int:
    if isinstance(given, Vectors):
        return len(given.values)
    return -(-len(given) // _CHARACTERS_PER_TOKEN) if isinstance(given, str) else len(given)


def _content(message: Any) -> str:
    return str(message.get("content") or "")
