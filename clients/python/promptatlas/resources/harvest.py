"""``client.harvest``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from promptatlas.calls import runs as calls
from promptatlas.calls.call import CallOptions
from promptatlas.calls.harvest import HarvestOptions
from promptatlas.results.harvests.harvest import Harvest
from promptatlas.results.runs.run import AsyncRun, Run
from promptatlas.transport.sender import AsyncSender, Sender

if TYPE_CHECKING:
    from typing_extensions import Unpack


class HarvestResource:
    """The states of whole datasets, in shards."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def create(
        self,
        *,
        model: str,
        dataset: str,
        sites: Sequence[str] = ("resid_post",),
        run_name: str | None = None,
        **options: Unpack[HarvestOptions],
    ) -> Run:
        """Reads all texts of a dataset on the workers; ``.open()`` of the run is what comes of it.

        Args:
            model: a hosted one, or one of ``client.capabilities().read_models``.
            sites: e.g. ``resid_post``, a TransformerLens name or a module path.
            run_name: of the run, for people.
            options: see ``promptatlas.types.HarvestSpec``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: it cannot work; ``errors`` says where.
        """
        fields, call_options = calls.split_options(options)
        spec = {"model": model, "dataset": dataset, "sites": list(sites), **fields}
        return Run(self._sender.send(calls.create("harvest", spec, run_name, call_options)), sender=self._sender)

    def open(self, run_id: str, *, cache: str | Path | None = None, **options: Unpack[CallOptions]) -> Harvest:
        """The harvest of a run by its id; see Run.open."""
        return Run(self._sender.send(calls.run(run_id, options)), sender=self._sender).open(cache=cache)


class AsyncHarvestResource:
    """The states of whole datasets, in shards; see HarvestResource."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def create(
        self,
        *,
        model: str,
        dataset: str,
        sites: Sequence[str] = ("resid_post",),
        run_name: str | None = None,
        **options: Unpack[HarvestOptions],
    ) -> AsyncRun:
        """As HarvestResource.create."""
        fields, call_options = calls.split_options(options)
        spec = {"model": model, "dataset": dataset, "sites": list(sites), **fields}
        info = await self._sender.send(calls.create("harvest", spec, run_name, call_options))
        return AsyncRun(info, sender=self._sender)

    async def open(self, run_id: str, *, cache: str | Path | None = None, **options: Unpack[CallOptions]) -> Harvest:
        """The harvest of a run by its id; see AsyncRun.open."""
        run = AsyncRun(await self._sender.send(calls.run(run_id, options)), sender=self._sender)
        return await run.open(cache=cache)
