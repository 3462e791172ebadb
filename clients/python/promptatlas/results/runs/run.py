"""A run as an object: look at it, wait for it, stop it, and take what it has left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from promptatlas.calls import harvest as harvest_calls
from promptatlas.calls import maps as map_calls
from promptatlas.calls import reports as report_calls
from promptatlas.calls import runs as calls
from promptatlas.calls.call import CallOptions
from promptatlas.errors import TimedOutError
from promptatlas.results.harvests.files import check_shard, target_of
from promptatlas.results.harvests.harvest import Harvest, folder_in, read_manifest
from promptatlas.results.maps.map import AsyncMap, Map, read_map
from promptatlas.results.reports import Report, read_report
from promptatlas.results.runs import view as run_view
from promptatlas.results.runs.curves import Curves
from promptatlas.results.runs.live_board import watching
from promptatlas.results.runs.view import RunView
from promptatlas.transport.following import Deadline, DeadlinePassed, Follower, follow, follow_async
from promptatlas.transport.sender import AsyncSender, Sender, Wire
from promptatlas.types import Run as RunInfo
from promptatlas.types import RunEvent

if TYPE_CHECKING:
    import pandas
    from typing_extensions import Self, Unpack

    from promptatlas.results.runs.curve_plots import Backend


def _follower(view: RunView, wire: Wire, *, after: int, timeout_s: float | None, options: CallOptions) -> Follower:
    return Follower(
        wire,
        open_after=lambda last_id, following: calls.events(view.id, last_id, following, options),
        deadline=Deadline(timeout_s, clock=wire.clock),
        after=after,
        ended=view.ended,
    )


class Run(RunView):
    """A run on a server. What it says of itself is as of the last look; ``refresh`` and ``wait`` look again."""

    def __init__(self, info: RunInfo, *, sender: Sender) -> None:
        super().__init__(info)
        self._sender = sender
        self._last_event = 0

    def refresh(self, **options: Unpack[CallOptions]) -> Self:
        """Looks at the run again."""
        self.info = self._sender.send(calls.run(self.id, options))
        return self

    def wait(self, *, timeout_s: float | None = None, progress: bool | None = None) -> Self:
        """Waits until the run has succeeded. Connections that break meanwhile are made anew.

        Args:
            timeout_s: how long at most; None: as long as it takes.
            progress: show a bar and the loss of each member; None: as the client was told.

        Raises:
            RunFailedError: it failed; ``reason`` says why. RunCancelledError: it was cancelled.
            TimedOutError: it has not ended in time. It goes on.
        """
        if self.ended and self.status != "succeeded":
            self.refresh()  # it may have been resumed since
        shown = self._sender.wire.live if progress is None else progress
        follower = _follower(self, self._sender.wire, after=self._last_event, timeout_s=timeout_s, options={})
        try:
            if not self.ended:
                with watching(self.info, shown=shown) as tell:
                    for event in follow(self._sender, follower, ended=self._has_ended):
                        self._last_event = event.id
                        tell(event)
        except DeadlinePassed:
            self.refresh()
            if not self.ended:
                raise TimedOutError(run_view.still(self.info, timeout_s), connecting=False) from None
        run_view.require_success(self.info)
        return self

    def events(self, *, after: int = 0, **options: Unpack[CallOptions]) -> Iterator[RunEvent]:
        """Events up to the run's end, as they come. Connections that break are made anew, without gaps or repeats.

        Args:
            after: id of the last event that is known already; 0: from the beginning.
        """
        follower = _follower(self, self._sender.wire, after=after, timeout_s=None, options=options)
        return follow(self._sender, follower, ended=self._has_ended)

    def metrics(self, **options: Unpack[CallOptions]) -> Curves:
        """The whole curves so far."""
        return Curves(self._sender.send(calls.metrics(self.id, options)).data)

    def cancel(self, **options: Unpack[CallOptions]) -> Self:
        """Asks the run to stop; it keeps its last checkpoint. ConflictError where it has ended."""
        self.info = self._sender.send(calls.cancel(self.id, options))
        return self

    def resume(self, **options: Unpack[CallOptions]) -> Self:
        """Puts a failed or cancelled run into the queue again, to go on from its last checkpoint."""
        self.info = self._sender.send(calls.resume(self.id, options))
        return self

    def download(self, path: str, *, to: str | Path, **options: Unpack[CallOptions]) -> Path:
        """Saves one artifact: as the file ``to``, or under its own name in the folder ``to``."""
        return self._sender.fetch(calls.artifact(self.id, path, options), run_view.file_of(path, to)).path

    def download_all(self, *, to: str | Path, **options: Unpack[CallOptions]) -> list[Path]:
        """Saves all artifacts under a folder, which is made if there is none."""
        found = run_view.files_under(self.refresh(**options).artifacts, Path(to))
        for path, target in found:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._sender.fetch(calls.artifact(self.id, path, options), target)
        return [target for _, target in found]

    def read(self, path: str, **options: Unpack[CallOptions]) -> bytes:
        """One artifact's content."""
        return self._sender.send(calls.artifact_bytes(self.id, path, options))

    def evaluation(self, **options: Unpack[CallOptions]) -> list[dict[str, Any]]:
        """What was asked and answered: one row for each example and prompt."""
        return run_view.json_lines(self.read(run_view.EVALUATION, **options))

    def vectors(self, **options: Unpack[CallOptions]) -> npt.NDArray[np.float32]:
        """The draw `[n, d_model]` of a run of kind ``sample``, waited for if it is not there yet."""
        run_view.require_kind(self.info, "sample", what="vectors")
        self.wait()
        return run_view.drawn_vectors(self._sender.fetch(calls.artifact(self.id, run_view.DRAW, options), None))

    def map(self, *, layer: int | None = None, **options: Unpack[CallOptions]) -> Map:
        """The map that a run of kind ``map`` makes, waited for if it is not there yet; layer: points of this one only."""
        run_view.require_kind(self.info, "map", what="map")
        self.wait()
        columns, info = read_map(self._sender.fetch(map_calls.points(self.id, layer, options), None))
        return Map(columns, info=info, sender=self._sender)

    def report(self, **options: Unpack[CallOptions]) -> Report:
        """What a run of kind ``report`` finds, waited for if it is not there yet."""
        run_view.require_kind(self.info, "report", what="report")
        self.wait()
        numbers, page = (self.read(path, **options) for path in (report_calls.NUMBERS, report_calls.HTML))
        return read_report(self.id, numbers=numbers, page=page)

    def open(self, *, cache: str | Path | None = None, **options: Unpack[CallOptions]) -> Harvest:
        """What a run of kind ``harvest`` has read, waited for if it is not there yet. Shards are fetched as they are needed.

        Args:
            cache: folder that keeps them, under the run's id; None: a temporary one that goes with the harvest.
        """
        run_view.require_kind(self.info, "harvest", what="open")
        self.wait()
        content = self.read(harvest_calls.MANIFEST, **options)
        manifest = read_manifest(content)
        return Harvest(
            manifest,
            folder=folder_in(cache, manifest, content),
            fetch=lambda path, to: self._sender.fetch(calls.artifact(self.id, path, options), to),
        )

    def plot(self, metric: str = "loss", *, backend: Backend | None = None) -> Any:
        """Draws one number of all members over the steps; see Curves.plot."""
        return self.metrics().plot(metric, backend=backend, title=self.name)

    def to_pandas(self, **options: Unpack[CallOptions]) -> pandas.DataFrame:
        """The curves: ``step``, ``member``, and each number under its name. Needs pandas."""
        return self.metrics(**options).pandas()

    def _has_ended(self) -> bool:
        return self.refresh().ended


