"""``client.harvest``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptatlas.resources._async.run import AsyncRun
from promptatlas.resources.options import Layers, PromptChoice, Spec, split_options
from promptatlas.resources.run_requests import create_request, run_request
from promptatlas.results.harvests.harvest import Harvest
from promptatlas.transport._async.sender import AsyncSender
from promptatlas.transport.call import CallOptions
from promptatlas.types import DType, Split
from promptatlas.types.harvest import ShardFormat

if TYPE_CHECKING:
    from typing_extensions import Unpack


class HarvestOptions(CallOptions, total=False):
    """Options of a harvest; see ``promptatlas.types.HarvestSpec``.

    positions: ``all``, ``last``, a list, or a slice as JSON (``{"start": 1}``).
    """

    prompt_ref: PromptChoice | None
    split: Split | None
    n: int | None
    include_target: bool
    template: Spec | None
    max_tokens: int | None
    layers: Layers
    positions: Any
    reduce: Any
    dtype: DType
    format: ShardFormat
    shard_bytes: int


class AsyncHarvestResource:
    """Harvests: the activations of whole datasets, in shards."""

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
        """Reads the activations of all texts of a dataset on the workers; ``.open()`` of the run returns them.

        Args:
            model: a hosted model, or one of ``client.capabilities().read_models``.
            sites: e.g. ``resid_post``, a TransformerLens name or a module path.
            run_name: display name of the run.
            options: see ``promptatlas.types.HarvestSpec``; ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: the spec is invalid; ``errors`` has the locations.
        """
        fields, call_options = split_options(options)
        spec = {"model": model, "dataset": dataset, "sites": list(sites), **fields}
        info = await self._sender.send(create_request("harvest", spec, name=run_name, options=call_options))
        return AsyncRun(info, sender=self._sender)

    async def open(self, run_id: str, *, cache: str | Path | None = None, **options: Unpack[CallOptions]) -> Harvest:
        """The harvest of a run; see AsyncRun.open."""
        run = AsyncRun(await self._sender.send(run_request(run_id, options=options)), sender=self._sender)
        return await run.open(cache=cache)
