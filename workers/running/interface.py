"""Interface between a run and its kind of work: progress, metrics, checkpoints, outputs, stop requests, helpers.

A kind of work is a function ``work(run: RunContext) -> Mapping[str, float]``; it returns the run's metrics. After its worker
dies, it may be started again from its last checkpoint, any number of times, and must then produce the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from service.settings import Settings
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from service.store.prompts.store import PromptStore

if TYPE_CHECKING:
    from service.engine.model.hosted_model import HostedModel


class RunStopped(Exception):
    """The run must stop in this process: it was cancelled, another attempt has replaced it, or the worker shuts down.

    A kind of work may catch it to save a last checkpoint, and must raise it again.
    """


class RunContext(Protocol):
    """One attempt at one run."""

    run_id: str
    attempt: int
    name: str | None
    spec: Mapping[str, Any]
    settings: Settings
    artifacts: ArtifactStore
    prompts: PromptStore
    datasets: DatasetStore

    def load_model(self, name: str) -> HostedModel:
        """The base model of that name, loaded once per process; NotFound if this worker does not have it."""

    def progress(self, step: int, total: int) -> None:
        """Report progress. Cheap: it is stored about once a second, with the predicted remaining time."""

    def metric(self, step: int, *, member: str | None = None, **values: float) -> None:
        """Add a point to the run's curves. Values that an earlier attempt reported for the same step are dropped."""

    def log(self, text: str, *, level: str = "info") -> None:
        """Add a message for the owner of the run; level: info or warning."""

    def count(self, name: str, amount: float = 1) -> None:
        """Add to a counter of ``service.queueing.tallies``. Cheap: it is written about once a second."""

    def made_prompt(self, ref: str) -> None:
        """Record that the run has created this prompt version."""

    def check(self) -> None:
        """Raise RunStopped if the run must stop. Cheap: call it at every step."""

    def save_checkpoint(self, files: Mapping[str, bytes]) -> None:
        """Store ``files`` as the newest checkpoint, atomically; the previous one is kept until this one is complete."""

    def load_checkpoint(self) -> Mapping[str, bytes] | None:
        """The newest complete checkpoint, None if there is none."""

    def save_output(self, path: str, data: bytes) -> None:
        """Store an output file of the run; an existing file at this path is replaced."""

    def read_output(self, path: str) -> bytes | None:
        """An output file of this run, from this attempt or an earlier one; None if there is none."""


Work = Callable[[RunContext], Mapping[str, float]]
"""A kind of work."""


class Coordinator(Protocol):
    """Coordinates the workers of one run: the worker that has the attempt, and its helpers.

    The work is divided into named parts, and workers lease parts. A lease is not a guarantee: two workers may do the same
    part, for instance when one of them did not respond for a while. The result of a part must therefore not depend on the
    worker, and must be stored once.
    """

    def lease(self, part: str) -> AbstractContextManager[bool]:
        """Lease a part until the context exits; the value is False if another worker has it."""

    def unleased(self, parts: Sequence[str]) -> Sequence[str]:
        """Those of ``parts`` that no worker has leased."""

    def request_helpers(self, n: int) -> int:
        """Request up to ``n`` idle workers as helpers; returns how many were requested. Cheap to call often."""

    def runs_are_waiting(self) -> bool:
        """Whether runs wait for a worker, so that a helper should stop."""

    def withdraw_requests(self) -> None:
        """Withdraw the requests for helpers, because the work is done."""


class WorkContext(Protocol):
    """The part of a run that its helpers have as well: everything that only reads."""

    run_id: str
    spec: Mapping[str, Any]
    settings: Settings
    artifacts: ArtifactStore
    prompts: PromptStore
    datasets: DatasetStore

    @property
    def coordinator(self) -> Coordinator:
        """Coordinates this worker with the others of the run."""

    def load_model(self, name: str) -> HostedModel:
        """As RunContext.load_model."""

    def count(self, name: str, amount: float = 1) -> None:
        """As RunContext.count."""

    def check(self) -> None:
        """As RunContext.check."""


class SharedRunContext(RunContext, WorkContext, Protocol):
    """One attempt at a run with which other workers may help."""


HelperWork = Callable[[WorkContext], None]
"""The work of a helper for one kind of run: returns when no parts are left, or when runs are waiting."""
