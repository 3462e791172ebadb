"""``client.runs``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from promptatlas.calls import runs as calls
from promptatlas.calls.call import CallOptions
from promptatlas.calls.runs import EvaluateOptions, Spec, TuneOptions
from promptatlas.results.runs.run import AsyncRun, Run
from promptatlas.transport.pages import AsyncPage, Mapped, Page
from promptatlas.transport.sender import AsyncSender, Sender
from promptatlas.types import RunKind, RunStatus

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Runs:
    """Long work on the workers; what is begun here goes on without this client."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def create(self, kind: RunKind, spec: Spec, *, name: str | None = None, **options: Unpack[CallOptions]) -> Run:
        """Puts a run of any kind into the queue.

        Args:
            spec: as the kind has it, see ``promptatlas.types``.
            name: of the run, for people.

        Raises:
            InvalidRequestError: it cannot work; ``errors`` says where.
        """
        return Run(self._sender.send(calls.create(kind, spec, name, options)), sender=self._sender)

    def tune(
        self,
        *,
        model: str,
        dataset: str,
        priors: Sequence[Spec],
        run_name: str | None = None,
        **options: Unpack[TuneOptions],
    ) -> Run:
        """Tunes prompts: the product priors × seeds × learning rates, side by side; each becomes a prompt version.

        Args:
            priors: what the vectors are drawn from, e.g. ``[{"kind": "isotropic", "std": 0.02}]``.
            run_name: of the run, for people; ``name`` is the prompts'.
            options: see ``promptatlas.types.TuneSpec``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: it cannot work; ``errors`` says where.
        """
        fields, call_options = calls.split_options(options)
        spec = {"model": model, "dataset": dataset, "priors": priors, **fields}
        return self.create("tune", spec, name=run_name, **call_options)

    def evaluate(
        self,
        *,
        model: str,
        prompts: Sequence[str | None],
        dataset: str,
        run_name: str | None = None,
        **options: Unpack[EvaluateOptions],
    ) -> Run:
        """Asks a dataset's examples under prompts, and counts right answers.

        Args:
            prompts: references; None is the bare model.
            options: see ``promptatlas.types.EvaluateSpec``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: it cannot work; ``errors`` says where.
        """
        fields, call_options = calls.split_options(options)
        spec = {"model": model, "prompts": prompts, "dataset": dataset, **fields}
        return self.create("evaluate", spec, name=run_name, **call_options)

    def get(self, run_id: str, **options: Unpack[CallOptions]) -> Run:
        """A run by its id."""
        return Run(self._sender.send(calls.run(run_id, options)), sender=self._sender)

    def list(
        self,
        *,
        kind: RunKind | None = None,
        status: RunStatus | None = None,
        limit: int | None = None,
        after: str | None = None,
        **options: Unpack[CallOptions],
    ) -> Page[Run]:
        """One page of ``limit`` runs, newest first; iterating it goes through all.

        They come without their ``artifacts``, which ``refresh`` of one brings.
        """
        page = self._sender.send(calls.runs(kind, status, limit, after, options))
        rows = Mapped([Run(info, sender=self._sender) for info in page.data], page.has_more, page.next)
        return Page(
            rows, follow=lambda cursor: self.list(kind=kind, status=status, limit=limit, after=cursor, **options)
        )


class AsyncRuns:
    """Long work on the workers; see Runs."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def create(
        self, kind: RunKind, spec: Spec, *, name: str | None = None, **options: Unpack[CallOptions]
    ) -> AsyncRun:
        """As Runs.create."""
        return AsyncRun(await self._sender.send(calls.create(kind, spec, name, options)), sender=self._sender)

    async def tune(
        self,
        *,
        model: str,
        dataset: str,
        priors: Sequence[Spec],
        run_name: str | None = None,
        **options: Unpack[TuneOptions],
    ) -> AsyncRun:
        """As Runs.tune."""
        fields, call_options = calls.split_options(options)
        spec = {"model": model, "dataset": dataset, "priors": priors, **fields}
        return await self.create("tune", spec, name=run_name, **call_options)

    async def evaluate(
        self,
        *,
        model: str,
        prompts: Sequence[str | None],
        dataset: str,
        run_name: str | None = None,
        **options: Unpack[EvaluateOptions],
    ) -> AsyncRun:
        """As Runs.evaluate."""
        fields, call_options = calls.split_options(options)
        spec = {"model": model, "prompts": prompts, "dataset": dataset, **fields}
        return await self.create("evaluate", spec, name=run_name, **call_options)

    async def get(self, run_id: str, **options: Unpack[CallOptions]) -> AsyncRun:
        """As Runs.get."""
        return AsyncRun(await self._sender.send(calls.run(run_id, options)), sender=self._sender)

    async def list(
        self,
        *,
        kind: RunKind | None = None,
        status: RunStatus | None = None,
        limit: int | None = None,
        after: str | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncPage[AsyncRun]:
        """As Runs.list."""
        page = await self._sender.send(calls.runs(kind, status, limit, after, options))
        rows = Mapped([AsyncRun(info, sender=self._sender) for info in page.data], page.has_more, page.next)
        return AsyncPage(
            rows, follow=lambda cursor: self.list(kind=kind, status=status, limit=limit, after=cursor, **options)
        )
