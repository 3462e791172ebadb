"""The clients: settings, and where the nouns hang."""

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

from promptatlas.calls import system
from promptatlas.calls.call import CallOptions
from promptatlas.resources.captures import (
    Activations,
    AsyncActivations,
    AsyncTrajectoriesResource,
    TrajectoriesResource,
)
from promptatlas.resources.completions import AsyncChat, AsyncCompletions, Chat, Completions
from promptatlas.resources.datasets import AsyncDatasets, Datasets
from promptatlas.resources.harvest import AsyncHarvestResource, HarvestResource
from promptatlas.resources.maps import AsyncMaps, Maps
from promptatlas.resources.models import AsyncModels, Models
from promptatlas.resources.priors import AsyncPriors, Priors
from promptatlas.resources.prompts import AsyncPrompts, Prompts
from promptatlas.resources.reports import AsyncReports, Reports
from promptatlas.resources.runs import AsyncRuns, Runs
from promptatlas.transport.files import bar_for, shown
from promptatlas.transport.retry import RetryPolicy
from promptatlas.transport.sender import AsyncSender, Sender, Wire
from promptatlas.types import Capabilities, Health, Ready

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_S = 600.0


def _url(given: str | None, environ: Mapping[str, str]) -> httpx.URL:
    url = httpx.URL(given or environ.get("PROMPTATLAS_URL") or DEFAULT_URL)
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"base_url: expected http:// or https:// and a host, got {str(url)!r}")
    return url


def _headers(given: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    headers = {"User-Agent": f"promptatlas-python/{importlib.metadata.version('promptatlas')}"}
    key = given or environ.get("PROMPTATLAS_API_KEY")
    return {**headers, "Authorization": f"Bearer {key}"} if key else headers


def _wire(
    retries: RetryPolicy | None,
    *,
    timeout_s: float,
    random: Callable[[], float],
    clock: Callable[[], float],
    progress: bool | None,
) -> Wire:
    policy = retries or RetryPolicy()
    bar, live = bar_for(progress), shown(progress)
    return Wire(policy=policy, timeout_s=timeout_s, random=random, clock=clock, bar=bar, live=live)


class Client:
    """A server, for code that waits. Use it as a context manager, or close it.

    Args:
        base_url: else ``PROMPTATLAS_URL``, else ``http://127.0.0.1:8000``.
        api_key: else ``PROMPTATLAS_API_KEY``; none is sent where neither is set.
        timeout_s: deadline of a call, retries included; ``timeout_s`` of a call goes first.
        retries: which failures are tried again, and how soon.
        progress: show bars for large files and for runs that are waited for; None: where standard error is a terminal.
        transport: of httpx, in place of the network. sleep, random, clock: in place of the real ones.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retries: RetryPolicy | None = None,
        progress: bool | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
        random: Callable[[], float] = random_numbers.random,
        clock: Callable[[], float] = time.monotonic,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        wire = _wire(retries, timeout_s=timeout_s, random=random, clock=clock, progress=progress)
        http = httpx.Client(base_url=_url(base_url, environ), headers=_headers(api_key, environ), transport=transport)
        self._sender = Sender(http, wire=wire, sleep=sleep)
        self.models = Models(self._sender)
        self.completions = Completions(self._sender)
        self.chat = Chat(self._sender)
        self.activations = Activations(self._sender)
        self.trajectories = TrajectoriesResource(self._sender)
        self.prompts = Prompts(self._sender)
        self.datasets = Datasets(self._sender)
        self.priors = Priors(self._sender)
        self.runs = Runs(self._sender)
        self.harvest = HarvestResource(self._sender)
        self.maps = Maps(self._sender)
        self.reports = Reports(self._sender)

    def capabilities(self, **options: Unpack[CallOptions]) -> Capabilities:
        """Limits of the server, and the versions of what it is built of."""
        return self._sender.send(system.capabilities(options))

    def health(self, **options: Unpack[CallOptions]) -> Health:
        """Does the API process answer."""
        return self._sender.send(system.health(options))

    def ready(self, **options: Unpack[CallOptions]) -> Ready:
        """Can the model be run now, and if not, which part is to blame. Never retried."""
        return self._sender.send(system.ready(options))

    def close(self) -> None:
        """Closes the connections."""
        self._sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """A server, for code that does not wait (asyncio or trio); arguments as of Client."""

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
        wire = _wire(retries, timeout_s=timeout_s, random=random, clock=clock, progress=progress)
        url, headers = _url(base_url, environ), _headers(api_key, environ)
        self._sender = AsyncSender(
            httpx.AsyncClient(base_url=url, headers=headers, transport=transport), wire=wire, sleep=sleep
        )
        self.models = AsyncModels(self._sender)
        self.completions = AsyncCompletions(self._sender)
        self.chat = AsyncChat(self._sender)
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
        """As Client.capabilities."""
        return await self._sender.send(system.capabilities(options))

    async def health(self, **options: Unpack[CallOptions]) -> Health:
        """As Client.health."""
        return await self._sender.send(system.health(options))

    async def ready(self, **options: Unpack[CallOptions]) -> Ready:
        """As Client.ready."""
        return await self._sender.send(system.ready(options))

    async def close(self) -> None:
        """Closes the connections."""
        await self._sender.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
