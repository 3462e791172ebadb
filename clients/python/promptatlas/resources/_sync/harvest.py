# Generated from promptatlas.resources._async.harvest by generate_sync.py: edit that module, then run `make generate`.
"""``client.harvest``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from promptatlas.resources._async.harvest import HarvestOptions
from promptatlas.resources._sync.run import Run
from promptatlas.resources.options import split_options
from promptatlas.resources.run_requests import create_request, run_request
from promptatlas.results.harvests.harvest import Harvest
from promptatlas.transport._sync.sender import Sender
from promptatlas.transport.call import CallOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


class HarvestResource:
    """Harvests: the activations of whole datasets, in shards."""

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
        info = self._sender.send(create_request("harvest", spec, name=run_name, options=call_options))
        return Run(info, sender=self._sender)

    def open(self, run_id: str, *, cache: str | Path | None = None, **options: Unpack[CallOptions]) -> Harvest:
        """The harvest of a run; see Run.open."""
        run = Run(self._sender.send(run_request(run_id, options=options)), sender=self._sender)
        return run.open(cache=cache)
