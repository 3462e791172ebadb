"""``client.reports``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from promptatlas.calls import reports as calls
from promptatlas.calls import runs as run_calls
from promptatlas.calls.call import CallOptions
from promptatlas.calls.reports import ReportOptions
from promptatlas.results.reports import Report, read_report
from promptatlas.results.runs.run import AsyncRun, Run
from promptatlas.transport.sender import AsyncSender, Sender

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Reports:
    """What is known of where prompts and activations lie, measured on prompts and datasets of one's own."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def make(
        self, *, model: str, datasets: Sequence[str], run_name: str | None = None, **options: Unpack[ReportOptions]
    ) -> Run:
        """Measures every finding; ``.report()`` of the run is what came out.

        Args:
            datasets: the tasks that are compared.
            run_name: of the run, for people; ``title`` is the report's.
            options: ``prompts``, whose runs tell priors, seeds and curves, and more: see
                ``promptatlas.types.ReportSpec``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: it cannot work; ``errors`` says where.
        """
        fields, call_options = run_calls.split_options(options)
        spec = {"model": model, "datasets": datasets, **fields}
        return Run(self._sender.send(run_calls.create("report", spec, run_name, call_options)), sender=self._sender)

    def get(self, run_id: str, **options: Unpack[CallOptions]) -> Report:
        """What a run has found. NotFoundError where there is no such run, or it has not found it yet."""
        numbers = self._sender.send(run_calls.artifact_bytes(run_id, calls.NUMBERS, options))
        page = self._sender.send(run_calls.artifact_bytes(run_id, calls.HTML, options))
        return read_report(run_id, numbers=numbers, page=page)


class AsyncReports:
    """What is known of where prompts and activations lie; see Reports."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def make(
        self, *, model: str, datasets: Sequence[str], run_name: str | None = None, **options: Unpack[ReportOptions]
    ) -> AsyncRun:
        """As Reports.make."""
        fields, call_options = run_calls.split_options(options)
        spec = {"model": model, "datasets": datasets, **fields}
        info = await self._sender.send(run_calls.create("report", spec, run_name, call_options))
        return AsyncRun(info, sender=self._sender)

    async def get(self, run_id: str, **options: Unpack[CallOptions]) -> Report:
        """As Reports.get."""
        numbers = await self._sender.send(run_calls.artifact_bytes(run_id, calls.NUMBERS, options))
        page = await self._sender.send(run_calls.artifact_bytes(run_id, calls.HTML, options))
        return read_report(run_id, numbers=numbers, page=page)