class AsyncRun(RunView):
    """A run on a server; see Run."""

    def __init__(self, info: RunInfo, *, sender: AsyncSender) -> None:
        super().__init__(info)
        self._sender = sender
        self._last_event = 0

    async def refresh(self, **options: Unpack[CallOptions]) -> Self:
        """As Run.refresh."""
        self.info = await self._sender.send(calls.run(self.id, options))
        return self

    async def wait(self, *, timeout_s: float | None = None, progress: bool | None = None) -> Self:
        """As Run.wait."""
        if self.ended and self.status != "succeeded":
            await self.refresh()
        shown = self._sender.wire.live if progress is None else progress
        follower = _follower(self, self._sender.wire, after=self._last_event, timeout_s=timeout_s, options={})
        try:
            if not self.ended:
                with watching(self.info, shown=shown) as tell:
                    async for event in follow_async(self._sender, follower, ended=self._has_ended):
                        self._last_event = event.id
                        tell(event)
        except DeadlinePassed:
            await self.refresh()
            if not self.ended:
                raise TimedOutError(run_view.still(self.info, timeout_s), connecting=False) from None
        run_view.require_success(self.info)
        return self

    def events(self, *, after: int = 0, **options: Unpack[CallOptions]) -> AsyncIterator[RunEvent]:
        """As Run.events, for ``async for``."""
        follower = _follower(self, self._sender.wire, after=after, timeout_s=None, options=options)
        return follow_async(self._sender, follower, ended=self._has_ended)

    async def metrics(self, **options: Unpack[CallOptions]) -> Curves:
        """As Run.metrics."""
        return Curves((await self._sender.send(calls.metrics(self.id, options))).data)

    async def cancel(self, **options: Unpack[CallOptions]) -> Self:
        """As Run.cancel."""
        self.info = await self._sender.send(calls.cancel(self.id, options))
        return self

    async def resume(self, **options: Unpack[CallOptions]) -> Self:
        """As Run.resume."""
        self.info = await self._sender.send(calls.resume(self.id, options))
        return self

    async def download(self, path: str, *, to: str | Path, **options: Unpack[CallOptions]) -> Path:
        """As Run.download."""
        return (await self._sender.fetch(calls.artifact(self.id, path, options), run_view.file_of(path, to))).path

    async def download_all(self, *, to: str | Path, **options: Unpack[CallOptions]) -> list[Path]:
        """As Run.download_all."""
        found = run_view.files_under((await self.refresh(**options)).artifacts, Path(to))
        for path, target in found:
            target.parent.mkdir(parents=True, exist_ok=True)
            await self._sender.fetch(calls.artifact(self.id, path, options), target)
        return [target for _, target in found]

    async def read(self, path: str, **options: Unpack[CallOptions]) -> bytes:
        """As Run.read."""
        return await self._sender.send(calls.artifact_bytes(self.id, path, options))

    async def evaluation(self, **options: Unpack[CallOptions]) -> list[dict[str, Any]]:
        """As Run.evaluation."""
        return run_view.json_lines(await self.read(run_view.EVALUATION, **options))

    async def vectors(self, **options: Unpack[CallOptions]) -> npt.NDArray[np.float32]:
        """As Run.vectors."""
        run_view.require_kind(self.info, "sample", what="vectors")
        await self.wait()
        received = await self._sender.fetch(calls.artifact(self.id, run_view.DRAW, options), None)
        return run_view.drawn_vectors(received)

    async def map(self, *, layer: int | None = None, **options: Unpack[CallOptions]) -> AsyncMap:
        """As Run.map."""
        run_view.require_kind(self.info, "map", what="map")
        await self.wait()
        columns, info = read_map(await self._sender.fetch(map_calls.points(self.id, layer, options), None))
        return AsyncMap(columns, info=info, sender=self._sender)

    async def report(self, **options: Unpack[CallOptions]) -> Report:
        """As Run.report."""
        run_view.require_kind(self.info, "report", what="report")
        await self.wait()
        numbers = await self.read(report_calls.NUMBERS, **options)
        page = await self.read(report_calls.HTML, **options)
        return read_report(self.id, numbers=numbers, page=page)

    async def open(self, *, cache: str | Path | None = None, **options: Unpack[CallOptions]) -> Harvest:
        """As Run.open, but all shards are fetched now: a harvest is read without waiting for anything."""
        run_view.require_kind(self.info, "harvest", what="open")
        await self.wait()
        content = await self.read(harvest_calls.MANIFEST, **options)
        manifest = read_manifest(content)
        harvest = Harvest(manifest, folder=folder_in(cache, manifest, content), fetch=None)
        for number, shard in enumerate(manifest.shards):
            if not harvest.has_shard(number):
                target = target_of(harvest.folder, shard.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                await self._sender.fetch(calls.artifact(self.id, shard.path, options), target)
                check_shard(target, shard)
        return harvest

    async def plot(self, metric: str = "loss", *, backend: Backend | None = None) -> Any:
        """As Run.plot."""
        return (await self.metrics()).plot(metric, backend=backend, title=self.name)

    async def to_pandas(self, **options: Unpack[CallOptions]) -> pandas.DataFrame:
        """As Run.to_pandas."""
        return (await self.metrics(**options)).pandas()

    async def _has_ended(self) -> bool:
        return (await self.refresh()).ended
