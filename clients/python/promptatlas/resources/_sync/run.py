# Generated from promptatlas.resources._async.run by generate_sync.py: edit that module, then run `make generate`.
"""A run on a server: its status, its events and its results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from promptatlas.errors import TimedOutError
from promptatlas.resources._async.run import _follower
from promptatlas.resources._sync.map import Map, fetch_map
from promptatlas.resources.harvest_opening import open_harvest
from promptatlas.resources.run_requests import (
    annotate_request,
    artifact_request,
    content_request,
    run_path,
    run_request,
)
from promptatlas.results.harvests.harvest import MANIFEST, Harvest
from promptatlas.results.reports import HTML, NUMBERS, Report, read_report
from promptatlas.results.runs.artifacts import DRAW, EVALUATION, drawn_vectors, file_of, files_under, json_lines
from promptatlas.results.runs.curves import Curves
from promptatlas.results.runs.live_board import live_board
from promptatlas.results.runs.view import RunView, require_kind, require_success, timeout_message
from promptatlas.transport._sync.following import follow
from promptatlas.transport._sync.sender import Sender
from promptatlas.transport.call import Call, CallOptions, options_of, reader
from promptatlas.transport.follower import DeadlinePassed
from promptatlas.types import MetricCurve, RunEvent
from promptatlas.types import Run as RunInfo

if TYPE_CHECKING:
    import pandas
    from typing_extensions import Self, Unpack

    from promptatlas.results.runs.curve_plots import Backend


class Run(RunView):
    """A run on a server. Its properties are as of the last response; ``refresh`` and ``wait`` update them."""

    def __init__(self, info: RunInfo, *, sender: Sender) -> None:
        super().__init__(info)
        self._sender = sender
        self._last_event = 0

    def refresh(self, **options: Unpack[CallOptions]) -> Self:
        """Reads the run from the server."""
        self.info = self._sender.send(run_request(self.id, options=options))
        return self

    def wait(self, *, timeout_s: float | None = None, progress: bool | None = None) -> Self:
        """Waits until the run has succeeded. Broken connections are reopened.

        Args:
            timeout_s: maximum number of seconds; None: no limit.
            progress: show a progress bar and the loss of each member; None: the client's setting.

        Raises:
            RunFailedError: the run failed; ``reason`` has its error. RunCancelledError: it was cancelled.
            TimedOutError: the run did not end in time. It continues.
        """
        if self.ended and self.status != "succeeded":
            self.refresh()  # it may have been resumed since
        shown = self._sender.wire.live if progress is None else progress
        follower = _follower(self, wire=self._sender.wire, after=self._last_event, timeout_s=timeout_s, options={})
        try:
            if not self.ended:
                with live_board(self.info, shown=shown) as show:
                    for event in follow(self._sender, follower, ended=self._has_ended):
                        self._last_event = event.id
                        show(event)
        except DeadlinePassed:
            self.refresh()
            if not self.ended:
                raise TimedOutError(timeout_message(self.info, timeout_s=timeout_s), connecting=False) from None
        require_success(self.info)
        return self

    def events(self, *, after: int = 0, **options: Unpack[CallOptions]) -> Iterator[RunEvent]:
        """Events up to the end of the run, as they arrive. Broken connections are reopened, without gaps or repeats.

        Args:
            after: id of the last event that is known already; 0: from the beginning.
        """
        follower = _follower(self, wire=self._sender.wire, after=after, timeout_s=None, options=options)
        return follow(self._sender, follower, ended=self._has_ended)

    def metrics(self, **options: Unpack[CallOptions]) -> Curves:
        """The metrics reported so far, at every step."""
        path, parse = f"{run_path(self.id)}/metrics", reader(MetricCurve)
        call = Call(method="GET", path=path, parse=parse, **options_of(options))
        curve = self._sender.send(call)
        return Curves(curve.data)

    def cancel(self, **options: Unpack[CallOptions]) -> Self:
        """Cancels the run, which keeps its last checkpoint. ConflictError if it has ended."""
        path, parse = f"{run_path(self.id)}/cancel", reader(RunInfo)
        call = Call(method="POST", path=path, parse=parse, **options_of(options))
        self.info = self._sender.send(call)
        return self

    def resume(self, **options: Unpack[CallOptions]) -> Self:
        """Queues a failed or cancelled run again; it continues from its last checkpoint."""
        path, parse = f"{run_path(self.id)}/resume", reader(RunInfo)
        common = options_of(options, creates=True)
        call = Call(method="POST", path=path, parse=parse, **common)
        self.info = self._sender.send(call)
        return self

    def annotate(
        self, *, notes: str | None = None, tags: Sequence[str] | None = None, **options: Unpack[CallOptions]
    ) -> Self:
        """Sets the notes and tags of the run, in any state.

        Args:
            notes: plain text; empty: none; None: unchanged.
            tags: all tags of the run; None: unchanged.

        Raises:
            InvalidRequestError: the notes are too long, there are too many tags, or one is malformed.
        """
        self.info = self._sender.send(annotate_request(self.id, notes=notes, tags=tags, options=options))
        return self

    def download(self, path: str, to: str | Path, **options: Unpack[CallOptions]) -> Path:
        """Saves one artifact: as the file ``to``, or under its own name if ``to`` is a folder."""
        received = self._sender.fetch(artifact_request(self.id, path, options=options), file_of(path, to=to))
        return received.path

    def download_all(self, to: str | Path, **options: Unpack[CallOptions]) -> list[Path]:
        """Saves all artifacts in a folder, which is created if it does not exist."""
        self.refresh(**options)
        files = files_under(self.artifacts, folder=Path(to))
        for path, target in files:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._sender.fetch(artifact_request(self.id, path, options=options), target)
        return [target for _, target in files]

    def read(self, path: str, **options: Unpack[CallOptions]) -> bytes:
        """The content of one artifact."""
        return self._sender.send(content_request(self.id, path, options=options))

    def evaluation(self, **options: Unpack[CallOptions]) -> list[dict[str, Any]]:
        """Input, output and scores of each example under each prompt, one row each."""
        return json_lines(self.read(EVALUATION, **options))

    def vectors(self, **options: Unpack[CallOptions]) -> npt.NDArray[np.float32]:
        """The sample `[n, d_model]` of a run of kind ``sample``. Waits for the run to finish."""
        require_kind(self.info, "sample", verb="vectors")
        self.wait()
        return drawn_vectors(self._sender.fetch(artifact_request(self.id, DRAW, options=options), None))

    def map(self, *, layer: int | None = None, **options: Unpack[CallOptions]) -> Map:
        """The map of a run of kind ``map``. Waits for the run to finish. layer: only the points of one layer."""
        require_kind(self.info, "map", verb="map")
        self.wait()
        return fetch_map(self._sender, self.id, layer=layer, options=options)

    def report(self, **options: Unpack[CallOptions]) -> Report:
        """The report of a run of kind ``report``. Waits for the run to finish."""
        require_kind(self.info, "report", verb="report")
        self.wait()
        numbers = self.read(NUMBERS, **options)
        page = self.read(HTML, **options)
        return read_report(self.id, numbers=numbers, page=page)

    def open(self, *, cache: str | Path | None = None, **options: Unpack[CallOptions]) -> Harvest:
        """The harvest of a run of kind ``harvest``. Waits for the run to finish.

        A blocking client fetches each shard when it is first used, a non-blocking one all of them now.

        Args:
            cache: folder that keeps the shards, under the run's id; None: a temporary one, deleted with the harvest.
        """
        require_kind(self.info, "harvest", verb="open")
        self.wait()
        content = self.read(MANIFEST, **options)
        return open_harvest(self._sender, self.id, content=content, cache=cache, options=options)

    def plot(self, metric: str = "loss", *, backend: Backend | None = None) -> Any:
        """Plots one metric of all members over the steps; see Curves.plot."""
        curves = self.metrics()
        return curves.plot(metric, backend=backend, title=self.name)

    def to_pandas(self, **options: Unpack[CallOptions]) -> pandas.DataFrame:
        """The metrics: ``step``, ``member``, and each metric under its name. Requires pandas."""
        curves = self.metrics(**options)
        return curves.pandas()

    def _has_ended(self) -> bool:
        self.refresh()
        return self.ended
