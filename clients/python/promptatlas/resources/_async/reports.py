"""``client.reports``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from promptatlas.resources._async.run import AsyncRun
from promptatlas.resources.options import Layers, Spec, split_options
from promptatlas.resources.run_requests import content_request, create_request
from promptatlas.results.reports import HTML, NUMBERS, Report, read_report
from promptatlas.transport._async.sender import AsyncSender
from promptatlas.transport.call import CallOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ReportOptions(CallOptions, total=False):
    """Options of a report; see ``promptatlas.types.ReportSpec``."""

    prompts: Sequence[str]
    priors: Sequence[Spec]
    layers: Layers
    n: int
    n_trajectories: int
    max_tokens: int
    samples: int
    seed: int
    title: str | None


class AsyncReports:
    """Reports: the findings about prompts and activations, measured on chosen prompts and datasets."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def make(
        self, *, model: str, datasets: Sequence[str], run_name: str | None = None, **options: Unpack[ReportOptions]
    ) -> AsyncRun:
        """Measures every finding; ``.report()`` of the run returns the report.

        Args:
            datasets: the tasks to compare.
            run_name: display name of the run; ``title`` is the report's.
            options: ``prompts``, whose runs provide priors, seeds and curves, and further fields of
                ``promptatlas.types.ReportSpec``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: the spec is invalid; ``errors`` has the locations.
        """
        fields, call_options = split_options(options)
        spec = {"model": model, "datasets": datasets, **fields}
        info = await self._sender.send(create_request("report", spec, name=run_name, options=call_options))
        return AsyncRun(info, sender=self._sender)

    async def get(self, run_id: str, **options: Unpack[CallOptions]) -> Report:
        """The report of a run. NotFoundError if there is no such run, or its report is not finished."""
        numbers = await self._sender.send(content_request(run_id, NUMBERS, options=options))
        page = await self._sender.send(content_request(run_id, HTML, options=options))
        return read_report(run_id, numbers=numbers, page=page)
