"""Client of a server: settings, and the nouns as attributes."""

from __future__ import annotations

import importlib.metadata
import os
import random as random_numbers
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

import anyio
import httpx

from promptatlas.resources._async.activations import AsyncActivations
from promptatlas.resources._async.completions import AsyncChat, AsyncCompletions
from promptatlas.resources._async.datasets import AsyncDatasets
from promptatlas.resources._async.embeddings import AsyncEmbeddings
from promptatlas.resources._async.harvest import AsyncHarvestResource
from promptatlas.resources._async.maps import AsyncMaps
from promptatlas.resources._async.models import AsyncModels
from promptatlas.resources._async.priors import AsyncPriors
from promptatlas.resources._async.prompts import AsyncPrompts
from promptatlas.resources._async.reports import AsyncReports
from promptatlas.resources._async.runs import AsyncRuns
from promptatlas.resources._async.trajectories import AsyncTrajectoriesResource
from promptatlas.transport._async.sender import AsyncSender
from promptatlas.transport.call import Call, CallOptions, options_of, reader
from promptatlas.transport.files import bar_for, shown
from promptatlas.transport.retry import RetryPolicy
from promptatlas.transport.wire import Wire
from promptatlas.types import Capabilities, Health, Ready

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_S = 600.0


class AsyncClient:
    """Asynchronous client of a server. Use it as a context manager, or close it.

    Args:
        base_url: default: ``PROMPTATLAS_URL``, then ``http://127.0.0.1:8000``.
        api_key: default: ``PROMPTATLAS_API_KEY``; if neither is set, no key is sent.
        timeout_s: deadline of a call in seconds, retries included; ``timeout_s`` of a call takes precedence.
        retries: which failures are retried, and when.
        progress: show progress bars for large files and while waiting for runs; None: only if standard error is a terminal.
        transport: an httpx transport, in place of the network. sleep, random, clock: replacements for tests.
        environ: environment variables.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retries: RetryPolicy | None = None,
        progress: bool | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
        random: Callable[[], float] = random_numbers.random,
        clock: Callable[[], float] = time.monotonic,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        wire = Wire(
            policy=retries or RetryPolicy(),
            timeout_s=timeout_s,
            random=random,
            clock=clock,
            bar=bar_for(progress),
            live=shown(progress),
        )
        url, headers = _url(base_url, environ=environ), _headers(api_key, environ=environ)
        http = httpx.AsyncClient(base_url=url, headers=headers, transport=transport)
        self._sender = AsyncSender(http, wire=wire, sleep=sleep)
        self.models = AsyncModels(self._sender)
        self.completions = AsyncCompletions(self._sender)
        self.chat = AsyncChat(self._sender)
        self.embeddings = AsyncEmbeddings(self._sender)
        self.activations = AsyncActivations(self._sender)
        self.trajectories = AsyncTrajectoriesResource(self._sender)
        self.prompts = AsyncPrompts(self._sender)
        self.datasets = AsyncDatasets(self._sender)
        self.priors = AsyncPriors(self._sender)
        self.runs = AsyncRuns(self._sender)
        self.harvest = AsyncHarvestResource(self._sender)
        self.maps = AsyncMaps(self._sender)
        self.reports = AsyncReports(self._sender)

    async def capabilities(self, **options: Unpack[CallOptions]) -> Capabilities:
        """Limits and features of the server, and versions of its libraries."""
        parse = reader(Capabilities)
        call = Call(method="GET", path="/v1/capabilities", parse=parse, **options_of(options))
        return await self._sender.send(call)

    async def health(self, **options: Unpack[CallOptions]) -> Health:
        """Whether the API process responds."""
        call = Call(method="GET", path="/health", parse=reader(Health), **options_of(options))
        return await self._sender.send(call)

    async def ready(self, **options: Unpack[CallOptions]) -> Ready:
        """Whether the server can run the model, and the status of each part. Never retried."""
        # A server that is not ready responds with 503 and the same body.
        parse, common = reader(Ready), options_of(options)
        call = Call(method="GET", path="/ready", parse=parse, retries=False, accepted_errors=(503,), **common)
        return await self._sender.send(call)

    async def close(self) -> None:
        """Closes the connections."""
        await self._sender.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _url(base_url: str | None, *, environ: Mapping[str, str]) -> httpx.URL:
    url = httpx.URL(base_url or environ.get("PROMPTATLAS_URL") or DEFAULT_URL)
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"base_url: expected http:// or https:// and a host, got {str(url)!r}")
    return url


def _headers(api_key: str | None, *, environ: Mapping[str, str]) -> dict[str, str]:
    headers = {"User-Agent": f"promptatlas-python/{importlib.metadata.version('promptatlas')}"}
    key = api_key or environ.get("PROMPTATLAS_API_KEY")
    return {**headers, "Authorization": f"Bearer {key}"} if key else headers
