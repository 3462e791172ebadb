# Generated from promptatlas.async_client by generate_sync.py: edit that module, then run `make generate`.
"""Client of a server: settings, and the nouns as attributes."""

from __future__ import annotations

import os
import random as random_numbers
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

import httpx

from promptatlas.async_client import DEFAULT_TIMEOUT_S, _headers, _url
from promptatlas.resources._sync.activations import Activations
from promptatlas.resources._sync.completions import Chat, Completions
from promptatlas.resources._sync.datasets import Datasets
from promptatlas.resources._sync.embeddings import Embeddings
from promptatlas.resources._sync.harvest import HarvestResource
from promptatlas.resources._sync.maps import Maps
from promptatlas.resources._sync.models import Models
from promptatlas.resources._sync.priors import Priors
from promptatlas.resources._sync.prompts import Prompts
from promptatlas.resources._sync.reports import Reports
from promptatlas.resources._sync.runs import Runs
from promptatlas.resources._sync.trajectories import TrajectoriesResource
from promptatlas.transport._sync.sender import Sender
from promptatlas.transport.call import Call, CallOptions, options_of, reader
from promptatlas.transport.files import bar_for, shown
from promptatlas.transport.retry import RetryPolicy
from promptatlas.transport.wire import Wire
from promptatlas.types import Capabilities, Health, Ready

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class Client:
    """Synchronous client of a server. Use it as a context manager, or close it.

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
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
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
        http = httpx.Client(base_url=url, headers=headers, transport=transport)
        self._sender = Sender(http, wire=wire, sleep=sleep)
        self.models = Models(self._sender)
        self.completions = Completions(self._sender)
        self.chat = Chat(self._sender)
        self.embeddings = Embeddings(self._sender)
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
        """Limits and features of the server, and versions of its libraries."""
        parse = reader(Capabilities)
        call = Call(method="GET", path="/v1/capabilities", parse=parse, **options_of(options))
        return self._sender.send(call)

    def health(self, **options: Unpack[CallOptions]) -> Health:
        """Whether the API process responds."""
        call = Call(method="GET", path="/health", parse=reader(Health), **options_of(options))
        return self._sender.send(call)

    def ready(self, **options: Unpack[CallOptions]) -> Ready:
        """Whether the server can run the model, and the status of each part. Never retried."""
        # A server that is not ready responds with 503 and the same body.
        parse, common = reader(Ready), options_of(options)
        call = Call(method="GET", path="/ready", parse=parse, retries=False, accepted_errors=(503,), **common)
        return self._sender.send(call)

    def close(self) -> None:
        """Closes the connections."""
        self._sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
