"""Places new points on kept maps for the API process: by PCA here, in a thread; by UMAP and t-SNE in a process of its own.

Imports neither of the latter. The process is started when it is first needed, keeps the bases that it has used, and is
killed when it takes longer than a request may; the next request starts another.
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

import service.errors
from service.errors import AtlasError, DamagedArtifact, DeadlineExceeded, Unavailable
from service.projection.pca import PcaBasis
from service.store.maps.store import MapStore, StoredMap

MODULE = "service.projection.placement_process"

_N_LINEAR_KEPT = 64

Floats = npt.NDArray[np.float32]


class PlacementProcess:
    """Places points; for use in one event loop.

    Args:
        home: of the store, as the settings name it.
        command: of the process; it is told ``home`` and this process's id.
    """

    def __init__(self, maps: MapStore, *, home: str, command: tuple[str, ...] = (sys.executable, "-m", MODULE)) -> None:
        self._maps = maps
        self._home = home
        self._command = command
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._linear: dict[tuple[str, int], PcaBasis] = {}

    @property
    def is_running(self) -> bool:
        """Whether there is a process now."""
        return self._process is not None and self._process.returncode is None

    async def place(self, found: StoredMap, *, layer: int, vectors: Floats, timeout_s: float) -> Floats:
        """Where vectors `[n, d_model]` lie on a layer of a map, `[n, n_components]`.

        Raises:
            InvalidRequest: they have another width, or are not finite.
            DamagedArtifact: the map is not what was stored.
            DeadlineExceeded: it took longer than ``timeout_s``.
        """
        if found.facts.method == "pca":
            return await asyncio.to_thread(self._place_linear, found.id, layer, vectors)
        work = asyncio.ensure_future(self._place_there(found.id, layer, vectors, timeout_s=timeout_s))
        # Whoever goes away leaves the answer to be read all the same: the next one's stands behind it.
        work.add_done_callback(_note_outcome)
        return await asyncio.shield(work)

    async def close(self) -> None:
        """End the process, if there is one."""
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
                raise DamagedArtifact(f"map {map_id} is damaged: its basis has an unknown form.") from None
            while len(self._linear) >= _N_LINEAR_KEPT:
                self._linear.pop(next(iter(self._linear)), None)
            self._linear[key] = basis
        return basis.place(vectors)

    async def _place_there(self, map_id: str, layer: int, vectors: Floats, *, timeout_s: float) -> Floats:
        try:
            return await asyncio.wait_for(self._in_turn(map_id, layer, vectors), timeout_s)
        except (asyncio.TimeoutError, TimeoutError):
            raise DeadlineExceeded("The points were not placed by the request's deadline.") from None

    async def _in_turn(self, map_id: str, layer: int, vectors: Floats) -> Floats:
        async with self._turn:
            process = await self._started()
            try:
                return await _exchange(process, map_id, layer, vectors)
            except AtlasError:
                raise
            except (OSError, EOFError, ValueError):
                await self.close()
                raise Unavailable("The process that places points was lost.", retry_after_s=1.0) from None
            except BaseException:
                # Past the deadline, in the middle of an answer: what comes next on the line is no answer to anybody.
                await self.close()
                raise

    async def _started(self) -> Process:
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
        kind: type[AtlasError] = getattr(service.errors, answer["error"])
        raise kind(answer["detail"])
    n, k = answer["shape"]
    data = await process.stdout.readexactly(4 * n * k)
    return np.frombuffer(data, dtype=np.float32).reshape(n, k)


async def _end(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.wait()


def _note_outcome(work: asyncio.Future[Floats]) -> None:
    # Nobody may be left to hear of its error.
    if not work.cancelled():
        work.exception()
