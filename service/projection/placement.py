"""Projection of new points onto stored maps for the API process: PCA in a thread, UMAP and t-SNE in a separate process.

The process (``placement_process``) starts on first use and caches bases. It is killed when a request exceeds its deadline;
the next request starts a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from typing import Any

import numpy as np
import numpy.typing as npt

from service import errors
from service.errors import AtlasError, DamagedArtifact, DeadlineExceeded, Unavailable
from service.projection.pca import PcaBasis
from service.store.maps.store import MapStore, StoredMap

MODULE = "service.projection.placement_process"

_N_LINEAR_KEPT = 64

Floats = npt.NDArray[np.float32]


class PlacementProcess:
    """Projects points onto maps; for use in one event loop.

    Args:
        home: location of the store, as in the settings.
        command: of the process; ``home`` and the id of this process are appended as arguments.
    """

    def __init__(self, maps: MapStore, *, home: str, command: tuple[str, ...] = (sys.executable, "-m", MODULE)) -> None:
        self._maps = maps
        self._home = home
        self._command = command
        self._process: Process | None = None
        self._lock = asyncio.Lock()
        self._linear: dict[tuple[str, int], PcaBasis] = {}

    @property
    def is_running(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.returncode is None

    async def place(self, found: StoredMap, *, layer: int, vectors: Floats, timeout_s: float) -> Floats:
        """Coordinates `[n, n_components]` of vectors `[n, d_model]` on a layer of a map.

        Raises:
            InvalidRequest: wrong width, or NaN or infinite values.
            DamagedArtifact: the stored map is damaged.
            DeadlineExceeded: ``timeout_s`` has passed.
        """
        if found.facts.method == "pca":
            return await asyncio.to_thread(self._place_linear, found.id, layer, vectors)
        work = asyncio.ensure_future(self._place_in_process(found.id, layer, vectors, timeout_s=timeout_s))
        # The response of a cancelled request must still be read: that of the next request follows it on the pipe.
        work.add_done_callback(_retrieve_exception)
        return await asyncio.shield(work)

    async def close(self) -> None:
        """End the process, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            await _end(process)

    def _place_linear(self, map_id: str, layer: int, vectors: Floats) -> Floats:
        key = (map_id, layer)
        basis = self._linear.get(key)
        if basis is None:
            file = self._maps.basis(map_id, layer=layer)
            try:
                basis = PcaBasis.from_tensors(file.tensors, facts=file.metadata)
            except (KeyError, TypeError):
                raise DamagedArtifact(f"map {map_id} is damaged: its basis is malformed.") from None
            while len(self._linear) >= _N_LINEAR_KEPT:
                self._linear.pop(next(iter(self._linear)), None)
            self._linear[key] = basis
        return basis.place(vectors)

    async def _place_in_process(self, map_id: str, layer: int, vectors: Floats, *, timeout_s: float) -> Floats:
        try:
            return await asyncio.wait_for(self._place_locked(map_id, layer, vectors), timeout_s)
        except (asyncio.TimeoutError, TimeoutError):
            raise DeadlineExceeded("The points were not projected before the request's deadline.") from None

    async def _place_locked(self, map_id: str, layer: int, vectors: Floats) -> Floats:
        async with self._lock:
            process = await self._running_process()
            try:
                return await _exchange(process, map_id, layer, vectors)
            except AtlasError:
                raise
            except (OSError, EOFError, ValueError):
                await self.close()
                raise Unavailable("The process that projects points was lost.", retry_after_s=1.0) from None
            except BaseException:
                # Interrupted in the middle of a response: the pipe can no longer be parsed.
                await self.close()
                raise

    async def _running_process(self) -> Process:
        if self._process is None or not self.is_running:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, self._home, str(os.getpid()), stdin=PIPE, stdout=PIPE
            )
        return self._process


async def _exchange(process: Process, map_id: str, layer: int, vectors: Floats) -> Floats:
    assert process.stdin is not None
    assert process.stdout is not None
    header = {"map": map_id, "layer": layer, "shape": list(vectors.shape)}
    process.stdin.write(json.dumps(header).encode() + b"\n")
    process.stdin.write(np.ascontiguousarray(vectors, dtype=np.float32).tobytes())
    await process.stdin.drain()
    line = await process.stdout.readline()
    if not line:
        raise EOFError
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        kind: type[AtlasError] = getattr(errors, answer["error"])
        raise kind(answer["detail"])
    n, k = answer["shape"]
    data = await process.stdout.readexactly(4 * n * k)
    return np.frombuffer(data, dtype=np.float32).reshape(n, k)


async def _end(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.wait()


def _retrieve_exception(work: asyncio.Future[Floats]) -> None:
    # Avoids asyncio's warning about exceptions that were never retrieved.
    if not work.cancelled():
        work.exception()
